"""The data: 569 tumours, 30 measurements each."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    x: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


def load(test: int = 114) -> tuple[Split, Split]:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = data.data[order], data.target[order]
    x = (x - x[test:].mean(0)) / x[test:].std(0)
    x = np.hstack([x, np.ones((len(x), 1))])
    names = (*map(str, data.feature_names), "(constant)")
    return Split(x[test:], y[test:], names), Split(x[:test], y[:test], names)
