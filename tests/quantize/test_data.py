"""Examples: what fits a model's inputs, and what is refused."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpukit.errors import UsageError
from gpukit.quantize.data import Examples, Input
from gpukit.quantize.datafiles import read_examples
from gpukit.quantize.export import companions_of, compressed, compression_for
from gpukit.quantize.split import halves, without_overlap

X = Input("x", "float32", (None, 3))
IDS = Input("ids", "int64", (None, None))


def floats(n: int = 5, *shape: int) -> Any:
    return np.random.default_rng(0).normal(size=(n, *(shape or (3,)))).astype(np.float32)


def refused(source: Any, *inputs: Input, **how: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read_examples(source, inputs or (X,), "--eval", **how)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("arrays", "id"),
    [
        ({}, "input-missing"),
        ({"y": np.zeros(5)}, "input-missing"),
        ({"X": floats()}, "input-missing"),
        ({"x": floats(), "z": floats()}, "input-unknown"),
        ({"x": floats().astype(np.float64)}, "input-dtype"),
        ({"x": np.zeros((5, 3), np.int64)}, "input-dtype"),
        ({"x": floats(5, 4)}, "input-shape"),
        ({"x": floats(5, 3, 3, 3)}, "input-shape"),
        ({"x": floats(0)}, "data-empty"),
        ({"x": floats(), "labels": np.zeros(4)}, "data-lengths"),
        ({"x": floats(), "labels": np.array([0, 1, np.nan, 0, 1])}, "labels-not-finite"),
        ({"x": np.full((5, 3), np.nan, np.float32)}, "input-not-finite"),
        ({"x": np.full((5, 3), np.inf, np.float32)}, "input-not-finite"),
    ],
)
def test_arrays_that_do_not_fit(arrays: dict[str, Any], id: str, tmp_path: Path) -> None:
    assert refused(arrays).id == id
    if arrays:
        np.savez(tmp_path / "d.npz", allow_pickle=False, **arrays)
        assert refused(tmp_path / "d.npz").id == id


def test_the_name_that_was_meant_is_told() -> None:
    inputs = (Input("input_ids", "int64", (None, None)),)
    error = refused({"inputs_ids": np.zeros((5, 3), np.int64)}, *inputs)
    assert "did you mean 'inputs_ids'?" in error.hint


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "harmed",)

    harmful = np.empty(2, dtype=object)
    harmful[:] = [Harm(), Harm()]
    np.savez(tmp_path / "d.npz", x=harmful)
    assert refused(tmp_path / "d.npz").id == "data-pickled"
    (tmp_path / "e.npz").write_bytes(pickle.dumps(Harm()))
    assert refused(tmp_path / "e.npz").id in ("data-pickled", "data-corrupt")
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("name", ["d.npz", "d.jsonl", "d.csv"])
def test_damaged_files(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 {")
    assert refused(tmp_path / name).id in ("data-corrupt", "data-kind")
    assert refused(tmp_path / ("no" + name)).id == "data-missing"


def test_jsonl_gets_the_types_of_the_inputs(tmp_path: Path) -> None:
    lines = [{"x": [1, 2, 3], "label": 1}, {"x": [0.5, 2, 3], "label": 0}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_examples(tmp_path / "d.jsonl", (X,), "--eval")
    assert found.feeds([0, 1])["x"].dtype == np.float32
    assert found.labels is not None
    assert list(found.labels) == [1, 0]
    (tmp_path / "e.jsonl").write_text('{"x": [1, 2, 3]}\n{"y": 1}')
    assert refused(tmp_path / "e.jsonl").id == "data-row"
    (tmp_path / "f.jsonl").write_text('{"ids": [0.5]}\n{"ids": [1]}')
    assert refused(tmp_path / "f.jsonl", IDS).id == "input-dtype"


def test_rows_of_different_shapes(tmp_path: Path) -> None:
    lines = [{"ids": [1, 2, 3]}, {"ids": [4]}]
    (tmp_path / "d.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = read_examples(tmp_path / "d.jsonl", (IDS,), "--eval")
    assert found.ragged
    assert found.feeds([1])["ids"].tolist() == [[4]]
    for number, row in enumerate(lines):
        np.savez(tmp_path / f"{number}.npz", ids=np.array(row["ids"]))
    (tmp_path / "d.jsonl").unlink()
    again = read_examples(tmp_path, (IDS,), "--eval")
    assert again.feeds([0])["ids"].tolist() == [[1, 2, 3]]
    kept = Examples.open(again.save(tmp_path / "kept"))
    assert kept.feeds([0])["ids"].tolist() == [[1, 2, 3]]


def test_a_folder_of_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats())
    np.save(tmp_path / "labels.npy", np.arange(5))
    found = read_examples(tmp_path, (X,), "--eval")
    assert len(found) == 5
    assert found.labels is not None


def test_a_function_gives_examples_and_its_errors_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n"
        "import numpy as np\n@dataclass\nclass Shape:\n    size: int = 3\n"
        "def data():\n    return {'x': np.zeros((4, Shape().size), 'float32')}\n"
        "def rows():\n    return [{'x': np.zeros(3, 'float32'), 'label': 1}] * 3\n"
        "def broken():\n    raise KeyError('gone')\n"
    )
    assert len(read_examples(f"{tmp_path}/mine.py:data", (X,), "--eval")) == 4
    assert len(read_examples(f"{tmp_path}/mine.py:rows", (X,), "--eval")) == 3
    assert refused(f"{tmp_path}/mine.py:broken").id == "function-failed"
    assert refused(f"{tmp_path}/mine.py:absent").id == "function-import"
    assert refused("no.such.module:f").id == "function-import"


def test_whole_inputs_constants_and_fixed_axes() -> None:
    state = Input("state", "float32", (2, 1, 8))
    rate = Input("rate", "int64", ())
    data = {"x": floats(), "state": np.zeros((5, 2, 1, 8), np.float32), "rate": np.int64(16000)}
    found = read_examples(data, (X, state, rate), "--eval")
    feeds = found.feeds([3])
    assert {name: np.shape(v) for name, v in feeds.items()} == {
        "x": (1, 3), "state": (2, 1, 8), "rate": (),
    }  # fmt: skip
    assert not found.has_batch_axis
    shared = {**data, "state": np.zeros((2, 1, 8), np.float32)}
    assert read_examples(shared, (X, state, rate), "--eval").feeds([0])["state"].shape == (2, 1, 8)


def test_the_last_batch_is_filled_up() -> None:
    found = read_examples({"x": floats(5)}, (X,), "--eval")
    batches = list(found.batches(range(5), 2))
    assert [rows for rows, _ in batches] == [[0, 1], [2, 3], [4]]
    assert all(feeds["x"].shape == (2, 3) for _, feeds in batches)


def test_overlap_is_refused_and_an_accident_is_left_out() -> None:
    many = read_examples({"x": floats(400)}, (X,), "--eval")
    other = read_examples({"x": floats(400) + 1}, (X,), "--eval")
    with pytest.raises(UsageError, match="400 of 400 examples of --eval are in --calib"):
        without_overlap(many, many, ("--eval", "--calib"))
    with pytest.raises(UsageError, match="20 of 400"):
        without_overlap(many, many.take(range(20)), ("--eval", "--calib"))
    assert without_overlap(many, other, ("a", "b")) == (many, 0)
    columns = np.concatenate([np.asarray(other.columns["x"]), np.asarray(many.columns["x"])[:2]])
    touched = read_examples({"x": columns}, (X,), "--eval")
    kept, double = without_overlap(many, touched, ("a", "b"))
    assert (len(kept), double) == (398, 2)


def test_halves_share_nothing_and_follow_the_seed() -> None:
    data = np.repeat(floats(50), 2, axis=0)  # each example twice
    found = read_examples({"x": data}, (X,), "--eval")
    first, second = halves(found, seed=1)
    assert sorted(first + second) == list(range(100))
    keys = found.keys()
    assert not {keys[i] for i in first} & {keys[i] for i in second}
    assert halves(found, seed=1) == (first, second) != halves(found, seed=2)
    with pytest.raises(UsageError, match="1 different example"):
        halves(read_examples({"x": np.zeros((9, 3), np.float32)}, (X,), "--eval"), 0)


def test_what_goes_along_with_a_model_is_its_own(tmp_path: Path) -> None:
    mine = ["config.json", "tokenizer.json", "special_tokens_map.json", "vocab.txt", "merges.txt",
            "preprocessor_config.json", "added_tokens.json", "spiece.model", "source.spm",
            "tokenizer.model"]  # fmt: skip
    others = ["secrets.json", "notes.txt", "model.safetensors.index.json", "report.json"]
    for name in (*mine, *others):
        (tmp_path / name).write_text("{}")
    assert {file.name for file in companions_of(tmp_path)} == set(mine)


@pytest.mark.parametrize("how", ["xz -6", "gzip -1"])
def test_compressing_ends_in_time(how: str, tmp_path: Path) -> None:
    files = [tmp_path / "a", tmp_path / "b"]
    files[0].write_bytes(bytes(3_000_000))
    files[1].write_bytes(np.random.default_rng(0).bytes(1000))
    assert compression_for(files) == "xz -6"
    assert 1000 < (compressed(files, how, math.inf) or 0) < 20_000
    assert compressed(files, how, 0) is None
