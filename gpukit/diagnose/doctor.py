"""Whether a cluster can run gpukit's jobs: findings over what is seen of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpukit.catalog import Catalog
from gpukit.errors import PlacementError

from .amounts import show
from .filters import NO_PROVISIONER, tolerates, usage_of
from .nodes import GPU_PREFIX, NodeFacts
from .offers import listed, offers_of
from .platforms import recognise_facts
from .rights import Right, missing
from .snapshot import ClusterSnapshot, TolerationFacts
from .verdict import Fix, kubectl

__all__ = ["ClusterReport", "Finding", "Trial", "examine"]

Level = Literal["ok", "note", "problem"]

_LADDER = (1, 31)
_STABLE = (1, 33)
_SKEW = 30.0  # seconds; ages and deadlines are shown by this machine's clock
_LEVELS = ("privileged", "baseline", "restricted")
_CONTROLLERS = {
    "kueue.x-k8s.io": "Kueue", "jobset.x-k8s.io": "JobSet", "scheduling.volcano.sh": "Volcano",
    "trainer.kubeflow.org": "Kubeflow Trainer", "kubeflow.org": "Kubeflow",
    "ray.io": "KubeRay", "karpenter.sh": "Karpenter",
}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """A dry run: what was tried, and what the API server said.

    Attributes:
        what: ``Job`` or ``Pod``.
        refused: its words; empty where it was accepted.
        warnings: of an accepted one.
        allowed: whether we may try it at all.
    """

    what: str
    refused: str = ""
    warnings: tuple[str, ...] = ()
    allowed: bool = True


@dataclass(frozen=True)
class ClusterReport:
    """What is seen of a cluster, and what was tried.

    Attributes:
        server: its address.
        version: of the API server, as it writes it.
        number: the same as numbers.
        groups: API groups, each with its versions.
        skew: seconds that its clock is ahead of ours; None where it does not say.
        denied: rights that we lack, each with the verb.
        snapshot: nodes, pods, classes, quotas, queues.
        trials: dry runs.
        profile: that these were made with.
    """

    server: str
    version: str
    number: tuple[int, int]
    groups: Mapping[str, tuple[str, ...]]
    skew: float | None
    denied: tuple[tuple[Right, str], ...]
    snapshot: ClusterSnapshot
    trials: tuple[Trial, ...] = ()
    profile: str = "cpu"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        id: stable name of what was looked at.
        level: ``problem``: jobs cannot run, or not as they should.
        text: what was found.
        details: lines that show it.
        fix: what to do about it.
    """

    id: str
    level: Level
    text: str
    details: tuple[str, ...] = ()
    fix: Fix | None = None

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        found: dict[str, Any] = {"id": self.id, "level": self.level, "text": self.text}
        return {**found, "details": list(self.details), "fix": self.fix and self.fix.data()}


def examine(report: ClusterReport, catalog: Catalog) -> tuple[Finding, ...]:
    """Return what is found, in the order in which it matters to a job."""
    return tuple(
        finding for look in _LOOKS for finding in look(report, catalog)
    )  # fmt: skip


