"""``gpukit quantize``."""

from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import UsageError

from . import output

if TYPE_CHECKING:
    from gpukit.quantize.lab import Progress

__all__ = ["money_of", "money_options", "quantize", "shown"]


def money_options(command: Any) -> Any:
    """Add the options that a cost is worked out from."""
    for option in reversed((
        click.option("--price-per-hour", metavar="MONEY",
            help="Of what serves one stream: a GPU, a MIG slice, a pod's CPUs."),
        click.option("--requests-per-second", metavar="N", type=click.FloatRange(0, min_open=True),
            help="Examples to serve per second: gives replicas and a price per month."),
        click.option("--utilisation", metavar="PART", default=0.7, show_default=True,
            type=click.FloatRange(0, 1, min_open=True),
            help="Part of its time that a replica may be busy."),
        click.option("--tokens-per-inference", metavar="N",
            type=click.FloatRange(0, min_open=True),
            help="For the price of 100K tokens.  [default: counted in the inputs]"),
        click.option("--engineering-cost", metavar="MONEY",
            help="What the work costs, for the break-even."),
    )):  # fmt: skip
        command = option(command)
    return command


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FOLDER",
    help="The folder to make; it must be new or empty.")  # fmt: skip
@click.option("--eval", "evaluation", required=True, metavar="DATA",
    help="Examples that choose and judge: .npz, .jsonl, folder or module:function.")  # fmt: skip
@click.option("--calib", metavar="DATA",
    help="Examples for activation ranges; static recipes need them.")  # fmt: skip
@click.option("--test", metavar="DATA",
    help="Examples for the last judgement.  [default: half of --eval]")  # fmt: skip
@click.option("--metric", metavar="METRIC",
    help="accuracy, f1, cosine, mse, cer, wer, pearson, spearman, or module:function. "
    "[default: what fits the labels; without labels cosine to the original]")  # fmt: skip
@click.option("--max-drop", default=0.01, show_default=True, type=float, metavar="DROP",
    help="By how much the metric may get worse: 0.01 is one point of accuracy.")  # fmt: skip
@click.option("--objective", default="latency", show_default=True,
    type=click.Choice(["latency", "size", "cost"]), help="What to make least.")  # fmt: skip
@click.option("--max-latency-ratio", default=1.05, show_default=True, type=float, metavar="RATIO",
    help="Latency relative to the original that is still allowed.")  # fmt: skip
@click.option("--recipe", default="auto", show_default=True, metavar="RECIPE",
    help="auto, dynamic, static, w8, w16, int4, int8, fp16 or prune.")  # fmt: skip
@click.option("--label-key", metavar="NAME",
    help="Name of the labels.  [default: labels, label, targets, target or y]")  # fmt: skip
@click.option("--output-name", metavar="NAME",
    help="The output that is judged.  [default: the first; all for cosine and mse]")  # fmt: skip
@click.option("--vocab", type=click.Path(path_type=Path), metavar="FILE",
    help="Characters in the order of the classes, one a line, for cer and wer.")  # fmt: skip
@click.option("--batch-size", default=1, show_default=True, type=int, metavar="N",
    help="Examples of one inference.")  # fmt: skip
@click.option("--threads", default=1, show_default=True, type=int, metavar="N",
    help="Threads of one inference, where latency is measured.")  # fmt: skip
@click.option("--target", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]),
    help="Where the result is to run; latency is measured there.")  # fmt: skip
@click.option("--baseline", type=click.Choice(["original", "fp16"]),
    help="What latency and cost are relative to.  [default: fp16 with --target cuda, else "
    "original]")  # fmt: skip
@click.option("--factory", metavar="MODULE:FUNCTION",
    help="Makes the torch module of a checkpoint. Its code is run.")  # fmt: skip
@click.option("--trainer", metavar="MODULE:FUNCTION",
    help="Fine-tunes a pruned module. Its code is run.")  # fmt: skip
@click.option("--time-limit", default=300.0, show_default=True, type=float, metavar="SECONDS",
    help="The search ends within this time.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, type=int, metavar="N",
    help="The same seed gives the same files.")  # fmt: skip
@money_options
@click.option("-f", "--format", "form", default="table", show_default=True,
    type=click.Choice(["table", "json", "yaml"]), help="Form of what is printed.")  # fmt: skip
def quantize(model: Path, form: str, **params: Any) -> int:
    """Make a model smaller and faster, and prove on your data that it is still good.

    MODEL is an ONNX file, a Hugging Face directory, or a PyTorch checkpoint with --factory. Many
    recipes are tried under the accuracy budget; the winner is judged once, on examples that had
    no part in choosing it. Where nothing qualifies, the original is returned with the reason.

    \b
    gpukit quantize model.onnx -o small --calib calib.npz --eval eval.npz --max-drop 0.01
    """  # noqa: D301 - click's mark of a block
    from gpukit.quantize import quantize as search

    from . import quantize_tables

    vocabulary = _vocabulary(params["vocab"])
    with shown(form) as progress:
        report = search(
            model, params["out"], eval=params["evaluation"], calib=params["calib"],
            test=params["test"], metric=params["metric"], max_drop=params["max_drop"],
            objective=params["objective"], max_latency_ratio=params["max_latency_ratio"],
            recipe=params["recipe"], label_key=params["label_key"], output=params["output_name"],
            vocabulary=vocabulary, batch=params["batch_size"], threads=params["threads"],
            target=params["target"], baseline=params["baseline"], money=money_of(params),
            time_limit=params["time_limit"], seed=params["seed"], factory=params["factory"],
            trainer=params["trainer"], progress=progress,
        )  # fmt: skip
    if form != "table":
        output.data(report.model_dump(mode="json"), form)
    else:
        quantize_tables.show(report, params["out"])
    return 0


def money_of(params: dict[str, Any]) -> Any:
    """Return what the options say about money.

    Raises:
        UsageError: not an amount, or a request rate without a price.
    """
    from gpukit.quantize import Money

    price = _amount(params["price_per_hour"], "--price-per-hour")
    if price is None and params["requests_per_second"] is not None:
        raise UsageError(
            "price-missing", "--requests-per-second without --price-per-hour",
            "give the price of what serves one stream; `gpukit gpus` lists prices",
        )  # fmt: skip
    return Money(
        price, params["requests_per_second"], params["utilisation"],
        params["tokens_per_inference"], _amount(params["engineering_cost"], "--engineering-cost"),
    )  # fmt: skip


def _amount(text: str | None, what: str) -> Decimal | None:
    from gpukit.quantity import parse_money

    return None if text is None else parse_money(text, what)


def _vocabulary(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "vocabulary-unreadable", f"--vocab {path} cannot be read: {error}",
            "give a text file with one character on each line",
        ) from None  # fmt: skip


class _Lines:
    """Progress where there is no terminal: a line for each stage."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, now: Progress) -> None:
        """Say the stage once."""
        if now.stage != self._last:
            self._last = now.stage
            output.talk(f"▸ {now.stage}  ({now.left:.0f} s left)")


def shown(form: str) -> Any:
    """Return what shows progress: a bar on a terminal, else a line for each stage."""
    if form == "table" and sys.stderr.isatty():
        from .quantize_tables import Bar

        return Bar()
    return _Lines()
