"""Breast cancer cells: measurements in, a diagnosis out."""

from .data import load
from .model import fit

__all__ = ["fit", "load"]
