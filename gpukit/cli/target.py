"""Commands over a job file: ``gpukit COMMAND [OPTIONS] FILE[::FUNCTION] [ARGUMENTS]``.

gpukit's options stand before the target; all that comes after it belongs to the function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import flags_of, spec_options

if TYPE_CHECKING:
    from gpukit.archive import Archive
    from gpukit.job import GpuJob
    from gpukit.runs.plan import Plan

__all__ = ["TargetCommand", "job_of", "job_with", "plan_archive", "plan_of", "target_command"]

_SPOT_WORDS = (["prefer"], ["true"], ["false"])


class TargetCommand(click.Command):
    """A command whose first argument is a job file, with every option of a job as a flag."""

    def __init__(self, name: str, *, params: Sequence[click.Parameter], **kwargs: Any) -> None:
        self.sections = spec_options()
        of_jobs = [option for _, options in self.sections for option in options]
        super().__init__(
            name,
            params=[*params, *_shipping(), *of_jobs, *_positional()],
            context_settings={"allow_interspersed_args": False},
            **kwargs,
        )

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let ``--spot`` stand alone, and say where a function's own options belong."""
        try:
            return super().parse_args(ctx, self._with_spot_words(args))
        except click.NoSuchOption as error:
            from gpukit.errors import UsageError, did_you_mean

            known = [o for p in self.params if isinstance(p, click.Option) for o in p.opts]
            raise UsageError(
                "flag-unknown", f"gpukit {self.name} has no option {error.option_name}",
                did_you_mean(
                    error.option_name, known,
                    otherwise="options of your function stand behind the file: "
                    f"gpukit {self.name} FILE {error.option_name} …",
                ),
            ) from None  # fmt: skip

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by section."""
        of_jobs = {id(option) for _, options in self.sections for option in options}
        options = [p for p in self.get_params(ctx) if isinstance(p, click.Option)]
        rest = [option for option in options if id(option) not in of_jobs]
        for title, listed in [("Options", rest), *self.sections]:
            rows = [row for option in listed if (row := option.get_help_record(ctx))]
            with formatter.section(title):
                formatter.write_dl(rows)

    def _with_spot_words(self, args: list[str]) -> list[str]:
        """Give a lonely ``--spot`` its value, up to the target: the rest is the function's."""
        options = [p for p in self.params if isinstance(p, click.Option)]
        with_value = {flag for o in options if not o.is_flag for flag in o.opts} - {"--spot"}
        fixed, i = list(args), 0
        while i < len(fixed) and fixed[i].startswith("-") and fixed[i] != "--":
            if fixed[i] == "--spot" and fixed[i + 1 : i + 2] not in _SPOT_WORDS:
                fixed[i] = "--spot=true"
            i += 2 if fixed[i] in with_value or fixed[i] == "--spot" else 1
        return fixed


def _positional() -> list[click.Parameter]:
    return [
        click.Argument(["target"], metavar="FILE[::FUNCTION]"),
        click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[ARGUMENTS]..."),
    ]


def _shipping() -> list[click.Parameter]:
    folder = click.Path(exists=True, file_okay=False, path_type=Path)
    return [
        click.Option(["--workdir"], type=folder, metavar="DIR",
            help="Ship this folder, less what .gitignore names; not only what the job imports."),
        click.Option(["--include"], multiple=True, metavar="GLOB",
            help="Ship these files too, for example 'configs/*.json'."),
        click.Option(["--prices"], type=click.Path(path_type=Path), metavar="FILE",
            help="Your own prices: TOML, or CSV of OpenCost or SkyPilot."),
    ]  # fmt: skip


def target_command(
    name: str, *, params: Sequence[click.Parameter] = (), **kwargs: Any
) -> Callable[[Callable[..., Any]], TargetCommand]:
    """Make a function that takes all parameters by name a command over a job file."""

    def make(function: Callable[..., Any]) -> TargetCommand:
        return TargetCommand(
            name, params=params, callback=function, help=function.__doc__, **kwargs
        )

    return make


def plan_of(params: dict[str, Any]) -> Plan:
    """Return the plan that a command's parameters ask for.

    Raises:
        GpukitError: the flags, the job file, the arguments or the code cannot be used.
    """
    from gpukit.runs.plan import plan_call

    from .parameters import parse_parameters

    flags = flags_of(params)
    job = job_with(params)
    values = parse_parameters(job, list(params["arguments"]), target=params["target"])
    return plan_call(
        job, (), values, flags=flags, workdir=params["workdir"], include=params["include"],
        prices=params["prices"],
    )  # fmt: skip


def plan_archive(params: dict[str, Any]) -> Archive:
    """Return the archive of a job, for which its arguments need not be known.

    Raises:
        GpukitError: the flags, the job file or the code cannot be used.
    """
    from gpukit.archive import build_archive
    from gpukit.jobfile import locate
    from gpukit.settings import resolve_spec

    job = job_of(params)
    spec = resolve_spec(job, flags_of(params)).spec
    return build_archive(
        locate(job), workdir=params["workdir"], include=params["include"],
        requirements=spec.requirements,
    )  # fmt: skip


def job_of(params: dict[str, Any]) -> GpuJob[..., Any]:
    """Return the job of a command that needs no arguments; wrong ones are refused all the same.

    Raises:
        GpukitError: the job file or the arguments cannot be used.
    """
    from .parameters import parse_parameters

    job = job_with(params)
    if params["arguments"]:
        parse_parameters(job, list(params["arguments"]), target=params["target"])
    return job


def job_with(params: dict[str, Any]) -> GpuJob[..., Any]:
    """Return the job of a command, whatever its arguments.

    Raises:
        GpukitError: the job file cannot be used.
    """
    from gpukit.jobfile import load_job, parse_target

    return load_job(parse_target(params["target"]))
