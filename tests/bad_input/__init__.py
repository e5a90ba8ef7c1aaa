"""Bad input of every kind, as data: what a person may get wrong, and the error that says so."""

from __future__ import annotations

from .calls import CALLS
from .case import Case
from .command_lines import COMMAND_LINES
from .declarations import DECLARATIONS
from .job_files import JOB_FILES
from .runtime import RUNTIME
from .settings_layers import SETTINGS

__all__ = ["CASES", "Case"]

CASES: list[Case] = [
    *DECLARATIONS, *SETTINGS, *JOB_FILES, *CALLS, *COMMAND_LINES, *RUNTIME,
]  # fmt: skip
