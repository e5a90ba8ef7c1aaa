"""The band of an estimate: from what is assumed, from what was seen, and whether it holds."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from decimal import Decimal
from statistics import fmean, median

import pytest

from gpukit.finops.beliefs import Draws, Gap, Range, gap_belief, log_belief
from gpukit.finops.calibration import Band, Scores, corrected, coverage, score
from gpukit.finops.estimate import Assumptions, Past, believe, estimate, one_run, simulate

STILL = Assumptions(mtbi=Range(6.0, 6.0, 6.0), restart=0.0, wait=0.0, spread=1e-9)


def exponential(mtbi: float, chance: random.Random) -> list[float]:
    return [chance.expovariate(1 / mtbi) for _ in range(400)]


def test_simulated_runs_have_the_mean_of_the_formula() -> None:
    """Daly's form: M·exp(R/M)·(exp((τ+δ)/M) − 1)/τ, restarts that are interrupted too."""
    chance, mtbi, tau, save, restart, work = random.Random(1), 6.0, 1.0, 1 / 30, 1 / 6, 40.0
    billed = [
        one_run(work, tau, save, exponential(mtbi, chance), [(restart, 0.0)] * 400)[0]
        for _ in range(1500)
    ]
    e = mtbi * math.exp(restart / mtbi) * (math.exp((tau + save) / mtbi) - 1) / tau
    assert fmean(billed) == pytest.approx(work * e, rel=0.01)


def test_one_run_by_hand() -> None:
    # 1.9 h: one checkpoint. Restart 0.5 h, then 0.8 h are too short for the second. Then the rest.
    billed, wall, count = one_run(3.0, 1.0, 0.1, [1.9, 1.3, 99.0], [(0.5, 0.25)] * 3)
    assert count == 2
    assert billed == pytest.approx(1.9 + 1.3 + 0.5 + 2.0 + 0.1)
    assert wall == pytest.approx(billed + 2 * 0.25)


def test_a_last_checkpoint_at_notice_keeps_what_was_done() -> None:
    gaps, rests = [0.9, 99.0], [(0.0, 0.0)] * 2
    lost, _, _ = one_run(1.0, 0.5, 0.0, gaps, rests)
    kept, _, _ = one_run(1.0, 0.5, 0.0, gaps, rests, notice=True)
    assert lost == pytest.approx(1.4)
    assert kept == pytest.approx(1.0)


def test_a_run_that_cannot_finish_says_so() -> None:
    found = one_run(10.0, None, 0.0, [1.0] * 50, [(0.1, 0.1)] * 50)
    assert found == (math.inf, math.inf, 50)
    hopeless = believe(400.0, STILL, interval=None, interrupted=True)
    said = estimate(hopeless, Decimal(1), draws=40)
    assert said.unfinished > 0.5
    assert said.cost is None  # and not a number


def test_without_interruptions_it_takes_its_hours() -> None:
    said = estimate(believe(24.0, STILL, interval=None, interrupted=False), Decimal("6.88"))
    assert said.cost is not None
    assert [f"{amount:.2f}" for amount in said.cost] == ["165.12"] * 3


def test_an_unknown_price_makes_an_unknown_cost() -> None:
    said = estimate(believe(2.0, Assumptions(), interval=0.5, interrupted=True), None)
    assert said.cost is None
    assert said.billed.low < said.billed.middle < said.billed.high


def test_the_same_seed_gives_the_same_band() -> None:
    conditions = believe(8.0, Assumptions(), interval=0.5, interrupted=True)
    assert simulate(conditions, seed=3) == simulate(conditions, seed=3)
    assert simulate(conditions, seed=3) != simulate(conditions, seed=4)


def test_chance_of_costing_more_than_a_budget() -> None:
    conditions = believe(8.0, Assumptions(), interval=0.5, interrupted=True)
    said = estimate(conditions, Decimal(5))
    assert said.cost is not None
    assert said.above(said.cost[1], Decimal(5)) == pytest.approx(0.5, abs=0.02)
    assert said.above(said.cost[2], Decimal(5)) == pytest.approx(0.05, abs=0.02)


def test_earlier_runs_move_the_estimate() -> None:
    """Jobs that took 1.5 times their hours, interrupted each 2 h, are expected to again."""
    chance = random.Random(2)
    gaps = tuple(Gap(chance.expovariate(0.5), True) for _ in range(60))
    past = Past(ratios=(1.5,) * 12, restarts=(0.05,) * 40, gaps=gaps)
    cold = believe(10.0, Assumptions(), interval=0.5, interrupted=True)
    warm = believe(10.0, Assumptions(), past, interval=0.5, interrupted=True)
    assert warm.work.median == pytest.approx(1.5, rel=0.06)
    assert warm.restart.median == pytest.approx(0.05, rel=0.1)
    assert warm.gaps is not None
    assert cold.gaps is not None
    assert cold.gaps.mtbi(0.5) == pytest.approx(6.0, rel=0.15)
    assert warm.gaps.mtbi(0.5) == pytest.approx(2.0, rel=0.35)
    assert warm.gaps.mtbi(0.95) < 4.0
    assert estimate(warm, None).billed.middle > 1.3 * estimate(cold, None).billed.middle


