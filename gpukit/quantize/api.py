"""``quantize``: from a model and examples to a folder with the best model that is still good."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gpukit.errors import UsageError, did_you_mean

from . import assemble, export, intake, sources
from .candidates import FAMILIES
from .census import take_census
from .data import Examples, Input
from .datafiles import DataSource, read_examples
from .lab import Lab, Progress, Settings, Splits
from .metrics import choose_metric
from .money import Money
from .prune import Pruning
from .results import Report
from .select import Baseline, Objective
from .session import check_target, usable_cpus
from .split import halves, without_overlap
from .steps import Place
from .worker import StepFailed, Worker

__all__ = ["quantize"]


def quantize(
    model: str | Path,
    out: str | Path,
    *,
    eval: DataSource,
    calib: DataSource | None = None,
    test: DataSource | None = None,
    metric: str | None = None,
    max_drop: float = 0.01,
    objective: Objective = "latency",
    max_latency_ratio: float = 1.05,
    recipe: str = "auto",
    label_key: str | None = None,
    output: str | None = None,
    vocabulary: tuple[str, ...] = (),
    batch: int = 1,
    threads: int = 1,
    target: str = "cpu",
    baseline: Baseline | None = None,
    money: Money | None = None,
    time_limit: float = 300.0,
    seed: int = 0,
    factory: str | None = None,
    trainer: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Find the smallest or fastest model that is still good, and write it to a new folder.

    Args:
        model: an ONNX file, a Hugging Face directory, or a PyTorch checkpoint with ``factory``.
        out: the folder to make; it must not be there, or be empty.
        eval: examples that choose and judge: an .npz, a .jsonl, a directory, ``module:function``,
            or arrays by name. One half chooses, the other judges, unless ``test`` is given.
        calib: examples for activation ranges, without labels; static recipes need them.
        test: examples that judge, seen once.
        metric: accuracy, f1, cosine, mse, cer, wer, pearson, spearman, or ``module:function``.
            None takes accuracy for integer labels, pearson for other numbers, cer for text, and
            without labels cosine, which compares with the original.
        max_drop: by how much the metric may get worse, absolute.
        objective: what to make least: latency, size, or cost per inference.
        max_latency_ratio: latency relative to the original that is still allowed.
        recipe: auto, or one of dynamic, static, w8, w16, int4, int8, fp16, prune.
        label_key: the name of the labels, if it is not labels, label, targets, target or y.
        output: the output that is judged, if it is not the first.
        vocabulary: characters in the order of the classes, for cer and wer over text.
        batch: examples of one inference.
        threads: threads of one inference, for latency.
        target: cpu or cuda: where the result is to run. The latency is measured there.
        baseline: original or fp16: what latencies and costs are relative to. None takes fp16 for
            cuda, where that is what one would serve otherwise.
        money: price and request rate for the cost.
        time_limit: seconds that the search may take.
        seed: of the split, and of everything that is drawn.
        factory: ``module:function`` that makes the module of a checkpoint; its code is run.
        trainer: ``module:function`` that fine-tunes a module after pruning; its code is run.
        progress: is told how far the search is.

    Returns:
        The report that is also in the folder, as report.json.

    Raises:
        UsageError: the model, the data or an argument cannot be used; the folder is not made.
    """
    started = time.monotonic()
    out = Path(out)
    settings = Settings(
        max_drop, objective, max_latency_ratio, _families(recipe),
        Place(batch, threads, target), baseline or ("fp16" if target == "cuda" else "original"),
        time_limit, seed,
    )  # fmt: skip
    _check(settings, calib, recipe, trainer)
    export.check_out(out)
    with tempfile.TemporaryDirectory(prefix="gpukit-quantize-") as scratch:
        folder = Path(scratch)
        with Worker(folder / "worker.log", usable_cpus()) as worker:
            given = sources.resolve(Path(model), folder, factory, eval, worker, time_limit)
            loaded, source = intake.read_onnx(given.onnx)
            inputs = intake.inputs_of(loaded)
            data = _read(inputs, calib, eval, test, label_key, given, batch)
            place = replace(settings.place, batch=_batch(inputs, data.eval, batch))
            settings = replace(settings, place=place)
            outputs = _outputs(worker, source.path, intake.foreign_domains(loaded), settings)
            chosen = choose_metric(
                metric, data.eval.labels, outputs, output=output, vocabulary=vocabulary
            )
            lab = Lab(
                worker, source.path, take_census(loaded), chosen,
                _splits(data, settings.seed, folder), settings, folder, started, progress,
                _pruning(given, trainer, seed),
            )  # fmt: skip
            del loaded
            with export.staged(out) as stage:
                return assemble.finish(
                    lab, source, stage, given, money or Money(), data.eval, started,
                    data.notes,
                )  # fmt: skip


@dataclass(frozen=True)
class _Data:
    eval: Examples
    calib: Examples | None
    test: Examples | None
    notes: tuple[str, ...]


def _splits(data: _Data, seed: int, folder: Path) -> Splits:
    """Return which rows are for what, the examples written for the worker."""
    evaluation = data.eval.save(folder / "eval")
    labels = (data.eval.labels, data.eval.labels)
    if data.test is None:
        validation, rows = halves(data.eval, seed)
        test = (evaluation, rows)
    else:
        validation = list(range(len(data.eval)))
        test = (data.test.save(folder / "test"), list(range(len(data.test))))
        labels = (data.eval.labels, data.test.labels)
    calibration = None
    if data.calib is not None:
        calibration = (data.calib.save(folder / "calib"), list(range(len(data.calib))))
    return Splits(calibration, evaluation, validation, test, labels)


