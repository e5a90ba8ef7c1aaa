"""The progress bar of a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

__all__ = ["RichBar"]


class RichBar:
    """A bar at the bottom of the terminal, lines above it; it appears with the first step."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("step {task.fields[steps]}"),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(compact=True),
            TextColumn("[dim]{task.fields[words]}"),
            console=self._console,
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task("", total=None, visible=False, steps="", words="")

    def __enter__(self) -> RichBar:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def write(self, text: str) -> None:
        """Write a line above the bar; colours of the job are kept."""
        self._console.print(Text.from_ansi(text.rstrip("\r").rpartition("\r")[2]), soft_wrap=True)

    def progress(self, step: int, total: int | None, words: str) -> None:
        """Move the bar."""
        self._progress.update(
            self._task, completed=step, total=total, visible=True, words=words,
            steps=f"{step}/{total}" if total else str(step),
        )  # fmt: skip