def test_gaps_that_did_not_end_count_as_at_least() -> None:
    prior = Range(1.0, 6.0, 20.0)
    calm = gap_belief(prior, [Gap(50.0, False)] * 3)
    assert calm.mtbi(0.5) > 2 * gap_belief(prior).mtbi(0.5)


def test_heavy_tails_are_learnt() -> None:
    chance = random.Random(3)
    belief = gap_belief(
        Range(1.0, 6.0, 20.0), [Gap(chance.weibullvariate(3.0, 0.55), True) for _ in range(300)]
    )
    draws = Draws(1)
    shapes = [belief.parameters(draws)[1] for _ in range(200)]
    assert median(shapes) == pytest.approx(0.55)


def test_draws_are_even() -> None:
    draws = Draws(7)
    values = sorted(draws.uniform() for _ in range(4000))
    worst = max(abs(value - (i + 0.5) / 4000) for i, value in enumerate(values))
    assert worst < 1.63 / math.sqrt(4000)  # Kolmogorov and Smirnov, 1 %


def test_a_prior_says_what_it_was_told() -> None:
    draws = Draws(5)
    belief = log_belief(2.0, 0.25)
    values = [belief.world(draws).draw(draws) for _ in range(6000)]
    inside = sum(2 * math.exp(-0.25) <= value <= 2 * math.exp(0.25) for value in values)
    assert inside / 6000 == pytest.approx(0.90, abs=0.015)


BAND = Band(8.0, 10.0, 15.0)


def test_scores_are_where_in_the_band() -> None:
    assert [round(score(BAND, value), 6) for value in (8.0, 10.0, 15.0)] == [-1.0, 0.0, 1.0]
    assert score(BAND, 30.0) > 2


def test_a_right_model_is_left_alone_and_a_wrong_one_corrected() -> None:
    assert corrected(BAND, ()) == BAND
    chance = random.Random(4)
    right = [chance.gauss(0, 1 / 1.645) for _ in range(200)]
    near = corrected(BAND, right)
    assert near.low == pytest.approx(BAND.low, rel=0.05)
    assert near.high == pytest.approx(BAND.high, rel=0.08)
    sure = corrected(BAND, [2 * value for value in right])
    assert sure.low < BAND.low
    assert sure.high > BAND.high * 1.2
    late = corrected(BAND, [1.5] * 100)  # always above: the whole band moves up
    assert late.middle > BAND.high


def test_coverage_counts() -> None:
    found = coverage([BAND] * 4, [7.0, 9.0, 12.0, 99.0])
    assert (found.runs, found.inside, found.below, found.above) == (4, 2, 1, 1)
    assert found.share == 0.5
    assert coverage([], []).share is None  # unknown, not 0


@pytest.mark.parametrize("shape", [1.0, 0.6])
def test_stated_bands_hold(shape: float) -> None:
    """A small run of ``benchmarks.calibration``: two series, each learns as it goes."""
    chance, inside, runs = random.Random(11), 0, 0
    for mtbi in (2.0, 9.0, 5.0, 14.0):
        past = Past()
        scale = mtbi / math.gamma(1 + 1 / shape)
        for _ in range(25):
            hours = chance.uniform(2, 12)
            conditions = believe(hours, Assumptions(), past, interval=0.5, interrupted=True)
            said = estimate(
                conditions, None, scores=past.scores, seed=chance.getrandbits(32), draws=150
            )
            ratio = math.exp(chance.gauss(0.1, 0.1))
            gaps = [chance.weibullvariate(scale, shape) for _ in range(300)]
            rests = [(0.15, 0.05)] * 300
            billed, wall, count = one_run(hours * ratio, 0.5, 1 / 60, gaps, rests)
            inside += said.wall.holds(wall)
            runs += 1
            past = replace(
                past,
                ratios=(*past.ratios, ratio),
                restarts=(*past.restarts, *[0.15] * count),
                waits=(*past.waits, *[0.05] * count),
                gaps=(*past.gaps, *(Gap(gap, True) for gap in gaps[:count])),
                scores=Scores(
                    (*past.scores.billed, score(said.model[0], billed)),
                    (*past.scores.wall, score(said.model[1], wall)),
                ),
            )
    assert 0.84 <= inside / runs <= 0.96
