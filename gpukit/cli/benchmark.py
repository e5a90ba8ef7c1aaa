"""``gpukit benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import BudgetError, UsageError

from . import output
from .output import Column
from .quantize import money_of, money_options, shown

if TYPE_CHECKING:
    from gpukit.quantize.compare import BenchmarkReport, Timed

__all__ = ["benchmark"]


@click.command()
@click.argument("models", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar="DATA",
    help="Examples: .npz, .jsonl, a directory, or module:function.")  # fmt: skip
@click.option("--batch-sizes", default="1", show_default=True, metavar="N,…",
    help="Examples of one inference.")  # fmt: skip
@click.option("--threads", default="1", show_default=True, metavar="N,…",
    help="Threads of one inference.")  # fmt: skip
@click.option("--target", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]),
    help="Where the models run.")  # fmt: skip
@click.option("--rounds", default=400, show_default=True, type=click.IntRange(5),
    help="Rounds of each setting, at most.")  # fmt: skip
@click.option("--seconds", default=20.0, show_default=True,
    type=click.FloatRange(0, min_open=True), help="Time of each setting, at most.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=int, metavar="N", help="Of the order.")
@money_options
@click.option("-f", "--format", "form", default="table", show_default=True,
    type=click.Choice(["table", "json", "yaml"]), help="Form of what is printed.")  # fmt: skip
def benchmark(models: tuple[Path, ...], form: str, **params: Any) -> int:
    """Time models side by side, and say whether to keep the new ones.

    MODELS are ONNX files with the same inputs; the others are compared with the first. Latency,
    throughput, memory and cold start; in every round each model runs once, on the same input.
    Exit code 3: one of them is more than 5 % slower, and is to be rolled back.

    \b
    gpukit benchmark model.onnx small/model.onnx --data eval.npz --batch-sizes 1,8 --threads 1,2
    """  # noqa: D301 - click's mark of a block
    from gpukit.quantize import benchmark as measure

    with shown(form) as progress:
        report = measure(
            models, params["data"], batches=_numbers(params["batch_sizes"], "--batch-sizes"),
            threads=_numbers(params["threads"], "--threads"), target=params["target"],
            rounds=params["rounds"], seconds=params["seconds"], money=money_of(params),
            seed=params["seed"], progress=progress,
        )  # fmt: skip
    if form != "table":
        output.data(report.model_dump(mode="json"), form)
    else:
        _show(report)
    if report.decision == "roll back":
        raise BudgetError(
            "benchmark-slower", "a model is more than 5 % slower than the first",
            "keep the first one; `gpukit quantize` finds forms that are not slower",
        )  # fmt: skip
    return 0


def _numbers(text: str, what: str) -> list[int]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and 0 < int(word) <= 4096 for word in words):
        raise UsageError(
            "numbers-form", f"{what} {text!r} is not a list of numbers from 1",
            "write for example 1,8,32",
        )  # fmt: skip
    return [int(word) for word in words]


def _show(report: BenchmarkReport) -> None:
    from .quantize_tables import size

    output.table(
        [Column("model", wrap=True), Column("file", right=True), Column("memory", right=True),
         Column("first answer", right=True)],
        [
            [m.model, size(m.file_bytes), "" if m.memory_bytes is None else size(m.memory_bytes),
             "" if m.cold_start_seconds is None else f"{m.cold_start_seconds * 1e3:.3g} ms"]
            for m in report.models
        ],
    )  # fmt: skip
    output.text("")
    output.table(
        [Column("batch", right=True), Column("threads", right=True), Column("model", wrap=True),
         Column("p50 ms", right=True), Column("p95", right=True), Column("p99", right=True),
         Column("per second", right=True), Column("ratio (95 %)", right=True),
         Column("cost each", right=True), Column("verdict")],
        [_row(str(s.batch), str(s.threads), t) for s in report.settings for t in s.models],
    )  # fmt: skip
    for setting in report.settings:
        for timed in setting.models:
            if timed.saving:
                output.text(f"{timed.model}, batch {setting.batch}: {timed.saving}")
    for note in report.notes:
        output.warn(note)


def _row(batch: str, threads: str, timed: Timed) -> list[str]:
    t = timed.latency
    colours = {"keep": "green", "roll back": "red", "inconclusive": "yellow"}
    verdict = "" if timed.decision is None else output.style(
        timed.decision, fg=colours[timed.decision]
    )  # fmt: skip
    return [
        batch, threads, timed.model, f"{t.p50_ms:.3g}", f"{t.p95_ms:.3g}", f"{t.p99_ms:.3g}",
        f"{t.throughput:,.0f}", f"{t.ratio:.2f} ({t.ratio_low:.2f} to {t.ratio_high:.2f})",
        "" if timed.cost is None else timed.cost.per_inference, verdict,
    ]  # fmt: skip
