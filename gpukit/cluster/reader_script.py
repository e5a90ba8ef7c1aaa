"""What runs in the reader pod: ``python3 -c``, with nothing but Python and the mounted claim.

Prints one JSON object a line: ``{"file": path, "size": n, "sha256": …}``, then the file in parts
``{"data": base64}``, and ``{"done": true}`` at the end. An argument of JSON says what is wanted:
``root``, a folder; ``read``, prefixes of paths below it; ``delete``, whether the folder is to go;
``look``, prefixes of paths whose files stay here: manifests are sent, of the others name and size
as ``{"there": path, "size": n}``, and with ``sum`` the ``crc32`` of each chunk of the file, as the
manifest beside it cuts it.
"""

import base64
import hashlib
import json
import os
import shutil
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

__all__ = ["main"]

MANIFEST = "manifest.json"
PIECE = 8 << 20
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
        elif any(name.startswith(prefix) for prefix in wanted.get("look", ())):
            look(path, name, bool(wanted.get("sum")))
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


def look(path: Path, name: str, summed: bool) -> None:
    """Say what a file is like; of one that vanishes meanwhile, nothing."""
    if path.name == MANIFEST:
        send(path, name)
        return
    try:
        said = {"there": name, "size": path.stat().st_size}
        if summed:
            said["crc32"] = sums(path, chunk_of(path))
    except OSError:
        return
    say(said)


def chunk_of(path: Path) -> int:
    """Return the bytes of a file that each have a checksum; 0: all of it has one."""
    try:
        manifest = json.loads(json.loads((path.parent / MANIFEST).read_bytes())["body"])
        return int(manifest["files"][path.name].get("chunk") or 0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def sums(path: Path, chunk: int) -> "list[int]":
    """Return the CRC-32 of each chunk of a file."""
    found: list[int] = []
    with path.open("rb") as source:
        while True:
            left, crc, some = chunk or sys.maxsize, 0, False
            while left and (piece := source.read(min(left, PIECE))):
                crc, left, some = zlib.crc32(piece, crc), left - len(piece), True
            if not some:
                return found
            found.append(crc)


def say(value: object) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
