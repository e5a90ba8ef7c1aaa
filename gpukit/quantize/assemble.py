"""The end of a search: the test, the sizes, the cost, the report, and the files of the folder."""

from __future__ import annotations

import platform
import shutil
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from gpukit._version import __version__

from . import export, graph, intake, readme, webpage
from .census import Census
from .cost import Rate, rate_of, saving_words
from .data import Examples, Feeds
from .intervals import Drop, Verdict, verdict_of
from .lab import Lab
from .money import Money
from .results import (
    CandidateResult,
    CostResult,
    DropResult,
    Footprint,
    InputFacts,
    LatencyResult,
    ModelFacts,
    Report,
    TestResult,
)  # fmt: skip
from .search import Found, Judged, search, test
from .select import Trial
from .session import cpu_flags
from .worker import StepFailed

if TYPE_CHECKING:
    from .sources import Given

__all__ = ["environment", "finish", "tokens_of", "told"]


_SPARE = 3  # seconds in which the report is written


def finish(
    lab: Lab, source: intake.Source, stage: Path, given: Given, money: Money,
    examples: Examples, started: float, notes: tuple[str, ...],
) -> Report:  # fmt: skip
    """Run the search, judge its winner once, and fill the output folder.

    Args:
        lab: where candidates are made and measured.
        source: the original.
        stage: the folder to fill.
        given: what the model came as.
        money: for the cost.
        examples: the evaluation examples.
        started: when the time limit began.
        notes: what is to be told in the report.
    """
    found = search(lab)
    winner, reason, judged, verdict, needed = _settled(lab, found)
    model = winner.path if winner is not None and winner.path is not None else source.path
    placed = export.put_model(model, stage)
    first, second, late = _footprints(lab, found, source.path, placed)
    latency = winner.latency if winner and winner.latency else found.original
    costs, saving = _costs(found, money, latency, examples)
    settings = lab.settings
    report = Report(
        gpukit=__version__, outcome="original" if winner is None else "quantized",
        chosen="original" if winner is None else winner.name, reason=reason,
        metric=lab.metric.name, max_drop=settings.max_drop, objective=settings.objective,
        max_latency_ratio=settings.max_latency_ratio, seed=settings.seed,
        time_limit=settings.time_limit, seconds=round(time.monotonic() - started, 1),
        model=_facts(lab.census, source, given, examples.feeds([0] * settings.place.batch)),
        output_sha256=intake.digest_of((placed, *graph.external_files(placed))),
        environment=environment(), batch=settings.place.batch, threads=settings.place.threads,
        target=settings.place.target, rows=_rows(lab, found), original_score=found.score,
        baseline="original" if found.baseline is None else found.baseline.name,
        test=TestResult(
            baseline=judged.before, score=judged.after, drop=_drop(judged.drop), verdict=verdict,
            examples_needed=needed,
        ),
        original=first, result=second, original_latency=found.original, result_latency=latency,
        baseline_cost=costs[0], result_cost=costs[1], saving=saving,
        notes=(*given.notes, *notes, *found.notes, *late),
        candidates=tuple(_candidate(t, lab.original_bytes) for t in found.trials),
    )  # fmt: skip
    _write(report, stage, given)
    return report


def _settled(
    lab: Lab, found: Found
) -> tuple[Trial | None, str, Judged, Verdict, int | None]:  # fmt: skip
    """Judge the winner on the held-out split; where that is clearly missed, the original stays."""
    winner = found.winner
    judged = test(lab, found, winner.path if winner and winner.path else lab.model)
    if winner is None:
        return None, found.reason, judged, "met", None
    verdict, needed = verdict_of(judged.drop, lab.settings.max_drop)
    if verdict != "missed":
        return winner, found.reason, judged, verdict, needed
    drop = judged.drop
    winner.status = "over budget"
    winner.reason = f"drop {drop.value:+.4f} on the held-out test, at least {drop.low:+.4f}"
    kept = Judged(judged.before, judged.before, Drop(0.0, 0.0, 0.0, 0.0, drop.examples))
    return None, f"{winner.name} was best on validation, but {winner.reason}", kept, "met", None


def _write(report: Report, stage: Path, given: Given) -> None:
    for file in given.companions:
        shutil.copyfile(file, stage / file.name)
    (stage / "report.json").write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (stage / "report.html").write_text(webpage.page(report), encoding="utf-8")
    (stage / "README.md").write_text(readme.text(report), encoding="utf-8")


