"""The documentation says what is so: commands parse, links lead somewhere, tables are generated."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import click
import pytest

from docs import generate
from gpukit.cli.main import cli
from gpukit.cli.parameters import parse_parameters
from gpukit.cli.target import TargetCommand
from gpukit.jobfile import load_job, parse_target
from gpukit.ladder import ExitCode
from gpukit.spec import JobSpec, make_spec

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")])
SOURCES = sorted([*ROOT.glob("examples/0*.py"), *ROOT.glob("examples/0*/train.py"),
                  *ROOT.glob("recipes/*.py")])  # fmt: skip
COMMAND = re.compile(r"^(?: {4}|\$ )?gpukit ([a-z-]+)((?: [^#|>\n]*)?)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


def shell_of(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        lines = (ast.get_docstring(ast.parse(text)) or "").splitlines()
        return "\n".join(line for line in lines if line.startswith("    "))
    return "\n".join(re.findall(r"```(?:bash|console|shell)\n(.*?)```", text, re.DOTALL))


COMMANDS = [
    pytest.param(page, name, words, id=f"{page.name}: {name}{words}".strip())
    for page in [*PAGES, *SOURCES]
    for name, words in COMMAND.findall(shell_of(page).replace("\\\n", " "))
]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 20


@pytest.mark.parametrize(("page", "name", "words"), COMMANDS)
def test_commands_are_understood(page: Path, name: str, words: str) -> None:
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None, f"{page}: gpukit {name}"
    found = command.make_context(name, shlex.split(words), parent=context)
    if not isinstance(command, TargetCommand):
        return
    target = parse_target(found.params["target"])
    file = next((f for f in (ROOT / target.file, page.parent / target.file) if f.exists()), None)
    if file is not None:  # a file that the reader writes is not here
        parse_parameters(load_job(str(file)), list(found.params["arguments"]))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link, _ in LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith(("http://", "https://")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_generated_pages_are_up_to_date() -> None:
    stale = [path for path, text in generate.pages().items() if path.read_text("utf-8") != text]
    assert not stale, "run `make docs`"


def test_examples_of_options_are_valid() -> None:
    values = {name: ast.literal_eval(text) for name, text in generate.EXAMPLES.items()}
    assert set(values) == set(JobSpec.model_fields)
    for name, value in values.items():
        beside = {"profile": "mig-1g.10gb"} if name == "gpu" else {}
        make_spec({name: value, **beside})


def test_every_option_and_every_exit_code_has_its_line() -> None:
    options = (ROOT / "docs/reference/options.md").read_text(encoding="utf-8")
    for name in JobSpec.model_fields:
        assert f"| `{name}` |" in options
    codes = (ROOT / "docs/reference/exit-codes.md").read_text(encoding="utf-8")
    for code in ExitCode:
        assert f"| {int(code)} |" in codes
