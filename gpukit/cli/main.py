"""The entry point: commands are imported when they are used; errors get an exit code here.

Loads click and nothing heavier: help of the group comes from the table below.
"""

from __future__ import annotations

import importlib
import os
import sys

import click

from gpukit.errors import GpukitError, UsageError, did_you_mean

__all__ = ["COMMANDS", "cli", "main", "run"]

COMMANDS: dict[str, tuple[str, str, str]] = {
    # name: (section, module:function, help in one line)
    "submit": ("Run", "gpukit.cli.submit:submit", "Run a job, and go on where it was interrupted."),
    "list": ("Runs", "gpukit.cli.list_runs:list_runs", "List runs."),
    "status": ("Runs", "gpukit.cli.status:status", "Show a run: attempts, progress, cost."),
    "logs": ("Runs", "gpukit.cli.logs:logs", "Print or follow what a run writes."),
    "wait": ("Runs", "gpukit.cli.wait:wait", "Wait for a run's end and print its result."),
    "cancel": ("Runs", "gpukit.cli.cancel:cancel", "Stop a run, with a checkpoint."),
    "extend": ("Runs", "gpukit.cli.extend:extend", "Raise a budget of a run that goes on."),
    "events": ("Runs", "gpukit.cli.events:events", "List what Kubernetes says of a run."),
    "download": ("Runs", "gpukit.cli.download:download", "Copy a run's outputs here."),
    "delete": ("Runs", "gpukit.cli.delete:delete", "Remove a run that has ended."),
    "render": ("Run", "gpukit.cli.render:render", "Print the Kubernetes manifests of a job."),
    "explain": ("Run", "gpukit.cli.explain:explain", "Say of each value where it comes from."),
    "archive": ("Run", "gpukit.cli.archive:archive", "List the files that a job ships."),
    "why": ("Run", "gpukit.cli.why:why", "Say why a run does not run, and what to do."),
    "lint": ("Run", "gpukit.cli.lint:lint", "Find what is known to go wrong, in jobs and YAML."),
    "checkpoints": ("Watch", "gpukit.cli.checkpoints:checkpoints", "List and verify checkpoints."),
    "interruptions": (
        "Watch", "gpukit.cli.interruptions:interruptions", "How often, how fast back, what saved."),
    "cost": ("Look up", "gpukit.cli.cost:cost", "Say what a job would cost, before it runs."),
    "fit": ("Look up", "gpukit.cli.fit:fit", "Say which GPU or slice holds a model."),
    "gpus": ("Look up", "gpukit.cli.gpus:gpus", "List GPUs, MIG profiles and prices."),
    "mig-plan": ("Look up", "gpukit.cli.mig_plan:mig_plan", "Pack jobs as slices on GPUs."),
    "benchmark": ("Models", "gpukit.cli.benchmark:benchmark", "Time models side by side."),
    "quantize": ("Models", "gpukit.cli.quantize:quantize", "Make a model smaller, still good."),
    "recipes": ("Look up", "gpukit.cli.recipes:recipes", "List, show and copy ready-made jobs."),
    "doctor": ("Set up", "gpukit.cli.doctor:doctor", "Look at a cluster as a job would."),
    "completion": ("Set up", "gpukit.cli.completion:completion", "Print a shell's completion."),
    "version": ("Set up", "gpukit.cli.version:version", "Print the version of gpukit."),
}  # fmt: skip

_INTERRUPTED = 130


class LazyGroup(click.Group):
    """A group that imports a command only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the table, in its order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][1].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; say which one was meant where there is none of that name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise _unknown_command(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, by section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, (section, _, text) in COMMANDS.items():
            sections.setdefault(section, []).append((name, text))
        for section, rows in sections.items():
            with formatter.section(section):
                formatter.write_dl(rows)


def _unknown_command(word: str) -> UsageError:
    if word.endswith(".py") or ".py::" in word:
        hint = f"did you mean `gpukit submit {word}`?"
    else:
        hint = did_you_mean(word, COMMANDS, otherwise="`gpukit --help` lists the commands")
    return UsageError("command-unknown", f"there is no command {word!r}", hint)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from gpukit import __version__

        click.echo(f"gpukit {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Print the version and exit.",
)  # fmt: skip
def cli() -> None:
    """GPU jobs on Kubernetes that survive spot interruptions and say what they cost.

    \b
    gpukit submit --local train.py --epochs 3       run it here, as a pod would
    gpukit submit --local --simulate-preemption 30s train.py
    gpukit render --spot train.py                   the manifests, for kubectl
    """  # noqa: D301 - click's mark of a block


def run(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Raises:
        GpukitError: whatever the person has to act on.
    """
    try:
        code = cli.main(args=argv, prog_name="gpukit", standalone_mode=False)
        if sys.stdout is not None:  # it is None where the caller has closed it
            sys.stdout.flush()
    except click.ClickException as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # `gpukit` alone; a name of click >= 8.2
            click.echo(error.format_message(), err=True)
            return UsageError.exit_code
        from .mistakes import translated

        raise translated(error) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        from .mistakes import refused_by_system

        raise refused_by_system(error) from error
    return code if isinstance(code, int) else 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit code (0, 1, 2, 3, 4, 5 or 130)."""
    try:
        return run(argv)
    except GpukitError as error:
        if error.id == "output-refused":
            _write_no_more()
        return _failed(error.message, error.hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe went away: `gpukit gpus | head`
        _write_no_more()
        return 0
    except Exception:
        return _bug()


def _write_no_more() -> None:
    """Let what is still to be written to stdout vanish, so that leaving Python does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _failed(message: str, hint: str, code: int) -> int:
    if os.environ.get("GPUKIT_DEBUG"):
        import traceback

        traceback.print_exc()
    click.secho("error: ", fg="red", bold=True, nl=False, err=True, color=_color())
    click.echo(message, err=True)
    if hint:
        click.secho("hint:  ", fg="cyan", nl=False, err=True, color=_color())
        click.echo(hint, err=True)
    return code


def _color() -> bool | None:
    return False if os.environ.get("NO_COLOR") else None


def _bug() -> int:
    import traceback

    traceback.print_exc()
    return _failed("this is a bug in gpukit", "report it together with the lines above", 1)
