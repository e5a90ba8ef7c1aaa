"""How good outputs are: statistics of each example, and what they come to.

A metric first observes: a row of statistics for each example (for accuracy: how many are right,
of how many). Then it combines rows to a value. So any resampling of examples has a value without
running the model again, which is what intervals are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpukit.errors import UsageError, did_you_mean

from .data import Array, Column
from .datafiles import called, load_function
from .distances import cosine, edits, squared_error

__all__ = ["BUILT_IN", "Metric", "Outputs", "Rows", "choose_metric", "default_metric"]

Outputs = Mapping[str, Array]
Rows = Array
"""Statistics: the first axis counts the examples."""

BUILT_IN = ("accuracy", "f1", "cosine", "mse", "cer", "wer", "pearson", "spearman")
_LOWER = frozenset({"mse", "cer", "wer"})
_IGNORED = -100  # the label of what does not count, as in PyTorch


@dataclass(frozen=True)
class Metric:
    """A metric by its name; with ``function`` set, one of the person's own.

    Args:
        name: one of :data:`BUILT_IN`, or ``module:function``.
        output: the output that is judged; None takes the first, or all for cosine and mse.
        vocabulary: for cer and wer, the characters in the order of the model's classes, the blank
            of CTC not among them.
        function: takes outputs and labels, returns a number; higher is better.
    """

    name: str
    output: str | None = None
    vocabulary: tuple[str, ...] = ()
    function: Callable[..., Any] | None = None

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is a better one."""
        return self.name not in _LOWER

    @property
    def of_fidelity(self) -> bool:
        """Whether it compares with the outputs of the original instead of labels."""
        return self.name in ("cosine", "mse")

    def observe(
        self, outputs: Outputs, labels: Sequence[Any] | None, original: Outputs | None
    ) -> Any:
        """Return the statistics of the examples of one inference.

        Args:
            outputs: arrays whose first axis counts the examples.
            labels: one for each example, or None.
            original: the outputs of the original model, where it is compared with.
        """
        if self.of_fidelity:
            names = [self.output] if self.output else list(outputs)
            compare = cosine if self.name == "cosine" else squared_error
            return compare({n: outputs[n] for n in names}, original or {})
        value = outputs[self.output or next(iter(outputs))]
        if labels is None:  # then what the original says is right
            labels = list(_decided((original or {})[self.output or next(iter(outputs))], None))
        if self.name in ("accuracy", "f1"):
            return self._classes(value, labels)
        if self.name in ("pearson", "spearman"):
            flat = value.reshape(len(value), -1)
            if flat.shape[1] != 1:
                raise _unfit(
                    self.name, f"one number for each example, and not {list(value.shape[1:])}"
                )
            return np.column_stack([flat[:, 0], np.asarray(labels, dtype=float).reshape(-1)])
        return np.array([self._edits(v, label) for v, label in zip(value, labels, strict=True)])

    def combine(self, rows: Rows, labels: Sequence[Any] | None = None) -> float:
        """Return the value of the metric over the examples of ``rows``."""
        if self.function is not None:
            return self._own(rows, labels)
        if self.name == "f1":
            return _f1(rows)
        if self.name in ("pearson", "spearman"):
            given, wanted = rows.T.astype(float)
            if self.name == "spearman":
                given, wanted = _ranks(given), _ranks(wanted)
            if given.std() == 0 or wanted.std() == 0:
                return 0.0
            return float(np.corrcoef(given, wanted)[0, 1])
        if self.of_fidelity:
            return float(rows.mean())
        return float(rows[:, 0].sum() / max(rows[:, 1].sum(), 1))

    def drop(self, before: float, after: float) -> float:
        """Return by how much ``after`` is worse than ``before``; negative where it is better."""
        return before - after if self.higher_is_better else after - before

    def _classes(self, value: Array, labels: Sequence[Any]) -> Array:
        wanted = np.asarray(labels)
        if wanted.shape == value.shape and wanted.ndim == 2 and (wanted.sum(1) == 1).all():
            wanted = wanted.argmax(1)  # one-hot
        given = _decided(value, wanted.shape)
        if (given.dtype.kind == "U") != (wanted.dtype.kind == "U"):
            raise _unfit(self.name, "labels and outputs of one kind: numbers of classes, or names")
        if given.shape != wanted.shape:
            wanted = wanted.reshape(given.shape) if wanted.size == given.size else wanted
        if given.shape != wanted.shape:
            raise _unfit(
                self.name, f"labels of shape {list(given.shape[1:])}, not {list(wanted.shape[1:])}"
            )
        if self.name == "f1":
            if given.ndim != 1:
                raise _unfit("f1", "one class for each example")
            return np.column_stack([given, wanted])
        counts = wanted != _IGNORED
        right = ((given == wanted) & counts).reshape(len(given), -1)
        known = [given, wanted] if given.ndim == 1 and wanted.dtype.kind in "iub" else []
        return np.column_stack([right.sum(1), counts.reshape(len(given), -1).sum(1), *known])

    def _edits(self, value: Array, label: Any) -> tuple[int, int]:
        given: Sequence[Any] = _greedy_ctc(value) if value.ndim == 2 else value.reshape(-1).tolist()
        if isinstance(label, str) or np.asarray(label).dtype.kind == "U":
            if not self.vocabulary:
                raise UsageError(
                    "vocabulary-missing", f"labels are text, and {self.name} has no vocabulary",
                    "give --vocab FILE with one character (or word piece) on each line; for names "
                    "of classes take --metric accuracy",
                )  # fmt: skip
            text = "".join(self.vocabulary[i] for i in given if 0 <= i < len(self.vocabulary))
            wanted: Sequence[Any] = str(label)
            given = text
            if self.name == "wer":
                given, wanted = text.split(), str(label).split()
        else:
            wanted = [i for i in np.asarray(label).reshape(-1).tolist() if i >= 0]
        return edits(given, wanted), max(len(wanted), 1)

    def _own(self, rows: Any, labels: Sequence[Any] | None) -> float:
        names = list(rows[0])
        outputs = {name: _together([row[name] for row in rows]) for name in names}
        given = outputs if len(names) > 1 else outputs[names[0]]
        value = called(self.function or float, f"--metric {self.name}", given, _together(labels))
        try:
            value = float(value)
        except (TypeError, ValueError):
            value = float("nan")
        if not np.isfinite(value):
            raise UsageError(
                "metric-value", f"--metric {self.name} did not return a finite number",
                "return one number; higher is better",
            )  # fmt: skip
        return float(value)


