"""The wheel: built, looked into, installed elsewhere, and used from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from this checkout, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("gpukit-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    uv = shutil.which("uv")
    tool = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]  # uv's environments have no pip
    command = [*tool, "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    subprocess.run([*command, str(wheel)], check=True)
    return folder


def test_wheel_has_code_data_and_recipes(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = {
        p.relative_to(REPOSITORY).as_posix()
        for p in (REPOSITORY / "gpukit").rglob("*")
        if p.is_file() and p.suffix in (".py", ".toml", ".typed")
    }
    assert tracked - names == set()
    assert "gpukit/py.typed" in names
    assert {n for n in names if n.startswith("gpukit/catalog/") and n.endswith(".toml")} >= {
        "gpukit/catalog/gpus.toml", "gpukit/catalog/platforms.toml", "gpukit/catalog/prices.toml",
    }  # fmt: skip
    recipes = {p.name for p in (REPOSITORY / "recipes").iterdir() if p.is_file()}
    assert {f"gpukit/_recipes/{name}" for name in recipes} <= names


def test_wheel_has_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"gpukit"}
    assert [name for name in names if "__pycache__" in name or name.endswith(".pyc")] == []
    assert any(name.endswith("LICENSE") for name in names)


def _gpukit(installed: Path, folder: Path, *argv: str) -> str:
    """Run the installed gpukit, with the dependencies of this environment behind it."""
    code = (
        "import sys, gpukit; from gpukit.cli.main import main; "
        f"assert gpukit.__file__.startswith({str(installed)!r}), gpukit.__file__; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(installed)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_installed_gpukit_knows_its_version(installed: Path, tmp_path: Path) -> None:
    from gpukit import __version__

    assert _gpukit(installed, tmp_path, "version").startswith(f"gpukit {__version__} ")


def test_installed_gpukit_has_recipes_and_catalog(installed: Path, tmp_path: Path) -> None:
    shipped = sorted(p.name for p in (installed / "gpukit" / "_recipes").iterdir() if p.is_file())
    assert shipped
    listed = _gpukit(installed, tmp_path, "recipes", "list", "-o", "yaml")
    assert [name for name in shipped if name not in listed and name.endswith(".py")] == []
    assert "a100-80gb" in _gpukit(installed, tmp_path, "gpus")


def test_installed_gpukit_renders_a_job(installed: Path, tmp_path: Path) -> None:
    source = "from gpukit import gpu_job\n@gpu_job(profile='l4')\ndef train(): ...\n"
    (tmp_path / "job.py").write_text(source)
    assert "nvidia.com/gpu:" in _gpukit(installed, tmp_path, "render", "job.py")
