"""What an attempt used of its GPUs: memory at its peak, and how busy they were. Unknown is None."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .nvml import open_nvml

__all__ = ["Meter", "TorchWatch", "Usage", "merged", "torch_event"]

_SECONDS = 1.0  # NVML's utilisation is that of the last second, or of a part of it
_TORCH_SECONDS = 2.0
_IN_POD = "KUBERNETES_SERVICE_HOST"  # Kubernetes sets it in every container
_COUNTERS = ("allocated", "reserved", "total", "device")
_KEYS = {
    "device": "d", "total": "t", "used": "u", "allocated": "a", "reserved": "r", "busy": "b",
    "samples": "n", "devices": "g",
}  # fmt: skip


@dataclass(frozen=True)
class Usage:
    """What was seen; bytes, of the device that used most.

    Attributes:
        device: its name, as the driver says it.
        devices: how many there were.
        total: its memory.
        used: of that, in use at the peak, whoever used it (NVML).
        allocated: in tensors at the peak (PyTorch).
        reserved: held by PyTorch's allocator at the peak.
        busy: part of the time that a kernel ran, the mean of all devices; None: nobody said (MIG).
        samples: looks at ``busy``.
    """

    device: str = ""
    devices: int = 0
    total: int | None = None
    used: int | None = None
    allocated: int | None = None
    reserved: int | None = None
    busy: float | None = None
    samples: int = 0

    def to_row(self) -> dict[str, Any]:
        """Return it in few bytes, for termination messages; what is unknown is left out."""
        found = {short: getattr(self, name) for name, short in _KEYS.items()}
        if self.busy is not None:
            found["b"] = round(self.busy, 3)
        return {short: value for short, value in found.items() if value not in (None, "", 0)}

    @staticmethod
    def from_row(row: object) -> Usage | None:
        """Read what :meth:`to_row` wrote, or a record's object; None if it is neither."""
        if not isinstance(row, Mapping) or not row:
            return None
        known = {field.name for field in fields(Usage)}
        long = {short: name for name, short in _KEYS.items()}
        values = {long.get(key, key): value for key, value in row.items()}
        return Usage(**{name: value for name, value in values.items() if name in known})


def merged(found: Iterable[Usage | None]) -> Usage | None:
    """Return the peaks of several, and how busy the GPUs were by the samples of each."""
    every = [one for one in found if one is not None]
    if not every:
        return None
    looks = sum(one.samples for one in every)
    busy = sum((one.busy or 0.0) * one.samples for one in every) / looks if looks else None
    return Usage(
        device=next((one.device for one in reversed(every) if one.device), ""),
        devices=max(one.devices for one in every),
        total=_most(one.total for one in every),
        used=_most(one.used for one in every),
        allocated=_most(one.allocated for one in every),
        reserved=_most(one.reserved for one in every),
        busy=busy,
        samples=looks,
    )


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


class Meter:
    """Looks at the devices once a second, from a thread of its own, and takes trainers' counters.

    Args:
        environ: CUDA_VISIBLE_DEVICES says which devices count. In a pod all that are visible are
            the job's own; elsewhere they count once the job has said that it uses one.
        every: seconds between two looks.
    """

    def __init__(self, environ: Mapping[str, str], every: float = _SECONDS) -> None:
        self._lock = threading.Lock()
        self._seen: Usage | None = None
        self._counted: Usage | None = None
        self._stop = threading.Event()
        self._own = _IN_POD in environ
        self._visible, self._every = environ.get("CUDA_VISIBLE_DEVICES"), every
        self._thread = threading.Thread(target=self._work, name="gpukit-usage", daemon=True)
        self._thread.start()

    def note(self, event: Mapping[str, Any]) -> None:
        """Take the counters that a trainer sent."""
        found = Usage.from_row({name: event.get(name) for name in _COUNTERS})
        with self._lock:
            self._counted = merged([self._counted, found])

    def usage(self) -> Usage | None:
        """Return what is known by now; None where there is no GPU."""
        with self._lock:
            return merged([self._counted, self._seen]) if self._own or self._counted else None

    def close(self) -> None:
        """End the looks."""
        self._stop.set()
        self._thread.join(self._every + 1)

    def _work(self) -> None:
        nvml = open_nvml()
        if nvml is None:
            return
        devices = nvml.devices(self._visible)
        while devices:
            readings = [(d, r) for d in devices if (r := nvml.read(d)) is not None]
            for device, reading in readings:
                look = Usage(
                    device.name, len(devices), reading.total, reading.used,
                    busy=reading.busy, samples=int(reading.busy is not None),
                )  # fmt: skip
                with self._lock:
                    self._seen = merged([self._seen, look])
            if self._stop.wait(self._every):
                break
        nvml.close()


def torch_event() -> dict[str, Any] | None:
    """Return the counters of PyTorch's allocator as an event; None where it uses no GPU.

    Never imports torch, never starts CUDA: where the function did neither, there is nothing to say.
    """
    torch: Any = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return None
    device = cuda.current_device()
    properties = cuda.get_device_properties(device)
    return {
        "event": "gpu",
        "device": str(properties.name),
        "total": int(properties.total_memory),
        "allocated": int(cuda.max_memory_allocated(device)),
        "reserved": int(cuda.max_memory_reserved(device)),
    }


class TorchWatch:
    """Sends the allocator's counters while the user's function runs, when they have grown.

    Args:
        send: takes an event.
    """

    def __init__(self, send: Callable[[Mapping[str, object]], None]) -> None:
        self._send = send
        self._sent: dict[str, Any] | None = None
        self._stop = threading.Event()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._work, name="gpukit-torch-usage", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send the last counters."""
        if os.getpid() != self._pid:
            return  # a forked worker
        self._stop.set()
        self._tell()

    def _work(self) -> None:
        while not self._stop.wait(_TORCH_SECONDS):
            self._tell()

    def _tell(self) -> None:
        try:
            event = torch_event()
        except Exception:  # a torch that is half imported or whose CUDA has failed says nothing
            return
        if event is not None and event != self._sent:
            self._sent = event
            self._send(event)