def choose_metric(
    name: str | None, labels: Column | None, outputs: Sequence[str], *,
    output: str | None, vocabulary: tuple[str, ...],
) -> Metric:  # fmt: skip
    """Return the metric of a name; of none, the one that fits the labels.

    Raises:
        UsageError: no metric of that name, no output of that name, or no labels for it.
    """
    if output is not None and output not in outputs:
        raise UsageError(
            "output-unknown", f"the model has no output {output!r}",
            did_you_mean(output, outputs, otherwise=f"the outputs are {', '.join(outputs)}"),
        )  # fmt: skip
    name = name or default_metric(labels)
    if ":" in name:
        return Metric(name, output, vocabulary, load_function(name, "--metric"))
    if name not in BUILT_IN:
        raise UsageError(
            "metric-unknown", f"there is no metric {name!r}",
            did_you_mean(name, BUILT_IN, otherwise="or write module:function"),
        )  # fmt: skip
    if labels is None and name not in ("cosine", "mse", "accuracy"):
        raise UsageError(
            "labels-missing", f"the metric {name} needs labels, and --eval has none",
            "add labels, or take cosine, mse or accuracy, which compare with the original",
        )  # fmt: skip
    return Metric(name, output, vocabulary)


def default_metric(labels: Column | None) -> str:
    """Return the metric that fits the labels: classes, numbers, text, or none at all."""
    if labels is None:
        return "cosine"
    first = np.asarray(labels[0])
    if first.dtype.kind in "iub":
        return "accuracy"
    return "cer" if first.dtype.kind == "U" else "pearson"


def _decided(value: Array, wanted: tuple[int, ...] | None) -> Array:
    """Return classes out of scores: over the axis that the labels do not have."""
    if value.dtype.kind in "iub" or value.dtype.kind == "U":
        return value.reshape(len(value)) if value.size == len(value) else value
    for axis in (-1, 1):
        rest = tuple(np.delete(value.shape, axis)) if value.ndim > 1 else ()
        classes = value.shape[axis] if value.ndim > 1 else 1
        if classes > 1 and value.ndim > 1 and (wanted is None or rest == wanted):
            return np.asarray(value.argmax(axis))
    if value.size == len(value) or value.shape == wanted:
        probable = bool(((value >= 0) & (value <= 1)).all())
        return (
            np.asarray(value > (0.5 if probable else 0)).reshape(wanted or len(value)).astype(int)
        )
    return np.asarray(value.argmax(-1))


def _greedy_ctc(scores: Array) -> list[int]:
    """Return classes without the blank, which is 0: the best of each step, repetitions dropped."""
    best = scores.argmax(-1)
    kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
    return [int(i) - 1 for i in kept if i > 0]


def _f1(rows: Rows) -> float:
    """Return F1: of class 1 where there are but 0 and 1, else the mean over the classes."""
    given, wanted = rows.T
    classes = np.unique(rows)
    judged = [1] if set(classes.tolist()) <= {0, 1} else classes.tolist()
    scores = []
    for label in judged:
        hits = int(((given == label) & (wanted == label)).sum())
        total = int((given == label).sum() + (wanted == label).sum())
        scores.append(2 * hits / total if total else 0.0)
    return float(np.mean(scores))


def _ranks(values: Array) -> Array:
    """Return ranks; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ends = count.cumsum()
    return np.asarray((ends - (count - 1) / 2)[place])


def _together(values: Sequence[Any] | None) -> Any:
    if values is None:
        return None
    arrays = [np.asarray(value) for value in values]
    same = len({a.shape for a in arrays}) == 1
    return np.stack(arrays) if same else arrays


def _unfit(name: str, wanted: str) -> UsageError:
    return UsageError(
        "metric-shape", f"the metric {name} wants {wanted}",
        "name another output with --output-name, or write a metric: --metric module:function",
    )  # fmt: skip
