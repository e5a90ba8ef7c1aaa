"""What breaks clusters and jobs, at random but from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy

from tests.cluster.api import Json
from tests.cluster.fleet import PLATFORMS, fleet

from .world import World

__all__ = ["FAULTS", "furnish"]

Fault = Callable[[World, random.Random], None]
_KUEUE = "/apis/kueue.x-k8s.io/v1beta1"
_GPU = "nvidia.com/"


def furnish(world: World, rng: random.Random) -> None:
    """Give a world nodes of one platform, and a job that runs on them."""
    platform = rng.choice(sorted(PLATFORMS))
    nodes = {body["metadata"]["name"]: body for body in fleet(platform)}
    kinds = [kind for kind in ("whole", "slices", "shares") if f"{kind}-demand" in nodes]
    kind = rng.choice(kinds)
    profile = {"whole": "h100", "slices": "mig-1g.10gb", "shares": "shared"}[kind]
    spot = rng.choice([False, False, True, "prefer"])
    capacity = "demand" if spot is False else "spot"
    names = [f"{kind}-{capacity}", "cpu-demand"]
    names += rng.sample(sorted(set(nodes) - set(names)), rng.randint(1, 3))
    for name in names:
        world.add(nodes[name])
    world.options = {"profile": profile, "spot": spot, "platform": platform}
    if kind == "shares":
        shared = {"gke": "l4", "gke-autopilot": "l4"}.get(platform)
        if shared:
            world.options["gpu"] = shared
    if platform == "gke-autopilot":
        world.options["gpu"] = {"slices": "a100-80gb", "shares": "l4"}.get(kind)
        if kind == "whole":
            del world.options["gpu"]
        if kind == "shares":
            world.options["node_selector"] = {
                "cloud.google.com/gke-max-shared-clients-per-gpu": "4"
            }


def right_nodes(world: World) -> list[Json]:
    """Return the nodes that offer GPUs."""
    return [
        body for body in world.nodes.values()
        if any(key.startswith(_GPU) for key in body["status"]["allocatable"])
    ]  # fmt: skip


def wrong_label(world: World, rng: random.Random) -> None:
    key, value = rng.choice([("pool", "train"), ("example.com/team", "vision"), ("disk", "nvme")])
    if rng.random() < 0.6:
        for body in right_nodes(world):
            body["metadata"]["labels"][key] = value
    wrong = {**world.options.get("node_selector", {}), key: rng.choice([value + "x", "other"])}
    world.options["node_selector"] = wrong


def taint(world: World, rng: random.Random) -> None:
    value = rng.choice(["", "vision"])
    effect = rng.choice(["NoSchedule", "NoExecute"])
    for body in right_nodes(world):
        new = {"key": "example.com/dedicated", "effect": effect}
        body["spec"]["taints"].append({**new, "value": value} if value else new)


def cordon(world: World, rng: random.Random) -> None:
    for body in right_nodes(world):
        body["spec"]["unschedulable"] = True


def size(world: World, rng: random.Random) -> None:
    which = rng.choice(["cpu", "memory", "both"])
    if which in ("cpu", "both"):
        world.options["cpu"] = str(rng.choice([65, 96, 200]))
    if which in ("memory", "both"):
        world.options["memory"] = rng.choice(["600Gi", "2000Gi"])


def profile(world: World, rng: random.Random) -> None:
    """Take away what the job asks for, and leave what it does not."""
    wanted = {"h100": "whole", "mig-1g.10gb": "slices", "shared": "shares"}
    kind = wanted.get(world.options["profile"], "whole")
    for name in [n for n in world.nodes if f"-{kind}-" in n.removeprefix(world.name)]:
        if not name.endswith(("sliced-h100-spot", "shared-h100-spot")):
            del world.nodes[name]
    if not right_nodes(world):  # nothing can be asked for where there is no GPU at all
        nodes = {b["metadata"]["name"]: b for b in fleet(world.options["platform"])}
        world.add(nodes["other-demand"])


def count(world: World, rng: random.Random) -> None:
    if world.options["profile"] == "h100":
        for body in right_nodes(world):
            if body["status"]["allocatable"].get("nvidia.com/gpu") == "8":
                body["status"]["allocatable"]["nvidia.com/gpu"] = "4"
        world.options["profile"] = "h100:8"


def platform(world: World, rng: random.Random) -> None:
    """Render for a platform that the cluster is not."""
    world.options["platform"] = rng.choice(["generic", "eks", "karpenter"])
    for option in ("gpu", "node_selector"):
        world.options.pop(option, None)


def capacity(world: World, rng: random.Random) -> None:
    world.options["spot"] = world.options["spot"] is False


def quota(world: World, rng: random.Random) -> None:
    resource = rng.choice(["gpu", "cpu", "memory", "count/pods"])
    hard = {"cpu": {"requests.cpu": "1500m"}, "memory": {"requests.memory": "3Gi"},
            "count/pods": {"count/pods": "2"}}.get(resource, {})  # fmt: skip
    if resource == "gpu":
        names = {n for b in right_nodes(world) for n in b["status"]["allocatable"] if _GPU in n}
        hard = {f"requests.{name}": "0" for name in names}

    def make() -> None:
        if resource == "count/pods":
            for number in range(2):
                _failed_pod(world, f"old-{number}")
        body = {"metadata": {"name": "small"}, "spec": {"hard": hard}}
        world.api.post(world.path("resourcequotas"), body)

        def counted() -> bool:
            found = world.api.get(world.path("resourcequotas", "small"))
            return set(found["status"].get("hard", ())) == set(hard)

        world._until("the quota's status", counted)

    world.before.append(make)


def _failed_pod(world: World, name: str) -> None:
    pod = {"metadata": {"name": name}, "spec": {
        "containers": [{"name": "main", "image": "x"}], "restartPolicy": "Never",
        "nodeName": f"{world.name}-gone",
    }}  # fmt: skip
    world.api.post(world.path("pods"), pod)
    world.api.patch(world.path("pods", name) + "/status", {"status": {"phase": "Failed"}})


def limits(world: World, rng: random.Random) -> None:
    resource, most = rng.choice([("memory", "3Gi"), ("cpu", "1500m")])
    limit = {"type": rng.choice(["Container", "Pod"]), "max": {resource: most}}
    body = {"metadata": {"name": "small"}, "spec": {"limits": [limit]}}
    world.before.append(lambda: world.api.post(world.path("limitranges"), body))


def security(world: World, rng: random.Random) -> None:
    world.labels["pod-security.kubernetes.io/enforce"] = rng.choice(["restricted", "baseline"])
    world.options["pod"] = rng.choice(
        [
            {"hostNetwork": True},
            {"hostIPC": True},
            {"hostPID": True, "dnsPolicy": "Default"},
            {"securityContext": {"seccompProfile": {"type": "Unconfined"}}},
        ]
    )


def claim(world: World, rng: random.Random) -> None:
    if rng.random() < 0.5:
        world.options["checkpoints"] = "pvc:results"
        if rng.random() < 0.5:
            world.before.append(lambda: _claim(world, "results-1"))
    else:
        world.options["volumes"] = {"/data": "pvc:imagenet:ro"}
        if rng.random() < 0.5:
            world.before.append(lambda: _claim(world, "image-net"))


def storage_class(world: World, rng: random.Random) -> None:
    world.options["checkpoints"] = "new:1Gi"
    world.before.append(lambda: _claim(world, "train-checkpoints", "fast-ssd"))


def _claim(world: World, name: str, kind: str = "standard") -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": kind,
            "resources": {"requests": {"storage": "1Gi"}}}  # fmt: skip
    body = {"metadata": {"name": name}, "spec": spec}
    world.api.post(world.path("persistentvolumeclaims"), body)


def secret(world: World, rng: random.Random) -> None:
    world.options["secrets"] = {"TOKEN": "wandb/api-key"}
    if rng.random() < 0.3:
        body = {"metadata": {"name": "wandb1"}, "stringData": {"api-key": "x"}}
        world.before.append(lambda: world.api.post(world.path("secrets"), body))


def silent(world: World, rng: random.Random) -> None:
    """The node with the pod falls silent; there is another one like it."""

    def fall_silent() -> None:
        pods = [p for p in world._pods() if p["spec"].get("nodeName")]
        if pods:
            world.silence(pods[0]["spec"]["nodeName"])

    for name, body in list(world.nodes.items()):
        world.nodes[f"{name}-2"] = deepcopy(body)
        world.nodes[f"{name}-2"]["metadata"]["name"] = f"{name}-2"
    world.after.append(fall_silent)


def queue(world: World, rng: random.Random) -> None:
    world.options["queue"] = "gpu-queue"
    world.suspend = True
    if rng.random() < 0.6:
        body = {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue",
                "metadata": {"name": "gpu-queues"}, "spec": {"clusterQueue": "all"}}  # fmt: skip
        world.before.append(
            lambda: world.api.post(world.path("localqueues", group=_KUEUE), body) and None
        )


def account(world: World, rng: random.Random) -> None:
    world.options["service_account"] = "trainer"


def priority(world: World, rng: random.Random) -> None:
    world.options["priority"] = "very-high"


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        wrong_label, taint, cordon, size, profile, count, platform, capacity, quota, limits,
        security, claim, storage_class, secret, silent, queue, account, priority,
    )
}  # fmt: skip
