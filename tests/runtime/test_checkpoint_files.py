"""The files of a checkpoint: what is kept, what is refused, and that no damage goes unseen."""

from __future__ import annotations

import collections
import ctypes
import io
import json
import math
import mmap
import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load as official_load

from gpukit import Checkpointer
from gpukit.errors import CheckpointError
from gpukit.runtime.checkpoint import arena, pages, tensorfile
from gpukit.runtime.checkpoint.codec import decode, encode
from gpukit.runtime.checkpoint.engine import FencedError, SyncEngine, Writer
from gpukit.runtime.checkpoint.manifest import FOLDER, checkpoint_names
from gpukit.runtime.checkpoint.state import Registry
from gpukit.runtime.store import DirectoryStore

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip

KEYS = st.one_of(st.text(max_size=5), st.integers(), st.tuples(st.integers(), st.text(max_size=2)))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(max_size=9)
)
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(KEYS, inner, max_size=3),
        st.frozensets(st.integers(), max_size=1),
    ),
    max_leaves=8,
)


def round_trip(state: object) -> Any:
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(encode(state, tensors, "state"))
    stream = io.BytesIO()
    sums = tensorfile.write(tensors, stream.write)
    return decode(json.loads(text), tensorfile.read(io.BytesIO(stream.getvalue()), sums.to_json()))


@given(STATES)
@settings(max_examples=300)
def test_any_plain_state_comes_back(state: object) -> None:
    assert repr(round_trip(state)) == repr(state)  # repr: NaN, and 1 is not True


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_layout_comes_back(dtype: torch.dtype) -> None:
    whole = (torch.arange(24).reshape(4, 6) % 5).to(dtype)
    state = {
        "whole": whole, "scalar": whole[1, 2], "empty": whole[:0], "column": whole[:, 1::2],
        "transposed": whole.t(), "conj": whole.conj(),
    }  # fmt: skip
    back = round_trip(state)
    for name, tensor in state.items():
        assert back[name].dtype == dtype
        assert torch.equal(back[name], tensor), name


def test_numpy_and_friends_come_back() -> None:
    state = {
        "array": np.arange(6, dtype=np.uint32).reshape(2, 3), "scalar": np.float32(0.1),
        "empty": np.zeros((0, 3)), "large": np.arange(20_000.0),
        "generator": np.random.get_state(), "python": random.getstate(),
        "deque": collections.deque([1, 2]), "dtype": torch.bfloat16, "inf": -math.inf,
    }  # fmt: skip
    back = round_trip(state)
    assert back["array"].dtype == np.uint32
    assert (back["array"] == state["array"]).all()
    assert back["scalar"] == state["scalar"]
    assert back["empty"].shape == (0, 3)
    assert (back["large"] == state["large"]).all()
    assert back["python"] == state["python"]
    np.random.set_state(back["generator"])
    assert (back["deque"], back["dtype"], back["inf"]) == (
        state["deque"],
        torch.bfloat16,
        -math.inf,
    )


def test_what_cannot_be_kept_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"model\.hooks\.0 is a .*function"):
        encode({"hooks": [lambda: None]}, {}, "model")
    with pytest.raises(CheckpointError, match="no state_dict"):
        Registry({"thing": object()})


def test_the_official_reader_accepts_the_file() -> None:
    tensors = {f"t{i}": torch.rand(3, i) for i in range(4)}
    stream = io.BytesIO()
    sums = tensorfile.write(tensors, stream.write)
    data = stream.getvalue()
    assert len(data) == sums.size
    official = official_load(data)
    assert all(torch.equal(official[name], tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    "entries",
    [
        {"a": {"dtype": "F32", "shape": [1 << 50], "data_offsets": [0, 4 << 50]}},
        {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8]}},
        {"a": {"dtype": "U8", "shape": [-2, -4], "data_offsets": [0, 8]}},
        {
            "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
            "b": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
        },
        ["no", "object"],
    ],
)
def test_a_header_that_lies_is_damage_and_asks_for_no_memory(entries: object) -> None:
    text = json.dumps(entries).encode()
    stream = len(text).to_bytes(8, "little") + text + bytes(8)
    with pytest.raises(tensorfile.DamagedFileError):
        tensorfile.read(io.BytesIO(stream), {"size": len(stream), "crc32": []})


def test_no_memory_is_not_taken_for_damage() -> None:
    size = 1 << 50  # no address space has so much
    text = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    stream = io.BytesIO(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError) as caught:
        tensorfile.read(stream, {"size": size + len(text) + 8, "crc32": []})
    assert caught.value.id == "no-room-to-resume"


