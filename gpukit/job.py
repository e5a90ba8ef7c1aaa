"""``@gpu_job`` and the GpuJob it makes: still a plain callable, plus what it asks for.

Standard library only at import: this module is loaded in every pod, where pydantic may not be.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, overload

from .errors import SpecError, UsageError, did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .render import Bundle
    from .runs.handle import Run
    from .spec import JobSpec

__all__ = ["GpuJob", "JobOptions", "gpu_job"]

P = ParamSpec("P")
R = TypeVar("R")


class JobOptions(TypedDict, total=False):
    """The options of ``@gpu_job``; :class:`gpukit.spec.JobSpec` says what each one means."""

    name: str
    namespace: str
    profile: str | Sequence[str]
    gpu: str
    spot: bool | str
    platform: str
    image: str
    image_pull_secrets: Sequence[str]
    packages: Sequence[str]
    requirements: str
    cpu: str | int | float
    memory: str | int
    shm: str | int
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    volumes: Mapping[str, str]
    checkpoint_every: str | int
    checkpoints: str
    team: str
    cost_center: str
    stage: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    retries: int
    max_preemptions: int
    max_cost: str | int
    timeout: str | int
    deadline: str | int
    hang_timeout: str | int
    ttl: str | int
    queue: str
    priority: str
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, object]]
    service_account: str
    pod: Mapping[str, object]


class GpuJob(Generic[P, R]):
    """A function with a declaration of where and how it runs; calling it just calls it.

    Args:
        function: the function that is the job.
        options: what ``@gpu_job`` was given, by name.

    Raises:
        SpecError: an option that does not exist.
    """

    def __init__(self, function: Callable[P, R], options: JobOptions) -> None:
        for name in options:
            if name not in JobOptions.__annotations__:
                known = sorted(JobOptions.__annotations__)
                raise SpecError(
                    "option-unknown",
                    f"@gpu_job has no option {name!r}",
                    did_you_mean(name, known, otherwise=f"the options are: {', '.join(known)}"),
                )
        self.function = function
        self.options = options
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, here and now, as if it were not decorated."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<GpuJob {self.function.__module__}.{self.function.__qualname__}>"

    @property
    def source_file(self) -> Path:
        """The file that defines the function.

        Raises:
            JobFileError: the function has no file (a notebook, ``python -c``).
        """
        from .jobfile import source_file_of

        return source_file_of(self.function)

    @property
    def signature(self) -> inspect.Signature:
        """The signature of the function, whose parameters become flags of the CLI."""
        return inspect.signature(self.function)

    @property
    def spec(self) -> JobSpec:
        """The validated declaration, with settings and defaults filled in.

        Raises:
            SpecError: a value is wrong; the message says which, the hint what to write.
        """
        from .settings import resolve_spec

        return resolve_spec(self).spec

    def with_options(self, **options: Unpack[JobOptions]) -> GpuJob[P, R]:
        """Return the same job with some options replaced."""
        merged: JobOptions = {**self.options, **options}
        return GpuJob(self.function, merged)

    def render(self, *args: P.args, **kwargs: P.kwargs) -> Bundle:
        """Return the manifests and the code archive of a run with these arguments.

        Raises:
            GpukitError: the declaration, the arguments or the code cannot be shipped.
        """
        from .runs.plan import plan_call

        return plan_call(self, args, kwargs).bundle

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Run:
        """Start a run with these arguments on the cluster, or find it, and return its handle.

        The cluster is that of the kubeconfig's context, or the one that this process is a pod of.

        Raises:
            GpukitError: the declaration, the arguments or the code cannot be shipped, the
                cluster refuses, or this process is itself part of a run.
        """
        self._refuse_inside_of_a_run("submit")
        from .cluster.client import connect
        from .runs.cluster_submit import submit_to_cluster
        from .runs.plan import plan_call

        return submit_to_cluster(plan_call(self, args, kwargs), connect()).run

    def map(self, points: Iterable[Mapping[str, Any] | Any]) -> list[Run]:
        """Start a run for each point on the cluster, or find it, and return the handles.

        One archive, one look by the API server, several requests at a time.

        Args:
            points: the function's arguments by name, or the value of its only parameter.

        Raises:
            GpukitError: as for :meth:`submit`; the checkpoints are on a new volume, for which
                the runs would wait for each other.
        """
        self._refuse_inside_of_a_run("map")
        from .cluster.client import connect
        from .runs.plan import plan_call
        from .runs.sweep import submit_sweep

        name = next(iter(self.signature.parameters), "")
        named = [dict(p) if isinstance(p, Mapping) else {name: p} for p in points]
        if not named:
            return []
        plan = plan_call(self, (), named[0])
        return list(submit_sweep(plan, connect(), named).runs)

    def submit_local(self, *args: P.args, **kwargs: P.kwargs) -> Run:
        """Start a run with these arguments on this machine, or find it, and return its handle.

        Raises:
            GpukitError: the declaration, the arguments or the code cannot be shipped; this
                process is itself part of a run.
        """
        self._refuse_inside_of_a_run("submit_local")
        from .runs.plan import plan_call
        from .runs.submit import submit_local

        return submit_local(plan_call(self, args, kwargs))

    def _refuse_inside_of_a_run(self, method: str) -> None:
        from .runtime.context import current

        if current() is not None:
            raise UsageError(
                "submit-in-run",
                f"{self.function.__name__}.{method}() was called inside of a run",
                'put it under if __name__ == "__main__": the pod imports this file too',
            )


@overload
def gpu_job(function: Callable[P, R], /) -> GpuJob[P, R]: ...


@overload
def gpu_job(
    **options: Unpack[JobOptions],
) -> Callable[[Callable[P, R]], GpuJob[P, R]]: ...


def gpu_job(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Declare that a function is a GPU job: ``@gpu_job(profile="mig-1g.10gb", spot=True)``.

    The function stays callable. ``gpukit submit FILE`` runs it; see :class:`JobOptions` for
    the options and :class:`gpukit.spec.JobSpec` for their meaning and defaults.

    Raises:
        SpecError: an option that does not exist, or something that is not a function.
    """
    if function is None:
        return functools.partial(_make, options=options)
    return _make(function, options=options)


def _make(function: Callable[P, R], *, options: Any) -> GpuJob[P, R]:
    if not inspect.isroutine(function):
        raise SpecError(
            "decorator-target",
            f"@gpu_job is over {getattr(function, '__qualname__', repr(function))}, "
            "which is not a function",
            'write @gpu_job(profile="…") directly above a def',
        )
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise SpecError(
            "decorator-target",
            f"@gpu_job is over {function.__qualname__}, which is async or a generator",
            "write a plain function that returns when the work is done; "
            "call asyncio.run(…) inside it",
        )
    return GpuJob(function, options)
