"""The API server's strict validation as the judge of what is rendered, and of what is refused.

500 random declarations, 10,000 with GPUKIT_SOAK: none is refused. The same declarations, each made
wrong in one way that the server refuses: gpukit refuses them first, with a hint.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from gpukit.errors import GpukitError
from tests.cluster.api import ApiError, Json
from tests.cluster.cluster import Machine
from tests.samples import bundle
from tests.strategies import options

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]

EXAMPLES = 10_000 if os.environ.get("GPUKIT_SOAK") else 500
_SPACE = "strict"
_PLURALS = {
    "ConfigMap": "/api/v1/namespaces/strict/configmaps",
    "PersistentVolumeClaim": "/api/v1/namespaces/strict/persistentvolumeclaims",
    "Job": "/apis/batch/v1/namespaces/strict/jobs",
    "Pod": "/api/v1/namespaces/strict/pods",
}
_settings = settings(
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def send(machine: Machine) -> Callable[[Json], None]:
    """Return what sends an object to the API server, for a strict dry run."""
    with suppress(ApiError):  # GPUKIT_TEST_KUBECONFIG: it is there from the last time
        machine.api.post("/api/v1/namespaces", {"metadata": {"name": _SPACE}})

    def send(body: Json) -> None:
        machine.api.post(_PLURALS[body["kind"]], body, fieldValidation="Strict", dryRun="All")

    return send


def rendered(declared: dict[str, Any]) -> list[Json]:
    return bundle(**{**declared, "namespace": _SPACE}).to_dicts()


@settings(_settings, max_examples=EXAMPLES)
@given(declared=options())
def test_random_declarations_are_accepted(
    send: Callable[[Json], None], declared: dict[str, Any]
) -> None:
    for body in rendered(declared):
        send(body)


def _main(job: Json) -> Json:
    main: Json = job["spec"]["template"]["spec"]["containers"][0]
    return main


def _set(job: Json, field: str, value: object) -> None:
    job["spec"]["template"]["spec"][field] = value


def _resources(job: Json, **parts: dict[str, str]) -> None:
    for part, amounts in parts.items():
        _main(job)["resources"].setdefault(part, {}).update(amounts)


def _override(**resources: dict[str, str]) -> Json:
    return {"containers": [{"name": "main", "resources": resources}]}


_DEVICE = "example.com/device"
Mutation = tuple[Json, Callable[[Json], object]]
MUTATIONS: dict[str, Mutation] = {
    # what is declared, and what it would have made of the Job
    "a fraction of a GPU": (
        {"pod": _override(limits={"nvidia.com/gpu": "0.5"})},
        lambda job: _resources(job, limits={"nvidia.com/gpu": "0.5"}),
    ),
    "requests that are not the limit": (
        {"pod": _override(limits={_DEVICE: "1"}, requests={_DEVICE: "2"})},
        lambda job: _resources(job, limits={_DEVICE: "1"}, requests={_DEVICE: "2"}),
    ),
    "a device in requests only": (
        {"pod": _override(requests={_DEVICE: "1"})},
        lambda job: _resources(job, requests={_DEVICE: "1"}),
    ),
    "an unknown field of the pod": (
        {"pod": {"hostNetwrok": True}},
        lambda job: _set(job, "hostNetwrok", True),
    ),
    "an unknown field of the container": (
        {"pod": {"containers": [{"name": "main", "imagePolicy": "Always"}]}},
        lambda job: _main(job).update(imagePolicy="Always"),
    ),
    "a word that is none of the pod": (
        {"pod": {"dnsPolicy": "Defalt"}},
        lambda job: _set(job, "dnsPolicy", "Defalt"),
    ),
    "a word that is none of the container": (
        {"pod": {"containers": [{"name": "main", "imagePullPolicy": "Sometimes"}]}},
        lambda job: _main(job).update(imagePullPolicy="Sometimes"),
    ),
    "a restart policy that is none": (
        {"pod": {"restartPolicy": "Nevr"}},
        lambda job: _set(job, "restartPolicy", "Nevr"),
    ),
    "no amount": (
        {"pod": _override(limits={"cpu": "lots"})},
        lambda job: _resources(job, limits={"cpu": "lots"}),
    ),
    "a request over its limit": (
        {"pod": _override(limits={"ephemeral-storage": "1Gi"},
                          requests={"ephemeral-storage": "2Gi"})},
        lambda job: _resources(job, limits={"ephemeral-storage": "1Gi"},
                               requests={"ephemeral-storage": "2Gi"}),
    ),
    "a container's name that is none": (
        {"pod": {"initContainers": [{"name": "Bad_Name", "image": "x"}]}},
        lambda job: _set(job, "initContainers", [{"name": "Bad_Name", "image": "x"}]),
    ),
    "a container without an image": (
        {"pod": {"initContainers": [{"name": "first"}]}},
        lambda job: _set(job, "initContainers", [{"name": "first"}]),
    ),
    "a mount of no volume": (
        {"pod": {"containers": [{"name": "main", "volumeMounts": [
            {"name": "nowhere", "mountPath": "/nowhere"}]}]}},
        lambda job: _main(job)["volumeMounts"].append(
            {"name": "nowhere", "mountPath": "/nowhere"}),
    ),
    "a user below zero": (
        {"pod": {"securityContext": {"runAsUser": -5}}},
        lambda job: job["spec"]["template"]["spec"]["securityContext"].update(runAsUser=-5),
    ),
    "a time on a taint that ends nothing": (
        {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule",
                          "tolerationSeconds": 5}]},
        lambda job: _set(job, "tolerations", [
            {"key": "a", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 5}]),
    ),
    "a label that is none": (
        {"labels": {"team name": "a"}},
        lambda job: job["metadata"]["labels"].update({"team name": "a"}),
    ),
    "a label's value that is none": (
        {"team": "a b"},
        lambda job: job["metadata"]["labels"].update(team="a b"),
    ),
    "a selector's value that is none": (
        {"node_selector": {"pool": "a b"}},
        lambda job: _set(job, "nodeSelector", {"pool": "a b"}),
    ),
    "annotations that are too large": (
        {"annotations": {"note": "x" * 270_000}},
        lambda job: job["metadata"]["annotations"].update(note="x" * 270_000),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", MUTATIONS)
@settings(_settings, max_examples=max(5, EXAMPLES // 100))
@given(declared=options())
def test_what_the_server_refuses_gpukit_refuses_first(
    send: Callable[[Json], None], kind: str, declared: dict[str, Any]
) -> None:
    wrong, mutate = MUTATIONS[kind]
    rest = {key: value for key, value in declared.items() if key not in wrong}
    job = deepcopy(rendered(rest)[-1])
    mutate(job)
    with pytest.raises(ApiError) as refusal:
        send(job)
    assert refusal.value.code in (400, 422)
    with pytest.raises(GpukitError) as first:
        rendered({**rest, **wrong})
    assert first.value.hint


@pytest.mark.parametrize("size", [1_048_576, 1_048_577])
def test_how_much_a_config_map_holds(send: Callable[[Json], None], size: int) -> None:
    """One byte more than gpukit's own limit is refused by the server, and none less."""
    import base64

    data = base64.b64encode(b"x" * size).decode()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"},
            "binaryData": {"archive.tar.gz": data}}  # fmt: skip
    if size > 1_048_576:
        with pytest.raises(ApiError, match="Too long"):
            send(body)
    else:
        send(body)
