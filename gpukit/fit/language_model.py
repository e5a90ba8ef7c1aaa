"""What serving a language model takes: its weights, and the cache of keys and values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from gpukit.errors import UsageError
from gpukit.finops.fit import Part

__all__ = ["WEIGHTS", "CacheShape", "Weights", "cache_part", "cache_shape", "weights_part"]

WEIGHTS: dict[str, Fraction] = {
    "fp32": Fraction(4), "bf16": Fraction(2), "fp16": Fraction(2), "fp8": Fraction(1),
    "int8": Fraction(1), "int4": Fraction(9, 16),
}  # fmt: skip
"""Bytes of a weight. int4 is 4.5 bits: with a scale of 32 bits for each 64 weights (NF4), the most
of the common forms; embeddings stay in 16 bits (bitsandbytes, GPTQ and AWQ leave them)."""

_ALIASES = {
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "hidden": ("hidden_size", "n_embd", "d_model", "dim"),
}
_NO_CACHE_OF_THIS_FORM = ("mamba", "rwkv", "jamba", "zamba", "bamba", "falcon_h1", "recurrent")


@dataclass(frozen=True)
class CacheShape:
    """What each token leaves in the cache.

    Attributes:
        values: numbers that a token leaves in each layer, keys and values together.
        windows: per layer, the most tokens that it keeps; None: all of them.
        why: how ``values`` comes about.
    """

    values: int
    windows: tuple[int | None, ...]
    why: str

    def tokens(self, context: int) -> int:
        """Return the tokens that all layers keep together, of one sequence."""
        return sum(context if window is None else min(context, window) for window in self.windows)


@dataclass(frozen=True)
class Weights:
    """How many weights there are, how many of them are embeddings, and where that was read.

    ``stored`` are the bytes of the files where these are quantized already; None: they are not.
    """

    count: int
    embeddings: int
    source: str
    stored: int | None = None


def cache_shape(config: Mapping[str, Any]) -> CacheShape:
    """Return the shape of a model's cache, from its configuration (``config.json``).

    Raises:
        UsageError: it does not say, or the model keeps something else.
    """
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config
    kind = str(config.get("model_type", ""))
    if any(word in kind for word in _NO_CACHE_OF_THIS_FORM):
        raise UsageError(
            "fit-cache-form", f"{kind} does not keep keys and values of every token in each layer",
            "measure it: run it as a job, then `gpukit fit RUN`",
        )  # fmt: skip
    layers, heads = _whole(config, "layers"), _whole(config, "heads")
    windows = _windows(config, layers)
    if latent := config.get("kv_lora_rank"):
        rope = int(config.get("qk_rope_head_dim") or 0)
        return CacheShape(int(latent) + rope, windows, f"{latent} + {rope} latent values")
    groups = config.get("num_key_value_heads") or config.get("n_head_kv")
    if groups is None:
        groups = 1 if config.get("multi_query") else heads
    size = config.get("head_dim") or _whole(config, "hidden") // heads
    return CacheShape(2 * int(groups) * int(size), windows, f"2 × {groups} heads × {size}")


def _windows(config: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    window = config.get("sliding_window")
    if not window or config.get("use_sliding_window") is False:
        return (None,) * layers
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(kinds) == layers:
        return tuple(int(window) if kind == "sliding_attention" else None for kind in kinds)
    return (int(window),) * layers if config.get("model_type") == "mistral" else (None,) * layers


def _whole(config: Mapping[str, Any], what: str) -> int:
    for name in _ALIASES[what]:
        if isinstance(config.get(name), int):
            return int(config[name])
    raise UsageError(
        "fit-config", f"the configuration has none of {', '.join(_ALIASES[what])}",
        "name the folder or config.json of a language model; or give --parameters, --layers, "
        "--kv-heads and --head-dim",
    )  # fmt: skip


def cache_part(shape: CacheShape, *, context: int, concurrency: int, each: int) -> Part:
    """Return the cache of that many sequences of that many tokens, ``each`` bytes a number."""
    tokens = shape.tokens(context)
    layers = len(shape.windows)
    kept = f"{layers} layers" if tokens == context * layers else f"{layers} layers, some windowed"
    return Part(
        "KV cache", shape.values * tokens * concurrency * each,
        f"{concurrency} × {context} tokens × {kept} × {shape.why} × {each} B",
    )  # fmt: skip


def weights_part(weights: Weights, precision: str) -> Part:
    """Return what the weights take."""
    if weights.stored is not None:
        return Part("weights", weights.stored, f"as stored: {weights.source}")
    each = WEIGHTS[precision]
    count = (
        f"{weights.count / 1e9:.2f} G" if weights.count >= 10**9 else f"{weights.count / 1e6:.1f} M"
    )
    if each >= 2 or not weights.embeddings:
        why = f"{count} × {float(each):g} B: {weights.source}"
        return Part("weights", int(weights.count * each), why)
    size = (weights.count - weights.embeddings) * each + 2 * weights.embeddings
    return Part(
        "weights", int(size),
        f"{count}, of them {weights.embeddings / 1e6:.0f} M in embeddings × 2 B, the others × "
        f"{float(each):g} B: {weights.source}",
    )  # fmt: skip
