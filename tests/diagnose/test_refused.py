"""Pods that the API server refuses, and Jobs that are held back."""

from __future__ import annotations

import pytest

from gpukit.diagnose.read import read_quota, read_workload
from gpukit.diagnose.snapshot import Gap, QueueFacts
from tests.diagnose.scene import Scene, gpu_node, stamp

NODE = gpu_node("rack-1", "NVIDIA-A100-SXM4-80GB", {"nvidia.com/mig-1g.10gb": 7})
_EXCEEDED = (
    'pods "train-0-x" is forbidden: exceeded quota: team, requested: {0}, used: {1}, limited: {2}'
)
_GPU = "requests.nvidia.com/mig-1g.10gb"


def quota(hard: dict[str, str], used: dict[str, str]) -> dict[str, object]:
    status = {"hard": hard, "used": used}
    return {"quotas": (read_quota({"metadata": {"name": "team"}, "status": status}),)}


def test_a_quota_of_gpus_names_the_numbers_and_the_patch() -> None:
    scene = Scene(NODE).refused(_EXCEEDED.format(f"{_GPU}=1", f"{_GPU}=4", f"{_GPU}=4"))
    scene.facts = quota({_GPU: "4"}, {_GPU: "4"})
    verdict = scene.sure()
    assert verdict.id == "quota-full"
    assert verdict.evidence == (f"{_GPU}: asked for 1, used 4 of 4",)
    assert verdict.fix.command[-1] == '{"spec":{"hard":{"requests.nvidia.com/mig-1g.10gb":"5"}}}'
    assert verdict.fix.admin


def test_a_quota_that_nearly_fits_is_met_by_asking_for_less() -> None:
    scene = Scene(NODE, cpu="4").refused(_EXCEEDED.format("requests.cpu=4", "requests.cpu=1",
                                                          "requests.cpu=4"))  # fmt: skip
    scene.facts = quota({"requests.cpu": "4"}, {"requests.cpu": "1"})
    assert scene.sure().fix.options == {"cpu": "3"}


def test_a_quota_may_be_read_from_the_refusal_alone() -> None:
    words = _EXCEEDED.format("requests.cpu=4", "requests.cpu=3900m", "requests.cpu=4")
    verdict = Scene(NODE, cpu="4").refused(words).sure()
    assert verdict.evidence == ("requests.cpu: asked for 4, used 3900m of 4",)


def test_a_quota_that_has_room_again_is_only_waited_for() -> None:
    scene = Scene(NODE).refused(_EXCEEDED.format(f"{_GPU}=1", f"{_GPU}=4", f"{_GPU}=4"))
    scene.facts = quota({_GPU: "4"}, {_GPU: "2"})
    assert (scene.sure().id, scene.sure().waiting) == ("quota-freed", True)


def test_a_quota_on_count_pods_that_is_full_of_failed_pods() -> None:
    scene = Scene(NODE)
    failed = {**scene.pod, "status": {"phase": "Failed"}}
    scene.refused(_EXCEEDED.format("count/pods=1", "count/pods=1", "count/pods=1"))
    scene.pods = [failed]
    scene.facts = quota({"count/pods": "1"}, {"count/pods": "1"})
    verdict = scene.sure()
    assert verdict.id == "pod-count-full"
    assert verdict.evidence[-1] == "1 failed pods count, 0 finished ones"
    assert verdict.fix.command[1:] == ("delete", "pods", "--field-selector=status.phase=Failed")


def test_a_quota_that_wants_a_limit_of_cpu() -> None:
    words = 'pods "x" is forbidden: failed quota: team: must specify limits.cpu for: main'
    verdict = Scene(NODE, cpu="2").refused(words).sure()
    assert verdict.id == "quota-wants"
    limits = verdict.fix.options["pod"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "2"}


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("maximum memory usage per Container is 4Gi, but limit is 8Gi", {"memory": "4Gi"}),
        ('spec.containers[0].resources.requests: Invalid value: "3": must be less than or equal to '
         "cpu limit of 1500m", {"cpu": "1500m"}),
        ("[maximum memory usage per Pod is 4Gi, but limit is 8589934592, maximum cpu usage per Pod "
         "is 1, but request is 2]", {"memory": "4Gi", "cpu": "1"}),
    ],
)  # fmt: skip
def test_a_limit_range_is_met_by_asking_for_what_it_allows(words: str, fix: dict[str, str]) -> None:
    verdict = Scene(NODE).refused(f'pods "x" is forbidden: {words}').sure()
    assert (verdict.id, verdict.fix.options) == ("limit-range", fix)


def test_pod_security_drops_the_override_that_violates_it() -> None:
    words = (
        'pods "train-0-x" is forbidden: violates PodSecurity "restricted:latest": host namespaces '
        "(hostNetwork=true)"
    )
    scene = Scene(NODE, pod={"hostNetwork": True, "dnsPolicy": "Default"}).refused(words)
    verdict = scene.sure()
    assert verdict.id == "pod-security"
    assert verdict.fix.options == {"pod": {"dnsPolicy": "Default"}}
    assert "pod-security.kubernetes.io/enforce=privileged" in verdict.others[0].command


