"""``gpukit cost``, the gate of the budget at submit, and actual against estimate after it."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gpukit.catalog import load_catalog
from gpukit.cli import main as cli
from gpukit.finops.compare import options, slowdown
from gpukit.runs.forecast import local_beliefs
from gpukit.runs.history import outcomes
from gpukit.spec import make_spec

JOB = """
from gpukit import Checkpointer, gpu_job

@gpu_job(profile="h100", memory="1Gi")
def train(number: int = 0) -> int:
    return number

@gpu_job(profile="h100", memory="1Gi")
def formula() -> None:
    "never run"
"""


class Ran:
    def __init__(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
        self.code = cli.main(list(words))
        self.out, self.err = capsys.readouterr()


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "cost_train.py").write_text(JOB)
    (tmp_path / "cost_plain.py").write_text(
        "from gpukit import gpu_job\n\n@gpu_job(profile='h100', memory='1Gi')\n"
        "def train(number: int = 0) -> int:\n    return number\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("cost_train", None)
    sys.modules.pop("cost_plain", None)


@pytest.fixture
def gpukit(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *words: Ran(capsys, words)


def cost(gpukit: Any, *words: str, code: int = 0, job: str = "cost_train.py::train") -> Any:
    ran = gpukit("cost", "-o", "json", *words, job)
    assert ran.code == code, ran.err
    return json.loads(ran.out)


def place(found: Any, profile: str) -> Any:
    return next(row for row in found["places"] if row["profile"] == profile)


def test_rates_of_a_gpu_of_its_slices_and_of_a_share(gpukit: Any) -> None:
    found = cost(gpukit)
    assert found["hours"] is None
    assert found["estimates"]["on_demand"] is None  # no total without hours
    (h100,) = load_catalog().find_gpus("h100")
    whole = Decimal(place(found, "h100")["on_demand_hour"])
    for name in h100.mig:
        fraction = h100.mig_fraction(name)
        share = whole * fraction.numerator / fraction.denominator
        assert Decimal(place(found, f"mig-{name}")["on_demand_hour"]) == round(share, 4)
    assert Decimal(place(found, "shared")["on_demand_hour"]) == round(whole / 4, 4)
    assert found["priceBook"]["source"]
    assert found["priceBook"]["asOf"]


def test_which_slices_fit(gpukit: Any) -> None:
    found = cost(gpukit, "--gpu-memory", "12Gi")
    fits = {row["profile"]: row["fits"] for row in found["places"]}
    assert fits["mig-1g.10gb"] is False
    assert fits["mig-1g.20gb"] is True
    assert fits["h100"] is True
    assert cost(gpukit)["places"][0]["fits"] is None  # unknown is not yes
    # 9.6 GiB are usable in a slice that is called 10gb, and a tenth is kept free
    assert place(cost(gpukit, "--gpu-memory", "9Gi"), "mig-1g.10gb")["fits"] is False


def test_totals_are_exact_and_slices_have_a_range(gpukit: Any) -> None:
    found = cost(gpukit, "--hours", "24")
    whole = Decimal(place(found, "h100")["on_demand_hour"])
    assert Decimal(place(found, "h100")["total_low"]) == 24 * whole
    small = place(found, "mig-1g.10gb")
    assert Decimal(small["total_low"]) == round(24 * whole / 7, 4)
    assert Decimal(small["total_high"]) == 24 * whole  # seven times slower at a seventh
    busy = cost(gpukit, "--hours", "24", "--gpu-busy", "0.13")
    small = place(busy, "mig-1g.10gb")
    assert small["total_low"] == small["total_high"]
    assert small["saves_at_least"] == "0.8571"
    dear = place(cost(gpukit, "--hours", "24", "--gpu-busy", "1"), "mig-1g.20gb")
    assert Decimal(dear["saves_at_least"]) < 0  # a seventh of the compute for a quarter


def test_spot_at_three_rates_of_interruption(gpukit: Any) -> None:
    found = cost(gpukit, "--hours", "24")
    low, typical, high = found["spot"]
    assert low["mtbi_hours"] == "1.0"
    overheads = [Decimal(row["overhead"]) for row in (low, typical, high)]
    assert overheads == sorted(overheads, reverse=True)
    assert low["refused"]
    assert high["refused"] is None
    assert found["decision"]["option"] == 'spot="prefer"'
    even = Decimal(found["break_even_mtbi_hours"])
    assert Decimal(low["mtbi_hours"]) < even < Decimal(typical["mtbi_hours"])
    said = found["estimates"]["spot"]["cost"]
    assert Decimal(said["low"]) < Decimal(said["middle"]) < Decimal(said["high"])


def test_hopeless_spot_is_refused_with_the_numbers(gpukit: Any) -> None:
    words = ("--hours", "24", "--spot", "cost_plain.py")
    ran = gpukit("cost", *words)
    assert ran.code == 3
    assert "24.0 h without a checkpoint at one interruption per 6.0 h" in ran.err
    assert "refused" in ran.out  # the tables are there all the same
    assert gpukit("cost", "--no-spot", "--hours", "24", "cost_plain.py").code == 0


def test_an_unknown_price_is_unknown_everywhere(gpukit: Any) -> None:
    found = cost(gpukit, "--profile", "cpu", "--hours", "2")
    assert found["priceBook"]["on_demand"] is None
    assert found["estimates"]["on_demand"]["cost"] is None
    assert {row["total"] for row in found["spot"]} == {None}
    ran = gpukit("cost", "--profile", "cpu", "--hours", "2", "cost_train.py::train")
    assert "unknown" in ran.out
    assert "$0" not in ran.out


def test_csv_and_picture(gpukit: Any) -> None:
    ran = gpukit("cost", "-o", "csv", "--hours", "3", "cost_train.py::train")
    rows = list(csv.DictReader(io.StringIO(ran.out)))
    assert rows[0]["profile"] == "h100"
    assert len(rows) == len(cost(gpukit, "--hours", "3")["places"])
    picture = gpukit("cost", "-o", "svg", "--hours", "3", "cost_train.py::train").out
    assert picture.startswith("<svg")
    assert "on demand" in picture


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--hours", "0"), "not a running time"),
        (("--hours", "soon"), "--hours='soon' is not a duration"),
        (("--mtbi", "6,1"), "LOW,TYPICAL,HIGH"),
        (("--mtbi", "20,6,1"), "LOW,TYPICAL,HIGH"),
        (("--local",), "no local run of train has finished"),
    ],
)
def test_mistakes(gpukit: Any, words: tuple[str, ...], said: str) -> None:
    ran = gpukit("cost", *words, "cost_train.py::train")
    assert ran.code == 2
    assert said in ran.err
    assert "hint" in ran.err


def test_hours_are_hours(gpukit: Any) -> None:
    for text in ("24", "24h", "1d"):
        assert Decimal(cost(gpukit, "--hours", text)["hours"]) == 24


def test_the_budget_is_checked_before_anything_starts(gpukit: Any, tmp_path: Path) -> None:
    words = ("submit", "--local", "--hours", "24", "--max-cost", "$40", "cost_train.py::train")
    ran = gpukit(*words)
    assert ran.code == 3
    assert "max_cost=$40.00 is less than the estimate of $1" in ran.err
    assert "--override-budget" in ran.err
    assert not (tmp_path / ".gpukit").exists()
    ran = gpukit(*words[:2], "--override-budget", *words[2:])
    assert ran.code == 0, ran.err
    assert "warning: max_cost=$40.00 is less than the estimate" in ran.err


def test_actual_against_estimate_is_fed_into_the_next(gpukit: Any) -> None:
    submit = ("submit", "--local", "cost_train.py::train")
    first = gpukit(*submit, "--number", "1")
    assert first.code == 0, first.err
    assert "the estimate for 9 of 10 runs" not in first.err  # nothing was known
    known = local_beliefs("train")
    assert known.hours is not None
    assert known.held.runs == 0
    second = gpukit(*submit, "--number", "2")
    assert second.code == 0, second.err
    assert "the estimate for 9 of 10 runs" in second.err
    old, new = outcomes("train")
    assert old.said is None
    assert new.said is not None
    assert new.said.hours == pytest.approx(float(known.hours))
    after = local_beliefs("train")
    assert after.held.runs == 1
    assert len(after.past.scores.wall) == 1
    assert len(after.past.ratios) == 2
    ran = gpukit("cost", "--local", "-o", "json", "cost_train.py::train")
    found = json.loads(ran.out)
    assert found["stated_bands"]["runs"] == 1
    assert found["estimate"]["wall_hours"]["high"] > 0


def test_slowdown_is_none_for_a_job_that_is_not_busy() -> None:
    catalog = load_catalog()
    found = {o.profile: o for o in options(make_spec({"profile": "h100"}), catalog)}
    small, whole = found["mig-1g.10gb"], found["h100"]
    assert slowdown(small.compute, whole.compute, small.compute) == 1
    assert slowdown(small.compute, whole.compute, whole.compute) == 7
    assert slowdown(whole.compute, small.compute, whole.compute) * 7 == 1
    assert float(found["mig-1g.20gb"].pays_below) == pytest.approx(4 / 7)


def test_several_gpus_are_whole_ones_only() -> None:
    found = options(make_spec({"profile": "h100:2"}), load_catalog())
    assert [o.profile for o in found] == ["h100:2"]


@pytest.mark.parametrize("command", ["cost", "lint", "archive"])
def test_a_flag_behind_the_target_is_not_passed_over(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ran = Ran(capsys, (command, "cost_train.py::train", "--hours", "24"))
    assert ran.code == 2
    assert ran.out == ""
    assert "gpukit's own options stand before" in ran.err
