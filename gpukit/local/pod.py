"""One attempt as a local "pod": the same bootstrap and environment, in a session of its own.

What a container would give, as far as a process can: a scratch folder of its own, only the
environment that the manifest declares (and what this machine needs to run at all), and an end in
which nothing survives.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import site
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpukit.contract import CHECKPOINT_MOUNT, CODE_MOUNT, POD_MOUNT, TASK_FILE, WORK_MOUNT, Env
from gpukit.errors import UsageError

from .directory import RunDirectory

__all__ = ["Pod", "missing_secrets", "pod_environment", "start_pod"]

_FROM_THIS_MACHINE = (
    "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
    "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
_FROM_THIS_MACHINE_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "CONDA_", "NCCL_", "OMP_", "MKL_", "PIP_")
_CACHES = {  # an image keeps nothing, but a second local attempt need not download again
    "XDG_CACHE_HOME": "~/.cache",
    "HF_HOME": "~/.cache/huggingface",
    "TORCH_HOME": "~/.cache/torch",
}
_KILL_SECONDS = 5.0
_PROGRESS = "GPUKIT_PROGRESS_SECONDS"
_PROGRESS_SECONDS = "0.5"  # somebody looks on, and after a node loss the log knows most


def pod_environment(
    declared: Sequence[Mapping[str, Any]],
    mounts: Mapping[str, str],
    fields: Mapping[str, str],
    environ: Mapping[str, str],
) -> dict[str, str]:
    """Return a pod's environment from the container's ``env`` list.

    Args:
        declared: the ``env`` list of the rendered container.
        mounts: mount path to local folder; a value that begins with a mount path is moved.
        fields: values of the downward API by field path.
        environ: the environment of the caller: secrets are taken from it by their name.
    """
    result = {
        name: value
        for name, value in environ.items()
        if name in _FROM_THIS_MACHINE or name.startswith(_FROM_THIS_MACHINE_PREFIXES)
    }
    if site.ENABLE_USER_SITE:  # HOME is another one in the pod; packages of the user stay
        result["PYTHONUSERBASE"] = site.getuserbase()
    for entry in declared:
        result[entry["name"]] = _value(entry, mounts, fields, environ)
    for name, default in _CACHES.items():
        if name in result:
            result[name] = environ.get(name) or str(Path(default).expanduser())
    return result


def _value(
    entry: Mapping[str, Any],
    mounts: Mapping[str, str],
    fields: Mapping[str, str],
    environ: Mapping[str, str],
) -> str:
    source = entry.get("valueFrom") or {}
    if "secretKeyRef" in source:
        return environ[entry["name"]]
    if "fieldRef" in source:
        return fields.get(source["fieldRef"]["fieldPath"], "")
    text = str(entry.get("value") or "")
    for mount, folder in mounts.items():
        if text == mount or text.startswith(f"{mount}/"):
            return folder + text[len(mount) :]
    return text


def missing_secrets(declared: Sequence[Mapping[str, Any]], environ: Mapping[str, str]) -> None:
    """Refuse to start where a secret of the job is not in the caller's environment.

    Raises:
        UsageError: with the names of the variables to set; values are never shown.
    """
    secret = [e for e in declared if "secretKeyRef" in (e.get("valueFrom") or {})]
    missing = [e["name"] for e in secret if e["name"] not in environ]
    if missing:
        raise UsageError(
            "secret-local", f"a local run has no Secrets, and {', '.join(missing)} is not set here",
            f"set it in your shell for the local run: export {missing[0]}=…",
        )  # fmt: skip


@dataclass
class Pod:
    """A pod that was started.

    Attributes:
        name: as the Job controller would name it: ``<run>-<index>-<random>``.
        uid: marks every process of the pod, through its environment.
        process: its first process: bootstrap, then the supervisor.
        work: its scratch folder.
    """

    name: str
    uid: str
    process: subprocess.Popen[bytes]
    work: Path
    started: float = field(default_factory=time.monotonic)

    def terminate(self) -> None:
        """Ask the pod to end, as the kubelet does: SIGTERM to its first process."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)

    def destroy(self) -> int:
        """Kill what is left of the pod, remove its scratch folder, and return its exit code."""
        self.process.poll()
        kill_all(self.uid, self.process.pid if self.process.returncode is None else None)
        code = self.process.wait()
        kill_all(self.uid)
        shutil.rmtree(self.work, ignore_errors=True)
        return code if code >= 0 else 128 - code


def start_pod(
    directory: RunDirectory,
    attempt: int,
    index: int,
    declared: Sequence[Mapping[str, Any]],
    submitted_at: float,
    environ: Mapping[str, str] | None = None,
) -> Pod:
    """Start an attempt.

    Args:
        directory: the run.
        attempt: the number that the runtime will take from the record.
        index: completion index, as the Job controller counts it.
        declared: the ``env`` list of the rendered container.
        submitted_at: unix seconds of this submission.
        environ: environment of the caller.
    """
    uid = str(uuid.uuid4())
    name = f"{directory.name}-{index}-{uid[:5]}"
    work = directory.root / "work" / f"attempt-{attempt}"
    _fresh(work, directory.home / "packages" / hashlib.sha256(sys.prefix.encode()).hexdigest()[:8])
    mounts = {
        CODE_MOUNT: str(directory.code),
        POD_MOUNT: str(directory.pod),
        WORK_MOUNT: str(work),
        CHECKPOINT_MOUNT: str(directory.store),
    }
    fields = {
        "metadata.name": name, "metadata.uid": uid, "spec.nodeName": "local",
        "metadata.namespace": "local",
    }  # fmt: skip
    env = pod_environment(declared, mounts, fields, os.environ if environ is None else environ)
    env |= {
        Env.TASK: str(directory.pod / TASK_FILE),
        Env.STORE: str(directory.store),
        Env.WORK: str(work),
        Env.POD_NAME: name,
        Env.POD_UID: uid,
        Env.NODE: "local",
        Env.TERMINATION_LOG: str(directory.termination_log(attempt)),
        Env.SUBMITTED_AT: str(submitted_at),
        Env.INDEX: str(index),
        _PROGRESS: _PROGRESS_SECONDS,
    }
    directory.termination_log(attempt).unlink(missing_ok=True)
    with directory.log(attempt).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-u", str(directory.bootstrap)],
            cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
    return Pod(name, uid, process, work)


def _fresh(work: Path, packages: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    packages.mkdir(parents=True, exist_ok=True)
    # Installed packages are kept under their digest: all pods of this Python can share them.
    (work / "packages").symlink_to(packages)


def kill_all(uid: str, first: int | None = None) -> None:
    """Kill every process that carries the pod's uid, until none is left.

    Args:
        uid: of the pod.
        first: the first process of the pod, killed before the others, so that nobody is left
            who could react to the death of a child.
    """
    if first is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)
    until = time.monotonic() + _KILL_SECONDS
    while found := [pid for pid in _carriers(uid) if pid != os.getpid()]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > until:
            return
        time.sleep(0.005)


def _carriers(uid: str) -> Iterator[int]:
    mark = f"{Env.POD_UID}={uid}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name)