def _read(
    inputs: tuple[Input, ...], calib: DataSource | None, evaluation: DataSource,
    test: DataSource | None, label_key: str | None, given: sources.Given, batch: int,
) -> _Data:  # fmt: skip
    together = max([batch, *(i.shape[0] or 1 for i in inputs if i.shape)])

    def read(source: DataSource, what: str, labelled: bool = True) -> Examples:
        return read_examples(
            source, inputs, what, label_key=label_key, labelled=labelled,
            prepare=given.tokenize(inputs, together),
        )  # fmt: skip

    judged = read(evaluation, "--eval")
    notes = []
    tested = None if test is None else read(test, "--test")
    if tested is not None:
        tested, double = without_overlap(tested, judged, ("--test", "--eval"))
        if double:
            notes.append(f"{double} examples of --test are in --eval too, and were left out")
        if (tested.labels is None) != (judged.labels is None):
            raise UsageError(
                "labels-missing", "only one of --eval and --test has labels", "give both or none"
            )
    calibration = None if calib is None else read(calib, "--calib", labelled=False)
    if calibration is not None:
        judged, double = without_overlap(judged, calibration, ("--eval", "--calib"))
        if double:
            notes.append(f"{double} examples of --eval are in --calib too, and were left out")
        if tested is not None:
            tested, _ = without_overlap(tested, calibration, ("--test", "--calib"))
    else:
        notes.append("without --calib no static recipe can be tried")
    return _Data(judged, calibration, tested, tuple(notes))


def _families(recipe: str) -> frozenset[str] | None:
    if recipe == "auto":
        return None
    if recipe not in FAMILIES:
        raise UsageError(
            "recipe-family-unknown", f"there is no recipe {recipe!r}",
            did_you_mean(recipe, FAMILIES, otherwise=f"take auto, {', '.join(FAMILIES)}"),
        )  # fmt: skip
    return frozenset({recipe})


def _check(settings: Settings, calib: DataSource | None, recipe: str, trainer: str | None) -> None:
    """Raise for numbers that make no sense, and for what a recipe lacks."""
    numbers = (
        ("--max-drop", settings.max_drop, 0.0), ("--time-limit", settings.time_limit, 5.0),
        ("--max-latency-ratio", settings.max_latency_ratio, 0.01),
        ("--batch-size", settings.place.batch, 1), ("--threads", settings.place.threads, 1),
    )  # fmt: skip
    for name, value, least in numbers:
        if not math.isfinite(value) or value < least:
            raise UsageError(
                "quantize-number", f"{name} is {value:g}", f"give a number of at least {least:g}"
            )
    for what, word, known in (
        ("objective", settings.objective, ("latency", "size", "cost")),
        ("baseline", settings.baseline, ("original", "fp16")),
    ):
        if word not in known:
            raise UsageError(
                f"{what}-unknown", f"there is no {what} {word!r}",
                did_you_mean(word, known, otherwise=f"take {' or '.join(known)}"),
            )  # fmt: skip
    check_target(settings.place.target)
    if recipe == "static" and calib is None:
        raise UsageError(
            "calibration-missing", "static quantization needs examples to find activation ranges",
            "give --calib with 50 to 500 examples, none of which is in --eval",
        )  # fmt: skip
    if recipe == "prune" and trainer is None:
        raise UsageError(
            "trainer-missing", "pruning without training afterwards ruins a model",
            "give --trainer module:function and --factory, with a PyTorch checkpoint",
        )  # fmt: skip


def _pruning(given: sources.Given, trainer: str | None, seed: int) -> Pruning | None:
    if trainer is None:
        return None
    if given.checkpoint is None:
        raise UsageError(
            "trainer-alone", "--trainer trains a torch module, and this model is none",
            "give the PyTorch checkpoint with --factory",
        )  # fmt: skip
    return Pruning(given.checkpoint, trainer, seed)


def _batch(inputs: tuple[Input, ...], examples: Examples, asked: int) -> int:
    """Return the examples of one inference: as asked, or as the model fixes it."""
    fixed = {
        i.shape[0]
        for i in inputs
        if i.name in examples.columns and i.shape and i.shape[0] is not None
    }
    if not examples.has_batch_axis:
        if asked > 1:
            raise UsageError(
                "batch-impossible", f"--batch-size {asked}: an example is a whole input here",
                "leave out the batch axis of the examples, or --batch-size",
            )  # fmt: skip
        return 1
    if len(fixed) == 1:
        return int(fixed.pop() or 1)
    if asked > 1 and examples.ragged:
        raise UsageError(
            "batch-impossible", f"--batch-size {asked}: the examples differ in shape",
            "pad them to one shape, or leave out --batch-size",
        )  # fmt: skip
    return asked


def _outputs(
    worker: Worker, model: Path, foreign: list[str], settings: Settings
) -> list[str]:  # fmt: skip
    """Load the original once, and return its outputs that are arrays.

    Raises:
        UsageError: onnxruntime does not load it, or no output is an array.
    """
    try:
        names: list[str] = worker.call(
            "describe", model, settings.place, timeout=settings.time_limit
        )
    except StepFailed as error:
        if foreign:
            raise UsageError(
                "operators-unknown", f"operators of {', '.join(foreign)} are not known to "
                f"onnxruntime, so it cannot load {model.name}",
                "libraries of custom operators are not loaded: export without these operators",
            ) from None  # fmt: skip
        raise UsageError(
            "model-unloadable", f"onnxruntime cannot load {model.name}: {error}",
            "load it by hand with onnxruntime.InferenceSession; what names an operator or a type "
            "that is missing needs another opset or type in the export",
        ) from None  # fmt: skip
    if not names:
        raise UsageError(
            "output-kind", "no output of the model is an array", "export it without ZipMap"
        )
    return names
