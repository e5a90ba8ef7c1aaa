"""The golden manifests: unchanged, and accepted by the official models and schemas."""

from __future__ import annotations

import kubernetes_validate
import pytest
import yaml

from tests.golden.cases import CASES
from tests.golden.regenerate import ALL, FOLDER, name_of, path_of
from tests.official import VERSIONS, assert_valid, official_round_trip
from tests.samples import bundle


@pytest.mark.parametrize("name", ALL)
def test_rendering_gives_the_golden_file(name: str) -> None:
    golden = path_of(name).read_text(encoding="utf-8")
    assert bundle(**ALL[name]).to_yaml() == golden, "if this is meant: make golden"


@pytest.mark.parametrize("name", ALL)
def test_official_client_models_lose_nothing(name: str) -> None:
    for item in yaml.safe_load_all(path_of(name).read_text(encoding="utf-8")):
        assert official_round_trip(item) == item


@pytest.mark.parametrize("name", ALL)
def test_official_schemas_accept_strictly(name: str) -> None:
    for item in yaml.safe_load_all(path_of(name).read_text(encoding="utf-8")):
        for version in VERSIONS:
            assert_valid(item, version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_validator_that_is_built_once_is_the_official_one(version: str) -> None:
    for item in bundle(**CASES["mig-spot"]).to_dicts():
        assert kubernetes_validate.validate(item, version, strict=True) in version


def test_the_schemas_refuse_what_is_wrong() -> None:
    job = list(yaml.safe_load_all(path_of("cpu").read_text(encoding="utf-8")))[-1]
    job["spec"]["template"]["spec"]["restartPolice"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)
    with pytest.raises(AssertionError):
        assert_valid(job, VERSIONS[-1])


def test_no_golden_file_is_left_over() -> None:
    assert {name_of(path) for path in FOLDER.rglob("*.yaml")} == set(ALL)
