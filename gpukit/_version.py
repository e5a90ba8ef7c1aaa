"""The version of gpukit, in one place."""

__version__ = "0.1.0"
