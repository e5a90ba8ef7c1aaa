"""Files that look as if they held secrets: each is named, and no secret is shown."""

from __future__ import annotations

import pytest

from gpukit.leaks import secret_in

SECRETS: list[tuple[str, str | bytes, str]] = [
    (".env", "A=1", "name"), ("conf/.env.prod", "A=1", "name"), ("id_rsa", "x", "name"),
    ("tls.pem", "x", "name"), ("kubeconfig", "x", "name"), ("credentials", "x", "name"),
    ("k.txt", "-----BEGIN OPENSSH PRIVATE KEY-----\nabc", "private key"),
    ("a.py", "key = 'AKIA" + "ABCDEFGHIJKLMNOP'", "AWS access key"),
    ("b.py", "aws_secret_access_key = '" + "a1B2" * 10 + "'", "AWS secret key"),
    ("c.py", "t = 'hf_" + "abcdefghij" * 4 + "'", "Hugging Face"),
    ("d.py", "t = 'ghp_" + "abcdefghij" * 4 + "'", "GitHub"),
    ("e.py", "t = 'sk-proj-" + "abcdefghij" * 4 + "'", "sk-"),
    ("f.json", '{"private_key_id": "' + "0a" * 20 + '"}', "service account"),
    ("g.bin", b"\xff\xfe\x00hf_" + b"abcdefghij" * 4 + b"\x00", "Hugging Face"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "what"), SECRETS, ids=[s[0] for s in SECRETS])
def test_files_that_look_like_secrets(name: str, content: str | bytes, what: str) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    found = secret_in(name, data)
    assert found is not None
    assert what in found
    assert all(word not in found for word in data.decode("latin-1").split("'") if len(word) > 12)


HARMLESS = [
    (".env.example", "TOKEN="),
    ("monkey.py", "token = os.environ['HF_TOKEN']; name = 'sk-learn'"),
    ("risk.py", "name = 'task-" + "a" * 40 + "'"),
    ("keys.py", "-----BEGIN PUBLIC KEY-----"),
    ("environment.yml", "hf_hub_download_of_a_file_with_long_name_x()"),
    ("secretary.py", "AWS_SECRET_ACCESS_KEY = os.environ['AWS_SECRET_ACCESS_KEY']"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), HARMLESS, ids=[h[0] for h in HARMLESS])
def test_ordinary_files_are_not_suspected(name: str, content: str) -> None:
    assert secret_in(name, content.encode()) is None
