"""What the job says at its end."""

import numpy as np
from cells.data import Split
from cells.model import predict


def accuracy(weights: np.ndarray, split: Split) -> float:
    return round(float((predict(weights, split.x) == split.y).mean()), 4)


def text(weights: np.ndarray, split: Split, penalty: str) -> str:
    strongest = np.argsort(-abs(weights))[:5]
    lines = [f"{weights[i]:+8.3f}  {split.names[i]}" for i in strongest]
    head = f"penalty: {penalty}\naccuracy: {accuracy(weights, split)}\nstrongest features:"
    return "\n".join([head, *lines, ""])
