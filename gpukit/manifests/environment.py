"""The environment of the container: gpukit's variables, a working home, the user's own."""

from __future__ import annotations

from gpukit.contract import POD_MOUNT, TASK_FILE, WORK_MOUNT, Env
from gpukit.placement import Placement
from gpukit.spec import JobSpec

from .containers import EnvSource, EnvVar, KeyRef
from .volumes import FieldRef

__all__ = ["literal", "literal_of", "trainer_env"]

TERMINATION_LOG = "/dev/termination-log"
_USER = "gpukit"
_CACHES = {
    "XDG_CACHE_HOME": "cache",
    "HF_HOME": "cache/huggingface",
    "TORCH_HOME": "cache/torch",
    "TRITON_CACHE_DIR": "cache/triton",
    "TORCHINDUCTOR_CACHE_DIR": "cache/inductor",
    "MPLCONFIGDIR": "cache/matplotlib",
}
_POD_FIELDS = {
    Env.POD_NAME: "metadata.name",
    Env.POD_UID: "metadata.uid",
    Env.NODE: "spec.nodeName",
}


def trainer_env(spec: JobSpec, placement: Placement, store: str) -> tuple[EnvVar, ...]:
    """Return the variables of the container, the user's last ones winning over defaults.

    Args:
        spec: the declaration, for the user's variables and secrets.
        placement: whether there is a GPU.
        store: directory or URL of the run.
    """
    plain = {
        Env.TASK: f"{POD_MOUNT}/{TASK_FILE}",
        Env.STORE: store,
        Env.WORK: WORK_MOUNT,
        Env.TERMINATION_LOG: TERMINATION_LOG,
        "PYTHONUNBUFFERED": "1",
        "HOME": WORK_MOUNT,  # it is there and writable from the start
        "USER": _USER,  # an image need not know the user 1000; getpass and torch ask for its name
        "LOGNAME": _USER,
        **{name: f"{WORK_MOUNT}/{folder}" for name, folder in _CACHES.items()},
    }
    if placement.resource_name is None:  # else a CUDA image on a GPU node sees all of its GPUs
        plain["NVIDIA_VISIBLE_DEVICES"] = "void"
    found = {name: EnvVar(name=name, value=value) for name, value in plain.items()}
    for name, path in _POD_FIELDS.items():
        source = EnvSource(field_ref=FieldRef(field_path=path))
        found[name] = EnvVar(name=name, value_from=source)
    for name, value in sorted(spec.env.items()):
        found[name] = EnvVar(name=name, value=literal(value))
    for name, reference in sorted(spec.secrets.items()):
        secret, _, key = reference.rpartition("/")
        source = EnvSource(secret_key_ref=KeyRef(name=secret, key=key))
        found[name] = EnvVar(name=name, value_from=source)
    return tuple(found.values())


def literal(value: str) -> str:
    """Return the text that Kubernetes expands to ``value``: it reads ``$(NAME)`` and ``$$``."""
    return value.replace("$", "$$") if "$(" in value or "$$" in value else value


def literal_of(text: str) -> str:
    """Return what Kubernetes makes of a text without references: ``$$`` is ``$``."""
    return text.replace("$$", "$")
