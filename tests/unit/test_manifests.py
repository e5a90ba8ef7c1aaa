"""The models are closed, YAML text is exact, and the override merges as Kubernetes merges."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from gpukit.errors import SpecError
from gpukit.manifests import Metadata, PodSpec, apply_override, to_yaml
from tests.samples import bundle, main_of, pod_of

BASE = PodSpec.model_validate(
    {
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "nodeSelector": {"x": "1"},
        "containers": [
            {
                "name": "main",
                "image": "i",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "resources": {"limits": {"memory": "1Gi"}},
            }
        ],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
)


def merged(**override: Any) -> dict[str, Any]:
    return apply_override(BASE, override).to_dict()


def test_models_refuse_unknown_fields_and_words() -> None:
    with pytest.raises(ValidationError):
        PodSpec.model_validate({"restartPolicy": "Nevr"})
    with pytest.raises(ValidationError):
        Metadata.model_validate({"nam": "x"})


def test_absent_and_empty_are_the_same_but_an_empty_source_stays() -> None:
    assert merged()["volumes"] == [{"name": "v", "emptyDir": {}}]
    assert "hostNetwork" not in merged()
    assert merged(hostNetwork=False)["hostNetwork"] is False
    assert merged(terminationGracePeriodSeconds=0)["terminationGracePeriodSeconds"] == 0


def test_mappings_merge_by_key_and_null_removes() -> None:
    assert merged(nodeSelector={"y": "2"})["nodeSelector"] == {"x": "1", "y": "2"}
    assert "nodeSelector" not in merged(nodeSelector=None)


def test_containers_env_and_mounts_merge_by_their_keys() -> None:
    container = merged(
        containers=[
            {
                "name": "main",
                "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
                "volumeMounts": [
                    {"name": "w", "mountPath": "/v"},
                    {"name": "v", "mountPath": "/w"},
                ],
                "resources": {"limits": {"cpu": 2}},
            }
        ]
    )["containers"][0]
    assert {e["name"]: e["value"] for e in container["env"]} == {"A": "1", "B": "3", "C": "4"}
    assert {m["mountPath"]: m["name"] for m in container["volumeMounts"]} == {"/v": "w", "/w": "v"}
    assert container["resources"] == {"limits": {"memory": "1Gi", "cpu": "2"}}
    assert container["image"] == "i"


def test_one_source_replaces_another() -> None:
    claim = {"claimName": "c"}
    volumes = merged(volumes=[{"name": "v", "persistentVolumeClaim": claim}])["volumes"]
    assert volumes == [{"name": "v", "persistentVolumeClaim": claim}]
    source = {"secretKeyRef": {"name": "s", "key": "k"}}
    env = merged(containers=[{"name": "main", "env": [{"name": "A", "valueFrom": source}]}])
    assert env["containers"][0]["env"][0] == {"name": "A", "valueFrom": source}


def test_other_lists_are_replaced() -> None:
    tolerations = [{"key": "b", "operator": "Exists"}]
    assert merged(tolerations=tolerations)["tolerations"] == tolerations


@pytest.mark.parametrize(
    ("override", "id", "hint"),
    [
        ({"hostNetwrk": True}, "pod-field-unknown", "hostNetwork"),
        ({"containers": [{"name": "main", "imagePullPolice": "Never"}]},
         "pod-field-unknown", "imagePullPolicy"),
        ({"volumes": [{"name": "v", "emptyDirr": {}}]}, "pod-field-unknown", "emptyDir"),
        ({"dnsPolicy": "clusterfirst"}, "pod-value", "manifest"),
        ({"terminationGracePeriodSeconds": "90"}, "pod-value", "manifest"),
        ({"hostNetwork": "yes"}, "pod-value", "manifest"),
        ({"hostname": {1, 2}}, "pod-not-json", "text"),
        ({"restartPolicy": "OnFailure"}, "pod-restart-policy", "retries"),
        ({"containers": [{"name": "main", "command": ["sh"]}]}, "pod-own-field", "init"),
        ({"containers": [{"name": "main", "env": [{"name": "GPUKIT_STORE", "value": "x"}]}]},
         "pod-own-env", "another name"),
        ({"containers": [{"name": "mian"}]}, "pod-container-unknown", "'main'"),
        ({"containers": [{"name": None}]}, "pod-list-key", "name"),
        ({"volumes": [{"emptyDir": {}}]}, "pod-value", "manifest"),
    ],
)  # fmt: skip
def test_wrong_overrides(override: dict[str, Any], id: str, hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        apply_override(BASE, override)
    assert caught.value.id == id
    assert hint in caught.value.hint


def test_a_sidecar_and_an_init_container_can_be_added() -> None:
    rendered = bundle(
        pod={
            "initContainers": [{"name": "fetch", "image": "busybox", "command": ["true"]}],
            "containers": [{"name": "log", "image": "busybox"}],
        }
    )
    assert [c["name"] for c in pod_of(rendered)["containers"]] == ["main", "log"]
    assert pod_of(rendered)["initContainers"][0]["command"] == ["true"]
    assert main_of(rendered)["command"][0] == "python3"


@pytest.mark.parametrize(
    "text",
    ["", "yes", "NO", "null", "~", "1", "1e3", "0x10", "1_000", "12:30:45", "2026-01-01", ".inf",
     "- a", "a: b", "a #b", "#a", "&a", "*a", "!a", "%a", "@a", "`a`", "'", '"', "'\"", "a\nb",
     " a", "a ", "a\t", "\\", "é", "日本", "🚀\n🚀", "\x00", "\x85", "\u2028", "\ufeff", "[a]",
     "{a}",
     "=", "<<", "-", "-a", "--", "20Gi", "5m", "a:", "a:b", "'{\"a\":\"b\"}'", "?", "|", ">"],
)  # fmt: skip
def test_any_text_is_read_back_as_itself(text: str) -> None:
    assert yaml.safe_load(to_yaml([{"k": text}])) == {"k": text}
    assert yaml.safe_load(to_yaml([{"k": [text, {"i": text}]}])) == {"k": [text, {"i": text}]}
    assert yaml.safe_load(to_yaml([{f"k{text}": 1}])) == {f"k{text}": 1}
