"""``python -m gpukit.cli``, where the script ``gpukit`` is not on the path."""

from __future__ import annotations

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
