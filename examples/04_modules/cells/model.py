"""The model: logistic regression by proximal gradient descent."""

import numpy as np

from .data import Split


def fit(data: Split, rate: float, steps: int, lasso: bool, strength: float) -> np.ndarray:
    weights = np.zeros(data.x.shape[1])
    for _ in range(steps):
        slope = data.x.T @ (probability(weights, data.x) - data.y) / len(data.y)
        weights -= rate * slope
        shrunk = np.sign(weights) * np.maximum(abs(weights) - rate * strength, 0)
        weights = shrunk if lasso else weights / (1 + rate * strength)
    return weights


def predict(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return (probability(weights, x) > 0.5).astype(int)


def probability(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x @ weights))
