"""Breaking a world at random, and healing it by what ``gpukit why`` prints.

``python -m tests.healing.heal 1000`` runs so many cases and prints what became of them.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpukit.cluster.client import Client
from gpukit.cluster.kubeconfig import find_access
from gpukit.diagnose import Fix, Verdict
from tests.cluster.api import Json
from tests.cluster.build import binaries
from tests.cluster.controlplane import ControlPlane
from tests.cluster.storage import Storage

from .faults import FAULTS, furnish
from .world import World

__all__ = ["Ground", "Outcome", "ground", "heal"]

ROUNDS = 3
THREADS = 6
_SECONDS = 25.0  # that the scheduler and the controllers have to act on a cure
_KUEUE = "/apis/kueue.x-k8s.io/v1beta1"


@dataclass(frozen=True)
class Ground:
    """Where worlds stand: one control plane."""

    plane: ControlPlane
    client: Client
    kubectl: Path


@dataclass
class Outcome:
    """What became of one case.

    Attributes:
        seed: by which it can be run again.
        faults: what was broken.
        healed: the scheduler placed the pod, and nothing is said of it any more.
        verdicts: the ids of what was said, in order.
        words: what a person needs to see why it was not healed.
    """

    seed: int
    faults: tuple[str, ...]
    healed: bool = False
    verdicts: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    @property
    def false_alarm(self) -> bool:
        """Tell whether something was said of a world in which nothing was broken."""
        return not self.faults and bool(self.verdicts)


@contextmanager
def ground(folder: Path) -> Iterator[Ground]:
    """Start a control plane whose nodes need no heartbeat, with storage and Kueue's kinds."""
    plane = ControlPlane(binaries(), ("--node-monitor-grace-period=30m",)).start()
    storage = Storage(plane.api, folder / "volumes", lambda text: None).start()
    try:
        _define_queues(plane)
        os.environ["KUBECONFIG"] = str(plane.kubeconfig)
        yield Ground(plane, Client(find_access(None)), binaries() / "kubectl")
    finally:
        storage.stop()
        plane.stop()


def heal(ground: Ground, seed: int) -> Outcome:
    """Build a world, break it, and apply what is printed up to three times."""
    rng = random.Random(seed)
    world = World(
        f"w{seed}", ground.plane.api, ground.client, ground.plane.kubeconfig, ground.kubectl
    )
    furnish(world, rng)
    number = rng.choice([0, 1, 1, 1, 1, 1, 2, 2, 2, 0, 1, 2])
    faults = tuple(rng.sample(sorted(FAULTS), number))
    for name in faults:
        FAULTS[name](world, rng)
    outcome = Outcome(seed, faults)
    try:
        world.build()
        world.submit()
        _rounds(world, outcome)
    except Exception as error:  # a case that breaks is a case that is not healed
        outcome.words.append(f"{type(error).__name__}: {error}")
    finally:
        outcome.words += world.said
        world.close()
    return outcome


def _rounds(world: World, outcome: Outcome) -> None:
    cures = 0
    while True:
        _kueue(world)
        placed = world.settle(_SECONDS)
        if placed and world.after:
            world.after.pop()()
            continue
        verdict = _said(world)
        if verdict is None:
            outcome.healed = world.placed
            if not outcome.healed:
                outcome.words.append("nothing is said, and the pod has no node")
            return
        outcome.verdicts.append(verdict.id)
        outcome.words.append(f"{verdict.id}: {verdict.reason}; {' | '.join(verdict.evidence)}")
        fix = _applicable(verdict)
        if fix is None:
            outcome.words.append(f"cannot be applied: {verdict.fix.text}")
            return
        if cures == ROUNDS:
            outcome.words.append("three cures were not enough")
            return
        cures += 1
        outcome.words.append(f"  -> {fix.line}")
        world.apply(fix)
        if fix.kind == "kubectl":
            _wait_for_effect(world, verdict)


