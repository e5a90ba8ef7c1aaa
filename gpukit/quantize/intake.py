"""What comes in as a model: read without running anything, and refused with the reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import onnx
from onnx import ModelProto, TensorProto

from gpukit.errors import UsageError

from . import graph
from .data import Input

__all__ = [
    "Source", "check_external", "digest_of", "foreign_domains", "inputs_of", "read_onnx",
]  # fmt: skip

_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})

_QUANTIZED = frozenset({
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger",
    "QLinearConv", "QLinearMatMul", "MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
    "DynamicQuantizeLSTM", "QAttention", "QGemm", "QEmbedLayerNormalization", "MatMulBnb4",
    "GatherBlockQuantized",
})  # fmt: skip
_INTEGERS = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4)


@dataclass(frozen=True)
class Source:
    """A model that was read and found in order: its file, hash, bytes, version of operators."""

    path: Path
    sha256: str
    bytes: int
    opset: int
    files: tuple[Path, ...]


def read_onnx(path: Path, *, quantized: bool = False) -> tuple[ModelProto, Source]:
    """Read an ONNX file; its external data is looked for and hashed, and stays on disk.

    Args:
        path: the file.
        quantized: whether it may be quantized already.

    Raises:
        UsageError: it is missing, empty, damaged, already quantized, or its external data is
            missing, not readable, or lies outside of its folder.
    """
    if not path.exists():
        raise UsageError("model-missing", f"there is no model at {path}", "check the path")
    if not path.is_file():
        raise UsageError(
            "model-not-a-file", f"{path} is not a file",
            "give an .onnx file, a Hugging Face directory, or a checkpoint with --factory",
        )  # fmt: skip
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's own types of errors differ from version to version
        raise _corrupt(path, str(error) or type(error).__name__) from None
    if not model.ir_version or not model.graph.node or not model.opset_import:
        raise _corrupt(path, "no graph in it")
    if not model.graph.output:
        raise _corrupt(path, "no outputs")
    beside = check_external(model, path.parent)
    if not quantized:
        refuse_quantized(model, path)
    files = (path, *beside)
    try:
        digest = digest_of(files)
    except OSError as error:
        raise UsageError(
            "model-unreadable", f"{error.filename} cannot be read: {error.strerror}",
            "check its permissions, or copy the model again with the files beside it",
        ) from None  # fmt: skip
    size = sum(file.stat().st_size for file in files)
    return model, Source(path, digest, size, graph.opset_of(model), files)


def inputs_of(model: ModelProto) -> tuple[Input, ...]:
    """Return the inputs; those that are weights with a default are not required.

    Raises:
        UsageError: an input is a sequence, a map or optional: no array can be given for it.
    """
    stored = graph.initializer_names(model.graph)
    found = []
    for value in model.graph.input:
        if not value.type.HasField("tensor_type"):
            raise UsageError(
                "input-kind", f"the input {value.name!r} is not a tensor",
                "export the model so that all its inputs are arrays",
            )  # fmt: skip
        kind = value.type.tensor_type
        name = "str" if kind.elem_type == TensorProto.STRING else _numpy_name(kind.elem_type)
        shape = None
        if kind.HasField("shape"):
            shape = tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None
                          for d in kind.shape.dim)  # fmt: skip
        found.append(Input(value.name, name, shape, value.name not in stored))
    return tuple(found)


def _numpy_name(kind: int) -> str:
    return str(onnx.helper.tensor_dtype_to_np_dtype(kind).name)


def foreign_domains(model: ModelProto) -> list[str]:
    """Return the domains of operators that onnxruntime brings no kernels for."""
    own = {function.domain for function in model.functions}
    return sorted({node.domain for node in graph.nodes(model)} - own - _DOMAINS)


def digest_of(files: tuple[Path, ...]) -> str:
    """Return the SHA-256 over the contents of files, one after the other."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                total.update(chunk)
    return total.hexdigest()


def check_external(model: ModelProto, folder: Path) -> tuple[Path, ...]:
    """Return the files with external data, after looking at where they lie; none is opened.

    Raises:
        UsageError: a location leads out of the folder, also over a link, or a file is missing or
            shorter than the model says.
    """
    found: dict[str, Path] = {}
    for tensor in graph.tensors(model):
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        found.setdefault(location, _inside(location, folder, tensor.name))
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0))
        except ValueError:
            offset = length = -1
        size = found[location].stat().st_size
        if offset < 0 or length < 0 or offset + length > size:
            raise UsageError(
                "external-data-short",
                f"tensor {tensor.name!r} lies outside of the {size} bytes of {location!r}",
                "the file is cut off or belongs to another model: copy it again",
            )
    return tuple(found[name] for name in sorted(found))


def _inside(location: str, folder: Path, tensor: str) -> Path:
    parts = PurePosixPath(location.replace("\\", "/"))
    path = folder / location
    outside = not location or parts.is_absolute() or ".." in parts.parts
    if outside or not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            "external-data-outside",
            f"tensor {tensor!r} wants the file {location!r}, which is not in the model's folder",
            "do not trust this model; a link to a file elsewhere is to be replaced by a copy",
        )
    if not path.is_file():
        raise UsageError(
            "external-data-missing",
            f"the weights of {tensor!r} should be in {path}, which is missing",
            "copy the file with external data to where the model is",
        )  # fmt: skip
    return path


def refuse_quantized(model: ModelProto, path: Path) -> None:
    """Raise for a model that is quantized already: its loss would be measured against a loss."""
    marks = {node.op_type for node in graph.nodes(model)} & _QUANTIZED
    if not marks:
        stored = {t.name for t in graph.tensors(model) if t.data_type in _INTEGERS}
        casts = (n for n in graph.nodes(model) if n.op_type == "Cast" and n.input)
        if any(n.input[0] in stored and n.output[0].endswith(":float") for n in casts):
            marks = {"weights stored as int8"}
    if marks:
        raise UsageError(
            "model-already-quantized", f"{path} is quantized already: {', '.join(sorted(marks))}",
            "give the original model with floating-point weights",
        )  # fmt: skip


def _corrupt(path: Path, why: str) -> UsageError:
    return UsageError(
        "model-corrupt", f"{path} is not a readable ONNX model: {why.splitlines()[0]}",
        "export or download it again; a Git LFS pointer is a text file of three lines",
    )  # fmt: skip
