"""How much GPU memory a model needs, before it has run, and which GPU or slice holds that."""

from __future__ import annotations

__all__: list[str] = []
