"""Verdicts on claims: one that is not there, one that gets no volume, one that is elsewhere."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence

from .amounts import exact, show
from .case import Case
from .filters import NO_PROVISIONER
from .groups import NodeView
from .nodes import NodeFacts
from .snapshot import ClaimFacts, ClassFacts
from .verdict import Fix, Verdict, kubectl, options

__all__ = ["claim_without_volume", "far_volume"]

_IS_DEFAULT = "storageclass.kubernetes.io/is-default-class"
_SIZE = "20Gi"
_ZONE = "topology.kubernetes.io/zone"


def claim_without_volume(case: Case) -> Verdict | None:
    """Return why a claim of the pod keeps it from being scheduled; None where none does."""
    if not case.snapshot.saw("claims"):
        return None
    claims = {claim.name: claim for claim in case.snapshot.claims}
    for name in case.shape.claims:
        claim = claims.get(name)
        verdict = _missing(case, name) if claim is None else _unbound(case, claim)
        if verdict is not None:
            return verdict
    return None


def _missing(case: Case, name: str) -> Verdict:
    there = sorted(claim.name for claim in case.snapshot.claims)
    near = next(iter(difflib.get_close_matches(name, there, 1, 0.75)), None)
    make = kubectl(
        "make it; it is empty", "apply", "-f", "-", stdin=_manifest(name, _size(case)), admin=False
    )
    fix: Fix = make
    others: tuple[Fix, ...] = ()
    if _declared_for_checkpoints(case, name):
        if near is not None:
            fix, others = options("the claim that is there", checkpoints=f"pvc:{near}"), (make,)
        else:
            others = (options("a new claim of the run's own", checkpoints=f"new:{_SIZE}"),)
    elif near is not None:
        volumes = {
            path: text.replace(f"pvc:{name}", f"pvc:{near}", 1)
            for path, text in (case.declared.get("volumes") or {}).items()
            if text.partition(":")[2].partition("/")[0].partition(":")[0] == name
        }
        if volumes:
            fix, others = options("the claim that is there", volumes=volumes), (make,)
    return Verdict(
        "claim-missing", f"there is no PersistentVolumeClaim {name!r} in {case.snapshot.namespace}",
        fix, (f"claims that are there: {', '.join(there) or 'none'}",), others,
    )  # fmt: skip


def _declared_for_checkpoints(case: Case, name: str) -> bool:
    declared = case.declared.get("checkpoints") or {}
    return isinstance(declared, dict) and declared.get("claim") == name


def _size(case: Case) -> str:
    size = (case.declared.get("checkpoints") or {}).get("size")
    return exact("storage", size) if isinstance(size, int) else _SIZE


def _manifest(name: str, size: str) -> str:
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
    }  # fmt: skip
    return json.dumps(claim)


def _unbound(case: Case, claim: ClaimFacts) -> Verdict | None:
    if claim.deleted:
        return Verdict(
            "claim-going", f"the claim {claim.name!r} is being deleted: a new pod cannot use it",
            Fix("wait", "it goes when no pod uses it any more; submit again then"),
        )  # fmt: skip
    if claim.phase == "Bound" or claim.volume:
        return None
    if claim.phase == "Lost":
        return Verdict(
            "claim-lost", f"the volume behind the claim {claim.name!r} is gone",
            options("a new claim under a new name; the old checkpoints are lost",
                    name=_other_name(case)),
        )  # fmt: skip
    classes = {item.name: item for item in case.snapshot.classes}
    if claim.storage_class is None:
        default = next((item for item in classes.values() if item.default), None)
        return _no_default(case, claim) if default is None else None
    kind = classes.get(claim.storage_class)
    if kind is None and claim.storage_class:
        return _no_class(case, claim)
    if kind is not None and kind.late:
        return None  # judged on each node
    return _waits_for_volume(case, claim, kind)


def _no_default(case: Case, claim: ClaimFacts) -> Verdict:
    names = sorted(item.name for item in case.snapshot.classes)
    reason = f"the claim {claim.name!r} gets no volume: the cluster has no default StorageClass"
    evidence = (f"classes: {', '.join(names) or 'none'}",)
    if names:
        dynamic = [c.name for c in case.snapshot.classes if c.provisioner != NO_PROVISIONER]
        fix = kubectl(
            "make one the default; claims that wait get it too", "annotate", "storageclass",
            (dynamic or names)[0], f"{_IS_DEFAULT}=true", "--overwrite",
        )  # fmt: skip
    else:
        fix = options("an object store needs no claim", checkpoints="s3://BUCKET/PATH")
    return Verdict("claim-unbound", reason, fix, evidence)


def _no_class(case: Case, claim: ClaimFacts) -> Verdict:
    names = sorted(item.name for item in case.snapshot.classes)
    near = next(iter(difflib.get_close_matches(claim.storage_class or "", names, 1)), None)
    remake = kubectl(
        "a claim's class cannot be changed: make it anew, with the default class; it is empty",
        "replace", "--force", "-f", "-", stdin=_manifest(claim.name, exact("storage", claim.size)),
        admin=False,
    )  # fmt: skip
    meant = f"; did you mean {near}?" if near else ""
    return Verdict(
        "claim-unbound",
        f"the claim {claim.name!r} names the StorageClass {claim.storage_class!r}: there is none",
        remake, (f"classes: {', '.join(names) or 'none'}{meant}",),
    )  # fmt: skip


def _waits_for_volume(case: Case, claim: ClaimFacts, kind: ClassFacts | None) -> Verdict | None:
    said = [
        e for e in case.snapshot.events if (e.kind, e.name) == ("PersistentVolumeClaim", claim.name)
    ]
    failed = next((e for e in said if e.reason == "ProvisioningFailed"), None)
    waited = case.waited
    if failed is None and waited < 60:
        return None
    words = failed.message if failed else f"it has waited for {waited:.0f} s"
    made_by = f" by {kind.provisioner}" if kind else ""
    return Verdict(
        "claim-unbound", f"the claim {claim.name!r} gets no volume{made_by}",
        kubectl("see what its provisioner says", "describe", "pvc", claim.name, admin=False),
        (f"asks for {show('storage', claim.size)}, {', '.join(claim.modes)}", words),
    )  # fmt: skip


def far_volume(case: Case, nearest: Sequence[NodeView], views: Sequence[NodeView]) -> Verdict:
    """Return the verdict that a claim's volume cannot be used where the right nodes are."""
    view = nearest[0]
    name = view.causes["volume"][0].volume
    claim = next(c for c in case.snapshot.claims if c.name == name)
    volume = next((v for v in case.snapshot.volumes if v.name == claim.volume), None)
    zones = ", ".join(
        f"{r.key} {', '.join(r.values)}" for t in (volume.terms if volume else ()) for r in t.labels
    )
    evidence = (
        f"volume {volume.name}: {zones}"
        if volume
        else f"no free volume of the class {claim.storage_class}",
        f"nodes that would fit: {', '.join(_place(v.node) for v in nearest[:4])}",
    )
    if volume is None:
        return Verdict(
            "claim-unbound", f"the claim {name!r} finds no volume where the right nodes are",
            kubectl("see what it waits for", "describe", "pvc", name, admin=False), evidence,
        )  # fmt: skip
    reason = f"the volume of the claim {name!r} cannot be used on any node that would fit"
    own = _is_of_checkpoints(case, name)
    elsewhere = Fix(
        "advice", f"copy {name} to a claim where the GPUs are, or read it from a bucket"
    )
    if own:
        text = "a job of another name has a new claim, where the GPUs are; it begins at step 0"
        elsewhere = options(text, name=_other_name(case))
    if own and (case.declared.get("checkpoints") or {}).get("kind") == "pvc":
        elsewhere = options(
            "a new claim where the GPUs are; it begins at step 0", checkpoints=f"new:{_SIZE}"
        )
    return Verdict("volume-elsewhere", reason, elsewhere, evidence)


def _place(node: NodeFacts) -> str:
    zone = node.labels.get(_ZONE)
    return f"{node.name} ({zone})" if zone else node.name


def _is_of_checkpoints(case: Case, name: str) -> bool:
    return name == f"{case.job_name}-checkpoints" or _declared_for_checkpoints(case, name)


def _other_name(case: Case) -> str:
    return f"{case.job_name[:38]}-b"
