"""What a model is made of: operators, and which of them hold the weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onnx import ModelProto, TensorProto

from . import graph

__all__ = ["Census", "take_census"]


@dataclass(frozen=True)
class Census:
    """Counts of operators, elements of weights by the operator that reads them, and more.

    ``weights`` has the operators with an 8-bit form; what others read is under ``other``.
    """

    operators: dict[str, int]
    weights: dict[str, int]
    parameters: int
    opset: int
    subgraphs: int
    half: bool

    def share(self, *operators: str) -> float:
        """Return the part of all weights that these operators read, 0 to 1."""
        return sum(self.weights.get(name, 0) for name in operators) / max(self.parameters, 1)


_KNOWN = ("MatMul", "Gemm", "Gather", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN")


def take_census(model: ModelProto) -> Census:
    """Count operators and weights, those of subgraphs too."""
    readers = graph.consumers(model.graph)
    weights: Counter[str] = Counter()
    half = False
    for part in graph.graphs(model.graph):
        for tensor in part.initializer:
            if tensor.data_type not in graph.FLOATS:
                continue
            half = half or (
                tensor.data_type == TensorProto.FLOAT16 and graph.elements(tensor) > 256
            )
            names = [node.op_type for node, _ in readers.get(tensor.name, [])]
            kind = next((name for name in names if name in _KNOWN), "other")
            weights[kind] += graph.elements(tensor)
    return Census(
        operators=dict(sorted(Counter(node.op_type for node in graph.nodes(model)).items())),
        weights=dict(sorted(weights.items())),
        parameters=sum(weights.values()),
        opset=graph.opset_of(model),
        subgraphs=sum(1 for _ in graph.graphs(model.graph)) - 1,
        half=half,
    )
