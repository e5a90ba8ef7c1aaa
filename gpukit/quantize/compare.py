"""``benchmark``: models side by side on the same inputs, and whether to keep the new one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gpukit._version import __version__
from gpukit.errors import UsageError

from . import graph, intake
from .assemble import environment, tokens_of, told
from .cost import rate_of, saving_words
from .data import Examples
from .datafiles import DataSource, read_examples
from .lab import Progress
from .money import Money
from .results import CostResult, LatencyResult
from .select import latency_of
from .session import check_target, usable_cpus
from .steps import Place
from .worker import StepFailed, Worker

__all__ = ["BenchmarkReport", "Setting", "Timed", "benchmark", "verdict_of_ratio"]

SLOWER = 1.05
"""The ratio of latencies from which on a new model is to be rolled back."""

Decision = Literal["keep", "roll back", "inconclusive"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Timed(_Model):
    """One model in one setting; the decision is about it against the first model."""

    model: str
    latency: LatencyResult
    decision: Decision | None = Field(None, description="None for the first model.")
    cost: CostResult | None = None
    saving: str | None = None


class Setting(_Model):
    """Examples of one inference, threads, and each model's times."""

    batch: int
    threads: int
    rounds: int
    models: tuple[Timed, ...]


class Loaded(_Model):
    """A model's file, its memory in bytes after running, and seconds until the first answer."""

    model: str
    sha256: str
    file_bytes: int
    memory_bytes: int | None
    cold_start_seconds: float | None


class BenchmarkReport(_Model):
    """What a benchmark measured."""

    schema_version: Literal[1] = 1
    gpukit: str
    environment: dict[str, str]
    target: str
    models: tuple[Loaded, ...]
    settings: tuple[Setting, ...]
    decision: Decision | None = Field(description="The worst of all settings.")
    notes: tuple[str, ...] = ()


def benchmark(
    models: Sequence[str | Path],
    data: DataSource,
    *,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (1,),
    target: str = "cpu",
    rounds: int = 400,
    seconds: float = 20.0,
    money: Money | None = None,
    seed: int = 0,
    progress: Callable[[Progress], None] = lambda _: None,
) -> BenchmarkReport:
    """Time models side by side: in every round each runs once, in random order, on one input.

    Args:
        models: ONNX files with the same inputs; the others are compared with the first.
        data: examples, in any form that ``quantize`` takes; labels are ignored.
        batches: examples of one inference, one after the other.
        threads: threads of one inference.
        target: cpu or cuda.
        rounds: of each setting, at most.
        seconds: of each setting, at most; five rounds are always made.
        money: for the cost.
        seed: of the order.
        progress: is told how far it is.

    Raises:
        UsageError: a model or the data cannot be used, or the models' inputs differ.
    """
    check_target(target)
    paths = [Path(model) for model in models]
    examples, notes = _examples(paths, data), []
    with tempfile.TemporaryDirectory(prefix="gpukit-benchmark-") as scratch:
        folder = examples.save(Path(scratch) / "data")
        rows = list(range(min(len(examples), 256)))
        with Worker(Path(scratch) / "log", max(*threads, usable_cpus())) as worker:

            def call(stage: str, name: str, *arguments: object, total: int = 0) -> Any:
                def tick(done: int) -> None:
                    progress(Progress(stage, done, total, None, seconds))

                return worker.call(name, *arguments, timeout=10 * seconds + 600, tick=tick)

            loaded, found = [], []
            for path in paths:
                worker.stop()  # each in a fresh process: its memory is its own
                loaded.append(_load(path, folder, rows[:8], Place(1, threads[0], target), call))
            for batch in batches:
                for count in threads:
                    place = Place(batch, count, target)
                    if batch > 1 and (examples.ragged or not examples.has_batch_axis):
                        notes.append(f"batch {batch}: these examples cannot share an inference")
                        continue
                    stage = f"batch {batch}, {count} thread(s)"
                    times = _run(
                        call, stage, "race", paths, folder, rows, place, seed, seconds, rounds,
                        total=rounds,
                    )  # fmt: skip
                    found.append(_setting(paths, place, times, money or Money(), examples, seed))
    decisions = [t.decision for s in found for t in s.models if t.decision]
    order: tuple[Decision, ...] = ("roll back", "inconclusive", "keep")
    return BenchmarkReport(
        gpukit=__version__, environment=environment(), target=target, models=tuple(loaded),
        settings=tuple(found), notes=tuple(notes),
        decision=next((d for d in order if d in decisions), None),
    )  # fmt: skip


def verdict_of_ratio(low: float, high: float) -> Decision:
    """Return what to do with a model whose latency ratio has this 95 % interval."""
    if low > SLOWER:
        return "roll back"
    return "keep" if high <= SLOWER else "inconclusive"


def _examples(paths: Sequence[Path], data: DataSource) -> Examples:
    wanted: dict[str, str] | None = None
    examples: Examples | None = None
    for path in paths:
        model, _ = intake.read_onnx(path, quantized=True)
        inputs = intake.inputs_of(model)
        kinds = {i.name: i.dtype for i in inputs if i.required}
        if wanted is not None and kinds != wanted:
            raise UsageError(
                "inputs-differ", f"{path} wants {kinds}, {paths[0]} wants {wanted}",
                "only models with the same inputs can be compared on the same examples",
            )  # fmt: skip
        wanted = kinds
        examples = examples or read_examples(data, inputs, "--data")
    if examples is None:
        raise UsageError("models-missing", "there is no model to time", "name one or more")
    return examples


def _run(call: Callable[..., Any], stage: str, *arguments: object, total: int = 0) -> Any:
    try:
        return call(stage, *arguments, total=total)
    except StepFailed as error:
        raise UsageError(
            "benchmark-failed", f"{stage}: {error}",
            "run each model on one of the examples by hand in onnxruntime",
        ) from None  # fmt: skip


def _load(
    path: Path, folder: Path, rows: list[int], place: Place, call: Callable[..., Any]
) -> Loaded:
    cold, memory = _run(call, f"loading {path.name}", "footprint", path, folder, rows, place)
    files = (path, *graph.external_files(path))
    return Loaded(
        model=str(path), sha256=intake.digest_of(files), file_bytes=graph.file_bytes(path),
        memory_bytes=memory or None, cold_start_seconds=cold,
    )  # fmt: skip


def _setting(
    paths: Sequence[Path], place: Place, times: Any, money: Money, examples: Examples, seed: int
) -> Setting:
    latencies = [latency_of(times, i, place.batch, seed) for i in range(len(paths))]
    tokens = money.tokens or tokens_of(examples, list(range(min(len(examples), 256))))
    price = money.price_per_hour
    rates = [] if price is None else [
        rate_of(price, one.throughput, tokens=tokens, utilisation=money.utilisation,
                requests_per_second=money.requests_per_second)
        for one in latencies
    ]  # fmt: skip
    made = []
    for i, (path, one) in enumerate(zip(paths, latencies, strict=True)):
        cost = None if price is None else told(rates[i], price, one.throughput)
        saving = None
        if rates and i:
            saving = saving_words(rates[0], rates[i], one.ratio, one.ratio_high, money.engineering)
        made.append(Timed(
            model=str(path), latency=one, cost=cost, saving=saving,
            decision=verdict_of_ratio(one.ratio_low, one.ratio_high) if i else None,
        ))  # fmt: skip
    return Setting(
        batch=place.batch, threads=place.threads, rounds=len(times),
        models=tuple(made),
    )  # fmt: skip
