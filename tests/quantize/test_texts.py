"""Lines of text become a model's inputs as the tokenizer beside it says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from gpukit.errors import UsageError
from gpukit.quantize.data import Input
from gpukit.quantize.texts import tokenized

WORDS = ["<s>", "<pad>", "</s>", "one", "two", "three"]
OPEN = (
    Input("input_ids", "int64", (None, None)), Input("attention_mask", "int64", (None, None)),
)  # fmt: skip
FIXED = (Input("input_ids", "int64", (None, 6)),)
ROWS = [{"text": "one", "label": 1}, {"text": "one two three", "label": 0}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A tokenizer whose padding token is not number 0, as that of RoBERTa."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="</s>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )  # fmt: skip
    path = tmp_path / "tokenizer.json"
    made.save(str(path))
    settings = {"pad_token": {"content": "<pad>"}, "model_max_length": None}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def test_single_texts_are_not_padded(file: Path) -> None:
    first, second = tokenized(file, OPEN, 1, ROWS)
    assert first == {"label": 1, "input_ids": [0, 3, 2], "attention_mask": [1, 1, 1]}
    assert second["input_ids"] == [0, 3, 4, 5, 2]


def test_padding_is_the_tokenizers_own(file: Path) -> None:
    first, _ = tokenized(file, OPEN, 2, ROWS)
    assert first["input_ids"] == [0, 3, 2, 1, 1]
    assert first["attention_mask"] == [1, 1, 1, 0, 0]
    assert tokenized(file, FIXED, 1, ROWS)[0] == {"label": 1, "input_ids": [0, 3, 2, 1, 1, 1]}


def test_pairs_limits_and_rows_without_text(file: Path) -> None:
    pair: list[dict[str, Any]] = [{"text": "one", "text_pair": "two"}]
    kinds = (*OPEN, Input("token_type_ids", "int64", (None, None)))
    found = tokenized(file, kinds, 1, pair)[0]
    assert found["input_ids"] == [0, 3, 2, 4, 2]
    assert found["token_type_ids"] == [0, 0, 0, 1, 1]
    file.with_name("tokenizer_config.json").write_text('{"model_max_length": 4}')
    assert tokenized(file, OPEN, 1, ROWS)[1]["input_ids"] == [0, 3, 4, 2]
    numbers = [{"input_ids": [1]}]
    assert tokenized(file, OPEN, 1, numbers) is numbers


def test_what_cannot_be_tokenized(file: Path) -> None:
    wrong: list[list[dict[str, Any]]] = [[*ROWS, {"label": 1}], [{"text": 3}]]
    for rows in wrong:
        with pytest.raises(UsageError, match="has no text") as caught:
            tokenized(file, OPEN, 1, rows)
        assert caught.value.id == "data-row"
    file.write_text("{}")
    with pytest.raises(UsageError) as caught:
        tokenized(file, OPEN, 1, ROWS)
    assert caught.value.id == "tokenizer-corrupt"
