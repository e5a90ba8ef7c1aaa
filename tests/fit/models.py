"""Factories of small models of different kinds, as users write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["FACTORIES"]


def mlp(batch_size: int = 32) -> object:
    model = nn.Sequential(
        nn.Linear(256, 1024), nn.LayerNorm(1024), nn.GELU(), nn.Linear(1024, 1024), nn.ReLU(),
        nn.Linear(1024, 10),
    )  # fmt: skip
    labels = torch.randint(0, 10, (batch_size,))
    return model, torch.randn(batch_size, 256), lambda out: nn.functional.cross_entropy(out, labels)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 32, 3, padding=1)
        self.norm = nn.BatchNorm2d(32)
        self.second = nn.Conv2d(32, 64, 3, padding=1)
        self.head = nn.Linear(64 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(nn.functional.relu(self.norm(self.first(x))), 2)
        x = nn.functional.max_pool2d(nn.functional.relu(self.second(x)), 2)
        out: Tensor = self.head(x.flatten(1))
        return out


def convolutions() -> object:
    return _Net(), torch.randn(16, 3, 32, 32)


class _Attention(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.qkv, self.out = nn.Linear(128, 384), nn.Linear(128, 128)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, 4, width // 4).permute(2, 0, 3, 1, 4)
        p = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, length, width)
        return nn.functional.dropout(self.out(mixed), p, self.training)


class _Language(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.embed = nn.Embedding(500, 128)
        self.blocks = nn.ModuleList(_Attention(dropout) for _ in range(3))
        self.norms = nn.ModuleList(nn.LayerNorm(128) for _ in range(3))

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embed(tokens)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = x + block(norm(x))
        return x @ self.embed.weight.T  # tied


def language(batch_size: int = 4, dropout: float = 0.0) -> object:
    tokens = torch.randint(0, 500, (batch_size, 64))
    return _Language(dropout), {"tokens": tokens}


def language_with_dropout(batch_size: int = 4) -> object:
    return language(batch_size, 0.1)


def recurrent() -> object:
    return nn.LSTM(64, 128, batch_first=True), torch.randn(8, 20, 64)


def half_frozen() -> Any:
    made: Any = mlp()
    made[0][0].requires_grad_(False)
    return made


def transformers_bert() -> object:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512,
        vocab_size=1000,
    )  # fmt: skip
    tokens = torch.randint(0, 1000, (4, 64))
    labels = torch.zeros(4, dtype=torch.long)
    model: Any = BertForSequenceClassification(config)
    return model, {"input_ids": tokens, "labels": labels}


FACTORIES: dict[str, Callable[..., object]] = {
    one.__name__: one
    for one in (
        mlp, convolutions, language, language_with_dropout, recurrent, half_frozen,
        transformers_bert,
    )
}  # fmt: skip
