"""Making a candidate of a recipe: onnxruntime's quantizers, then storage of what is left."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_dynamic
from onnxruntime.quantization.calibrate import create_calibrator
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from . import fuse, graph
from .candidates import Recipe
from .data import Examples, Feeds
from .session import cpu_flags
from .storage import store_weights

__all__ = ["Build", "build", "calibrate", "quantizable"]

logging.getLogger().setLevel(logging.ERROR)  # its quantizers talk to the root logger
_SEVEN_BITS = not {"avx512_vnni", "avx_vnni", "asimddp"} & set(cpu_flags())
"""Without these instructions 8-bit products saturate in 16 bits (onnxruntime#5849)."""

Build = Callable[[Path], None]
_CHUNK = 4  # examples whose activations are held at once


class _Reader:
    """What calibrators read from: one set of inputs after the other."""

    def __init__(self, feeds: list[Feeds]) -> None:
        self._rest = iter(feeds)

    def get_next(self) -> Feeds | None:
        return next(self._rest, None)


def calibrate(
    model: Path, examples: Examples, rows: list[int], size: int, recipe: Recipe, folder: Path
) -> Any:
    """Return the ranges of activations over examples.

    Args:
        model: the prepared model.
        examples: where the rows come from.
        rows: the examples to run.
        size: rows of one inference.
        recipe: says which operators, and how to find ranges.
        folder: for files in between.
    """
    method = getattr(CalibrationMethod, recipe.calibration or "MinMax")
    options: dict[str, Any] = {"symmetric": False}
    if method == CalibrationMethod.Percentile:
        options = {"percentile": 99.99, "num_bins": 2048, "symmetric": True}
    elif method == CalibrationMethod.Entropy:
        options = {"num_bins": 128, "num_quantized_bins": 128, "symmetric": True}
    calibrator = create_calibrator(
        model, list(recipe.operators), augmented_model_path=str(folder / "augmented.onnx"),
        calibrate_method=method, use_external_data_format=graph.file_bytes(model) > 1_500_000_000,
        extra_options=options,
    )  # fmt: skip
    held: list[Feeds] = []
    for _, feeds in examples.batches(rows, size):
        held.append(feeds)
        if len(held) == _CHUNK:
            calibrator.collect_data(_Reader(held))
            held = []
    if held:
        calibrator.collect_data(_Reader(held))
    return calibrator.compute_data()


def quantizable(model: Path, recipe: Recipe) -> list[str]:
    """Return the names of the nodes that a recipe would quantize, those with weights first."""
    loaded = graph.load(model)
    kinds = {*recipe.operators, *recipe.dynamic}
    weights = {t.name for part in graph.graphs(loaded.graph) for t in part.initializer}
    found = [node for node in loaded.graph.node if node.op_type in kinds]
    heavy = [n.name for n in found if set(n.input) & weights]
    return heavy + [n.name for n in found if n.name not in set(heavy)]


def build(
    recipe: Recipe, lifted: Path, prepared: Path, target: Path, ranges: Any = None,
    only: Collection[str] | None = None, device: str = "cpu",
) -> None:  # fmt: skip
    """Write the candidate of a recipe.

    Args:
        recipe: what to do.
        lifted: the model with its weights as initializers.
        prepared: the same, optimized for static quantization.
        target: the file to write.
        ranges: of activations, for static ones.
        only: names of the nodes to quantize, of the weights to store for w8; None for all.
        device: where it will run, ``cpu`` or ``cuda``.
    """
    if recipe.family in ("w8", "w16"):
        model = graph.load(lifted)
        chosen = only if recipe.family == "w8" else None
        store_weights(model, recipe.stored, only=chosen, half=recipe.excluded)
        _save(model, target, device)
        return
    stage = target.with_name(target.stem + ".stage.onnx")
    try:
        if recipe.family == "static":
            _static(recipe, prepared, stage, ranges, only)
        elif recipe.family == "dynamic":
            _dynamic(recipe.operators, lifted, stage, recipe.excluded, only)
        elif recipe.family in ("int4", "int8"):
            _nbits(recipe, lifted, stage, only)
        else:
            _half(lifted, stage, recipe.excluded)
        if recipe.dynamic:
            _dynamic(recipe.dynamic, stage, stage, recipe.excluded, only)
        model = graph.load(stage)
        if recipe.family != "fp16" and only is None:
            store_weights(model, recipe.stored)
        _save(model, target, device)
    finally:
        for file in target.parent.glob(stage.name + "*"):
            file.unlink()


def _save(model: ModelProto, target: Path, device: str) -> None:
    if device == "cpu":
        fuse.part_residuals(model)
    graph.save(model, target)


def _static(
    recipe: Recipe, source: Path, target: Path, ranges: Any, only: Collection[str] | None
) -> None:
    model = graph.load(source)
    if not _large(source):
        model = onnx.shape_inference.infer_shapes(model)
    model.metadata_props.add(
        key="onnx.infer", value="onnxruntime.quant"
    )  # the quantizer asks for it
    quantizer = QDQQuantizer(
        model, True, _SEVEN_BITS, QuantType.QInt8, QuantType.QUInt8, ranges,
        list(only) if only is not None else [], list(recipe.excluded), list(recipe.operators),
        {"MatMulConstBOnly": True},
    )  # fmt: skip
    quantizer.quantize_model()
    graph.save(quantizer.model.model, target)


def _dynamic(
    operators: tuple[str, ...], source: Path, target: Path, excluded: tuple[str, ...],
    only: Collection[str] | None,
) -> None:  # fmt: skip
    model = graph.load(source)
    nested = any(True for _ in graph.graphs(model.graph) if _ is not model.graph)
    kept = set(excluded)
    if only is not None:
        kept |= {n.name for n in model.graph.node if n.op_type in operators} - set(only)
    made = target.with_name(target.stem + ".dynamic.onnx")
    try:
        if "Gemm" in operators:  # it has no dynamic form, but MatMul and Add together have
            _split_gemms(model, kept)
            operators = tuple(dict.fromkeys("MatMul" if op == "Gemm" else op for op in operators))
            source = target.with_name(target.stem + ".split.onnx")
            graph.save(model, source)
        quantize_dynamic(
            str(source), str(made), op_types_to_quantize=list(operators), per_channel=True,
            reduce_range=_SEVEN_BITS, weight_type=QuantType.QInt8, nodes_to_exclude=sorted(kept),
            use_external_data_format=_large(source),
            extra_options={"EnableSubgraph": nested, "DefaultTensorType": onnx.TensorProto.FLOAT},
        )  # fmt: skip
        graph.save(graph.load(made), target)
    finally:
        for name in ("dynamic", "split"):
            for file in made.parent.glob(f"{target.stem}.{name}.onnx*"):
                file.unlink()


def _split_gemms(model: ModelProto, kept: set[str]) -> None:
    """Split each Gemm into MatMul and Add, in place; ``kept`` goes on naming what stays exact."""
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.name in kept:
            node.op_type = "KeptGemm"
    wrapped = ONNXModel(model)
    wrapped.replace_gemm_with_matmul()
    for node in model.graph.node:  # they are copies now
        if node.op_type == "KeptGemm":
            node.op_type = "Gemm"
    wrapped.topological_sort()
    graph.name_nodes(model)


def _nbits(recipe: Recipe, source: Path, target: Path, only: Collection[str] | None) -> None:
    model = graph.load(source)
    kept = set(recipe.excluded)
    if only is not None:
        kept |= {n.name for n in model.graph.node if n.op_type in recipe.operators} - set(only)
    quantizer = MatMulNBitsQuantizer(
        model, bits=recipe.bits, block_size=32, is_symmetric=False, accuracy_level=4,
        nodes_to_exclude=sorted(kept),
    )  # fmt: skip
    quantizer.process()
    graph.save(quantizer.model.model, target)


def _half(source: Path, target: Path, excluded: tuple[str, ...]) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    made = convert_float_to_float16(
        graph.load(source), keep_io_types=True, node_block_list=list(excluded) or None
    )
    graph.save(made, target)


def _large(path: Path) -> bool:
    return graph.file_bytes(path) > 1_500_000_000
