"""The base of all manifest models: closed, frozen, spelled in Python, written as Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = ["KubeModel", "KubeObject", "Metadata", "Quantities"]


def _quantities(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: str(q) if type(q) in (int, float) else q for key, q in value.items()}


Quantities = Annotated[dict[str, str], BeforeValidator(_quantities)]
"""Resource names to amounts; Kubernetes takes bare numbers as well."""


class KubeModel(BaseModel):
    """A part of a Kubernetes object. Unknown fields are refused.

    What is None or an empty list or mapping is left out: the API server reads that as absent. A
    model without any value stays (``emptyDir: {}``).
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
    )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data in the spelling and order of Kubernetes."""
        found: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if value is None or value == () or (isinstance(value, Mapping) and not value):
                continue
            found[info.alias or name] = _plain(value)
        return found


def _plain(value: object) -> Any:
    if isinstance(value, KubeModel):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value


class Metadata(KubeModel):
    """Name, labels and annotations of an object."""

    name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class KubeObject(KubeModel):
    """A whole object, with apiVersion and kind."""

    api_version: str
    kind: str
    metadata: Metadata
