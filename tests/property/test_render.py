"""Random valid declarations render to objects that the official schemas accept."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpukit.manifests import to_yaml
from gpukit.manifests.environment import literal, literal_of
from tests.official import VERSIONS, assert_valid, official_round_trip
from tests.samples import bundle, job_of, main_of, pod_of
from tests.strategies import json_values, options

EXAMPLES = 2000  # over all versions


def _settings(examples: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, deadline=None, suppress_health_check=slow)


_some = _settings(100)


@pytest.mark.parametrize("version", VERSIONS)
@_settings(-(-EXAMPLES // len(VERSIONS)))
@given(declared=options())
def test_renders_valid_objects(declared: dict[str, Any], version: str) -> None:
    for item in bundle(**declared).to_dicts():
        assert_valid(item, version)


@_some
@given(options(), json_values)
def test_the_same_input_gives_the_same_bytes(declared: dict[str, Any], value: Any) -> None:
    first = bundle(arguments={"value": value}, **declared)
    second = bundle(arguments={"value": value}, **dict(reversed(list(declared.items()))))
    assert first.to_yaml() == second.to_yaml()
    assert list(yaml.safe_load_all(first.to_yaml())) == first.to_dicts()


@_some
@given(options())
def test_official_models_lose_nothing(declared: dict[str, Any]) -> None:
    for item in bundle(**declared).to_dicts():
        assert official_round_trip(item) == item


@_some
@given(options())
def test_what_the_api_server_checks_beyond_the_schema(declared: dict[str, Any]) -> None:
    rendered = bundle(**declared)
    pod, main = pod_of(rendered), main_of(rendered)
    _assert_unique([volume["name"] for volume in pod["volumes"]])
    _assert_unique([mount["mountPath"] for mount in main["volumeMounts"]])
    _assert_unique([variable["name"] for variable in main["env"]])
    assert {m["name"] for m in main["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    for volume in pod["volumes"]:
        assert len(volume) == 2, "a volume has a name and exactly one source"
    claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]
              if "persistentVolumeClaim" in v]  # fmt: skip
    _assert_unique(claims)
    devices = [key for key in main["resources"]["limits"] if "/" in key]
    assert not any(key in main["resources"]["requests"] for key in devices)
    assert all(main["resources"]["limits"][key].isdigit() for key in devices)
    assert main["resources"]["limits"]["memory"] == main["resources"]["requests"]["memory"]
    job = job_of(rendered)
    assert len(job["metadata"]["name"]) <= 50
    assert job["spec"]["maxFailedIndexes"] <= job["spec"]["completions"]
    template = job["spec"]["template"]
    assert template["metadata"]["labels"].items() <= job["metadata"]["labels"].items()
    assert rendered.task.grace == pod["terminationGracePeriodSeconds"]
    for toleration in pod["tolerations"]:
        if toleration.get("tolerationSeconds") is not None:
            assert toleration["effect"] == "NoExecute"


def _assert_unique(names: list[str]) -> None:
    assert len(set(names)) == len(names), names


@given(json_values)
def test_yaml_text_is_read_back(value: Any) -> None:
    document = {"key": value, "list": [value]}
    assert yaml.safe_load(to_yaml([document])) == document


@given(st.text())
def test_literal_text_survives_kubernetes_expansion(value: str) -> None:
    text = literal(value)
    if text != value:
        assert "$(" not in text.replace("$$", "")
        assert literal_of(text) == value
    else:
        assert "$(" not in value
        assert "$$" not in value
