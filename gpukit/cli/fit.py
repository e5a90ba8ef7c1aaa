"""``gpukit fit``."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpukit.errors import UsageError

from . import output
from .run_options import place_options

if TYPE_CHECKING:
    from gpukit.finops.fit import Need
    from gpukit.fit.estimate import Asked

__all__ = ["fit"]

_OPTIMIZERS = ("adamw", "adam", "adam8bit", "adafactor", "momentum", "sgd", "none")
_PRECISIONS = ("fp32", "bf16-mixed", "fp16-mixed", "bf16", "fp16", "fp8", "int8", "int4")
_TRACED = _PRECISIONS[:5]
_NUMBERS = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}


@click.command()
@click.argument("target", required=False, metavar="FACTORY | MODEL | RUN")
@click.option("--batch-size", type=click.IntRange(1), metavar="N",
              help="Samples of a batch; default: as many as the factory gives.")  # fmt: skip
@click.option("--optimizer", type=click.Choice(_OPTIMIZERS), default="adamw", show_default=True,
              help="What updates the weights.")  # fmt: skip
@click.option("--precision", type=click.Choice(_PRECISIONS), metavar="TYPE",
              help=f"{', '.join(_PRECISIONS)}; mixed: weights stay fp32.  "
              "[default: fp32; bf16 for inference]")  # fmt: skip
@click.option("--accumulate", is_flag=True, help="Gradients of several batches are added up.")
@click.option("--inference", is_flag=True, help="Forward passes only, without gradients.")
@click.option("--context-length", type=click.IntRange(1), metavar="TOKENS",
              help="Of a language model: tokens of a sequence.  [default: 2048]")  # fmt: skip
@click.option("--concurrency", type=click.IntRange(1), default=1, show_default=True, metavar="N",
              help="Sequences that are served at the same time.")  # fmt: skip
@click.option("--kv-precision", type=click.Choice(("fp16", "bf16", "fp8", "fp32")), default="bf16",
              show_default=True, help="Of the cache of keys and values.")  # fmt: skip
@click.option("--parameters", metavar="N", help="Instead of a model: 8B, 350M.")
@click.option("--layers", type=click.IntRange(1), metavar="N", help="With --parameters.")
@click.option("--kv-heads", type=click.IntRange(1), metavar="N", help="With --parameters.")
@click.option("--head-dim", type=click.IntRange(1), metavar="N", help="With --parameters.")
@click.option("--headroom", type=click.IntRange(0, 100), default=10, show_default=True,
              metavar="PERCENT", help="On top of what tensors take.")  # fmt: skip
@click.option("--real", is_flag=True, help="Make the model, and run two steps on this CPU.")
@click.option("--gpu", multiple=True, metavar="GPU", help="Only this one; more than once: these.")
@click.option("--platform", default="generic", show_default=True, metavar="NAME",
              help="Only what it has machines with, at its prices.")  # fmt: skip
@click.option("--prices", type=click.Path(path_type=Path), metavar="FILE",
              help="Your own prices: TOML, or CSV of OpenCost or SkyPilot.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Also what is too small, or has no price.")
@place_options
@output.format_option("table", "json", "yaml")
def fit(target: str | None, **params: Any) -> int:
    """Say how much GPU memory a model needs, and which GPU or slice holds it.

    \b
    gpukit fit train.py::build_model --batch-size 32 --precision bf16-mixed
    gpukit fit my_package.models:make_model --optimizer sgd
    gpukit fit path/to/llama --inference --context-length 8192 --concurrency 16
    gpukit fit --inference --parameters 8B --layers 32 --kv-heads 8 --head-dim 128
    gpukit fit train-0a1d95b3                   what a run used, and what would do

    A factory is a function that returns model, (model, inputs) or (model,
    inputs, loss function). It is called with shapes and without data, so a
    model of any size is measured here, on a CPU. MODEL is a folder, or a
    config.json, in the form of Hugging Face. Of a RUN that used a GPU it is
    said what was measured.
    """  # noqa: D301 - click's mark of a block
    from . import fit_tables

    if target is None and not params["parameters"]:
        raise UsageError(
            "fit-what", "nothing is named whose memory is to be estimated",
            "name a file::factory, a module:factory, a model's folder, or give --parameters",
        )  # fmt: skip
    if target is not None and params["parameters"]:
        raise UsageError(
            "fit-both", f"{target} and --parameters are two models", "leave one of them out"
        )
    precision = params["precision"] or ("bf16" if params["inference"] else "fp32")
    if target is None:
        need = _of_numbers(params, precision)
        fit_tables.show(need, f"{params['parameters']} parameters", params)
        return 0
    path = Path(target)
    model = path.is_dir() or path.suffix == ".json"
    if not model and path.suffix != ".py" and ":" not in target:
        from .fit_run import fit_run

        return fit_run(target, params)
    _require_torch()
    if model and params["inference"]:
        fit_tables.show(_serving(path, params, precision), target, params)
    else:
        _traced(target, _factory(target, params, model=model), params, precision)
    return 0


def _traced(target: str, factory: Any, params: dict[str, Any], precision: str) -> None:
    from gpukit.fit.estimate import estimate_model, with_batches

    from . import fit_tables

    asked = _asked(params, precision)
    found = estimate_model(factory, asked)
    fit_tables.show(
        found.need, target, params, found, lambda most: with_batches(found, factory, asked, most)
    )


def _require_torch() -> None:
    try:
        import torch  # noqa: F401 - whether it is there
    except ImportError:
        raise UsageError(
            "fit-torch", "torch is not installed here, so the model cannot be traced",
            "pip install torch (the build for CPUs is enough); or give --parameters, --layers, "
            "--kv-heads and --head-dim with --inference",
        ) from None  # fmt: skip


def _factory(target: str, params: dict[str, Any], *, model: bool) -> Any:
    if model:
        from gpukit.fit.checkpoint import config_factory, read_config

        return config_factory(read_config(Path(target)), params["context_length"] or 2048)
    from gpukit.fit.factory import find_factory

    return find_factory(target)


def _asked(params: dict[str, Any], precision: str) -> Asked:
    from gpukit.fit.estimate import Asked

    if precision not in _TRACED:
        raise UsageError(
            "fit-precision", f"--precision {precision} is for the weights of language models that "
            "are served", f"choose from {', '.join(_TRACED)}, or name a model with --inference",
        )  # fmt: skip
    return Asked(
        params["batch_size"], params["optimizer"], precision, params["inference"],
        params["accumulate"], params["real"], Fraction(params["headroom"], 100),
    )  # fmt: skip


def _of_numbers(params: dict[str, Any], precision: str) -> Need:
    from gpukit.finops.fit import Part, need_of
    from gpukit.fit.language_model import CacheShape, Weights, cache_part, weights_part

    if not params["inference"]:
        raise UsageError(
            "fit-numbers", "--parameters alone do not say what training takes",
            "add --inference; for training name a factory or a model: activations are traced",
        )  # fmt: skip
    parts = [weights_part(Weights(_count(params["parameters"]), 0, "--parameters"),
                          _of_weights(precision))]  # fmt: skip
    shape = [params[name] for name in ("layers", "kv_heads", "head_dim")]
    if all(shape):
        layers, heads, size = shape
        cache = CacheShape(2 * heads * size, (None,) * layers, f"2 × {heads} heads × {size}")
        parts.append(_cache(cache, params, cache_part))
    else:
        parts.append(Part("KV cache", None, "unknown without --layers, --kv-heads, --head-dim"))
    parts.append(Part("activations", None, "unknown without a model"))
    return need_of(parts, Fraction(params["headroom"], 100))


def _cache(shape: Any, params: dict[str, Any], cache_part: Any) -> Any:
    each = {"fp8": 1, "fp32": 4}.get(params["kv_precision"], 2)
    context = params["context_length"] or 2048
    return cache_part(shape, context=context, concurrency=params["concurrency"], each=each)


def _of_weights(precision: str) -> str:
    if precision.endswith("-mixed"):
        raise UsageError(
            "fit-precision", f"--precision {precision} is for training",
            "weights that are served are fp32, bf16, fp16, fp8, int8 or int4",
        )  # fmt: skip
    return precision


def _serving(path: Path, params: dict[str, Any], precision: str) -> Need:
    """Add up the weights, the cache, and the activations of one prompt of full length."""
    from gpukit.finops.fit import need_of
    from gpukit.fit.checkpoint import read_config
    from gpukit.fit.language_model import cache_part, cache_shape
    from gpukit.fit.serving import activations_part, model_weights

    config = read_config(path)
    context = params["context_length"] or 2048
    parts = [
        model_weights(path, config, _of_weights(precision)),
        _cache(cache_shape(config), params, cache_part),
        activations_part(config, context),
    ]
    return need_of(parts, Fraction(params["headroom"], 100))


def _count(text: str) -> int:
    word = text.strip().lower()
    factor = _NUMBERS.get(word[-1:], 1)
    try:
        number = Fraction(word[:-1] if factor > 1 else word)
    except (ValueError, ZeroDivisionError):
        number = Fraction(0)
    if number <= 0 or number * factor > 10**14:
        raise UsageError(
            "fit-parameters", f"--parameters {text!r} is not a number of parameters",
            "write for example 8B, 350M or 7000000000",
        )  # fmt: skip
    return int(number * factor)
