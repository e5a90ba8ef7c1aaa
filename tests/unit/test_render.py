"""The rendered objects: the attempt ladder, the pod's contract with the runtime, the names."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from gpukit.contract import (
    ANNOTATION_TASK,
    CHECKPOINT_MOUNT,
    CODE_MOUNT,
    POD_MOUNT,
    WORK_MOUNT,
    Env,
    Task,
)
from gpukit.errors import GpukitError
from gpukit.ladder import FAIL_INDEX_CODES, FAIL_JOB_CODES, next_move
from gpukit.render import Bundle
from tests.samples import TINY_ARCHIVE, bundle, job_of, main_of, pod_of

SPOT: dict[str, Any] = {"profile": "mig-1g.10gb", "spot": True}


def env_of(rendered: Bundle) -> dict[str, Any]:
    return {v["name"]: v.get("value", v.get("valueFrom")) for v in main_of(rendered)["env"]}


def test_the_set_is_complete_and_in_order() -> None:
    kinds = [item["kind"] for item in bundle(**SPOT).to_dicts()]
    assert kinds == ["ConfigMap", "PersistentVolumeClaim", "Job"]
    kinds = [item["kind"] for item in bundle(checkpoints="s3://b/p").to_dicts()]
    assert kinds == ["ConfigMap", "Job"]


def test_the_code_is_immutable_and_named_by_its_digest() -> None:
    code = bundle().to_dicts()[0]
    assert code["metadata"]["name"] == "gpukit-code-0123456789abcdef"
    assert code["immutable"] is True
    files = {name: base64.b64decode(data) for name, data in code["binaryData"].items()}
    assert files == {"archive.tar.gz": TINY_ARCHIVE.data, "bootstrap.py": TINY_ARCHIVE.bootstrap}
    assert code == bundle(job="other", arguments={"lr": 1}, team="a").to_dicts()[0], "shared"


def test_the_attempt_ladder() -> None:
    spec = job_of(bundle(**SPOT, retries=2, max_preemptions=7, deadline="1d", ttl="1h"))["spec"]
    del spec["template"]
    assert spec == {
        "completionMode": "Indexed",
        "parallelism": 1,
        "completions": 1000,
        "successPolicy": {"rules": [{"succeededCount": 1}]},
        "maxFailedIndexes": 7,
        "backoffLimitPerIndex": 12,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": _exits(64)},
                {
                    "action": "FailIndex",
                    "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                },
                {"action": "FailIndex", "onExitCodes": _exits(75)},
            ]
        },
        "podReplacementPolicy": "Failed",
        "activeDeadlineSeconds": 86400,
        "ttlSecondsAfterFinished": 3600,
    }


def _exits(code: int) -> dict[str, Any]:
    return {"containerName": "main", "operator": "In", "values": [code]}


@pytest.mark.parametrize("disrupted", [False, True])
def test_the_rules_say_what_the_local_backend_does(disrupted: bool) -> None:
    """The same rules once as podFailurePolicy, once as gpukit.ladder.next_move."""
    rules = job_of(bundle(**SPOT))["spec"]["podFailurePolicy"]["rules"]
    for code in (1, 64, 75, 76, 77, 137, 143, *FAIL_JOB_CODES, *FAIL_INDEX_CODES):
        action = next(
            (
                rule["action"]
                for rule in rules
                if code in rule.get("onExitCodes", {}).get("values", ())
                or ("onPodConditions" in rule and disrupted)
            ),
            "Count",
        )
        moves = {"FailJob": "fail", "FailIndex": "next", "Count": "retry"}
        assert moves[action] == next_move(code, disrupted=disrupted), code


def test_kubernetes_judges_retries_where_no_record_outlives_the_pod() -> None:
    assert job_of(bundle(retries=2))["spec"]["backoffLimitPerIndex"] == 2
    assert job_of(bundle(retries=2, spot=True))["spec"]["backoffLimitPerIndex"] == 12


def test_every_allowed_preemption_has_an_index() -> None:
    spec = job_of(bundle(spot=True, max_preemptions=1000))["spec"]
    assert (spec["completions"], spec["maxFailedIndexes"]) == (1001, 1000)


def test_no_deadline_and_no_ttl() -> None:
    spec = job_of(bundle(deadline=None, ttl=None))["spec"]
    assert "activeDeadlineSeconds" not in spec
    assert "ttlSecondsAfterFinished" not in spec


def test_the_task_reaches_the_pod_as_a_file() -> None:
    arguments = {"name": "$(HOME) `x` \"quoted\" 'single' é\n", "steps": [1, None, True]}
    rendered = bundle(arguments=arguments, **SPOT, packages=["einops"], max_cost="$9.50")
    annotation = job_of(rendered)["spec"]["template"]["metadata"]["annotations"][ANNOTATION_TASK]
    task = Task.from_json(annotation)
    assert task == rendered.task
    assert task.arguments == arguments
    assert (task.price_per_hour, task.max_cost) == ("0.7714", "9.50")
    assert (task.spot, task.durable, task.processes, task.grace) == (True, True, 1, 25)
    volume = next(v for v in pod_of(rendered)["volumes"] if v["name"] == "pod")
    assert volume["downwardAPI"]["items"] == [
        {
            "path": "task.json",
            "fieldRef": {"fieldPath": f"metadata.annotations['{ANNOTATION_TASK}']"},
        }
    ]
    assert env_of(rendered)[Env.TASK] == f"{POD_MOUNT}/task.json"


@pytest.mark.parametrize(
    ("declared", "count"), [({"profile": "h100:4"}, 4), (SPOT, 1), ({"profile": "cpu"}, 1)]
)
def test_one_trainer_process_a_gpu(declared: dict[str, Any], count: int) -> None:
    assert bundle(**declared).task.processes == count


@pytest.mark.parametrize(
    ("checkpoints", "store", "claim"),
    [
        ("s3://b/p", "s3://b/p/RUN", None),
        ("pvc:shared", f"{CHECKPOINT_MOUNT}/RUN", "shared"),
        ("pvc:shared/a/b", f"{CHECKPOINT_MOUNT}/a/b/RUN", "shared"),
        ("new:5Gi", f"{CHECKPOINT_MOUNT}/RUN", "train-checkpoints"),
        (None, f"{WORK_MOUNT}/store", None),
    ],
)
def test_where_the_run_is_kept(checkpoints: str | None, store: str, claim: str | None) -> None:
    rendered = bundle(checkpoints=checkpoints)
    assert env_of(rendered)[Env.STORE] == store.replace("RUN", rendered.run)
    claims = [
        v["persistentVolumeClaim"]["claimName"]
        for v in pod_of(rendered)["volumes"]
        if "persistentVolumeClaim" in v
    ]
    assert claims == ([claim] if claim else [])
    assert rendered.task.durable == (checkpoints is not None)


def test_a_new_claim_outlives_the_job() -> None:
    claim = bundle(**SPOT, namespace="team-a").to_dicts()[1]
    assert claim["metadata"]["name"] == "train-checkpoints"
    assert claim["metadata"]["namespace"] == "team-a"
    assert "ownerReferences" not in claim["metadata"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["resources"]["requests"] == {"storage": "20Gi"}


def test_the_pod_passes_podsecurity_restricted_and_has_a_working_user() -> None:
    rendered = bundle(**SPOT)
    pod, main = pod_of(rendered), main_of(rendered)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert main["securityContext"]["allowPrivilegeEscalation"] is False
    assert main["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert pod["automountServiceAccountToken"] is False
    allowed = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "secret"}
    assert {key for v in pod["volumes"] for key in v} - {"name"} <= allowed
    env = env_of(rendered)
    assert env["USER"] == env["LOGNAME"]
    for name in ("HOME", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME", "MPLCONFIGDIR"):
        assert env[name].startswith(WORK_MOUNT)
    work = next(m for m in main["volumeMounts"] if m["mountPath"] == WORK_MOUNT)
    assert "readOnly" not in work
    assert main["command"] == ["python3", "-u", f"{CODE_MOUNT}/bootstrap.py"]


def test_resources_gpu_in_limits_only_and_no_cpu_limit() -> None:
    resources = main_of(bundle(profile="h100:2"))["resources"]
    assert resources == {
        "requests": {"cpu": "6", "memory": "24Gi"},
        "limits": {"memory": "24Gi", "nvidia.com/gpu": "2"},
    }
    shm = next(v for v in pod_of(bundle(profile="h100:2"))["volumes"] if v["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": "12Gi"}


def test_a_cpu_pod_sees_no_gpu_of_its_node() -> None:
    assert env_of(bundle())["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_VISIBLE_DEVICES" not in env_of(bundle(**SPOT))


def test_the_users_environment_wins_and_stays_literal() -> None:
    rendered = bundle(
        env={"HF_HOME": "/data/hf", "PRICE": "$5", "TEXT": "$(HOME) costs $$"},
        secrets={"TOKEN": "my.secret/api-key"},
    )
    env = env_of(rendered)
    assert env["HF_HOME"] == "/data/hf"
    assert env["PRICE"] == "$5"
    assert env["TEXT"] == "$$(HOME) costs $$$$", "Kubernetes reads $$ as $ and expands nothing"
    assert env["TOKEN"] == {"secretKeyRef": {"name": "my.secret", "key": "api-key"}}


def test_labels_are_on_the_job_and_on_the_pod() -> None:
    rendered = bundle(team="recsys", cost_center="ml", labels={"env": "prod"}, stage="dev")
    job = job_of(rendered)
    expected = {
        "app.kubernetes.io/name": "train",
        "app.kubernetes.io/instance": rendered.run,
        "app.kubernetes.io/managed-by": "gpukit",
        "gpukit.dev/run": rendered.run,
        "gpukit.dev/job": "train",
        "gpukit.dev/stage": "dev",
        "team": "recsys",
        "cost-center": "ml",
        "env": "prod",
    }
    assert job["metadata"]["labels"] == expected
    assert job["spec"]["template"]["metadata"]["labels"] == expected


def test_a_queue_has_its_own_priority() -> None:
    queued = bundle(queue="research", priority="high")
    labels = job_of(queued)["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == "research"
    assert labels["kueue.x-k8s.io/priority-class"] == "high"
    assert "priorityClassName" not in pod_of(queued)
    assert pod_of(bundle(priority="high"))["priorityClassName"] == "high"


def test_the_override_is_followed_by_the_runtime_too() -> None:
    rendered = bundle(pod={"terminationGracePeriodSeconds": 600})
    assert rendered.task.grace == pod_of(rendered)["terminationGracePeriodSeconds"] == 600


def test_annotations_hold_the_declaration_and_the_users_own() -> None:
    job = job_of(bundle(**SPOT, annotations={"example.com/note": "x"}))
    declared = json.loads(job["metadata"]["annotations"]["gpukit.dev/spec"])
    assert declared["spot"] is True
    template = job["spec"]["template"]["metadata"]["annotations"]
    for found in (job["metadata"]["annotations"], template):
        assert found["example.com/note"] == "x"
    assert template["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_run_names() -> None:
    run = bundle().run
    assert run.startswith("train-")
    assert run == bundle().run == bundle(profile="cpu").run, "a default said aloud is the same"
    others = {
        bundle(arguments={"epochs": 4}).run,
        bundle(profile="h100").run,
        bundle(job="other").run,
        run,
    }
    assert len(others) == 4
    assert len(bundle(job="j" * 41).run) == 50


@pytest.mark.parametrize(
    ("declared", "id"),
    [
        ({"arguments": {"text": "x" * 300_000}}, "arguments-too-large"),
        ({"volumes": {"/data": "empty", "/data/": "empty"}}, "volume-twice"),
        ({"pod": {"nodeName": 3}}, "pod-value"),
    ],
)
def test_what_cannot_be_rendered(declared: dict[str, Any], id: str) -> None:
    with pytest.raises(GpukitError) as caught:
        bundle(**declared)
    assert caught.value.id == id
    assert caught.value.hint


def test_a_claim_that_is_used_twice_is_one_volume() -> None:
    rendered = bundle(
        checkpoints="pvc:lake",
        volumes={"/a": "pvc:lake/a:ro", "/b": "pvc:ro:ro", "/c": "pvc:ro/x:ro"},
    )
    volumes = {v["name"]: v.get("persistentVolumeClaim") for v in pod_of(rendered)["volumes"]}
    assert volumes["checkpoints"] == {"claimName": "lake"}
    assert volumes["volume-2"] == {"claimName": "ro", "readOnly": True}
    mounts = {m["mountPath"]: m for m in main_of(rendered)["volumeMounts"]}
    assert mounts["/a"] == {
        "name": "checkpoints", "mountPath": "/a", "subPath": "a", "readOnly": True,
    }  # fmt: skip
    assert mounts["/c"]["name"] == "volume-2"
