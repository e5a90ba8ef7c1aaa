"""``make cluster``: keep a cluster running, with nodes, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from .build import NotBuilt, binaries
from .cluster import Cluster, Machine
from .controlplane import ControlPlane
from .fleet import PLATFORMS, fleet


def main() -> int:
    """Start it, say how it is reached, and wait."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--platform", choices=PLATFORMS, default="generic", help="whose nodes")
    platform = parser.parse_args().platform
    try:
        folder = binaries()
    except NotBuilt as reason:
        print(reason, file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    plane = ControlPlane(folder).start()
    machine = Machine(plane.api, plane.kubeconfig, plane)
    try:
        with tempfile.TemporaryDirectory(prefix="gpukit-") as home:
            cluster = Cluster(machine, Path(home), namespace="default")
            cluster.add_nodes(*fleet(platform))
            _say(cluster, folder)
            signal.pause()
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        machine.stop()
    return 0


def _say(cluster: Cluster, folder: Path) -> None:
    names = ", ".join(node.name for node in cluster.kubelet.nodes)
    print(f"export KUBECONFIG={cluster.kubeconfig}")
    print(f'export PATH="$PATH:{folder}"  # kubectl', flush=True)
    print(f"\nnodes: {names}\nimages: pytorch/pytorch and python, in any version", file=sys.stderr)
    print("Ctrl-C ends the cluster and all that runs on it.", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
