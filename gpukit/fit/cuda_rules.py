"""Operations on a CPU that keep what those on CUDA keep, so that a trace here tells of a GPU.

Three things differ in what is kept for the backward pass: dropout keeps a mask of bytes and not of
floats, attention with dropout never writes its weights to memory (flash and memory-efficient
kernels), and autocast runs more operations in float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_on_cuda", "mixed"]

_FLOAT32 = """
acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow.Tensor_Scalar
pow.Tensor_Tensor pow.Scalar softplus layer_norm native_layer_norm group_norm nuclear_norm
cosine_similarity poisson_nll_loss cosine_embedding_loss nll_loss nll_loss2d hinge_embedding_loss
kl_div l1_loss smooth_l1_loss huber_loss mse_loss margin_ranking_loss multilabel_margin_loss
soft_margin_loss triplet_margin_loss multi_margin_loss binary_cross_entropy_with_logits dist pdist
cdist renorm logsumexp prod prod.dim_int softmax.int log_softmax.int cumprod cumsum
linalg_vector_norm linalg_matrix_norm sum sum.dim_IntList
"""
"""What CUDA's autocast runs in float32: pytorch.org, Automatic Mixed Precision, "CUDA Ops that can
autocast to float32"; by overload, aten/src/ATen/autocast_mode.h."""

_NARROW = (torch.float16, torch.bfloat16)


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Have dropout, attention and autocast keep what they keep on CUDA, while this is active.

    It replaces kernels of this process's PyTorch, for all threads, and takes that back.
    """
    library: Any = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels are replaced is the purpose
        for name in _FLOAT32.split():
            operation = _operation(name)
            if operation is not None:
                library.impl(name, _in_float32(operation), "AutocastCPU")
        library.impl("dropout", _dropout, "AutogradCPU")
        library.impl("scaled_dot_product_attention", _attention, "AutogradCPU")
    one_dnn = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # it hides all steps of an LSTM in one operation
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(one_dnn)
        library._destroy()


@contextmanager
def mixed(dtype: torch.dtype | None) -> Iterator[None]:
    """Compute in mixed precision; None: in the precision of the tensors."""
    with torch.autocast("cpu", dtype=dtype) if dtype else nullcontext():
        yield


def _operation(name: str) -> Any:
    packet, _, overload = name.partition(".")
    found = getattr(torch.ops.aten, packet, None)
    return None if found is None else getattr(found, overload or "default", None)


def _in_float32(operation: Any) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            wide = {name: _widened(value) for name, value in kwargs.items()}
            return operation(*map(_widened, args), **wide)

    return run


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in _NARROW else value


def _dropout(input: Tensor, p: float, train: bool) -> Tensor:
    return torch.native_dropout(input, p, True)[0] if train and p > 0 else input


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
    dropout_p: float = 0.0, is_causal: bool = False, **rest: Any,
) -> Any:  # fmt: skip
    """Run it without dropout, of which fused kernels keep a seed and not a mask."""
    whole = torch.ops.aten.scaled_dot_product_attention.default
    return whole.decompose(query, key, value, attn_mask, 0.0, is_causal, **rest)
