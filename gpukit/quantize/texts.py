"""Lines of text made into a model's inputs, with the tokenizer that lies beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpukit.errors import UsageError

from .data import Input

__all__ = ["Rows", "tokenized"]

Rows = list[dict[str, Any]]

_LONGEST = 256  # tokens of a text, unless the tokenizer's own limit is lower
_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}


def tokenized(file: Path, inputs: Sequence[Input], batch: int, rows: Rows) -> Rows:
    """Return rows with ``text`` (and ``text_pair``) made into tokens.

    They are filled up to the length that the model fixes; else, where several share an inference,
    to one length; else not at all, as a service of single texts would have them.

    Args:
        file: ``tokenizer.json``; what its neighbours say of its limit and its padding is followed.
        inputs: the inputs of the model.
        batch: examples of one inference.
        rows: the lines of a .jsonl.

    Raises:
        UsageError: the tokenizer cannot be used, or a line has no text.
    """
    if not rows or "text" not in rows[0]:
        return rows
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UsageError(
            "tokenizers-missing", "lines with a text need the package tokenizers",
            "pip install tokenizers, or write input_ids and attention_mask yourself",
        ) from None  # fmt: skip
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # its own type of error
        raise UsageError(
            "tokenizer-corrupt", f"{file} cannot be read: {error}",
            "save it again with tokenizer.save_pretrained, or write input_ids yourself",
        ) from None  # fmt: skip
    config = _config(file.with_name("tokenizer_config.json"))
    wanted = {i.name: _FIELDS[i.name] for i in inputs if i.name in _FIELDS}
    fixed = next((i.shape[-1] for i in inputs if i.name == "input_ids" and i.shape), None)
    tokenizer.enable_truncation(fixed or min(_LONGEST, int(config.get("model_max_length") or 1e9)))
    if fixed or batch > 1:
        tokenizer.enable_padding(length=fixed, **_padding(tokenizer, config))
    else:
        tokenizer.no_padding()
    encoded = tokenizer.encode_batch([_text(row, number) for number, row in enumerate(rows, 1)])
    return [
        {
            **{k: v for k, v in row.items() if k not in ("text", "text_pair")},
            **{name: getattr(one, of) for name, of in wanted.items()},
        }
        for row, one in zip(rows, encoded, strict=True)
    ]


def _text(row: dict[str, Any], number: int) -> str | tuple[str, str]:
    found = [row.get("text"), *([row.get("text_pair")] if "text_pair" in row else [])]
    if not all(isinstance(text, str) for text in found):
        raise UsageError(
            "data-row", f"line {number} has no text where the first line has one",
            'write {"text": "…"} on each line; "text_pair" beside it for pairs',
        )  # fmt: skip
    return (found[0], found[1]) if len(found) == 2 else found[0]  # type: ignore[return-value]


def _padding(tokenizer: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Return how to pad: some models count positions from the number of the padding token."""
    known = tokenizer.padding
    if known:
        return {k: known[k] for k in ("direction", "pad_id", "pad_type_id", "pad_token")}
    token = config.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    number = tokenizer.token_to_id(token) if token else None
    made = {} if number is None else {"pad_token": token, "pad_id": number}
    return {**made, "direction": config.get("padding_side") or "right"}


def _config(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
