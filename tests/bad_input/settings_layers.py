"""Mistakes in settings: files, and variables of the environment."""

from __future__ import annotations

from .case import Case, job_source, rendered

__all__ = ["SETTINGS"]


def _project(id: str, text: str | bytes) -> Case:
    shown = text if isinstance(text, str) else repr(text)
    files = {"job.py": job_source(), "pyproject.toml": text}
    return Case(id, f"pyproject.toml: {shown!r}", rendered, files=files)


def _user(id: str, text: str) -> Case:
    files = {"job.py": job_source(), "config/gpukit/config.toml": text}
    return Case(id, f"config.toml: {text!r}", rendered, files=files)


def _variable(id: str, name: str, value: str) -> Case:
    return Case(
        id, f"{name}={value!r}", rendered, environ={name: value}, files={"job.py": job_source()}
    )


SETTINGS: list[Case] = [
    _project("settings-toml", "[tool.gpukit\n"),
    _project("settings-toml", "[tool.gpukit]\nteam = unquoted\n"),
    _project("settings-toml", b"[tool.gpukit]\nteam = '\xff'\n"),
    _user("settings-toml", "team = \n"),
    _project("settings-form", "[tool]\ngpukit = 3\n"),
    _project("settings-form", "[[tool.gpukit]]\nteam = 'a'\n"),
    _project("option-unknown", "[tool.gpukit]\nprofil = 'h100'\n"),
    _user("option-unknown", "checkpoint-evry = '1h'\n"),
    _project("retries-range", "[tool.gpukit]\nretries = '3'\n"),
    _project("env-value", "[tool.gpukit.env]\nBATCH = 32\n"),
    _project("annotations-form", "[tool.gpukit]\nannotations = 7\n"),
    _user("quantity-duration", "timeout = 'tomorrow'\n"),
    _user("packages-form", "packages = 'numpy'\n"),
    _variable("environment-unknown", "GPUKIT_PROFIL", "h100"),
    _variable("environment-unknown", "GPUKIT_CHECKPOINTEVERY", "1h"),
    _variable("option-number", "GPUKIT_RETRIES", "two"),
    _variable("option-number", "GPUKIT_MAX_PREEMPTIONS", "1.5"),
    _variable("option-json", "GPUKIT_LABELS", "team=a"),
    _variable("option-json", "GPUKIT_ENV", "{'A': '1'}"),
    _variable("option-json", "GPUKIT_TOLERATIONS", "[oops"),
    _variable("labels-form", "GPUKIT_LABELS", "[1]"),
    _variable("spot-value", "GPUKIT_SPOT", "maybe"),
    _variable("stage-unknown", "GPUKIT_STAGE", "production"),
    _variable("image-form", "GPUKIT_IMAGE", ""),
]
