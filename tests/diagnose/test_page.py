"""The page of verdicts names every one that the code can say, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/verdicts.md"
_COMPOSED = {
    "gpu-taken", "cpu-taken", "memory-taken", "pods-taken", "secret-missing", "configmap-missing",
}  # fmt: skip


def said() -> set[str]:
    """Return the first argument of every Verdict(…) in the package."""
    found = set()
    for path in (ROOT / "gpukit/diagnose").glob("*.py"):
        for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(item, ast.Call) and ast.unparse(item.func) == "Verdict":
                first = item.args[0]
                if isinstance(first, ast.Constant):
                    found.add(str(first.value))
    return found


def test_the_page_lists_the_verdicts() -> None:
    rows = [
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")
    ]
    listed = {word for row in rows for word in re.findall(r"`([a-z-]+)`", row.split("|")[1])}
    assert listed == said() | _COMPOSED