def _server(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    number = ".".join(str(part) for part in report.number)
    if report.number < _LADDER:
        yield Finding(
            "server", "problem", f"Kubernetes {number} is too old: gpukit needs 1.31",
            ("before 1.31 a Job's successPolicy is dropped without a word, and a run that is done "
             "would be started again, up to 1,000 times",),
        )  # fmt: skip
        return
    stable = "" if report.number >= _STABLE else ", with successPolicy and sidecars still in beta"
    claims = report.groups.get("resource.k8s.io", ())
    dra = f"; device claims (DRA) {', '.join(claims)}" if claims else ""
    yield Finding("server", "ok", f"Kubernetes {report.version} at {report.server}{stable}{dra}")


def _clock(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    if report.skew is None:
        return
    ahead = "behind" if report.skew > 0 else "ahead of"
    if abs(report.skew) > _SKEW:
        yield Finding(
            "clock", "problem", f"this machine's clock is {abs(report.skew):.0f} s {ahead} the API "
            "server's", ("ages, deadlines and tokens that are about to expire are judged by it",),
            Fix("advice", "set it by NTP"),
        )  # fmt: skip
    else:
        yield Finding("clock", "ok", f"clocks agree within {max(abs(report.skew), 1):.0f} s")


def _rights(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    needed = [(right, verb) for right, verb in report.denied if right.needed]
    others = [(right, verb) for right, verb in report.denied if not right.needed]
    space = report.snapshot.namespace
    apply = Fix(
        "kubectl", "the Roles of gpukit; bind them with --rbac --subject user:NAME",
        command=("gpukit", "doctor", "--namespace", space, "--rbac"), admin=True,
    )  # fmt: skip
    if needed:
        text = f"you may not do all that a run needs in the namespace {space}"
        yield Finding("rights", "problem", text, tuple(missing(needed)), apply)
    if others:
        text = "you may not read all that `why` and `doctor` look at"
        yield Finding("rights-to-read", "note", text, tuple(missing(others)), apply)
    if not report.denied:
        yield Finding("rights", "ok", f"you may do all that gpukit does, in the namespace {space}")


def _platform(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    if not report.snapshot.saw("nodes"):
        return
    try:
        found = recognise_facts(report.snapshot.nodes, catalog.platforms)
    except PlacementError as error:
        yield Finding("platform", "note", error.message, fix=Fix("advice", error.hint))
        return
    text = f'platform="{found.platform.name}": {found.platform.title}, by {found.why}'
    yield Finding("platform", "ok", text)
    for warning in found.warnings:
        yield Finding("platform", "note", warning)


def _devices(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    snapshot = report.snapshot
    if not snapshot.saw("nodes"):
        return
    offers = [offer for node in snapshot.nodes for offer in offers_of(node, catalog)]
    usage = usage_of(snapshot)
    if not offers:
        clouds = {p.name for p in catalog.platforms if p.cloud}
        seen = {p for f in _platform(report, catalog) for p in clouds if f'"{p}"' in f.text}
        level: Level = "note" if seen else "problem"
        text = "no node offers a GPU" + (" now; pools at zero nodes are not seen" if seen else "")
        yield Finding("gpus", level, text)
    else:
        details = []
        for resource in sorted({offer.resource for offer in offers}):
            of_it = [offer for offer in offers if offer.resource == resource]
            total = sum(offer.count for offer in of_it)
            used = sum(
                usage[o.node.name].requests.get(resource, 0) for o in of_it if o.node.name in usage
            )
            seen_all = "" if snapshot.saw("pods") else " as far as pods may be read"
            details.append(f"{resource}: {total}, of which {total - used} free{seen_all}")
        yield Finding("gpus", "ok", f"profiles on offer: {listed(offers)}", tuple(details))
    idle = [node.name for node in snapshot.nodes if node.has_gpu and not node.devices]
    if idle:
        yield Finding(
            "device-plugin", "problem",
            f"labels of a GPU, and no device is offered: {', '.join(idle[:4])}", (),
            kubectl("see whether the device plugin runs there", "get", "pods", "-A", "-o", "wide",
                    f"--field-selector=spec.nodeName={idle[0]}"),
        )  # fmt: skip
    yield from _out_of_use(snapshot, catalog)


def _out_of_use(snapshot: ClusterSnapshot, catalog: Catalog) -> Iterator[Finding]:
    gpus = [node for node in snapshot.nodes if node.has_gpu]
    out = [f"{n.name} ({_state(n)})" for n in gpus if n.cordoned or n.ready is not True]
    if out:
        yield Finding("nodes", "note", f"GPU nodes that take no pods: {', '.join(out[:6])}")
    usual = [TolerationFacts(key=p.gpu_taint, operator="Exists") for p in catalog.platforms]
    usual += [
        TolerationFacts(t.key, "Exists")
        for p in catalog.platforms for t in (*p.taints, *p.spot_taints)
    ]  # fmt: skip
    strange = {
        str(taint): node.name
        for node in gpus for taint in node.taints
        if taint.effect != "PreferNoSchedule" and not taint.key.startswith("node.kubernetes.io/")
        and not tolerates(usual, taint)
    }  # fmt: skip
    for text, name in sorted(strange.items()):
        yield Finding(
            "taints", "note", f"GPU nodes such as {name} have the taint {text}, which a job "
            "tolerates only with tolerations=",
        )  # fmt: skip


def _state(node: NodeFacts) -> str:
    if node.cordoned:
        return "cordoned"
    return "not ready" if node.ready is False else "silent"


def _storage(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    if not report.snapshot.saw("classes"):
        return
    classes = report.snapshot.classes
    default = next((item for item in classes if item.default), None)
    names = ", ".join(sorted(item.name for item in classes)) or "none"
    if default is None:
        fix = kubectl(
            "make one the default", "annotate", "storageclass", classes[0].name,
            "storageclass.kubernetes.io/is-default-class=true",
        ) if classes else Fix("advice", 'use checkpoints="s3://…"')  # fmt: skip
        text = 'no default StorageClass: checkpoints="new:…", the default of spot jobs, get none'
        yield Finding("storage", "problem", text, (f"classes: {names}",), fix)
        return
    zones = {node.labels.get("topology.kubernetes.io/zone") for node in report.snapshot.nodes}
    if default.provisioner == NO_PROVISIONER:
        text = f"the default StorageClass {default.name} makes no volumes by itself"
        yield Finding("storage", "note", text, ("a claim waits until somebody makes a volume",))
    elif not default.late and len(zones) > 1:
        text = (
            f"the default StorageClass {default.name} makes volumes before the pod has a node "
            "(Immediate), which may be in a zone without GPUs"
        )
        details = (f"zones of the nodes: {len(zones)}; WaitForFirstConsumer has no such trouble",)
        yield Finding("storage", "note", text, details)
    else:
        text = f"new claims get a volume of {default.name} ({default.provisioner})"
        yield Finding("storage", "ok", text)


def _namespace(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    if not report.snapshot.saw("namespace"):
        return
    level = report.snapshot.labels.get("pod-security.kubernetes.io/enforce", "")
    text = f"PodSecurity {level or 'of the cluster; the namespace names none'}"
    if level in _LEVELS:
        text = f"PodSecurity {level!r} is enforced; what gpukit renders passes 'restricted'"
    yield Finding("pod-security", "ok", text)


def _quotas(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    for quota in report.snapshot.quotas:
        for resource, most in sorted(quota.hard.items()):
            used = quota.used.get(resource, 0)
            amount = f"{show(resource, used)} of {show(resource, most)} used"
            about = f"the quota {quota.name!r} on {resource}"
            if resource == "count/pods":
                text = (
                    f"{about} counts pods that have failed as well: {amount}. When it is full, "
                    "interrupted runs stop without a word"
                )
                yield Finding("quota-count-pods", "problem", text, (), kubectl(
                    "count running pods instead", "patch", "resourcequota", quota.name,
                    "--type=merge", "-p",
                    f'{{"spec":{{"hard":{{"count/pods":null,"pods":"{most}"}}}}}}',
                ))  # fmt: skip
            elif resource == "limits.cpu":
                text = f"{about} wants a limit of CPU from every pod, and gpukit sets none"
                fix = kubectl(
                    "quota the requests instead", "patch", "resourcequota", quota.name,
                    "--type=merge", "-p", '{"spec":{"hard":{"limits.cpu":null}}}',
                )  # fmt: skip
                yield Finding("quota-limits-cpu", "problem", text, (), fix)
            elif resource.startswith("limits.") and GPU_PREFIX in resource:
                text = f"{about} is never enforced: of GPUs only requests.… are"
                yield Finding("quota-unenforced", "note", text)
            elif most - used <= 0:
                yield Finding("quota", "note", f"{about} is full: {amount}")
            elif GPU_PREFIX in resource:
                yield Finding("quota", "ok", f"{about}: {amount}")


def _queues(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    found = [name for group, name in _CONTROLLERS.items() if group in report.groups]
    queues = report.snapshot.queues
    if queues is not None and report.snapshot.saw("queues"):
        names = ", ".join(q.name + (" (stopped)" if q.active is False else "") for q in queues)
        text = f"Kueue; queues of the namespace: {names or 'none'}"
        yield Finding("queues", "ok" if queues else "note", text)
    others = [name for name in found if name != "Kueue"]
    if others:
        yield Finding("controllers", "ok", f"also there: {', '.join(others)}")


def _trials(report: ClusterReport, catalog: Catalog) -> Iterator[Finding]:
    for trial in report.trials:
        what = f"a {trial.what} of ours (profile {report.profile})"
        if not trial.allowed:
            yield Finding("dry-run", "note", f"{what} cannot be tried: you may not create one")
        elif trial.refused:
            yield Finding("dry-run", "problem", f"{what} is refused", (trial.refused,))
        elif trial.warnings:
            yield Finding("dry-run", "note", f"{what} is accepted, with warnings", trial.warnings)
        else:
            yield Finding("dry-run", "ok", f"{what} is accepted (server-side dry run)")


_LOOKS: tuple[Callable[[ClusterReport, Catalog], Iterator[Finding]], ...] = (
    _server, _clock, _rights, _platform, _devices, _storage, _namespace, _quotas, _queues, _trials,
)  # fmt: skip