def test_memory_is_there_before_it_is_filled_and_keeps_what_it_holds() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    size = 64 << 20
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[5:8] = b"abc"
    base, before = ctypes.addressof(ctypes.c_char.from_buffer(memory)), resident()
    halves = [(base + 3, base + size // 2), (base + size // 2, base + size)]
    with pages.prefaulted(halves):
        end = time.monotonic() + 60.0
        while resident() < before + size * 3 // 4 and time.monotonic() < end:
            time.sleep(0.001)
    assert resident() >= before + size * 3 // 4
    assert memory[5:8] == b"abc"


def state_of(value: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(value)
    return {"value": value, "weights": torch.rand(3_000_000, generator=generator)}


def engine(root: Path, attempt: int = 1, **options: Any) -> SyncEngine:
    return SyncEngine(DirectoryStore(root), Writer("run", attempt), **options)


def loaded(root: Path) -> Any:
    found = engine(root, attempt=99).load_newest()
    assert found is not None
    assert torch.equal(found.state["weights"], state_of(found.state["value"])["weights"])
    return found


def test_any_damage_is_seen_and_the_older_one_is_used(tmp_path: Path) -> None:
    """A flipped bit or a missing end anywhere in any file: the newest good one is loaded."""
    saver = engine(tmp_path)
    for step in (1, 2):
        saver.save(step, state_of(step))
    assert loaded(tmp_path).state["value"] == 2
    newest = tmp_path / checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))[0].folder
    chance = random.Random(0)
    for file in sorted(newest.iterdir()):
        good = file.read_bytes()
        spots = {0, 3, 9, len(good) // 2, len(good) - 1, chance.randrange(len(good))}
        for spot in spots:
            damaged = bytearray(good)
            damaged[spot] ^= 1 << chance.randrange(8)
            file.write_bytes(damaged)
            found = loaded(tmp_path)
            assert found.state["value"] == 1, f"{file.name} at {spot}"
            assert len(found.skipped) == 1
        for size in (0, 5, len(good) // 2, len(good) - 1):
            file.write_bytes(good[:size])
            assert loaded(tmp_path).state["value"] == 1, f"{file.name} cut to {size}"
        file.write_bytes(good + b"\0")
        assert loaded(tmp_path).state["value"] == 1, f"{file.name} with one byte more"
        file.unlink()
        assert loaded(tmp_path).state["value"] == 1, f"{file.name} missing"
        file.write_bytes(good)
    assert loaded(tmp_path).state["value"] == 2


def test_without_any_good_one_the_error_says_what_to_do(tmp_path: Path) -> None:
    engine(tmp_path).save(1, state_of(1))
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint of this run is intact") as info:
        engine(tmp_path, attempt=2).load_newest()
    assert "--fresh" in info.value.hint


def test_only_the_newest_are_kept_and_no_scraps(tmp_path: Path) -> None:
    scrap = tmp_path / FOLDER / "step-000000001.a0001.n0001"
    scrap.mkdir(parents=True)
    (scrap / "rank-0.safetensors").write_bytes(b"left by an attempt that was killed")
    saver = engine(tmp_path, attempt=2, keep=2)
    for step in range(1, 6):
        saver.save(step, {"value": step})
    steps = [name.step for name in checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))]
    assert steps == [5, 4]
    assert sorted(p.name for p in (tmp_path / FOLDER).iterdir()) == [
        "step-000000004.a0002.n0004",
        "step-000000005.a0002.n0005",
    ]


def test_an_older_attempt_cannot_publish(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    zombie = engine(tmp_path, attempt=1)
    zombie.save(1, {"value": 1})
    store.create("record/attempt-00002.json", b"{}")
    with pytest.raises(FencedError):
        zombie.save(2, {"value": 2})
    assert [name.step for name in checkpoint_names(store.list(FOLDER))] == [1]


def test_a_changed_model_is_refused_with_the_differences() -> None:
    saved = Registry({"model": torch.nn.Linear(3, 2)}).capture()
    with pytest.raises(CheckpointError) as info:
        Registry({"model": torch.nn.Linear(4, 2)}).restore(saved)
    assert "model.weight is (2, 4) here and (2, 3) there" in info.value.message
    with pytest.raises(CheckpointError, match=r"not in it: ema; only in it: model"):
        Registry({"ema": torch.nn.Linear(3, 2)}).restore(saved)


def test_a_save_that_memory_was_not_ready_for_is_made_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold, touch = threading.Event(), arena.Arena._touch
    monkeypatch.setattr(
        arena.Arena, "_touch", lambda self, memory: hold.wait(60.0) and touch(self, memory)
    )
    model = torch.nn.Linear(40, 40)
    ckpt = Checkpointer(model=model, directory=tmp_path, every_steps=1)
    for _ in ckpt.epochs(1):
        for step in ckpt.batches(range(3)):
            if step == 2:
                threading.Timer(0.2, hold.set).start()
    ckpt.save()
    names = checkpoint_names(DirectoryStore(tmp_path).list(FOLDER))
    assert [(name.step, name.number) for name in names] == [(3, 2), (3, 1)]
