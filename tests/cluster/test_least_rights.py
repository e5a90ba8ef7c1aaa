"""With the Roles that ``gpukit doctor --rbac`` prints, and no others, all commands work."""

from __future__ import annotations

import json
import signal

import pytest

from .api import wait_until
from .products import Desk

pytestmark = pytest.mark.e2e


def test_a_service_account_with_just_these_roles_does_everything(desk: Desk) -> None:
    config = desk.cluster.account("trainer")
    printed = desk.gpukit("doctor", "--rbac", "--subject", "serviceaccount:trainer")
    roles = desk.folder / "roles.yaml"
    roles.write_text(printed.out, encoding="utf-8")
    file = desk.write()
    try:
        desk.cluster.kubectl("apply", "-f", str(roles))
        desk.environ["KUBECONFIG"] = str(config)
        wait_until("the roles", lambda: "you may do all" in desk.gpukit("doctor").out, every=1.0)

        done = desk.gpukit("submit", file, "--steps", 3)
        assert (done.code, json.loads(done.out)) == (0, {"total": 6}), done.err
        run = desk.gpukit("list", "-o", "name").out.strip()
        for words in (
            ("status", run), ("logs", run), ("events", run), ("wait", run), ("why", run),
            ("download", run), ("submit", file, "--steps", 3),
        ):  # fmt: skip
            shown = desk.gpukit(*words)
            assert shown.code == 0, f"{words}: {shown.err}"
        assert "not readable" not in desk.gpukit("why", run).err

        longer = desk.submit(file, "--steps", 10_000, "--pause", 0.05)
        desk.cluster.wait_for_pod(f"gpukit.dev/run={longer}")
        extended = desk.gpukit("extend", longer, "--preemptions", "+5")
        assert extended.code == 0, extended.err
        cancelled = desk.gpukit("cancel", "--now", longer)
        assert cancelled.code == 0, cancelled.err
        deleted = desk.gpukit("delete", run)
        assert deleted.code == 0, deleted.err
    finally:
        desk.environ.pop("KUBECONFIG", None)
        desk.cluster.kubectl("delete", "-f", str(roles), "--ignore-not-found")


def test_submit_says_after_ten_seconds_why_it_waits(desk: Desk) -> None:
    file = desk.write('checkpoints="new:1Gi", cpu=0.1, memory="256Mi", profile="mig-1g.10gb"')
    process = desk.start("submit", file, "--steps", 3)
    try:
        assert process.stderr is not None
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "the nodes offer" in line:
                break
        text = "".join(seen)
        assert "no node offers nvidia.com/mig-1g.10gb" in text
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