@pytest.mark.parametrize(
    ("options", "words", "id", "fix"),
    [
        ({"service_account": "trainer"},
         'error looking up service account ml/trainer: serviceaccount "trainer" not found',
         "account-missing", {"service_account": None}),
        ({"priority": "high"}, "no PriorityClass with name high was found", "priority-missing",
         {"priority": None}),
    ],
)  # fmt: skip
def test_names_that_do_not_exist(
    options: dict[str, str], words: str, id: str, fix: dict[str, None]
) -> None:
    verdict = Scene(NODE, **options).refused(f'pods "x" is forbidden: {words}').sure()
    assert (verdict.id, verdict.fix.options) == (id, fix)
    assert verdict.others[0].command[1] == "create"


def test_a_policy_is_named_with_its_words() -> None:
    words = (
        "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'teams' with binding 'teams' denied "
        "request: every pod needs the label team"
    )
    verdict = Scene(NODE).refused(words).sure()
    assert verdict.id == "policy-refuses"
    assert "every pod needs the label team" in verdict.fix.text
    assert "teams" in verdict.others[0].command


def test_a_webhook_is_named_with_its_words() -> None:
    words = 'admission webhook "check.kyverno.svc" denied the request: no :latest'
    verdict = Scene(NODE).refused(words).sure()
    assert verdict.id == "policy-refuses"
    assert "check.kyverno.svc" in verdict.reason


def test_words_that_nobody_knows_are_quoted() -> None:
    assert Scene(NODE).refused("the moon is in the way").sure().evidence == (
        "the moon is in the way",
    )


def test_a_job_with_a_pod_is_not_refused() -> None:
    scene = Scene(NODE)
    pods = scene.pods
    scene.refused("exceeded quota")
    scene.pods = pods
    assert scene.verdict() is None


# ---- queues


def queued(**facts: object) -> Scene:
    scene = Scene(NODE, queue="gpus")
    scene.job["spec"]["suspend"] = True
    scene.pods = []
    scene.facts = {"queues": (), **facts}
    return scene


def test_a_suspended_job_is_resumed_by_hand() -> None:
    scene = Scene(NODE)
    scene.job["spec"]["suspend"], scene.pods = True, []
    verdict = scene.sure()
    assert verdict.id == "suspended"
    assert verdict.fix.line.startswith("kubectl -n ml patch job train --type=merge -p ")


def test_a_queue_in_a_cluster_without_kueue() -> None:
    assert queued(queues=None).sure().id == "queue-without-kueue"
    unread = queued(gaps=(Gap("queues", "forbidden"),)).sure()
    assert (unread.id, unread.waiting) == ("queued", True)


def test_a_queue_that_is_not_there_names_the_ones_that_are() -> None:
    verdict = queued(queues=(QueueFacts("gpu-queue", "all"),)).sure()
    assert (verdict.id, verdict.fix.options) == ("queue-missing", {"queue": "gpu-queue"})
    assert queued().sure().fix.options == {"queue": None}


def test_a_queue_that_is_stopped() -> None:
    stopped = QueueFacts("gpus", "all", active=False, words="flavor h100 is missing")
    other = QueueFacts("spare", "spare", active=True)
    verdict = queued(queues=(stopped, other)).sure()
    assert (verdict.id, verdict.fix.options) == ("queue-stopped", {"queue": "spare"})
    assert "flavor h100 is missing" in verdict.evidence[0]


@pytest.mark.parametrize(
    ("words", "id"),
    [
        ("couldn't assign flavors to pod set main: resource nvidia.com/mig-1g.10gb unavailable in "
         "ClusterQueue", "queue-lacks-resource"),
        ("couldn't assign flavors to pod set main: insufficient quota for nvidia.com/gpu in flavor "
         "a, request > maximum capacity (8 > 4)", "queue-too-small"),
        ("couldn't assign flavors to pod set main: insufficient unused quota for nvidia.com/gpu in "
         "flavor a, 1 more needed", "queued"),
    ],
)  # fmt: skip
def test_what_kueue_says_of_the_workload(words: str, id: str) -> None:
    condition = {"type": "QuotaReserved", "status": "False", "message": words}
    owner = [{"uid": "job-1"}]
    own = read_workload({"metadata": {"name": "job-train", "ownerReferences": owner},
                         "status": {"conditions": [condition]}})  # fmt: skip
    queue = QueueFacts("gpus", "all", active=True, pending=3)
    verdict = queued(queues=(queue,), workloads=(own,)).sure()
    assert verdict.id == id
    assert verdict.waiting == (id == "queued")
    assert words in verdict.evidence


def test_kueue_has_a_moment_for_its_first_word() -> None:
    scene = queued(queues=(QueueFacts("gpus", "all", active=True),))
    scene.job["metadata"]["creationTimestamp"] = stamp(2)
    assert scene.verdict() is None
