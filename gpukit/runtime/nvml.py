"""NVIDIA's management library through ctypes: memory in use and utilisation of the GPUs in sight.

Nothing is installed for it: ``libnvidia-ml.so.1`` comes with the driver into each GPU container.
What the library does not say (utilisation of MIG devices, for one) is None, never 0.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Device", "Nvml", "Reading", "open_nvml"]

_LIBRARY = "libnvidia-ml.so.1"
_NAME_BYTES = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_SUCCESS = 0


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong),
                ("used", ctypes.c_ulonglong))  # fmt: skip


class _MemoryV2(ctypes.Structure):
    """nvmlMemory_v2_t: ``used`` is without what the driver reserves for itself."""

    _fields_ = (("version", ctypes.c_uint), ("total", ctypes.c_ulonglong),
                ("reserved", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong),
                ("used", ctypes.c_ulonglong))  # fmt: skip


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


@dataclass(frozen=True)
class Device:
    """A GPU, or a MIG device of one. ``handle`` is NVML's own."""

    handle: Any
    name: str
    mig: bool


@dataclass(frozen=True)
class Reading:
    """One look at a device: bytes, and the part of the last second that a kernel ran on it."""

    used: int
    total: int
    busy: float | None


class Nvml:
    """The library, opened.

    Args:
        library: what ctypes loaded.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def devices(self, visible: str | None = None) -> list[Device]:
        """Return the devices that this process may use.

        Args:
            visible: CUDA_VISIBLE_DEVICES; None: all that the container has.
        """
        found = [device for handle in self._handles(visible) for device in self._parts(handle)]
        return [d for d in found if d is not None]

    def read(self, device: Device) -> Reading | None:
        """Look at a device; None where it does not answer."""
        memory = self._memory(device.handle)
        if memory is None:
            return None
        rates = _Utilization()
        asked = not device.mig and self._call(
            "nvmlDeviceGetUtilizationRates", device.handle, ctypes.byref(rates)
        )
        return Reading(*memory, rates.gpu / 100 if asked else None)

    def close(self) -> None:
        """Let go of it."""
        self._call("nvmlShutdown")

    def _handles(self, visible: str | None) -> list[Any]:
        if visible is None:
            count = ctypes.c_uint()
            if not self._call("nvmlDeviceGetCount_v2", ctypes.byref(count)):
                return []
            words = [str(number) for number in range(count.value)]
        else:
            words = [word.strip() for word in visible.split(",")]
        found = []
        for word in words:
            handle = ctypes.c_void_p()
            if word.isdecimal():
                done = self._call(
                    "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(word)), ctypes.byref(handle)
                )
            else:
                uuid = ctypes.c_char_p(word.encode())
                done = self._call("nvmlDeviceGetHandleByUUID", uuid, ctypes.byref(handle))
            if not done:
                break  # CUDA does not see what stands behind an invalid one either
            found.append(handle)
        return found

    def _parts(self, handle: Any) -> list[Device]:
        """Return the device, or the MIG devices into which it is divided."""
        name = self._name(handle)
        current, pending = ctypes.c_uint(), ctypes.c_uint()
        if not (
            self._call("nvmlDeviceGetMigMode", handle, ctypes.byref(current), ctypes.byref(pending))
            and current.value
        ):
            return [Device(handle, name, mig=_is_mig(name))]
        most = ctypes.c_uint()
        self._call("nvmlDeviceGetMaxMigDeviceCount", handle, ctypes.byref(most))
        found = []
        for number in range(most.value):
            part = ctypes.c_void_p()
            if self._call(
                "nvmlDeviceGetMigDeviceHandleByIndex", handle, ctypes.c_uint(number),
                ctypes.byref(part),
            ):  # fmt: skip
                found.append(Device(part, self._name(part) or name, mig=True))
        return found

    def _name(self, handle: Any) -> str:
        text = ctypes.create_string_buffer(_NAME_BYTES)
        if not self._call("nvmlDeviceGetName", handle, text, ctypes.c_uint(_NAME_BYTES)):
            return ""
        return text.value.decode(errors="replace")

    def _memory(self, handle: Any) -> tuple[int, int] | None:
        newer = _MemoryV2(version=ctypes.sizeof(_MemoryV2) | 2 << 24)
        if self._call("nvmlDeviceGetMemoryInfo_v2", handle, ctypes.byref(newer)):
            return newer.used, newer.total
        older = _Memory()
        if self._call("nvmlDeviceGetMemoryInfo", handle, ctypes.byref(older)):
            return older.used, older.total
        return None

    def _call(self, name: str, *args: Any) -> bool:
        function: Callable[..., int] | None = getattr(self._library, name, None)
        return function is not None and function(*args) == _SUCCESS


def _is_mig(name: str) -> bool:
    return " MIG " in name


def open_nvml() -> Nvml | None:
    """Return the library, initialised; None where there is no driver."""
    with suppress(OSError):
        library = ctypes.CDLL(_LIBRARY)
        nvml = Nvml(library)
        if nvml._call("nvmlInit_v2"):
            return nvml
    return None
