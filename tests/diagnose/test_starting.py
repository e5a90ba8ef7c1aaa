"""A pod that has a node and does not run, and a run of which nothing is said."""

from __future__ import annotations

from typing import Any

import pytest

from gpukit.catalog import load_catalog
from gpukit.diagnose import state, why
from gpukit.diagnose.snapshot import Gap
from gpukit.errors import UsageError
from tests.diagnose.scene import RUN, Scene, gpu_node, stamp

Json = dict[str, Any]


def the_node(ready: str = "True") -> Json:
    made = gpu_node("rack-1", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/mig-1g.10gb": 7})
    made["status"]["conditions"] = [
        {"type": "Ready", "status": ready, "lastTransitionTime": stamp(600)}
    ]
    return made


def waiting(reason: str, message: str = "", name: str = "main") -> Json:
    return {"name": name, "state": {"waiting": {"reason": reason, "message": message}}}


RUNNING = {"name": "main", "state": {"running": {"startedAt": stamp(50)}}}


def test_a_pod_that_runs_or_starts_gets_no_verdict() -> None:
    scene = Scene(the_node()).bound("rack-1", waiting("ContainerCreating"))
    assert scene.verdict() is None
    assert state(scene.snapshot(), RUN).startswith(
        "nothing stands in its way: train-0-abcde starts"
    )
    scene = Scene(the_node()).bound("rack-1", RUNNING, phase="Running")
    assert scene.verdict() is None
    assert state(scene.snapshot(), RUN) == "it runs: train-0-abcde on rack-1 for 60 s"


def test_a_run_that_has_ended_gets_no_verdict() -> None:
    scene = Scene(the_node())
    ended = {
        "type": "Failed",
        "status": "True",
        "reason": "DeadlineExceeded",
        "message": "too long",
    }
    scene.job["status"] = {"conditions": [ended]}
    assert scene.verdict() is None
    assert state(scene.snapshot(), RUN) == "it has ended, Failed (DeadlineExceeded: too long)"


@pytest.mark.parametrize(
    ("message", "id"),
    [
        ('failed to pull image "me/x:1": docker.io/me/x:1: not found', "image-not-found"),
        ('pull access denied, repository does not exist or may require authorization: server '
         "message: insufficient_scope: authorization failed", "image-denied"),
        ("dial tcp: lookup registry.corp: no such host", "registry-unreachable"),
    ],
)  # fmt: skip
def test_an_image_that_does_not_come(message: str, id: str) -> None:
    scene = Scene(the_node(), image="me/x:1").bound("rack-1", waiting("ErrImagePull", message))
    verdict = scene.sure()
    assert verdict.id == id
    assert "me/x:1" in verdict.reason
    assert message in verdict.evidence[0]


def test_the_back_off_hides_the_words_and_an_event_has_them() -> None:
    back_off = 'Back-off pulling image "me/x:1"'
    scene = Scene(the_node(), image="me/x:1").bound("rack-1", waiting("ImagePullBackOff", back_off))
    scene.event("Failed", 'Failed to pull image "me/x:1": manifest unknown: not found')
    verdict = scene.sure()
    assert verdict.id == "image-not-found"
    assert "manifest unknown" in verdict.evidence[0]
    assert verdict.fix.options == {"image": None}


def test_a_secret_that_is_not_there_is_made_without_printing_it() -> None:
    scene = Scene(the_node(), secrets={"WANDB_API_KEY": "wandb/key"}).bound("rack-1")
    scene.facts = {"missing": frozenset({("Secret", "wandb")})}
    verdict = scene.sure()
    assert verdict.id == "secret-missing"
    assert verdict.fix.line == (
        'kubectl -n ml create secret generic wandb --from-literal=key="$WANDB_API_KEY"'
    )
    scene.facts |= {"secrets": ("wandb1",)}
    assert scene.sure().fix.options == {"secrets": {"WANDB_API_KEY": "wandb1/key"}}


def test_a_key_that_is_not_in_the_secret() -> None:
    said = "couldn't find key key in Secret ml/wandb"
    scene = Scene(the_node(), secrets={"WANDB_API_KEY": "wandb/key"})
    scene.bound("rack-1", waiting("CreateContainerConfigError", said))
    assert scene.sure().id == "key-missing"


def test_a_container_that_cannot_be_created() -> None:
    scene = Scene(the_node()).bound("rack-1", waiting("CreateContainerError", "no such device"))
    assert scene.sure().id == "container-not-created"
    assert "no such device" in scene.sure().evidence[0]


def test_a_silent_node_holds_the_job() -> None:
    scene = Scene(the_node("Unknown")).bound("rack-1", RUNNING, phase="Running")
    assert scene.sure().id == "node-silent"
    scene.pod["metadata"]["deletionTimestamp"] = stamp(30)
    verdict = scene.sure()
    assert "has been silent for 10 min, and the Job waits for its pod there" in verdict.reason
    assert verdict.fix.command == (
        "kubectl", "taint", "node", "rack-1",
        "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
    )  # fmt: skip
    assert "surely off" in verdict.fix.text


def test_a_node_that_is_gone() -> None:
    scene = Scene().bound("rack-1", RUNNING, phase="Running")
    assert (scene.sure().id, scene.sure().waiting) == ("node-gone", True)
    scene.facts = {"gaps": (Gap("nodes", "forbidden"),)}
    assert scene.verdict() is None  # who may not read nodes misses none


@pytest.mark.parametrize(
    ("sidecar", "word"), [("istio-proxy", "quitquitquit"), ("logs", "kill")]
)  # fmt: skip
def test_a_sidecar_that_never_ends(sidecar: str, word: str) -> None:
    done = {"name": "main", "state": {"terminated": {"exitCode": 0}}}
    side = {"name": sidecar, "state": {"running": {}}}
    scene = Scene(the_node()).bound("rack-1", done, side, phase="Running")
    verdict = scene.sure()
    assert verdict.id == "sidecar-runs-on"
    assert word in verdict.fix.line
    assert sidecar in verdict.reason


def test_a_native_sidecar_is_ended_by_kubernetes() -> None:
    scene = Scene(the_node()).bound("rack-1", phase="Running")
    scene.pod["spec"]["initContainers"] = [{"name": "logs", "restartPolicy": "Always"}]
    scene.pod["status"] |= {
        "initContainerStatuses": [{"name": "logs", "state": {"running": {}}}],
        "containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 0}}}],
    }
    assert scene.verdict() is None


def test_a_sidecar_has_a_moment_to_end() -> None:
    ended = {"exitCode": 0, "finishedAt": stamp(5)}
    done = {"name": "main", "state": {"terminated": ended}}
    side = {"name": "logs", "state": {"running": {}}}
    scene = Scene(the_node()).bound("rack-1", done, side, phase="Running")
    assert scene.verdict() is None
    ended["finishedAt"] = stamp(40)
    assert scene.sure().id == "sidecar-runs-on"


def test_a_driver_that_comes_up_with_its_node_is_given_time() -> None:
    scene = Scene(the_node()).bound("rack-1")
    scene.event("FailedMount", "driver name csi.example.com not found in the list of drivers")
    assert scene.verdict() is None
    scene.pod["metadata"]["creationTimestamp"] = stamp(300)
    assert scene.sure().id == "volume-not-mounted"


def test_a_volume_that_is_still_elsewhere() -> None:
    scene = Scene(the_node()).bound("rack-1")
    scene.event("FailedAttachVolume", 'Multi-Attach error for volume "pv-1"')
    assert (scene.sure().id, scene.sure().waiting) == ("volume-attached-elsewhere", True)


def test_the_pod_that_counts_is_the_newest_that_stays() -> None:
    scene = Scene(the_node()).bound("rack-1", RUNNING, phase="Running")
    old = {**scene.pod, "metadata": {**scene.pod["metadata"], "name": "old", "uid": "0",
                                     "creationTimestamp": stamp(900)},
           "status": {"phase": "Failed"}}  # fmt: skip
    scene.pods.insert(0, old)
    assert scene.verdict() is None


def test_a_run_that_does_not_exist() -> None:
    with pytest.raises(UsageError, match="there is no run 'trian'") as error:
        why(Scene(the_node()).snapshot(), "trian", load_catalog())
    assert error.value.hint.startswith("did you mean 'train'?")
