"""Is the stated 90 % band of duration and cost right? Simulated runs, and replays of real traces.

    python -m benchmarks.calibration [--series 24] [--runs 40] [--traces ../shared/data/traces]

A series is one job run again and again: before each run the estimator says its band, knowing only
the declared hours and the runs before; then the run happens. The worlds are not the estimator's:
other distributions of interruptions, other mean times than assumed, work that is declared too low.
The exit code is 1 where the bands of all runs of a kind hold less than 88 % or more than 92 %.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from gpukit.finops.beliefs import Gap
from gpukit.finops.calibration import Scores, score
from gpukit.finops.estimate import Assumptions, Past, believe, estimate, one_run
from gpukit.finops.spot import best_interval

from .spot_traces import load_traces, replayed

__all__ = ["World", "main", "worlds"]

PRICE = Decimal("5.40")
LOW, HIGH = 0.88, 0.92
Gaps = Callable[[random.Random], Iterator[tuple[float, float]]]


@dataclass(frozen=True)
class World:
    """What really happens in one series: gaps with waits, the truth about the declared hours."""

    name: str
    gaps: Gaps
    bias: float = 0.0
    noise: float = 0.09
    restart: float = 10 / 60
    hours: tuple[float, float] = (1.0, 16.0)


@dataclass
class Series:
    """What the estimator has seen, and how it fared."""

    ratios: list[float] = field(default_factory=list)
    restarts: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    billed: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def past(self) -> Past:
        return Past(
            tuple(self.ratios), tuple(self.restarts[-200:]), tuple(self.waits[-200:]),
            tuple(self.gaps[-200:]), Scores(tuple(self.billed), tuple(self.wall)),
        )  # fmt: skip


def mean_time(chance: random.Random) -> float:
    """A mean time between interruptions out of the range that is assumed."""
    z = chance.gauss(0, 1) / 1.645
    return 6.0 * math.exp(z * (math.log(20 / 6) if z > 0 else math.log(6 / 1)))


def _drawn(kind: str, mean: float | None) -> Callable[[random.Random], Gaps]:
    """Return, for a series, gaps of a kind; with the mean given, or out of the assumed range."""

    def make(chance: random.Random) -> Gaps:
        mtbi = mean or mean_time(chance)
        draw: Callable[[random.Random], float] = {
            "exponential": lambda r: r.expovariate(1 / mtbi),
            "weibull 0.6": lambda r: r.weibullvariate(mtbi / math.gamma(1 + 1 / 0.6), 0.6),
            "lognormal 1.3": lambda r: r.lognormvariate(math.log(mtbi) - 1.3**2 / 2, 1.3),
            "pareto 1.8": lambda r: mtbi * 0.8 * (r.paretovariate(1.8) - 1),
        }[kind]

        def gaps(r: random.Random) -> Iterator[tuple[float, float]]:
            while True:
                yield draw(r), r.lognormvariate(math.log(5 / 60), 0.6)

        return gaps

    return make


def worlds(chance: random.Random, traces: Path | None) -> Iterator[tuple[str, Callable[[], World]]]:
    """Yield the kinds of worlds, each with a maker of one of them."""
    for kind in ("exponential", "weibull 0.6", "lognormal 1.3", "pareto 1.8"):
        for mean in (None, 0.7, 40.0):
            name = f"{kind}, mean {'as assumed' if mean is None else f'{mean:g} h'}"
            make = _drawn(kind, mean)
            hours = (0.5, 6.0) if mean == 0.7 else (1.0, 16.0)
            yield name, lambda n=name, m=make, h=hours: _world(n, m(chance), chance, h)
    for name, trace in load_traces(traces) if traces else ():
        yield (
            f"replay {name}",
            lambda n=name, t=trace: _world(n, replayed(t, chance.random()), chance, (0.5, 8.0)),
        )


def _world(name: str, gaps: Gaps, chance: random.Random, hours: tuple[float, float]) -> World:
    return World(
        name, gaps, bias=chance.gauss(0, 0.1), noise=chance.choice((0.05, 0.1, 0.2)),
        restart=chance.lognormvariate(math.log(8 / 60), 0.3), hours=hours,
    )  # fmt: skip


def live(world: World, runs: int, chance: random.Random, draws: int) -> list[Outcome]:
    """Estimate and run one job again and again."""
    seen, outcomes, timeline = Series(), [], world.gaps(chance)
    for number in range(runs):
        low, high = map(math.log, world.hours)
        declared = math.exp(chance.uniform(low, high))
        conditions = believe(declared, Assumptions(), seen.past(), interval=1.0, interrupted=True)
        mtbi = conditions.gaps.mtbi(0.5) if conditions.gaps else 6.0
        tau = float(best_interval(Decimal(repr(mtbi)), Decimal(1) / 60))
        conditions = believe(declared, Assumptions(), seen.past(), interval=tau, interrupted=True)
        said = estimate(
            conditions, PRICE, scores=seen.past().scores, seed=chance.getrandbits(32), draws=draws
        )
        ratio = math.exp(world.bias + chance.gauss(0, world.noise))
        billed, wall = happen(world, declared * ratio, tau, timeline, chance, seen)
        seen.ratios.append(ratio)
        seen.billed.append(score(said.model[0], billed))
        seen.wall.append(score(said.model[1], wall))
        money = tuple(map(float, said.cost)) if said.cost else (0.0, math.inf, math.inf)
        outcomes.append(
            Outcome(
                number, (said.wall.low, said.wall.high), wall, (money[0], money[2]),
                float(PRICE) * billed, said.wall.high / said.wall.low,
            )
        )  # fmt: skip
    return outcomes


@dataclass(frozen=True)
class Outcome:
    """One run: what was said of its duration and cost, and what they were."""

    number: int
    wall: tuple[float, float]
    took: float
    cost: tuple[float, float]
    paid: float
    width: float


def happen(
    world: World, work: float, tau: float, timeline: Iterator[tuple[float, float]],
    chance: random.Random, seen: Series,
) -> tuple[float, float]:  # fmt: skip
    """Let one run happen, and note what its record shows of it."""
    gaps: list[float] = []
    rests: list[tuple[float, float]] = []

    def gap_by_gap() -> Iterator[float]:
        while True:
            gap, wait = next(timeline)
            gaps.append(gap)
            rests.append((chance.lognormvariate(math.log(world.restart), 0.3), wait))
            yield gap

    def rest_by_rest() -> Iterator[tuple[float, float]]:
        while True:
            yield rests[-1]

    billed, wall, count = one_run(work, tau, 1 / 60, gap_by_gap(), rest_by_rest())
    seen.gaps += [Gap(gap, True) for gap in gaps[:count]]
    seen.gaps.append(Gap(billed - sum(gaps[:count]), False))
    seen.restarts += [restart for restart, _ in rests[:count]]
    seen.waits += [wait for _, wait in rests[:count]]
    return billed, wall


def share(outcomes: Sequence[Outcome], what: str) -> float:
    """Return the part of runs that ended inside their band."""
    inside = [
        o.wall[0] <= o.took <= o.wall[1] if what == "duration" else o.cost[0] <= o.paid <= o.cost[1]
        for o in outcomes
    ]
    return sum(inside) / len(inside) if inside else math.nan


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a stated band does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=6)
    here = Path(__file__).parents[2] / "shared" / "data" / "traces"
    parser.add_argument("--traces", type=Path, default=here if here.is_dir() else None)
    parser.add_argument("--only", default="")
    args = parser.parse_args(argv)
    chance = random.Random(args.seed)
    kinds: dict[str, list[Outcome]] = {}
    print(f"{'world':36} {'runs':>5} {'duration':>9} {'cost':>7} {'first 3':>8} {'later':>7} width")
    for name, make in worlds(chance, args.traces):
        if args.only not in name:
            continue
        found = [o for _ in range(args.series) for o in live(make(), args.runs, chance, args.draws)]
        early = [o for o in found if o.number < 3]
        later = [o for o in found if o.number >= 3]
        width = sorted(o.width for o in found)[len(found) // 2]
        print(
            f"{name:36} {len(found):5} {share(found, 'duration'):9.1%} {share(found, 'cost'):7.1%}"
            f" {share(early, 'duration'):8.1%} {share(later, 'duration'):7.1%} {width:4.2f}x",
            flush=True,
        )
        kind = name.partition(" ")[0] if name.startswith("replay") else name.partition(",")[0]
        kinds.setdefault("replay" if kind == "replay" else kind, []).extend(found)
    everything = [o for found in kinds.values() for o in found]
    kinds["all"] = everything
    print()
    bad = 0
    for name, found in kinds.items():
        parts = [share(found, what) for what in ("duration", "cost")]
        fine = all(LOW <= part <= HIGH for part in parts)
        bad += not fine
        print(
            f"{name:36} {len(found):5} {parts[0]:9.1%} {parts[1]:7.1%}"
            f"   stated 90 %: {'holds' if fine else 'DOES NOT HOLD'}"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
