"""``gpukit completion SHELL``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from . import output

__all__ = ["completion"]

_HOW = {
    "bash": 'eval "$(gpukit completion bash)"      in ~/.bashrc',
    "zsh": 'eval "$(gpukit completion zsh)"       in ~/.zshrc',
    "fish": "gpukit completion fish | source      in ~/.config/fish/config.fish",
}


@click.command(
    epilog="\b\n" + "\n".join(_HOW.values()),
)
@click.argument("shell", type=click.Choice(tuple(_HOW)))
def completion(shell: str) -> None:
    """Print the script that completes gpukit's commands and options in a shell."""
    from .main import cli

    kind = get_completion_class(shell)
    if kind is not None:
        output.text(kind(cli, {}, "gpukit", "_GPUKIT_COMPLETE").source())
