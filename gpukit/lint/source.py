"""What can be read in the code of a job without running it."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

__all__ = ["JobSource"]

_TRANSPARENT = frozenset(
    {
        "gpukit", "torch", "torchvision", "torchaudio", "torchdata", "torchmetrics", "numpy",
        "scipy", "pandas", "sklearn", "PIL", "cv2", "transformers", "datasets", "tokenizers",
        "safetensors", "accelerate", "peft", "diffusers", "timm", "einops", "tqdm", "yaml",
        "matplotlib", "tensorflow", "keras", "jax", "flax", "optax", "requests", "rich", "click",
        "pydantic", "fsspec", "s3fs", "gcsfs", "boto3", "google", "wandb", "mlflow", "tensorboard",
    }
)  # fmt: skip
"""Modules whose use of checkpoints and processes shows in the code that calls them."""


_NO_EVIDENCE = re.compile(r"^from gpukit import (\([^)]*\)|.*)$", re.MULTILINE)
"""What is imported of gpukit itself, and perhaps never used."""


@dataclass(frozen=True)
class JobSource:
    """The file of a job, and the texts of the other files that are shipped with it.

    Attributes:
        file: its name, for findings.
        text: what is in it; empty where that is not known.
        function: the name of the job's function.
        others: path and text of the other files that are shipped.
    """

    file: str
    text: str
    function: str
    others: tuple[tuple[str, str], ...] = ()

    @cached_property
    def tree(self) -> ast.Module:
        """The file, parsed; empty where it is not Python."""
        return _parsed(self.text)

    @cached_property
    def _function(self) -> ast.FunctionDef | None:
        nodes = (n for n in self.tree.body if isinstance(n, ast.FunctionDef))
        return next((n for n in nodes if n.name == self.function), None)

    @cached_property
    def decorator(self) -> ast.expr | None:
        """The ``@gpu_job(…)`` of the function."""
        found = self._function.decorator_list if self._function else []
        return next((d for d in found if "gpu_job" in ast.unparse(d)), None)

    @property
    def first_line(self) -> int:
        """The line of the decorator, or of the function."""
        if self.decorator is not None:
            return self.decorator.lineno
        return self._function.lineno if self._function else 1

    def line_of(self, option: str) -> int:
        """Return the line where an option is given; that of the decorator where it is not."""
        if isinstance(self.decorator, ast.Call):
            for keyword in self.decorator.keywords:
                if keyword.arg == option:
                    return keyword.lineno
        return self.first_line

    @cached_property
    def code(self) -> str:
        """All texts without the decorator, whose options are no evidence of what the code does."""
        lines = self.text.splitlines()
        if self.decorator is not None:
            first, last = self.decorator.lineno, self.decorator.end_lineno or 0
            lines[first - 1 : last] = []
        code = "\n".join([*lines, *(text for _, text in self.others)])
        return _NO_EVIDENCE.sub("", code)

    def mentions(self, *words: str) -> bool:
        """Tell whether any of the words is in the code, in any case, in a comment or not."""
        return (
            re.search("|".join(re.escape(w) for w in words), self.code, re.IGNORECASE) is not None
        )

    @cached_property
    def is_open(self) -> bool:
        """Whether all that it does shows: it imports nothing that could do it out of sight."""
        shipped = {part.removesuffix(".py") for name, _ in self.others for part in name.split("/")}
        known = _TRANSPARENT | sys.stdlib_module_names | shipped
        texts = [self.text, *(text for _, text in self.others)]
        return bool(self.text) and all(m in known for text in texts for m in _imported(text))

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Return every call in the job's file, with the last part of the name that is called.

        Not those below ``if __name__ == "__main__"``, which a pod does not run.
        """
        parts = (
            n for n in self.tree.body
            if not (isinstance(n, ast.If) and "__name__" in ast.unparse(n.test))
        )  # fmt: skip
        for node in (inner for part in parts for inner in ast.walk(part)):
            if isinstance(node, ast.Call):
                name = node.func
                if isinstance(name, ast.Attribute):
                    yield node, name.attr
                elif isinstance(name, ast.Name):
                    yield node, name.id


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _imported(text: str) -> Iterator[str]:
    for node in ast.walk(_parsed(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
