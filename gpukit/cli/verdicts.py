"""How a verdict is shown: the reason, its evidence, and what to type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from gpukit.diagnose import Fix, Verdict

__all__ = ["show_verdict"]

_HEADS = {"options": "fix", "kubectl": "fix", "wait": "wait", "advice": "fix"}


def show_verdict(run: str, verdict: Verdict, *, write: Callable[[str], None] = output.text) -> None:
    """Write a verdict for a person.

    Args:
        run: name of the run.
        verdict: what :func:`gpukit.diagnose.why` said of it.
        write: takes the lines; default: they are data, on stdout.
    """
    color = "yellow" if verdict.waiting else "red"
    mark = "▸" if verdict.waiting else "✗"
    head = output.style(output.mark(mark), fg=color, bold=True)
    write(f"{head} {output.style(run, bold=True)}: {verdict.reason}")
    for line in verdict.evidence:
        write(output.style(output.mark(f"  {line}"), dim=True))
    for number, fix in enumerate((verdict.fix, *verdict.others)):
        _show_fix(fix, first=number == 0, write=write)


def _show_fix(fix: Fix, *, first: bool, write: Callable[[str], None]) -> None:
    head = _HEADS[fix.kind] if first else "or"
    who = "; whoever may do so" if fix.admin else ""
    lines = [f"{output.style(f'{head:<5}', fg='cyan', bold=True)}{fix.text}{who}"]
    lines += [f"     {line}" for line in fix.line.splitlines()]
    for line in lines:
        write(output.mark(line))
