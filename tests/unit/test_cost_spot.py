"""Interruptions in money: the published table to its last digit, and where spot has no hope."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gpukit.errors import UsageError
from gpukit.finops.hybrid import POLICIES, decide
from gpukit.finops.spot import (
    Rework,
    best_interval,
    break_even_mtbi,
    judge,
    mtbi_of_rate,
    overhead,
    saving,
    young_interval,
)
from gpukit.spec import STAGES

D = Decimal
MINUTE = D(1) / 60


@pytest.mark.parametrize(
    ("price", "mtbi", "interval", "save", "restart", "e", "effective", "saved"),
    [
        ("0.60", "20", "1", "0", "0", "1.025422", "0.6153", "84.62"),
        ("0.60", "6", "1", "0", "0", "1.088162", "0.6529", "83.68"),
        ("0.60", "20", "1", "2", "10", "1.069331", "0.6416", "83.96"),
        ("0.60", "6", "1", "2", "10", "1.158974", "0.6954", "82.62"),
        ("0.80", "12", "1", "2", "15", "1.101611", "0.8813", "77.97"),
        ("1.00", "12", "0.25", "1", "5", "1.086097", "1.0861", "72.85"),
    ],
)
def test_the_published_table(
    price: str, mtbi: str, interval: str, save: str, restart: str, e: str, effective: str,
    saved: str,
) -> None:  # fmt: skip
    found = overhead(Rework(D(mtbi), D(interval), D(save) * MINUTE, D(restart) * MINUTE))
    assert found is not None
    rate = D(price) * found
    assert (f"{found:.6f}", f"{rate:.4f}") == (e, effective)
    assert f"{100 * saving(rate, D('4.00')):.2f}" == saved


def test_the_approximation_that_is_printed_beside_it() -> None:
    rework = Rework(D(20), D(1), 2 * MINUTE, 10 * MINUTE)
    near = (1 + rework.save / rework.interval) * (
        1 + ((rework.interval + rework.save) / 2 + rework.restart) / rework.mtbi
    )
    exact = overhead(rework)
    assert exact is not None
    assert abs(near - exact) < D("0.005")


@pytest.mark.parametrize(("band", "mtbi", "rate"), [("0.05", "14037", "7.1E-5"),
                                                    ("0.20", "3227", "3.10E-4")])  # fmt: skip
def test_advisor_bands_as_a_hazard(band: str, mtbi: str, rate: str) -> None:
    found = mtbi_of_rate(D(band))
    assert f"{found:.0f}" == mtbi
    assert abs(1 / found - D(rate)) < D(rate) * D("0.01")


def test_the_best_interval_is_the_best() -> None:
    for mtbi in (D("0.5"), D(6), D(20)):
        tau = best_interval(mtbi, MINUTE)
        best = overhead(Rework(mtbi, tau, MINUTE, 10 * MINUTE))
        assert best is not None
        for other in (tau * D("0.9"), tau * D("1.1"), young_interval(mtbi, MINUTE)):
            found = overhead(Rework(mtbi, other, MINUTE, 10 * MINUTE))
            assert found is not None
            assert best <= found


def test_break_even_is_where_both_cost_the_same() -> None:
    ratio = D("4.00") / D("0.60")
    assert f"{ratio:.2f}" == "6.67"
    even = break_even_mtbi(ratio, save=MINUTE, restart=10 * MINUTE, interval=D(1))
    assert even is not None
    found = overhead(Rework(even, D(1), MINUTE, 10 * MINUTE))
    assert found is not None
    assert abs(found - ratio) < D("0.001")
    assert break_even_mtbi(D(1), save=MINUTE, restart=MINUTE) is None  # never cheaper


def test_a_job_without_checkpoints_is_refused_with_the_numbers() -> None:
    long = Rework(D(6), D(24), D(0), 10 * MINUTE)
    found = judge(D(24), long, saves=False, on_demand=D("6.88"), spot=D("5.40"))
    assert found is not None
    assert found.id == "spot-without-checkpoint"
    assert "24.0 h" in found.reason
    assert "6.0 h" in found.reason
    assert "13.77" in found.reason
    short = Rework(D(6), D(1), D(0), 10 * MINUTE)
    assert judge(D(1), short, saves=False, on_demand=D(4), spot=D(1)) is None


def test_spot_that_costs_more_is_refused_with_both_prices() -> None:
    rework = Rework(D(1), D("0.2"), MINUTE, 10 * MINUTE)
    found = judge(D(24), rework, saves=True, on_demand=D("6.88"), spot=D("5.40"))
    assert found is not None
    assert found.id == "spot-dearer"
    assert "$7.62" in found.reason
    assert "$6.88" in found.reason


def test_what_never_finishes_has_no_number() -> None:
    assert overhead(Rework(D("0.1"), D(100))) is None
    found = judge(D(100), Rework(D("0.1"), D(100)), saves=True, on_demand=None, spot=None)
    assert found is not None
    assert found.id == "spot-never-finishes"


def test_times_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be"):
        Rework(D(0), D(1))
    with pytest.raises(UsageError, match="share of interrupted"):
        mtbi_of_rate(D(1))


def test_every_stage_has_a_policy() -> None:
    assert set(POLICIES) == set(STAGES)
    hopeless = judge(D(24), Rework(D(6), D(24)), saves=False, on_demand=D(4), spot=D(1))
    assert decide("training", {"typical": None, "low": None}).option == "spot=True"
    assert decide("training", {"typical": None, "low": hopeless}).option == 'spot="prefer"'
    assert decide("training", {"typical": hopeless, "low": hopeless}).option == "spot=False"
    assert decide("inference", {}).option == 'spot="prefer"'
    assert decide("inference-sla", {}).option == "spot=False"
