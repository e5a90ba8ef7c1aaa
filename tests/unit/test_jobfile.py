"""Job files: found, imported once under the right name, and every mistake said clearly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpukit import GpuJob, gpu_job
from gpukit.errors import GpukitError, JobFileError, SpecError
from gpukit.jobfile import Target, load_job, locate, parse_target, source_file_of
from tests.fresh import JOB, fresh_imports, write_files


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    with fresh_imports():
        yield


def test_targets() -> None:
    assert parse_target("a/job.py") == Target(Path("a/job.py"))
    assert parse_target("job.py::trainé") == Target(Path("job.py"), "trainé")
    assert str(parse_target("job.py::train")) == "job.py::train"


@pytest.mark.parametrize("text", ["", "::train", "job.py::", "job.py::a b", "job.py::a::b"])
def test_targets_of_another_form(text: str) -> None:
    with pytest.raises(JobFileError) as caught:
        parse_target(text)
    assert caught.value.id == "target-form"


def test_one_job_is_found_and_located(tmp_path: Path) -> None:
    write_files(tmp_path, {"one_job.py": JOB})
    job = load_job(str(tmp_path / "one_job.py"))
    assert isinstance(job, GpuJob)
    found = locate(job)
    assert (found.file, found.module) == (tmp_path / "one_job.py", "one_job")
    assert (found.root, found.function) == (tmp_path, "train")
    assert job.source_file == tmp_path / "one_job.py"


def test_a_file_is_imported_once(tmp_path: Path) -> None:
    write_files(tmp_path, {"counted_job.py": JOB + "\nfrom counter import add\nadd()\n"})
    write_files(tmp_path, {"counter.py": "calls = []\ndef add(): calls.append(1)\n"})
    first = load_job(str(tmp_path / "counted_job.py"))
    assert load_job(str(tmp_path / "counted_job.py::train")) is first
    assert sys.modules["counter"].calls == [1]


def test_what_a_file_prints_does_not_mix_with_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_files(tmp_path, {"loud_job.py": "print('loading')" + JOB})
    load_job(str(tmp_path / "loud_job.py"))
    assert capsys.readouterr() == ("", "loading\n")


def test_names_that_are_no_identifiers(tmp_path: Path) -> None:
    write_files(tmp_path, {"01-träin.py": JOB})
    assert locate(load_job(str(tmp_path / "01-träin.py"))).module == "01-träin"


PACKAGE = {
    "lab/__init__.py": "",
    "lab/jobs/__init__.py": "",
    "lab/jobs/deep.py": "from ..common import N\nfrom . import near" + JOB,
    "lab/jobs/near.py": "",
    "lab/common.py": "N = 1",
}


def test_a_module_of_a_package_keeps_its_relative_imports(tmp_path: Path) -> None:
    write_files(tmp_path, PACKAGE)
    found = locate(load_job(str(tmp_path / "lab/jobs/deep.py")))
    assert (found.module, found.root) == ("lab.jobs.deep", tmp_path)


def test_a_script_in_a_package_may_import_its_siblings(tmp_path: Path) -> None:
    write_files(tmp_path, {**PACKAGE, "lab/script_job.py": "import common" + JOB})
    assert locate(load_job(str(tmp_path / "lab/script_job.py"))).module == "lab.script_job"


def test_a_file_of_a_package_does_not_shadow_the_standard_library(tmp_path: Path) -> None:
    write_files(
        tmp_path,
        {
            "shade/__init__.py": "",
            "shade/colorsys.py": "raise RuntimeError",
            "shade/job_in.py": "import colorsys" + JOB,
        },
    )
    load_job(str(tmp_path / "shade/job_in.py"))


def test_a_relative_path_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path, {"sub/rel_job.py": "import rel_helper" + JOB, "sub/rel_helper.py": ""})
    monkeypatch.chdir(tmp_path)
    assert locate(load_job("sub/rel_job.py")).file == tmp_path / "sub/rel_job.py"


TWO = JOB + "\n@gpu_job()\ndef evaluate(): ...\n\nagain = train\n"


def test_several_jobs_are_listed(tmp_path: Path) -> None:
    file = write_files(tmp_path, {"two_jobs.py": TWO}) / "two_jobs.py"
    with pytest.raises(JobFileError, match="has 2 jobs") as caught:
        load_job(str(file))
    assert f"{file}::evaluate, {file}::" in caught.value.hint
    assert load_job(f"{file}::evaluate").function.__name__ == "evaluate"


def test_a_job_that_is_only_imported_is_not_counted(tmp_path: Path) -> None:
    write_files(tmp_path, {"base_job.py": JOB})
    write_files(tmp_path, {"user_job.py": "import base_job\nbase = base_job.train" + JOB})
    assert load_job(str(tmp_path / "user_job.py")).__module__ == "user_job"


MISTAKES: list[tuple[str, str, str, str]] = [
    ("def train(): ...", "", "job-none", "has no job"),
    ("def train(): ...", "::train", "not-a-job", "train in .* is not a job"),
    (JOB, "::trian", "job-unknown", "has no job 'trian'"),
    ("x = 1\ndef f(:\n", "", "job-syntax", r"\.py:2: "),
    ("x = '\n", "", "job-syntax", r"\.py:1: "),
    ("import os\nimport no_such_lib.part\n", "", "import-missing", r":2: there is no module"),
    ("import sys\nsys.exit(3)\n", "", "job-exits", ":2: the file leaves Python"),
    ("import argparse\nargparse.ArgumentParser().parse_args(['x'])", "", "job-exits", ":2: "),
    ("\n\n1 / 0\n", "", "job-raises", ":3: ZeroDivisionError while it is imported"),
    ("from gpukit import gpu_job\n\ngpu_job(profil='x')(len)\n", "", "option-unknown", ":3"),
    (JOB.replace('profile="cpu"', 'profile="cpu", gpus=1'), "", "option-unknown", "gpus"),
    ("from gpukit import gpu_job\n@gpu_job\nclass A: ...", "", "decorator-target", "A"),
    ("from gpukit import gpu_job\n@gpu_job()\nasync def a(): ...", "", "decorator-target", "async"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_mistakes(tmp_path: Path, number: int) -> None:
    source, function, id, message = MISTAKES[number]
    file = tmp_path / f"mistake_{number}.py"
    file.write_text(source)
    with pytest.raises(GpukitError, match=message) as caught:
        load_job(f"{file}{function}")
    assert caught.value.id == id
    assert caught.value.hint
    assert caught.value.exit_code == 2


def test_an_error_of_the_declaration_keeps_its_kind(tmp_path: Path) -> None:
    write_files(tmp_path, {"kind_job.py": JOB.replace("profile=", "profil=")})
    with pytest.raises(SpecError, match=r"no option 'profil' \(.*kind_job.py:[45]\)") as caught:
        load_job(str(tmp_path / "kind_job.py"))
    assert "'profile'" in caught.value.hint


def test_a_missing_module_says_what_to_do(tmp_path: Path) -> None:
    write_files(tmp_path, {"lib_job.py": "import flash_attn_x.layers" + JOB})
    with pytest.raises(JobFileError) as caught:
        load_job(str(tmp_path / "lib_job.py"))
    assert caught.value.hint.startswith("install flash_attn_x here, or import it inside")


def test_a_misspelled_sibling_gets_a_suggestion(tmp_path: Path) -> None:
    write_files(tmp_path, {"typo_job.py": "import helprs" + JOB, "helpers.py": ""})
    with pytest.raises(JobFileError) as caught:
        load_job(str(tmp_path / "typo_job.py"))
    assert caught.value.hint.startswith("did you mean 'helpers'?")


def test_an_error_in_a_sibling_names_the_sibling(tmp_path: Path) -> None:
    write_files(tmp_path, {"sib_job.py": "import bad_sibling" + JOB, "bad_sibling.py": "x = (\n"})
    with pytest.raises(JobFileError, match=r"bad_sibling\.py:1"):
        load_job(str(tmp_path / "sib_job.py"))


FILES: list[tuple[str, str, str]] = [
    ("trian.py", "file-missing", "did you mean 'train.py'"),
    ("no/where.py", "file-missing", "check the path"),
    ("folder", "file-is-folder", "name the file"),
    ("notes.txt", "file-not-python", "ends in .py"),
    ("v1.2.py", "file-name", "v1_2.py"),
    ("json.py", "file-shadows", "json_job"),
    ("gpukit.py", "file-shadows", "gpukit_job"),
]


@pytest.mark.parametrize(("name", "id", "hint"), FILES, ids=[f[0] for f in FILES])
def test_files_that_are_no_job_files(tmp_path: Path, name: str, id: str, hint: str) -> None:
    there = dict.fromkeys(("train.py", "v1.2.py", "json.py", "gpukit.py", "folder/x.py"), JOB)
    write_files(tmp_path, {**there, "notes.txt": ""})
    with pytest.raises(JobFileError) as caught:
        load_job(str(tmp_path / name))
    assert caught.value.id == id
    assert hint in caught.value.hint


def test_another_module_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    write_files(tmp_path, {"a/same_job.py": JOB, "b/same_job.py": JOB})
    write_files(tmp_path, {"tests/__init__.py": "", "tests/inner_job.py": JOB})
    load_job(str(tmp_path / "a/same_job.py"))
    with pytest.raises(JobFileError, match=r"another module has that name: .*a/same_job\.py"):
        load_job(str(tmp_path / "b/same_job.py"))
    with pytest.raises(JobFileError, match="another tests is loaded"):
        load_job(str(tmp_path / "tests/inner_job.py"))


def test_a_nested_function_cannot_be_located() -> None:
    @gpu_job(profile="cpu")
    def inner() -> None: ...

    with pytest.raises(JobFileError, match="cannot be imported by name") as caught:
        locate(inner)
    assert caught.value.id == "function-nested"


def test_options_replaced_later_are_located_too(tmp_path: Path) -> None:
    write_files(tmp_path, {"other_job.py": JOB + "\nfast = train.with_options(retries=3)\n"})
    job = load_job(str(tmp_path / "other_job.py::fast"))
    assert locate(job).function == "train"
    assert job.options["retries"] == 3


def test_a_function_without_a_file() -> None:
    names: dict[str, object] = {}
    source = "from gpukit import gpu_job\n@gpu_job(profile='cpu')\ndef f(): ...\n"
    for name in ("<stdin>", "<ipython-input-3-abc>", "/tmp/ipykernel_12/345.py"):
        exec(compile(source, name, "exec"), names)
        job = names["f"]
        assert isinstance(job, GpuJob)
        with pytest.raises(JobFileError, match="has no file") as caught:
            locate(job)
        assert "%%writefile" in caught.value.hint
    with pytest.raises(JobFileError):
        source_file_of(len)


def test_the_script_that_runs_is_located(tmp_path: Path) -> None:
    main = "\nif __name__ == '__main__':\n    from gpukit.jobfile import locate\n"
    main += "    found = locate(train)\n    print(found.module, found.function, found.root)\n"
    write_files(tmp_path, {"script.py": JOB + main})
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["script", "train", str(tmp_path)]
