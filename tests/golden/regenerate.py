"""Write the golden files anew: ``python -m tests.golden.regenerate``."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.golden.cases import CASES
from tests.golden.platforms import PLATFORM_CASES
from tests.samples import bundle

FOLDER = Path(__file__).parent
ALL = {**CASES, **{f"platforms/{name}": case for name, case in PLATFORM_CASES.items()}}


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").as_posix()


def main(arguments: list[str]) -> int:
    """Write what differs; with ``--check`` only say so."""
    wanted = {path_of(name): bundle(**options).to_yaml() for name, options in ALL.items()}
    stale = [path for path in FOLDER.rglob("*.yaml") if path not in wanted]
    changed = [
        path for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]  # fmt: skip
    if arguments == ["--check"]:
        for path in (*stale, *changed):
            print(f"{path} is out of date: run `make golden`", file=sys.stderr)
        return 1 if stale or changed else 0
    for path in stale:
        path.unlink()
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
    print(f"{len(ALL)} golden files in {FOLDER}, {len(changed)} written, {len(stale)} removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
