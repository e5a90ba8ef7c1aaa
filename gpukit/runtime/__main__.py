"""``python -m gpukit.runtime``: the supervisor of one attempt."""

from __future__ import annotations

import sys

from .supervisor import main

if __name__ == "__main__":
    sys.exit(main())
