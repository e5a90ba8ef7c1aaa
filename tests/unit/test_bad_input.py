"""Every kind of bad input ends in an error for a person: an id, what is wrong, what to do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukit.errors import GpukitError
from tests.bad_input import CASES, Case
from tests.fresh import fresh_imports, write_files

_PER_ID, _KINDS, _IDS = 5, 200, 60


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder of its own, with no settings but what a case brings."""
    monkeypatch.chdir(tmp_path)
    for name in ("GPUKIT_HOME", "GPUKIT_DEBUG", "NO_SUCH_VARIABLE", "TOKEN_NOT_SET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with fresh_imports():
        yield tmp_path


def error_of(case: Case, monkeypatch: pytest.MonkeyPatch) -> GpukitError:
    write_files(Path(), case.files)
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(GpukitError) as caught:
        case.attempt()
    return caught.value


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.id}: {case.words[:60]}")
def test_bad_input_is_refused_in_words(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    error = error_of(case, monkeypatch)
    assert error.id == case.id, error
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", error.id)
    assert error.message
    assert not error.message.endswith(".")
    assert len(error.message) <= 2100
    assert error.hint.strip()
    assert error.hint not in error.message
    assert "\n" not in error.hint + error.message
    assert not _is_talk_of_python(error)


def _is_talk_of_python(error: GpukitError) -> bool:
    """Tell whether the message is what an exception of Python happened to say."""
    talk = ("object has no attribute", "NoneType", "value error, ", "unhashable", "<class '")
    return any(word in error.message for word in talk)


def test_there_are_enough_kinds() -> None:
    by_id = Counter(case.id for case in CASES)
    counted = sum(min(count, _PER_ID) for count in by_id.values())
    assert len({case.words for case in CASES}) == len(CASES)
    assert len(by_id) >= _IDS, sorted(by_id)
    assert counted >= _KINDS


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [case for case in CASES if case.argv and "GPUKIT_HOME" not in case.environ]
    for number, case in enumerate(lines):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        with fresh_imports():
            error_of(case, monkeypatch)
        there = {p.name for p in place.rglob("*") if "__pycache__" not in p.parts}
        brought = {part for name in case.files for part in Path(name).parts}
        assert there == brought, case.words
