from __future__ import annotations

from pathlib import Path

import pytest

from .cluster import Cluster
from .products import Desk


@pytest.fixture
def desk(cluster: Cluster, tmp_path: Path) -> Desk:
    """Return a user's folder, and one node without GPUs."""
    cluster.add_node("n1")
    folder = tmp_path / "desk"
    folder.mkdir()
    return Desk(cluster, folder)
