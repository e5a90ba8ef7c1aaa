"""A tiny archive that never changes, and the shortest way from options to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpukit.archive import Archive, ArchivedFile
from gpukit.catalog import load_catalog
from gpukit.diagnose import recognise
from gpukit.placement import Placement, resolve
from gpukit.render import Bundle, render
from gpukit.spec import make_spec

TINY_ARCHIVE = Archive(
    data=b"a tar.gz, for all that the renderer knows",
    digest="0123456789abcdef" * 4,
    user_digest="fedcba9876543210" * 4,
    bootstrap=b"print('bootstrap')\n",
    files=(ArchivedFile(name="src/train.py", size=41, kind="job"),),
    paths=(".",),
    warnings=(),
)


def place(**options: Any) -> Placement:
    return resolve(make_spec(options), load_catalog())


def bundle(
    *,
    job: str = "train",
    arguments: dict[str, Any] | None = None,
    nodes: Sequence[dict[str, Any]] = (),
    **options: Any,
) -> Bundle:
    """Render a job of these options; ``platform="auto"`` is read off the nodes."""
    catalog = load_catalog()
    found = recognise(nodes, catalog.platforms) if options.get("platform") == "auto" else None
    spec = make_spec(options)
    return render(
        spec,
        resolve(spec, catalog, None, found),
        TINY_ARCHIVE,
        job=job,
        module="train",
        function="train",
        paths=(".",),
        arguments=arguments if arguments is not None else {"epochs": 3},
        version="0.0.0",
    )


def job_of(rendered: Bundle) -> dict[str, Any]:
    return rendered.to_dicts()[-1]


def pod_of(rendered: Bundle) -> dict[str, Any]:
    pod: dict[str, Any] = job_of(rendered)["spec"]["template"]["spec"]
    return pod


def main_of(rendered: Bundle) -> dict[str, Any]:
    main: dict[str, Any] = pod_of(rendered)["containers"][0]
    return main
