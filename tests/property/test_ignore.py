"""The ignore rules against git itself, on random patterns and trees."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpukit.ignore import walk

NAMES = ("a", "b", "ab", "a.b", "aab", "foo", "x.py", "[a]", "é", "-")
patterns = st.one_of(
    st.sampled_from([
        "*.b", "a", "/a", "a/", "/a/b", "a/b", "a/*", "**/a", "a/**", "a/**/b", "**", "*", "!a",
        "!*.b", "!/a/b", "[ab]", "[!a]", "[a-b]b", "?", "a?b", "\\!a", "\\#", "#a", "  ", "a ",
        "a\\ ", "foo/", "/*", "!/foo", "a**b", "[^a]*", "\\[a\\]", "é", "**/", "/**", "a//b", "/",
        "!", "[a", "-", "[-a]",
    ]),
    st.text(st.sampled_from("ab*?/!.[]\\-"), min_size=1, max_size=5),
)  # fmt: skip
trees = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map("/".join), max_size=12, unique=True
)
ignores = st.dictionaries(
    st.sampled_from(["", "a/", "b/", "a/b/"]),
    st.lists(patterns, min_size=1, max_size=4),
    max_size=3,
)


@pytest.fixture(scope="module")
def template() -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is the judge here, and is not installed")
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["git", "init", "-q", folder], check=True)
    return folder


def write_tree(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            continue


@settings(max_examples=60, deadline=None)
@given(trees, ignores)
def test_git_leaves_out_the_same_files(
    template: Path, tree: list[str], rules: dict[str, list[str]]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_tree(folder, tree)
        for where, lines in rules.items():
            if (folder / where).is_dir():
                (folder / where / ".gitignore").write_text("\n".join(lines), encoding="utf-8")
        listed = subprocess.run(
            ["git", f"--git-dir={template}/.git", f"--work-tree={folder}", "ls-files", "-coz",
             "--exclude-standard"], cwd=folder, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert sorted(name for name, _ in walk(folder)) == sorted(listed.split("\0")[:-1])