def _said(world: World) -> Verdict | None:
    """Return what is said; what is only a matter of moments is waited for, as it says."""
    until = time.monotonic() + _SECONDS
    while True:
        verdict = world.verdict()
        moments = verdict is None and not world.placed
        waits = verdict is not None and verdict.waiting and _applicable(verdict) is None
        if not (moments or waits) or time.monotonic() > until:
            return verdict
        time.sleep(0.3)


def _wait_for_effect(world: World, before: Verdict) -> None:
    """Wait until the cluster has seen what kubectl did."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        _kueue(world)
        verdict = world.verdict()
        if (verdict is None and world.placed) or (verdict is not None and verdict.id != before.id):
            return
        time.sleep(0.3)


def _applicable(verdict: Verdict) -> Fix | None:
    """Return the first fix that a machine can apply: neither patience nor advice."""
    fixes = (verdict.fix, *verdict.others)
    reading = ("describe", "get", "edit")
    acts = (f for f in fixes if f.kind == "options" or (f.command and f.command[1] not in reading))
    return next(acts, None)


def _kueue(world: World) -> None:
    """Resume the Job if its queue is there, as Kueue does; it is not part of this cluster."""
    job = world.api.find(world.path("jobs", world.run, "/apis/batch/v1"))
    if job is None or not job["spec"].get("suspend"):
        return
    name = job["metadata"]["labels"].get("kueue.x-k8s.io/queue-name", "")
    if name and world.api.find(world.path("localqueues", name, _KUEUE)):
        path = world.path("jobs", world.run, "/apis/batch/v1")
        world.api.patch(path, {"spec": {"suspend": False}})


def _define_queues(plane: ControlPlane) -> None:
    """Define Kueue's LocalQueue and Workload, as far as they are read."""
    for kind, plural in (("LocalQueue", "localqueues"), ("Workload", "workloads")):
        schema = {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        }
        names = {
            "kind": kind,
            "plural": plural,
            "singular": kind.lower(),
            "listKind": f"{kind}List",
        }
        version = {"name": "v1beta1", "served": True, "storage": True, "schema": schema}
        body: Json = {
            "metadata": {
                "name": f"{plural}.kueue.x-k8s.io",
                "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
            },
            "spec": {
                "group": "kueue.x-k8s.io", "names": names, "scope": "Namespaced",
                "versions": [version],
            },
        }  # fmt: skip
        plane.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            plane.api.items(f"{_KUEUE}/workloads")
            return
        except Exception:
            time.sleep(0.1)


def main(words: list[str]) -> int:
    """Run cases and print what became of them."""
    import tempfile

    number = int(words[0]) if words else 100
    first = int(words[1]) if len(words) > 1 else 1
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        ground(Path(folder)) as here,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        outcomes = list(pool.map(lambda seed: heal(here, seed), range(first, first + number)))
    seconds = time.monotonic() - began
    for outcome in outcomes:
        if not outcome.healed or outcome.false_alarm:
            print(f"seed {outcome.seed}: {', '.join(outcome.faults) or 'nothing broken'}")
            print("\n".join(f"    {word}" for word in outcome.words))
    healed = sum(outcome.healed for outcome in outcomes)
    alarms = sum(outcome.false_alarm for outcome in outcomes)
    cures = Counter(len(outcome.verdicts) for outcome in outcomes if outcome.healed)
    said = Counter(verdict for outcome in outcomes for verdict in outcome.verdicts)
    two = sum(len(outcome.faults) == 2 for outcome in outcomes)
    print(f"healed {healed} of {number} ({healed / number:.1%}); two faults in {two}")
    print(f"false alarms {alarms} of {sum(not o.faults for o in outcomes)} with nothing broken")
    print(f"cures needed: {dict(sorted(cures.items()))}")
    print(f"said: {dict(said.most_common())}")
    print(f"{seconds:.0f} s")
    return 0 if healed >= 0.99 * number and not alarms else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
