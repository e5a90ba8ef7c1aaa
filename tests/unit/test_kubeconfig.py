"""Kubeconfigs are read as the official client reads them."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpukit.cluster.kubeconfig import Access, find_access
from gpukit.errors import ClusterError


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return a certificate and its key."""
    folder = tmp_path_factory.mktemp("pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me",
         "-keyout", str(folder / "key"), "-out", str(folder / "crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "crt").read_text(), (folder / "key").read_text()


def config(user: dict[str, Any], cluster: dict[str, Any] | None = None) -> dict[str, Any]:
    where = {"server": "https://10.0.0.1:6443", **(cluster or {})}
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ml"}},
                     {"name": "other", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": where}],
        "users": [{"name": "u", "user": user}],
    }  # fmt: skip


def write(file: Path, values: dict[str, Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    return file


def ours(file: Path, context: str | None = None) -> Access:
    return find_access(context, {"KUBECONFIG": str(file)})


def theirs(file: Path, context: str | None = None) -> Any:
    from kubernetes import client, config

    loader: Any = config  # the package has no types

    found = client.Configuration()
    loader.load_kube_config(str(file), context=context, client_configuration=found)
    return found


def bearer(judge: Any) -> str:
    value: str = judge.auth_settings()["BearerToken"]["value"]
    return value


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_token_and_an_authority(tmp_path: Path, pem: tuple[str, str]) -> None:
    cluster = {"certificate-authority-data": encoded(pem[0])}
    file = write(tmp_path / "config", config({"token": "secret-token"}, cluster))
    for context in (None, "other"):
        found, judge = ours(file, context), theirs(file, context)
        assert found.server == judge.host
        assert found.credentials.header() == bearer(judge)
        assert found.authority == Path(judge.ssl_ca_cert).read_text()
        assert found.insecure is not judge.verify_ssl
    assert ours(file).namespace == "ml"
    assert ours(file, "other").namespace == "default"
    assert "secret-token" not in repr(ours(file))


def test_a_client_certificate_from_data_and_from_files(
    tmp_path: Path, pem: tuple[str, str]
) -> None:
    (tmp_path / "crt").write_text(pem[0])
    (tmp_path / "key").write_text(pem[1])
    data = {"client-certificate-data": encoded(pem[0]), "client-key-data": encoded(pem[1])}
    for user in (data, {"client-certificate": "crt", "client-key": "key"}):
        file = write(tmp_path / "config", config(user, {"insecure-skip-tls-verify": True}))
        found, judge = ours(file), theirs(file)
        assert found.credentials.certificate() == pem
        assert Path(judge.cert_file).read_text() == pem[0]
        assert found.insecure is not judge.verify_ssl


def test_a_password(tmp_path: Path) -> None:
    file = write(tmp_path / "config", config({"username": "me", "password": "pw"}))
    assert ours(file).credentials.header() == f"Basic {encoded('me:pw')}"


def plugin(folder: Path, status: str) -> Path:
    file = folder / "plugin"
    file.write_text(
        "#!/bin/sh\necho called >> calls.txt\n"
        f"""echo '{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", '"""
        f"""'"status": {status}}}'\n"""
    )
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def executed(path: Path) -> dict[str, Any]:
    version = "client.authentication.k8s.io/v1"
    return {"exec": {"apiVersion": version, "command": str(path), "env": None, "args": None}}


def test_a_plugin_is_asked_once_and_again_when_its_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = plugin(tmp_path, '{"token": "from-plugin"}')
    file = write(tmp_path / "config", config(executed(path)))
    found, judge = ours(file), theirs(file)
    assert found.credentials.header() == bearer(judge)
    Path("calls.txt").unlink()
    again = ours(file).credentials
    assert [again.header(), again.header()] == ["Bearer from-plugin"] * 2
    assert len(Path("calls.txt").read_text().split()) == 1
    assert again.renew()
    again.header()
    assert len(Path("calls.txt").read_text().split()) == 2


def test_a_plugins_answer_that_has_expired_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status = json.dumps({"token": "t", "expirationTimestamp": "2020-01-01T00:00:00Z"})
    found = ours(write(tmp_path / "config", config(executed(plugin(tmp_path, status)))))
    found.credentials.header()
    found.credentials.header()
    assert len(Path("calls.txt").read_text().split()) == 2


@pytest.mark.parametrize(
    ("script", "words"), [("echo no session >&2; exit 3", "no session"), ("echo {", "its answer")]
)
def test_a_plugin_that_fails_says_why(tmp_path: Path, script: str, words: str) -> None:
    path = plugin(tmp_path, "{}")
    path.write_text(f"#!/bin/sh\n{script}\n")
    found = ours(write(tmp_path / "config", config(executed(path))))
    with pytest.raises(ClusterError, match=words) as caught:
        found.credentials.header()
    assert caught.value.id == "cluster-login"


def test_a_plugin_that_is_not_installed(tmp_path: Path) -> None:
    user = executed(tmp_path / "nothing")
    user["exec"]["installHint"] = "get it at example.com"
    found = ours(write(tmp_path / "config", config(user)))
    with pytest.raises(ClusterError, match="not installed") as caught:
        found.credentials.header()
    assert caught.value.hint == "get it at example.com"


def test_the_first_of_several_files_wins(tmp_path: Path) -> None:
    first = write(tmp_path / "a", config({"token": "a"}))
    second = config({"token": "b"}, {"server": "https://elsewhere"})
    second["contexts"].append({"name": "new", "context": {"cluster": "c2", "user": "u2"}})
    second["clusters"].append({"name": "c2", "cluster": {"server": "https://two"}})
    second["users"].append({"name": "u2", "user": {"token": "two"}})
    both = f"{first}{os.pathsep}{write(tmp_path / 'b', second)}"
    assert find_access(None, {"KUBECONFIG": both}).credentials.header() == "Bearer a"
    new = find_access("new", {"KUBECONFIG": both})
    assert (new.server, new.credentials.header()) == ("https://two", "Bearer two")


def test_a_pod_has_its_own_account(tmp_path: Path) -> None:
    for name, text in (("token", "pod-token\n"), ("ca.crt", "PEM"), ("namespace", "team-a")):
        (tmp_path / name).write_text(text)
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = find_access(None, environ, home=tmp_path, pod_folder=tmp_path)
    assert (found.server, found.namespace) == ("https://[fd00::1]:443", "team-a")
    assert found.credentials.header() == "Bearer pod-token"
    (tmp_path / "token").write_text("newer")
    assert found.credentials.header() == "Bearer newer", "a token's file is replaced every hour"


@pytest.mark.parametrize(
    ("values", "context", "id", "words"),
    [
        (config({"token": "t"}), "othre", "cluster-context", "no context 'othre'"),
        (config({"auth-provider": {"name": "gcp"}}), None, "cluster-auth-provider", "'gcp'"),
        ({**config({}), "clusters": []}, None, "cluster-config", "names no cluster"),
        ({**config({}), "current-context": ""}, None, "cluster-config", "no current context"),
        (config({"client-certificate": "none", "client-key": "none"}), None, "cluster-config",
         "client-certificate"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_said(
    tmp_path: Path, values: dict[str, Any], context: str | None, id: str, words: str
) -> None:
    file = write(tmp_path / "config", values)
    with pytest.raises(ClusterError, match=words) as caught:
        ours(file, context)
    assert caught.value.id == id
    assert caught.value.hint


def test_a_file_that_is_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: [")
    with pytest.raises(ClusterError, match="cannot be read"):
        ours(tmp_path / "config")