def _facts(census: Census, source: intake.Source, given: Given, feeds: Feeds) -> ModelFacts:
    return ModelFacts(
        name=given.name, sha256=source.sha256, bytes=source.bytes, opset=source.opset,
        parameters=census.parameters, subgraphs=census.subgraphs, operators=census.operators,
        weights=census.weights,
        inputs={
            name: InputFacts(
                dtype="str" if value.dtype.kind in "UO" else value.dtype.name, shape=value.shape
            )
            for name, value in feeds.items()
        },
    )  # fmt: skip


def environment() -> dict[str, str]:
    """Return versions, and what decides how fast 8-bit arithmetic is here."""
    return {
        "python": platform.python_version(), "system": platform.system(),
        "onnx": onnx.__version__, "onnxruntime": ort.__version__, "numpy": np.__version__,
        "cpu": " ".join(cpu_flags()),
    }  # fmt: skip


def _rows(lab: Lab, found: Found) -> dict[str, int]:
    calibration = lab.splits.calibration
    return {
        "calibration": len(calibration[1]) if calibration else 0,
        "validation": len(found.validation), "test": len(found.test),
    }  # fmt: skip


def _drop(drop: Drop) -> DropResult:
    return DropResult(value=drop.value, low=drop.low, high=drop.high, examples=drop.examples)


def _candidate(trial: Trial, original_bytes: int) -> CandidateResult:
    return CandidateResult(
        name=trial.name, family=trial.recipe.family, status=trial.status, reason=trial.reason,
        bytes=trial.bytes, size_ratio=None if trial.bytes is None else original_bytes / trial.bytes,
        score=trial.score, drop=None if trial.drop is None else _drop(trial.drop),
        latency=trial.latency, kept=trial.recipe.excluded, seconds=round(trial.seconds, 2),
    )  # fmt: skip


def _footprints(
    lab: Lab, found: Found, original: Path, result: Path
) -> tuple[Footprint, Footprint, list[str]]:
    """Measure both models from their files, each in a fresh process."""
    made: list[Footprint] = []
    notes: list[str] = []
    every = [(path, *graph.external_files(path)) for path in (original, result)]
    how = export.compression_for([file for files in every for file in files])
    for files in every:
        path = files[0]
        memory: int | None = None
        cold: float | None = None
        lab.fresh()
        try:
            cold, memory = lab.call(
                "memory and cold start", "footprint", path, lab.splits.evaluation,
                found.validation[:8], lab.settings.place,
                timeout=min(lab.left() - _SPARE, 60),
            )  # fmt: skip
        except StepFailed as error:
            notes.append(f"memory of {path.name} was not measured: {error}")
        allowed = min((lab.left() - _SPARE) / (2 - len(made)), 30)
        small = export.compressed(list(files), how, time.monotonic() + allowed)
        made.append(Footprint(
            file_bytes=sum(f.stat().st_size for f in files), compressed_bytes=small,
            compression=how, memory_bytes=memory or None, cold_start_seconds=cold,
        ))  # fmt: skip
    return made[0], made[1], notes


def tokens_of(examples: Examples, rows: list[int]) -> float | None:
    """Return the mean number of tokens of an example, None where the inputs do not say."""
    if "attention_mask" in examples.columns:
        return float(np.mean([np.sum(examples.columns["attention_mask"][i]) for i in rows]))
    if "input_ids" in examples.columns:
        return float(np.mean([np.size(examples.columns["input_ids"][i]) for i in rows]))
    return None


def _costs(
    found: Found, money: Money, latency: LatencyResult, examples: Examples
) -> tuple[tuple[CostResult | None, CostResult | None], str | None]:
    price = money.price_per_hour
    if price is None:
        return (None, None), None
    tokens = money.tokens or tokens_of(examples, found.validation[:256])
    base = found.baseline.latency if found.baseline else None
    throughput = (base or found.original).throughput
    before, after = (
        rate_of(
            price, one, tokens=tokens, utilisation=money.utilisation,
            requests_per_second=money.requests_per_second,
        )
        for one in (throughput, latency.throughput)
    )  # fmt: skip
    words = saving_words(before, after, latency.ratio, latency.ratio_high, money.engineering)
    return (told(before, price, throughput), told(after, price, latency.throughput)), words


def told(rate: Rate, price: Decimal, throughput: float) -> CostResult:
    """Return a cost as it is written to reports."""
    return CostResult(
        price_per_hour=str(price), throughput=throughput,
        per_inference=_money(rate.per_inference),
        per_100k_tokens=None if rate.per_100k_tokens is None else _money(rate.per_100k_tokens),
        replicas=rate.replicas,
        per_month=None if rate.per_month is None else f"{rate.per_month:.2f}",
    )  # fmt: skip


def _money(value: Decimal) -> str:
    """Return an amount with three figures that count, never in exponents."""
    places = max(2, 2 - value.adjusted())
    return f"{value:.{places}f}"
