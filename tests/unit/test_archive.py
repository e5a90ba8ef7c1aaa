"""The archive: what is shipped, that a pod can run it, and that it is always the same bytes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import gpukit
from gpukit.archive import Archive
from gpukit.jobfile import load_job, locate
from gpukit.runtime.arguments import encode_arguments
from tests.fresh import JOB, fresh_imports, pack, user_files, write_files


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with fresh_imports():
        yield


def unpack(archive: Archive, to: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        for member in tar.getmembers():
            assert member.isfile()
            target = to / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            target.write_bytes(content.read())
    return to


IN_POD = """
import importlib, json, sys
root, paths, module, function = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3], sys.argv[4]
sys.path[:0] = [f"{root}/src/{p}" for p in paths] + [f"{root}/lib"]
from gpukit.runtime.arguments import decode_arguments, encode_arguments
job = getattr(importlib.import_module(module), function)
result = job(**decode_arguments(job.function, json.load(sys.stdin)))
print(json.dumps(encode_arguments(lambda result: None, (result,))["result"]))
"""


def run_in_pod(archive: Archive, file: Path, folder: Path, *args: Any, **kwargs: Any) -> Any:
    """Run the archive as a pod does: a bare Python, in another place, without the sources."""
    job = load_job(str(file))
    found = locate(job)
    arguments = json.dumps(encode_arguments(job.function, args, kwargs))
    unpack(archive, folder)
    paths = json.dumps(archive.paths)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IN_POD, folder, paths, found.module, found.function],
        input=arguments, capture_output=True, text=True, check=False, cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


NASTY = {
    "pyproject.toml": "",
    "jobs/nasty_job.py": '''
        """A job with all that breaks source text: $HOME, `id`, $(id), ${X}, "a", 'b', \\\\ and EOF
        EOM
        """
        from __future__ import annotations

        import enum
        import functools
        from dataclasses import dataclass, field
        from pathlib import Path

        from nasty_helpers import größe, wrap
        from gpukit import gpu_job
        from nasty_lib.deep import tool
        import nasty_lib.other as other

        class Color(enum.Enum):
            RED = "$RED"

        @dataclass
        class Config:
            lr: float
            color: Color = Color.RED
            inner: tuple[Color, ...] = ()
            out: Path = field(default_factory=lambda: Path("/tmp/$x"))

        @gpu_job(profile="cpu", labels={"a": "b"})
        @wrap
        def train(text: str, config: Config, *, n: int = 3, path: Path = Path("d"), extra=None):
            from nasty_late import late
            return [text, f"$HOME `{n}`", config.lr, config.color.value, str(config.out), str(path),
                    größe("ß"), tool(), other.NAME, late(), extra, [c.name for c in config.inner]]
    ''',
    "jobs/nasty_helpers.py": """
        import functools

        def wrap(function):
            @functools.wraps(function)
            def wrapper(*args, **kwargs):
                return [*function(*args, **kwargs), "wrapped"]
            return wrapper

        def größe(x):
            return f"größe {x} $1 `x`"
    """,
    "jobs/nasty_late.py": "def late():\n    return 'late'\n",
    "jobs/not_used.py": "raise RuntimeError",
    "jobs/nasty_lib/__init__.py": "from . import början\n",
    "jobs/nasty_lib/början.py": "",
    "jobs/nasty_lib/other.py": "from .deep.levels.down import NAME\n",
    "jobs/nasty_lib/unused.py": "raise RuntimeError",
    "jobs/nasty_lib/deep/__init__.py": "from .tool import tool\n",
    "jobs/nasty_lib/deep/tool.py": "def tool():\n    return tool.__name__\n",
    "jobs/nasty_lib/deep/levels/down.py": "from ...base import y\nNAME = 'down'\n",
    "jobs/nasty_lib/base.py": "y = 1\n",
}


def test_code_that_breaks_others_runs_in_a_bare_python(tmp_path: Path) -> None:
    file = write_files(tmp_path / "here", NASTY) / "jobs/nasty_job.py"
    job = load_job(str(file))
    module = sys.modules["nasty_job"]
    config = module.Config(0.5, inner=(module.Color.RED,))
    args = ("$(id) `x` \" ' \\ \n EOF", config)
    kwargs = {"path": Path("ä b"), "extra": {"a": {}, "z": [1, None, True, 2.5, "é"]}}
    here = job(*args, **kwargs)
    archive = pack(file)
    assert (
        json.loads(json.dumps(run_in_pod(archive, file, tmp_path / "pod", *args, **kwargs)))[:10]
        == here[:10]
    )
    names = set(user_files(archive))
    assert {"jobs/not_used.py", "jobs/nasty_lib/unused.py", "pyproject.toml"}.isdisjoint(names)
    assert names == {n for n in NASTY if "used" not in n and n.endswith(".py")}
    assert archive.paths == ("jobs",)
    assert user_files(archive)["jobs/nasty_job.py"] == "job"
    assert archive.warnings == ()


def test_a_module_of_a_package_runs(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "",
        "src/lab/__init__.py": "",
        "src/lab/jobs/__init__.py": "",
        "src/lab/jobs/rel_job.py": "from ..common import N\nimport lab.more" + JOB,
        "src/lab/common.py": "N = 2",
        "src/lab/more/__init__.py": "",
        "src/lab/more/unused.py": "",
    }  # fmt: skip
    file = write_files(tmp_path / "here", files) / "src/lab/jobs/rel_job.py"
    archive = pack(file)
    assert archive.paths == ("src",)
    assert "src/lab/more/__init__.py" in user_files(archive)
    assert "src/lab/more/unused.py" not in user_files(archive)
    assert run_in_pod(archive, file, tmp_path / "pod", 7) == 7


def test_a_library_of_the_project_beside_the_folder_of_the_scripts(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": "",
        "scripts/lib_job.py": JOB.replace("return epochs", "import mylib_x\n    return mylib_x.N"),
        "src/mylib_x/__init__.py": "N = 5",
    }
    file = write_files(tmp_path / "here", files) / "scripts/lib_job.py"
    archive = pack(file)
    assert archive.paths == ("scripts", "src")
    assert run_in_pod(archive, file, tmp_path / "pod", 7) == 5


def test_a_script_in_a_package_may_import_its_siblings(tmp_path: Path) -> None:
    files = {
        "mix/__init__.py": "", "mix/mix_job.py": "import mix_sibling, pydantic, logging" + JOB,
        "mix/mix_sibling.py": "", "mix/pydantic.py": "1 / 0", "mix/logging.py": "1 / 0",
    }  # fmt: skip
    archive = pack(write_files(tmp_path / "here", files) / "mix/mix_job.py")
    assert archive.paths == (".", "mix")
    assert set(user_files(archive)) == {"mix/__init__.py", "mix/mix_job.py", "mix/mix_sibling.py"}


IMPORTS: list[tuple[str, Sequence[str]]] = [
    ("import pk.a", ["pk/__init__.py", "pk/a.py"]),
    ("import pk.a as z, one", ["pk/__init__.py", "pk/a.py", "one.py"]),
    ("from pk import a", ["pk/__init__.py", "pk/a.py"]),
    ("from pk import *", ["pk/__init__.py", "pk/a.py", "pk/b.py", "one.py"]),
    ("from pk.a import missing_name", ["pk/__init__.py", "pk/a.py"]),
    ("from ns.sub import mod", ["ns/sub/mod.py"]),
    ("import ns.sub.mod", ["ns/sub/mod.py"]),
    ("try:\n    import one\nexcept ImportError:\n    import two", ["one.py", "two.py"]),
    ("if 1:\n    def f():\n        class A:\n            from pk import b",
     ["pk/__init__.py", "pk/b.py", "one.py"]),
    ("import importlib\nimportlib.import_module('one')", ["one.py"]),
    ("__import__('pk.a')", ["pk/__init__.py", "pk/a.py"]),
    ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import two", ["two.py"]),
    ("import json, os.path, pydantic.fields, nowhere_x", []),
    ("import gpukit.errors", []),
    ("x = 'import one'", []),
    ("from ünï import é", ["ünï.py"]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(IMPORTS)))
def test_imports_are_found_in_the_source(tmp_path: Path, number: int) -> None:
    source, expected = IMPORTS[number]
    files = {
        "pk/__init__.py": "", "pk/a.py": "", "pk/b.py": "import one", "one.py": "", "two.py": "",
        "ns/sub/mod.py": "", "ünï.py": "é = 1", "notes.py": "",
    }  # fmt: skip
    if "*" not in source:  # inside a function, which is not called
        source = "def never():\n" + "".join(f"    {line}\n" for line in source.splitlines())
    write_files(tmp_path, {**files, f"imp_{number}.py": f"{JOB}\n{source}"})
    found = set(user_files(pack(tmp_path / f"imp_{number}.py")))
    assert found == {*expected, f"imp_{number}.py"}


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {"same_job.py": "import same_helper" + JOB, "same_helper.py": ""}
    one = pack(write_files(tmp_path / "a", files) / "same_job.py")
    for name in files:
        os.utime(tmp_path / "a" / name, (1, 1))
        (tmp_path / "a" / name).chmod(0o600)
    for name in ("same_job", "same_helper"):
        del sys.modules[name]
    two = pack(write_files(tmp_path / "b", files) / "same_job.py")
    assert one == two == pack(tmp_path / "b" / "same_job.py")
    raw = gzip.decompress(one.data)
    assert one.data[4:8] == b"\0\0\0\0"  # no time in the header
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, 0, "", "")}


def test_a_change_of_code_changes_the_digests(tmp_path: Path) -> None:
    file = write_files(tmp_path, {"dig_job.py": JOB}) / "dig_job.py"
    before = pack(file)
    file.write_text(file.read_text() + "# changed\n")
    after = pack(file)
    assert before.digest != after.digest
    assert before.user_digest != after.user_digest


def test_the_whole_of_gpukit_is_in_it(tmp_path: Path) -> None:
    archive = pack(write_files(tmp_path, {"lib_job.py": JOB}) / "lib_job.py")
    package = Path(gpukit.__file__).parent
    here = {
        f"lib/gpukit/{p.relative_to(package)}"
        for p in package.rglob("*")
        if p.suffix in (".py", ".toml", ".typed") and "_recipes" not in p.parts
    }
    assert {f.name for f in archive.files if f.kind == "gpukit"} == here
    assert archive.bootstrap == (package / "runtime" / "bootstrap.py").read_bytes()


def test_more_files_by_pattern(tmp_path: Path) -> None:
    write_files(tmp_path, {
        "pyproject.toml": "", "code/inc_job.py": JOB, "code/cfg/a.json": "{}",
        "code/cfg/b.yaml": "",
        "code/cfg/deep/c.json": "{}", "data/labels.txt": "x", "code/__pycache__/x.json": "",
    })  # fmt: skip
    file = tmp_path / "code/inc_job.py"
    archive = pack(file, include=["cfg/*.json", "../data/*.txt"])
    assert user_files(archive) == {
        "code/inc_job.py": "job", "code/cfg/a.json": "extra", "data/labels.txt": "extra",
    }  # fmt: skip
    whole = set(user_files(pack(file, include=["cfg"])))
    assert {"code/cfg/b.yaml", "code/cfg/deep/c.json"} <= whole
    assert "code/cfg/deep/c.json" in user_files(pack(file, include=["**/*.json"]))


def test_a_whole_folder_without_what_is_ignored(tmp_path: Path) -> None:
    write_files(tmp_path, {
        ".gitignore": "*.log\n/out/\n", ".gpukitignore": "docs/\n!keep.log\n", "a/wd_job.py": JOB,
        "a/data.csv": "1", "x.log": "", "keep.log": "", "out/o.txt": "", "a/out/o.txt": "",
        "docs/d.md": "", ".git/config": "", ".venv/lib/x.py": "", "env2/pyvenv.cfg": "",
        "env2/y.py": "", "a/.gitignore": "secret/\n", "a/secret/s": "", "run.sh": "#!/bin/sh",
        "a/__pycache__/z.pyc": "", ".gpukit/runs/r": "",
    })  # fmt: skip
    (tmp_path / "run.sh").chmod(0o755)
    archive = pack(tmp_path / "a/wd_job.py", workdir=tmp_path)
    assert set(user_files(archive)) == {
        ".gitignore", ".gpukitignore", "a/wd_job.py", "a/data.csv", "keep.log", "a/out/o.txt",
        "a/.gitignore", "run.sh",
    }  # fmt: skip
    assert archive.paths == ("a",)
    with tarfile.open(fileobj=io.BytesIO(archive.data)) as tar:
        assert (tar.getmember("src/run.sh").mode, tar.getmember("src/a/data.csv").mode) == (
            0o755, 0o644,
        )  # fmt: skip


def test_an_imported_module_is_shipped_though_it_is_ignored(tmp_path: Path) -> None:
    files = {".gitignore": "gen_x.py", "ig_job.py": "import gen_x" + JOB, "gen_x.py": ""}
    write_files(tmp_path, files)
    assert user_files(pack(tmp_path / "ig_job.py", workdir=tmp_path))["gen_x.py"] == "import"


def test_links_are_resolved_inside_and_named_outside(tmp_path: Path) -> None:
    write_files(tmp_path, {"p/ln_job.py": JOB, "p/real.txt": "inside", "outside/key": "outside"})
    (tmp_path / "p/link.txt").symlink_to("real.txt")
    (tmp_path / "p/leak").symlink_to(tmp_path / "outside/key")
    (tmp_path / "p/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "p/loop").symlink_to(".")
    (tmp_path / "p/gone").symlink_to("nowhere")
    archive = pack(tmp_path / "p/ln_job.py", workdir=tmp_path / "p")
    assert set(user_files(archive)) == {"ln_job.py", "real.txt", "link.txt"}
    assert len([w for w in archive.warnings if "is a link to" in w]) == 4
    assert (unpack(archive, tmp_path / "pod") / "src/link.txt").read_text() == "inside"


def test_a_requirements_file_lies_where_the_runtime_looks(tmp_path: Path) -> None:
    files = {"pyproject.toml": "", "sub/req_job.py": JOB, "sub/reqs/r.txt": "einops==0.8\n"}
    write_files(tmp_path, files)
    archive = pack(tmp_path / "sub/req_job.py", requirements="./reqs/r.txt")
    assert user_files(archive)["reqs/r.txt"] == "extra"


def test_a_secret_among_the_files_is_a_warning(tmp_path: Path) -> None:
    token = "hf_" + "abcdefghij" * 4
    write_files(tmp_path, {"sec_job.py": JOB + f"\nTOKEN = '{token}'\n", "conf/.env": "A=1"})
    first, second = pack(tmp_path / "sec_job.py", workdir=tmp_path).warnings
    assert first == "conf/.env: its name is one of files with secrets"
    assert second == "sec_job.py: it seems to hold a Hugging Face token"
    assert pack(tmp_path / "sec_job.py").warnings == (second,)


def test_local_code_that_is_not_shipped_is_named(tmp_path: Path) -> None:
    files = {
        "elsewhere/far_lib_x/__init__.py": "", "p/pyproject.toml": "", "p/native_x.abi3.so": "",
        "p/far_job.py": "import far_lib_x" + JOB + "\ndef f():\n    import native_x, torch\n",
    }  # fmt: skip
    write_files(tmp_path, files)
    sys.path.append(str(tmp_path / "elsewhere"))
    found = pack(tmp_path / "p/far_job.py").warnings
    assert len(found) == 2
    assert any("native_x.abi3.so is a compiled module" in w for w in found)
    assert any("far_lib_x comes from" in w and "--workdir" in w for w in found)
