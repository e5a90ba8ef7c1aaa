"""How much of the time that spot machines lived is work that counts: replays of real capacity.

    python -m benchmarks.goodput [FILE ...] [--traces FOLDER] [--restart 120] [--check]

A job runs on one machine after the other, each killed without notice (kill -9; a save at SIGTERM
would only do better), and goes on from its newest durable checkpoint after --restart seconds. When
to save is decided by the runtime's own code, gpukit/runtime/checkpoint/interval.py, which learns
from attempt to attempt; beside it stand fixed intervals of an hour and of five minutes with the
same saves. "of the bound" is work ÷ (life − restart): what checkpoints at no cost and without loss
would keep. "absolute" is work ÷ life.

What a save costs is what benchmarks/checkpoint.py has measured on this machine
(.benchmarks/checkpoint.json; where it is missing, that benchmark is run for one gigabyte first).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from gpukit.runtime.checkpoint.interval import Pacer
from gpukit.runtime.history import History

from .spot_traces import Trace, load_trace, load_traces

__all__ = ["Cost", "Goodput", "Life", "lives", "main", "replay"]

COSTS = Path(".benchmarks/checkpoint.json")
TRACES = Path("../shared/data/traces")
GOAL = 0.985
EVERY = 3600.0  # checkpoint_every of the adaptive job: what the fixed hour is beside it
FIXED = {"fixed 1 h": 3600.0, "fixed 5 min": 300.0}
SERIES = 20


@dataclass(frozen=True)
class Cost:
    """What a save takes: seconds of training lost, and seconds until it is durable."""

    lost: float
    durable: float
    source: str = "given"


@dataclass(frozen=True)
class Life:
    """Seconds that a machine lived, and whether it was killed; the last one outlives the trace."""

    seconds: float
    killed: bool


@dataclass(frozen=True)
class Goodput:
    """Seconds, all machines of a series together."""

    useful: float
    bound: float
    lived: float
    interruptions: int

    def __add__(self, other: Goodput) -> Goodput:
        return Goodput(
            self.useful + other.useful, self.bound + other.bound, self.lived + other.lived,
            self.interruptions + other.interruptions,
        )  # fmt: skip


def lives(trace: Trace, seed: int) -> Iterator[Life]:
    """Yield the machines of one job, one after the other, over the length of the trace.

    When their number falls from n to m, the job's own is lost with chance (n − m)/n; it goes on at
    once where there is another one, else as soon as there is.
    """
    chance = random.Random(seed)
    began = 0.0 if trace.events[0][1] > 0 else None
    for (_, before), (now, after) in pairwise(trace.events):
        if began is None:
            began = now if after > 0 else None
        elif after < before and chance.random() < (before - after) / before:
            yield Life(3600 * (now - began), killed=True)
            began = now if after > 0 else None
    if began is not None:
        yield Life(3600 * (trace.length - began), killed=False)


def replay(
    machines: Sequence[Life], cost: Cost, restart: float, fixed: float | None = None
) -> Goodput:
    """Run a job over machines that follow each other.

    Args:
        machines: how long each lives.
        cost: of a save.
        restart: seconds from a machine's start to the first step on it.
        fixed: seconds between saves; None: as the runtime decides.
    """
    total = Goodput(0.0, 0.0, 0.0, 0)
    history = History()
    for machine in machines:
        pacer = Pacer(EVERY, history)
        useful = _work(machine, cost, restart, pacer, fixed)
        bound = max(machine.seconds - restart, 0.0)
        total += Goodput(useful, bound, machine.seconds, int(machine.killed))
        history = History(
            history.seconds + machine.seconds, history.interruptions + machine.killed,
            pacer.cost, pacer.persist,
        )  # fmt: skip
    return total


def _work(machine: Life, cost: Cost, restart: float, pacer: Pacer, fixed: float | None) -> float:
    """Return the seconds of work on one machine that its successor need not do again."""
    now = saved_at = restart
    done = durable = 0.0
    while now < machine.seconds:
        interval = pacer.interval(now - restart) if fixed is None else fixed
        due = max(saved_at + interval, now)
        if due >= machine.seconds:
            done += machine.seconds - now
            break
        done += due - now
        if due + max(cost.durable, cost.lost) <= machine.seconds:
            durable = done
        pacer.measured(cost.lost, cost.durable)
        saved_at, now = due, due + cost.lost
    return durable if machine.killed else done


def measured_cost(gigabytes: str) -> Cost:
    """Read what a save of so many gigabytes cost here, or have it measured."""
    source = "benchmarks/checkpoint.py"
    if not COSTS.exists():
        print("measuring what a save costs: benchmarks/checkpoint.py", file=sys.stderr)
        words = ["--gb", gigabytes, "--rounds", "1", "--only", "save", "--systems", "gpukit"]
        command = [sys.executable, "-m", "benchmarks.checkpoint", *words]
        if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            sys.exit("benchmarks/checkpoint.py failed, see above; --lost SECONDS does without")
    found = json.loads(COSTS.read_text(encoding="utf-8"))
    size = gigabytes if gigabytes in found else next(iter(found))
    ours = found[size]["gpukit"]
    return Cost(float(ours["lost"]), float(ours["durable"]), f"{source}, {size} GB of state")


def measure(trace: Trace, cost: Cost, restart: float) -> dict[str, Goodput]:
    """Replay a trace under each policy; where chance has a part, in several series."""
    series = SERIES if max(count for _, count in trace.events) > 1 else 1
    totals: dict[str, Goodput] = {}
    for seed in range(series):
        machines = list(lives(trace, seed))
        for name, fixed in {"adaptive": None, **FIXED}.items():
            found = replay(machines, cost, restart, fixed)
            totals[name] = totals[name] + found if name in totals else found
    return totals


def show(name: str, found: dict[str, Goodput]) -> list[str]:
    """Print a trace's rows; return what misses the goal."""
    missed = []
    for policy, sums in found.items():
        relative = sums.useful / sums.bound if sums.bound else 0.0
        absolute = sums.useful / sums.lived if sums.lived else 0.0
        life = sums.lived / 3600 / max(sums.interruptions, 1)
        print(
            f"{name:24} {sums.interruptions:7} {life:7.2f} h  {policy:12} {relative:12.4f} "
            f"{absolute:9.4f}"
        )
        if policy == "adaptive" and relative < GOAL:
            missed.append(f"{name}: {relative:.4f} of the bound, the goal is {GOAL}")
    return missed


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--traces", type=Path, default=TRACES)
    parser.add_argument("--restart", type=float, default=120.0)
    parser.add_argument("--gb", default="1", help="state whose saves were measured")
    parser.add_argument("--lost", type=float, help="seconds of training per save, not measured")
    parser.add_argument("--durable", type=float, help="seconds until a save is durable")
    parser.add_argument("--check", action="store_true", help="leave with 1 where a goal is missed")
    options = parser.parse_args(argv)
    try:
        traces = [(path.stem, load_trace(path)) for path in options.files]
        traces = traces or list(load_traces(options.traces))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not traces:
        parser.error(f"no traces in {options.traces}")
    if options.lost is None:
        cost = measured_cost(options.gb)
    else:
        cost = Cost(options.lost, options.lost if options.durable is None else options.durable)
    print(
        f"a save costs {cost.lost:.3f} s of training and is durable after {cost.durable:.2f} s "
        f"({cost.source}); a restart takes {options.restart:.0f} s\n\n"
        f"{'trace':24} {'killed':>7} {'mean life':>9}  {'policy':12} {'of the bound':>12} "
        f"{'absolute':>9}"
    )
    missed = [
        line for name, trace in traces for line in show(name, measure(trace, cost, options.restart))
    ]
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
