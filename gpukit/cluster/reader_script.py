"""What runs in the reader pod: ``python3 -c``, with nothing but Python and the mounted claim.

Prints one JSON object a line: ``{"file": path, "size": n, "sha256": …}``, then the file in parts
``{"data": base64}``, and ``{"done": true}`` at the end. An argument of JSON says what is wanted:
``root``, a folder; ``read``, prefixes of paths below it; ``delete``, whether the folder is to go.
"""

import base64
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["main"]

PART = 9000  # bytes; as base64 a line stays below 16 KiB, where container runtimes cut lines


def main(text: str) -> None:
    """Do what is wanted."""
    wanted = json.loads(text)
    root = Path(wanted["root"])
    if not root.is_dir():
        say({"done": True, "missing": True})
        return
    for path in sorted(files(root)):
        name = path.relative_to(root).as_posix()
        if any(name.startswith(prefix) for prefix in wanted.get("read", ())):
            send(path, name)
    if wanted.get("delete"):
        shutil.rmtree(root)
    say({"done": True})


def files(root: Path) -> Iterator[Path]:
    """Yield the plain files below a folder; hidden ones are half written."""
    for base, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                yield Path(base, name)


def send(path: Path, name: str) -> None:
    """Print a file; one that grows or vanishes meanwhile is sent as far as it came."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    say({"file": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    for start in range(0, len(data), PART):
        say({"data": base64.b64encode(data[start : start + PART]).decode()})


def say(value: object) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
