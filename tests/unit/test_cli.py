"""The command line: syntax, errors, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gpukit.cli import main as cli
from gpukit.cli.options import SECTIONS
from gpukit.errors import GpukitError, RunFailedError, WaitTimeoutError
from gpukit.job import JobOptions
from gpukit.spec import JobSpec

JOB = '''
from gpukit import gpu_job

@gpu_job(profile="mig-1g.10gb", labels={"a": "decorator", "b": "decorator"})
def train(epochs: int = 1, lr: float = 0.1) -> int:
    """Train.

    Args:
        epochs: passes over the data.
    """
    return epochs
'''


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "cli_train.py").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("cli_train", None)


class Ran:
    def __init__(self, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
        self.code = cli.main(list(words))
        self.out, self.err = capsys.readouterr()


@pytest.fixture
def gpukit(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *words: Ran(capsys, words)


def options_of(ran: Ran) -> dict[str, Any]:
    assert ran.code == 0, ran.err
    return {row["option"]: row for row in json.loads(ran.out)["options"]}


def test_help_lists_every_command(gpukit: Any) -> None:
    ran = gpukit("--help")
    assert ran.code == 0
    assert all(f"\n  {name} " in ran.out for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(gpukit: Any, name: str) -> None:
    ran = gpukit(name, "--help")
    assert ran.code == 0
    assert f"gpukit {name}" in ran.out
    assert ran.err == ""


def test_every_option_of_a_job_is_a_flag_with_help(gpukit: Any) -> None:
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(JobSpec.model_fields)
    assert sorted(listed) == sorted(JobOptions.__annotations__)
    ran = gpukit("render", "--help")
    assert all("--" + name.replace("_", "-") in ran.out for name in listed)


@pytest.mark.parametrize(
    ("words", "code", "message", "hint"),
    [
        (["sumbit"], 2, "no command 'sumbit'", "'submit'"),
        (["cli_train.py"], 2, "no command", "gpukit submit cli_train.py"),
        (["--nope"], 2, "--nope", "gpukit --help"),
        (["render"], 2, "no job file", "gpukit render job.py"),
        (["render", "--profil", "h100", "cli_train.py"], 2, "--profil", "--profile"),
        (["render", "--lr", "1", "cli_train.py"], 2, "--lr", "behind the file"),
        (["render", "cli_train.py", "--epoch", "1"], 2, "--epoch", "--epochs"),
        (["render", "cli_train.py", "--epochs", "many"], 2, "epochs", ""),
        (["render", "cli_trian.py"], 2, "cli_trian.py", "cli_train.py"),
        (["render", "cli_train.py::nope"], 2, "nope", "train"),
        (["render", "--env", "NOT_SET_ANYWHERE", "cli_train.py"], 2, "not set", "=VALUE"),
        (["render", "--labels", "team", "cli_train.py"], 2, "NAME=VALUE", "--labels"),
        (["render", "--pod", "{", "cli_train.py"], 2, "not JSON", "--pod"),
        (["render", "--tolerations", "a:Sometimes", "cli_train.py"], 2, "toleration", "NoExecute"),
        (["render", "--retries", "many", "cli_train.py"], 2, "--retries", "--help"),
        (["render", "--output", "/no/such/folder", "cli_train.py"], 2, "written", "file"),
        (["submit", "--dry-run", "server", "--local", "cli_train.py"], 2, "a cluster", "drop"),
        (["submit", "--local", "--simulate-preemption", "soon", "cli_train.py"], 2, "soon", "1h"),
        (["submit", "--local", "--simulate-node-loss", "1s,2s", "cli_train.py"], 2, "1s,2s", "±"),
        (["submit", "--local", "--simulate-node-loss", "1s", "--simulate-preemption", "1s",
          "cli_train.py"], 2, "both", "one of them"),
        (["submit", "--local", "--max-interruptions", "1", "cli_train.py"], 2, "without", "30s"),
        (["submit", "--local", "--resume-from", "x", "cli_train.py"], 2, "no run 'x'", "kept"),
        (["gpus", "h1000"], 2, "h1000", "h100"),
        (["recipes", "show", "nope"], 2, "nope", "recipes list"),
        (["completion", "tcsh"], 2, "tcsh", "fish"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_message_with_a_hint(
    gpukit: Any, words: list[str], code: int, message: str, hint: str
) -> None:
    ran = gpukit(*words)
    assert ran.code == code
    assert ran.out == ""
    first, *rest = ran.err.splitlines()
    assert first.startswith("error: ")
    assert message in first
    assert rest[0].startswith("hint:  ")
    assert hint in "\n".join(rest)
    assert "Traceback" not in ran.err
    assert not Path(".gpukit").exists()


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["--spot"], "true"),
        (["--spot", "prefer"], "prefer"),
        (["--spot=prefer"], "prefer"),
        (["--no-spot"], "false"),
        ([], "false"),
    ],
)
def test_spot_stands_alone_or_with_a_word(gpukit: Any, words: list[str], value: str) -> None:
    ran = gpukit("explain", "-o", "json", *words, "cli_train.py")
    assert options_of(ran)["spot"]["value"] == value


def test_flags_come_last_and_mappings_are_merged(
    gpukit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUKIT_TEAM", "from-env")
    monkeypatch.setenv("COLOUR", "blue")
    options = options_of(
        gpukit(
            "explain", "-o", "json", "--profile", "a100-80gb", "--profile", "h100",
            "--labels", "b=flag", "--env", "COLOUR", "--env", "A=1=2", "--retries", "3",
            "--tolerations", "dedicated=gpu:NoSchedule", "--timeout", "90m", "cli_train.py",
        )
    )  # fmt: skip
    assert options["profile"]["value"] == "a100-80gb, h100"
    assert options["profile"]["layer"] == "flag"
    assert options["labels"]["value"] == "a=decorator, b=flag"
    assert options["env"]["value"] == "COLOUR=blue, A=1=2"
    assert (options["retries"]["value"], options["timeout"]["value"]) == ("3", "1h30m")
    assert "dedicated" in options["tolerations"]["value"]
    assert (options["team"]["value"], options["team"]["from"]) == ("from-env", "GPUKIT_TEAM")
    assert options["stage"]["layer"] == "default"
    assert set(options) == set(JobSpec.model_fields)


def test_all_behind_the_target_belongs_to_the_function(gpukit: Any) -> None:
    ran = gpukit("explain", "-o", "json", "cli_train.py", "--epochs", "7")
    assert json.loads(ran.out)["arguments"] == {"epochs": 7}
    shown = gpukit("submit", "cli_train.py", "--help")
    assert shown.code == 0
    assert "passes over the data" in shown.out


def test_explain_says_why(gpukit: Any) -> None:
    ran = gpukit("explain", "--spot", "cli_train.py")
    assert ran.code == 0
    assert "nvidia.com/mig-1g.10gb" in ran.out
    assert "@gpu_job" in ran.out
    assert "warning: " in ran.err


def test_render_is_the_same_bytes_in_every_form(gpukit: Any, tmp_path: Path) -> None:
    first, second = gpukit("render", "cli_train.py"), gpukit("render", "cli_train.py")
    assert first.code == 0, first.err
    assert first.out == second.out
    documents = list(yaml.safe_load_all(first.out))
    assert [d["kind"] for d in documents] == ["ConfigMap", "Job"]

    listed = json.loads(gpukit("render", "-o", "json", "cli_train.py").out)
    assert (listed["kind"], listed["items"]) == ("List", documents)

    file = tmp_path / "out.yaml"
    ran = gpukit("render", "--output", str(file), "cli_train.py")
    assert (ran.out, file.read_text()) == ("", first.out)


def test_archive_lists_what_ships(gpukit: Any) -> None:
    Path("prod.env").write_text("x = 1\n")
    ran = gpukit("archive", "--include", "prod.env", "-o", "json", "cli_train.py")
    listed = json.loads(ran.out)
    kinds = {f["name"]: f["kind"] for f in listed["files"]}
    assert kinds["src/cli_train.py"] == "job"
    assert kinds["src/prod.env"] == "extra"
    assert "gpukit" in kinds.values()
    table = gpukit("archive", "cli_train.py")
    assert "src/cli_train.py" in table.out
    assert "lib/gpukit" not in table.out
    assert "at most 1000 KiB" in table.err


def test_gpus_can_be_searched_and_unknown_prices_are_unknown(gpukit: Any) -> None:
    listed = json.loads(gpukit("gpus", "-o", "json").out)
    assert {"h100", "a100-80gb", "l4"} <= {gpu["name"] for gpu in listed}
    prices = [gpu["price"]["on_demand"] for gpu in listed]
    assert None in prices
    assert not [p for p in prices if p is not None and float(p) <= 0]
    slices = gpukit("gpus", "mig-1g.10gb").out
    assert "h100" in slices
    assert "v100" not in slices


def test_output_in_a_pipe_has_a_row_a_line_and_no_colour(gpukit: Any) -> None:
    ran = gpukit("gpus")
    assert "\x1b" not in ran.out + ran.err
    rows = ran.out.splitlines()[1:]
    assert len(rows) == len(json.loads(gpukit("gpus", "-o", "json").out))


def test_no_color_is_obeyed(gpukit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpukit.cli import output

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert output.style("x", fg="red") != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert output.style("x", fg="red") == "x"


def test_version(gpukit: Any) -> None:
    from gpukit import __version__

    assert gpukit("--version").out == f"gpukit {__version__}\n"
    assert json.loads(gpukit("version", "-o", "json").out)["gpukit"] == __version__


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(gpukit: Any, shell: str) -> None:
    ran = gpukit("completion", shell)
    assert (ran.code, "_GPUKIT_COMPLETE" in ran.out) == (0, True)


def test_completion_completes() -> None:
    environ = {"_GPUKIT_COMPLETE": "bash_complete", "COMP_WORDS": "gpukit re", "COMP_CWORD": "1"}
    code = "import sys; from gpukit.cli.main import main; sys.exit(main([]))"
    shown = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environ}, capture_output=True, text=True
    )
    assert {line.split(",")[1] for line in shown.stdout.split()} == {"render", "recipes"}


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RunFailedError("run-failed", "it failed", "look"), 4, "error: it failed\nhint:  look\n"),
        (WaitTimeoutError("wait-timeout", "too long", ""), 5, "error: too long\n"),
        (GpukitError("x", "no", ""), 1, "error: no\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_exit_codes(
    gpukit: Any, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, said: str
) -> None:
    def fail(*_args: object) -> None:
        raise raised

    monkeypatch.setattr("gpukit.catalog.load_catalog", fail)
    ran = gpukit("gpus")
    assert (ran.code, ran.err.lstrip("\n"), ran.out) == (code, said, "")


def test_a_bug_says_that_it_is_one(gpukit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpukit.catalog.load_catalog", lambda: 1 / 0)
    ran = gpukit("gpus")
    assert ran.code == 1
    assert "ZeroDivisionError" in ran.err
    assert "bug in gpukit" in ran.err


def test_debug_shows_the_traceback(gpukit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUKIT_DEBUG", "1")
    ran = gpukit("gpus", "h1000")
    assert ran.code == 2
    assert "Traceback" in ran.err


def test_a_reader_that_goes_away_is_no_error() -> None:
    gpus = subprocess.Popen(
        [sys.executable, "-m", "gpukit.cli", "gpus", "-o", "yaml"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert gpus.stdout is not None
    gpus.stdout.readline()
    gpus.stdout.close()
    assert gpus.stderr is not None
    said = gpus.stderr.read()
    assert (gpus.wait(30), said) == (0, "")
    gpus.stderr.close()
