"""``python -m gpukit.local HOME RUN LOCK_FD``: the backend process of one submission."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from .backend import ENV_FILE, STOP_SIGNALS
from .controller import Controller, StopRequest
from .directory import RunDirectory
from .simulate import Simulation


def main(home: str, run: str, lock_descriptor: str) -> None:
    """Run the newest submission of ``run`` to its end.

    SIGTERM asks for a clean stop, SIGINT for an end at once.
    """
    directory = RunDirectory(Path(home), run)
    os.set_inheritable(int(lock_descriptor), False)
    stop = StopRequest()
    signal.signal(signal.SIGTERM, stop.clean)
    signal.signal(signal.SIGINT, stop.at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    submitted = directory.submission()[0]
    simulate = submitted.get("simulate")
    Controller(
        directory=directory,
        declared=json.loads((directory.pod / ENV_FILE).read_text(encoding="utf-8")),
        submitted_at=float(str(submitted["time"])),
        simulation=Simulation(**simulate) if isinstance(simulate, dict) else None,
        stop=stop,
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
