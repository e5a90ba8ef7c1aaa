"""The page of a report: its pictures, what they leave out, and that nothing in it is live."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpukit.quantize import readme, webpage
from gpukit.quantize.chart import Axis, Point, frontier, scatter, ticks
from gpukit.quantize.results import (
    CandidateResult,
    CostResult,
    DropResult,
    Footprint,
    InputFacts,
    LatencyResult,
    ModelFacts,
    Report,
    TestResult,
)

HOSTILE = '<script>alert("1")</script>'


def latency(ratio: float) -> LatencyResult:
    return LatencyResult(
        p50_ms=ratio, p95_ms=2 * ratio, p99_ms=3 * ratio, ratio=ratio, ratio_low=ratio,
        ratio_high=ratio, throughput=1000 / ratio,
    )  # fmt: skip


def candidate(name: str, status: Any, drop: float | None, ratio: float | None) -> CandidateResult:
    return CandidateResult(
        name=name, family="w8", status=status, reason=f"because {HOSTILE}", bytes=250,
        size_ratio=4.0, score=None if drop is None else 0.9 - drop,
        drop=None if drop is None else DropResult(value=drop, low=drop, high=drop, examples=9),
        latency=None if ratio is None else latency(ratio),
    )  # fmt: skip


def report(**changes: Any) -> Report:
    size = Footprint(
        file_bytes=1000, compressed_bytes=900, compression="xz -6", memory_bytes=None,
        cold_start_seconds=0.5,
    )  # fmt: skip
    cost = CostResult(
        price_per_hour="2", throughput=10, per_inference="0.0001", per_100k_tokens="0.1",
        replicas=3, per_month="4380.00",
    )  # fmt: skip
    drop = DropResult(value=0.001, low=-0.01, high=0.02, examples=200)
    facts = ModelFacts(
        name=HOSTILE, sha256="0" * 64, bytes=1000, opset=17, parameters=250, subgraphs=0,
        operators={}, weights={}, inputs={'x"': InputFacts(dtype="float32", shape=(1, 3))},
    )  # fmt: skip
    values: dict[str, Any] = {
        "gpukit": "1", "outcome": "quantized", "chosen": HOSTILE, "reason": HOSTILE,
        "metric": "accuracy", "max_drop": 0.01, "objective": "latency", "max_latency_ratio": 1.05,
        "seed": 0, "time_limit": 300, "seconds": 9, "model": facts, "output_sha256": "0" * 64,
        "environment": {}, "batch": 1, "threads": 1, "target": "cpu", "baseline": "original",
        "rows": {"calibration": 1, "validation": 2, "test": 3}, "original_score": 0.9,
        "test": TestResult(
            baseline=0.9, score=0.899, drop=drop, verdict="inconclusive", examples_needed=900
        ),
        "original": size, "result": size.model_copy(update={"file_bytes": 250}),
        "original_latency": latency(1), "result_latency": latency(0.5), "baseline_cost": cost,
        "result_cost": cost, "saving": "none", "notes": (HOSTILE,),
        "candidates": (
            candidate("a", "chosen", 0.001, 0.5), candidate("b", "lost", 0.001, 0.51),
            candidate("c", "too slow", 0.0, 9.0), candidate("d", "over budget", 0.7, None),
            candidate("e", "not tried", None, None), candidate("f", "failed", None, None),
            candidate("g", "too slow", None, 2.0),
        ),
    }  # fmt: skip
    return Report.model_validate({**values, **changes})


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.found.append(tag)
        if tag not in ("meta", "path", "circle", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "circle"):
            assert self.open.pop() == tag


@pytest.mark.parametrize("outcome", ["quantized", "original"])
def test_the_page_is_whole_and_runs_nothing(outcome: str) -> None:
    page = webpage.page(report(outcome=outcome))
    tags = Tags(page)
    assert tags.open == []
    assert not {"script", "link", "img", "iframe"} & set(tags.found)
    assert tags.found.count("svg") == 2
    assert page.count("<tr") == 2 + 7 + 5 + 5  # heads and the original, candidates, sizes, costs
    assert "not measured" in page
    for name in "abcdefg":
        assert f"<td>{name}</td>" in page


def test_pictures_show_what_is_beyond_the_edge() -> None:
    page = webpage.page(report())
    assert ">1, 2<" in page  # both lie on one place
    assert ">4 →<" in page
    assert ">3 →<" in page
    assert page.count(">7<") == 2  # in the table, and where it is timed


def test_what_fp16_is_compared_with_is_said() -> None:
    page = webpage.page(report(baseline="FP16"))
    assert "latency relative to FP16" in page
    assert "of FP16" in readme.text(report(baseline="FP16"))


def test_the_code_in_the_readme_is_python() -> None:
    code = readme.text(report()).split("```python")[1].split("```")[0]
    compile(code, "readme", "exec")
    assert '"x\\"": np.zeros([1, 3], dtype="float32")' in code


@given(st.floats(-1e3, 1e3), st.floats(1e-9, 1e4))
def test_ticks_are_few_round_and_span_the_range(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 8
    assert found[0] <= low + 1e-6 * width
    assert found[-1] >= low + width - 1e-6 * width
    assert found == sorted(set(found))


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [Point(n, x, y, "kept", "") for n, x, y in (
        ("slow", 1, 9), ("both", 2, 3), ("worse", 3, 4), ("fast", 5, 1), ("same", 5, 1),
    )]  # fmt: skip
    assert [p.mark for p in frontier(points)] == ["slow", "both", "fast"]


def test_a_picture_of_one_point() -> None:
    axis = Axis("x", str)
    drawn = scatter([Point("a", 0.0, 0.0, "kept", "")], axis, axis)
    assert "nan" not in drawn
    assert len(re.findall("<circle", drawn)) == 1
