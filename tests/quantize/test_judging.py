"""Metrics, intervals, the choice and the cost: arithmetic without a model."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from gpukit.errors import UsageError
from gpukit.quantize.candidates import Recipe
from gpukit.quantize.cost import break_even, rate_of, saving_words
from gpukit.quantize.intervals import Drop, at_chance, drop_of, verdict_of
from gpukit.quantize.metrics import Metric, choose_metric
from gpukit.quantize.results import LatencyResult
from gpukit.quantize.select import Trial, beaten, choose, leader
from gpukit.quantize.torchside import task_of


def score(name: str, value: Any, labels: Any, original: Any = None, **how: Any) -> float:
    metric = Metric(name, **how)
    first = None if original is None else {"y": np.asarray(original)}
    return metric.combine(np.array(metric.observe({"y": np.asarray(value)}, labels, first)))


def test_accuracy_finds_classes_in_every_shape() -> None:
    logits = np.array([[0.1, 2, 0], [3, 1, 0], [0, 0, 9.0]])
    assert score("accuracy", logits, [1, 0, 0]) == pytest.approx(2 / 3)
    assert score("accuracy", np.array([[0.9], [0.2], [0.7]]), [1, 0, 0]) == pytest.approx(2 / 3)
    assert score("accuracy", np.array([3.0, -2.0]), [1, 0]) == 1
    assert score("accuracy", np.array([2, 1, 0]), [2, 1, 1]) == pytest.approx(2 / 3)
    tokens = np.zeros((2, 3, 5))
    tokens[:, :, 4] = 1
    assert score("accuracy", tokens, [[4, 4, -100], [4, 0, -100]]) == pytest.approx(3 / 4)
    pixels = np.moveaxis(tokens, -1, 1)[..., None]
    assert score("accuracy", pixels, np.full((2, 3, 1), 4)) == 1
    one_hot = np.eye(3)[[1, 0, 0]]
    assert score("accuracy", logits, one_hot) == pytest.approx(2 / 3)
    assert score("accuracy", logits, None, logits[[0, 1, 1]]) == pytest.approx(2 / 3)


def test_f1_and_correlations() -> None:
    classes = np.eye(3)[[0, 0, 1, 1, 2, 2]]  # per class: 1/2 + 1/2, 2/3, 2/3 of what is right
    labels = [0, 1, 1, 1, 2, 0]
    assert score("f1", classes, labels) == pytest.approx(np.mean([2 / 4, 4 / 5, 2 / 3]))
    assert score("f1", np.array([0.9, 0.8, 0.1, 0.2]), [1, 0, 1, 0]) == pytest.approx(0.5)
    x = np.array([1.0, 2, 3, 4, 4])
    assert score("pearson", x, -2 * x) == pytest.approx(-1)
    assert score("spearman", x, np.exp(x)) == pytest.approx(1)
    assert score("spearman", x, [1, 2, 3, 5, 4]) == pytest.approx(0.9747, abs=1e-4)
    assert score("pearson", np.ones(5), x) == 0


def test_fidelity() -> None:
    a = np.random.default_rng(0).normal(size=(5, 7))
    assert score("cosine", a * 3, None, a) == pytest.approx(1)
    assert score("cosine", -a, None, a) == pytest.approx(-1)
    assert score("cosine", np.zeros((2, 3)), None, np.zeros((2, 3))) == 1
    assert score("mse", a + 2, None, a) == pytest.approx(4)
    assert score("cosine", np.array([[1, 2], [3, 4]]), None, np.array([[1, 2], [3, 5]])) == 0.75
    assert 0 < score("cosine", np.ones((1, 4)), None, np.ones((1, 6))) < 1  # one found less


def test_character_and_word_errors() -> None:
    steps = np.zeros((1, 6, 4))
    for step, best in enumerate((1, 1, 0, 1, 2, 3)):  # "a", "a", "b", "c" after dropping blanks
        steps[0, step, best] = 1
    vocabulary = ("a", "b", "c")
    assert score("cer", steps, ["aabc"], vocabulary=vocabulary) == 0
    assert score("cer", steps, ["abc"], vocabulary=vocabulary) == pytest.approx(1 / 3)
    assert score("cer", steps, [np.array([0, 0, 1, 2, -1])]) == 0
    spaced = ("a", " ", "c")
    assert score("wer", steps, ["aa c"], vocabulary=spaced) == 0
    assert score("wer", steps, ["aa d"], vocabulary=spaced) == 0.5
    with pytest.raises(UsageError, match="no vocabulary"):
        score("cer", steps, ["abc"])


@pytest.mark.parametrize(
    ("labels", "name"),
    [(None, "cosine"), (np.array([0, 1]), "accuracy"), (np.array([0.5, 1]), "pearson"),
     (np.array(["a", "b"]), "cer")],
)  # fmt: skip
def test_the_metric_that_fits_the_labels(labels: Any, name: str) -> None:
    assert choose_metric(None, labels, ["y"], output=None, vocabulary=()).name == name


@pytest.mark.parametrize(
    ("name", "output", "id"),
    [("acuracy", None, "metric-unknown"), ("f1", None, "labels-missing"),
     ("cosine", "z", "output-unknown"), ("no.module:f", None, "function-import")],
)  # fmt: skip
def test_metrics_that_cannot_be(name: str, output: str | None, id: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_metric(name, None, ["y"], output=output, vocabulary=())
    assert caught.value.id == id


def answers(right: list[int]) -> Any:
    return np.array([[r, 1, r, 1] for r in right])


def test_no_disagreement_is_not_certainty() -> None:
    metric = Metric("accuracy")
    small = drop_of(metric, answers([1] * 50), answers([1] * 50), None, 0)
    assert small.value == 0
    assert small.high > 0.03
    assert verdict_of(small, 0.01)[0] == "inconclusive"
    large = drop_of(metric, answers([1] * 1000), answers([1] * 1000), None, 0)
    assert verdict_of(large, 0.01) == ("met", None)


def test_the_size_that_would_settle_it_does() -> None:
    metric, random = Metric("accuracy"), np.random.default_rng(0)

    def pair(n: int) -> Drop:
        before = (random.random(n) < 0.9).astype(int)
        flipped = random.random(n) < 0.02
        after = np.where(flipped, 1 - before, before)
        return drop_of(metric, answers(before.tolist()), answers(after.tolist()), None, 0)

    first = pair(300)
    verdict, needed = verdict_of(first, 0.02 + first.value)
    if verdict == "inconclusive":
        assert needed is not None
        assert 300 < needed < 30_000
    assert verdict_of(Drop(0.05, 0.03, 0.07, 0.01, 100), 0.01) == ("missed", None)
    assert verdict_of(Drop(0.01, -0.01, 0.03, 0.01, 100), 0.01) == ("inconclusive", None)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    metric, random, held = Metric("accuracy"), np.random.default_rng(1), 0
    for _ in range(400):
        kind = random.choice(3, 400, p=[0.93, 0.05, 0.02])  # lost 5 %, won 2 %: a drop of 0.03
        before = np.where(kind == 2, 0, 1)
        after = np.where(kind == 1, 0, 1)
        drop = drop_of(metric, answers(before.tolist()), answers(after.tolist()), None, 0)
        held += drop.low <= 0.03 <= drop.high
    assert 0.92 <= held / 400 <= 0.99


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    random = np.random.default_rng(0)
    before, after = np.ones((500, 1)), 1 - np.abs(random.normal(0, 0.01, (500, 1)))
    drop = drop_of(Metric("cosine"), before, after, None, 3)
    wanted = 1.96 * after.std() / np.sqrt(500)
    assert (drop.high - drop.low) / 2 == pytest.approx(wanted, rel=0.15)
    assert drop == drop_of(Metric("cosine"), before, after, None, 3)


def test_models_that_only_guess_are_found() -> None:
    metric, random = Metric("accuracy"), np.random.default_rng(0)
    labels = random.integers(0, 3, 200)
    for logits, chance in (
        (np.eye(3)[labels] + random.normal(0, 0.4, (200, 3)), False),
        (random.normal(size=(200, 3)), True),
        (np.tile([1.0, 0, 0], (200, 1)), True),  # always the same class
    ):
        rows = np.array(metric.observe({"y": logits}, labels.tolist(), None))
        assert at_chance(metric, rows, labels.tolist(), 0) is chance


def trial(name: str, size: int, ratio: float | None, drop: float, error: float = 0.001) -> Trial:
    latency = None if ratio is None else LatencyResult(
        p50_ms=ratio, p95_ms=ratio, p99_ms=ratio, ratio=ratio, ratio_low=ratio, ratio_high=ratio,
        throughput=1000 / ratio,
    )  # fmt: skip
    return Trial(
        Recipe(name, "w8"), bytes=size, latency=latency, drop=Drop(drop, drop, drop, error, 100)
    )


TRIALS = (
    ("small", 25, 1.00, 0.001), ("fast", 30, 0.40, 0.008), ("fastest, bad", 25, 0.30, 0.05),
    ("smallest, slow", 20, 4.7, 0.0), ("as fast", 29, 0.42, 0.008),
)  # fmt: skip


def test_the_choice_follows_the_objective() -> None:
    how: Any = {"original_bytes": 100, "max_drop": 0.01, "max_latency_ratio": 1.05}
    for objective, wanted in (("latency", "as fast"), ("size", "small"), ("cost", "as fast")):
        trials = [trial(*t) for t in TRIALS]
        winner, _ = choose(trials, objective=objective, **how)  # type: ignore[arg-type]
        assert winner is not None
        assert winner.name == wanted
        assert winner.status == "chosen"
        said = {t.name: (t.status, t.reason) for t in trials}
        assert said["smallest, slow"][0] == "too slow"
        assert all(reason for name, (_, reason) in said.items() if name != "fastest, bad")


def test_a_drop_within_its_noise_loses_to_a_clear_one() -> None:
    lucky, clear = trial("lucky", 20, 0.5, 0.009, error=0.01), trial("clear", 30, 0.9, 0.0)
    how: Any = {"original_bytes": 100, "max_drop": 0.01, "max_latency_ratio": 1.05}
    assert choose([lucky, clear], objective="latency", **how)[0] is clear
    assert choose([lucky], objective="latency", **how)[0] is lucky


def test_what_cannot_win_any_more_is_known_before_it_is_scored() -> None:
    trials = {t[0]: trial(*t) for t in TRIALS}
    how: Any = {"max_drop": 0.01, "max_latency_ratio": 1.05}
    best = leader(list(trials.values()), objective="latency", **how)
    assert best is trials["as fast"]
    assert beaten(trials["small"], best, "latency") == "as fast is within the budget, and faster"
    assert beaten(trials["fast"], best, "latency") == ""  # a tie
    assert beaten(trials["fast"], best, "latency", 1.2) != ""
    assert beaten(trials["fastest, bad"], best, "latency", 1.2) == ""
    least = leader(list(trials.values()), objective="size", **how)
    assert least is trials["small"]
    assert beaten(best, least, "size") == "small is within the budget, and smaller"
    assert beaten(trials["smallest, slow"], least, "size") == ""
    for one in trials.values():
        one.complete = False  # scored on some examples only: nothing is certain
    assert leader(list(trials.values()), objective="latency", **how) is None
    winner, reason = choose(list(trials.values()), original_bytes=100, objective="size", **how)
    assert winner is None
    assert reason == "the time limit: no candidate was scored on all examples"


def test_where_nothing_qualifies_the_reason_is_told() -> None:
    how: Any = {
        "original_bytes": 100, "objective": "latency", "max_drop": 0.01, "max_latency_ratio": 1.05,
    }  # fmt: skip
    assert choose([trial("bad", 20, 0.5, 0.3)], **how) == (
        None, "no candidate keeps the drop within 0.01",
    )  # fmt: skip
    assert "latency of 1.05" in choose([trial("slow", 20, 3, 0.0)], **how)[1]
    assert "smaller or faster" in choose([trial("same", 100, 1.0, 0.0)], **how)[1]
    failed = Trial(Recipe("broken", "w8"), status="failed", reason="it does not load")
    assert choose([failed], **how)[1] == "no candidate could be made: it does not load"


def test_cost_comes_from_throughput() -> None:
    rate = rate_of(Decimal("3.60"), 100, tokens=50, requests_per_second=1000, utilisation=0.5)
    assert rate.per_inference == Decimal("0.00001")
    assert rate.per_100k_tokens == Decimal("0.02")
    assert rate.replicas == 20
    assert rate.per_month == Decimal("3.60") * 20 * 730
    faster = rate_of(Decimal("3.60"), 200, requests_per_second=1000, utilisation=0.5)
    found = break_even(rate, faster, Decimal(52560))
    assert found is not None
    assert found.months == 2
    assert "10 replicas" in saving_words(rate, faster, 0.5, 0.52, Decimal(52560))
    assert saving_words(rate, rate, 1.0, 1.02, None).startswith("no saving")
    little = rate_of(Decimal("3.60"), 100, requests_per_second=10)
    assert "no saving per month" in saving_words(little, little, 0.9, 0.95, None)


def test_the_task_of_an_architecture() -> None:
    assert task_of(["BertForSequenceClassification"]) == "text-classification"
    assert task_of(["T5ForConditionalGeneration"]) == "text2text-generation"
    assert task_of(["WhisperForConditionalGeneration"]) == "automatic-speech-recognition"
    assert task_of(["Wav2Vec2ForCTC"]) == "automatic-speech-recognition"
    assert task_of(["BertModel"]) == task_of([]) == "feature-extraction"
