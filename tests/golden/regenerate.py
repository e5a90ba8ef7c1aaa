"""Write the golden files anew: ``python -m tests.golden.regenerate``."""

from __future__ import annotations

from pathlib import Path

from tests.golden.cases import CASES
from tests.samples import bundle

FOLDER = Path(__file__).parent


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def main() -> None:
    for stale in FOLDER.glob("*.yaml"):
        if stale.stem not in CASES:
            stale.unlink()
    for name, options in CASES.items():
        path_of(name).write_text(bundle(**options).to_yaml(), encoding="utf-8")
    print(f"{len(CASES)} golden files in {FOLDER}")


if __name__ == "__main__":
    main()
