"""``gpukit doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from gpukit.errors import UsageError

from . import output

if TYPE_CHECKING:
    from gpukit.diagnose.doctor import Finding

__all__ = ["doctor"]

_FINDINGS = 3
_SUBJECTS = ("user", "group", "serviceaccount")
_MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "problem": ("✗", "red")}


@click.command("doctor")
@click.option("-n", "--namespace", metavar="NAME", help="Where runs go; default: the context's.")
@click.option("--context", metavar="NAME", help="Of the kubeconfig; default: the current one.")
@click.option(
    "--profile",
    metavar="PROFILE",
    help="Of the job that is tried; default: one that the nodes offer.",
)
@click.option("--rbac", is_flag=True, help="Print the Roles that gpukit needs, and no more.")
@click.option(
    "--subject",
    metavar="KIND:NAME",
    help="With --rbac, bind them: user:NAME, group:NAME or serviceaccount:NAME.",
)
@output.format_option("table", "json", "yaml")
def doctor(
    namespace: str | None, context: str | None, profile: str | None, rbac: bool,
    subject: str | None, output_format: str,
) -> int:  # fmt: skip
    """Look at a cluster as a job of gpukit would.

    Version, rights, GPUs, platform, storage, PodSecurity, quotas, queues, clocks,
    and whether a Job and a pod of ours would be accepted, by a dry run. Nothing is
    changed. Exit code 3 where there is a problem.

    \b
    gpukit doctor --rbac --subject user:ada | kubectl apply -f -
    """  # noqa: D301 - click's mark of a block
    if rbac:
        _print_roles(namespace, context, subject or "")
        return 0
    if subject:
        raise UsageError("subject-alone", "--subject goes with --rbac", "add --rbac")
    from gpukit.catalog import load_catalog
    from gpukit.cluster.client import connect
    from gpukit.cluster.report import read_report
    from gpukit.diagnose.doctor import examine

    client = connect(context, tell=output.talk)
    catalog = load_catalog()
    report = read_report(client, namespace or client.namespace, catalog, profile)
    findings = examine(report, catalog)
    if output_format == "table":
        for finding in findings:
            _show(finding)
    else:
        found = [finding.data() for finding in findings]
        output.data({"namespace": report.snapshot.namespace, "findings": found}, output_format)
    problems = sum(finding.level == "problem" for finding in findings)
    if problems and output_format == "table":
        output.talk(f"{problems} problem{'s' * (problems != 1)}")
    return _FINDINGS if problems else 0


def _show(finding: Finding) -> None:
    symbol, color = _MARKS[finding.level]
    output.text(f"{output.style(output.mark(symbol), fg=color, bold=True)} {finding.text}")
    for line in finding.details:
        output.text(output.style(f"    {line}", dim=True))
    if finding.fix is not None:
        who = " (whoever may do so)" if finding.fix.admin else ""
        output.text(f"    {output.style('fix', fg='cyan', bold=True)} {finding.fix.text}{who}")
        if finding.fix.line:
            output.text(f"        {finding.fix.line}")


def _print_roles(namespace: str | None, context: str | None, subject: str) -> None:
    from gpukit.diagnose.rights import roles
    from gpukit.manifests import to_yaml

    kind, colon, name = subject.partition(":")
    if subject and (kind not in _SUBJECTS or not colon or not name):
        raise UsageError(
            "subject-form", f"--subject {subject!r} is not KIND:NAME",
            f"write one of {', '.join(f'{kind}:NAME' for kind in _SUBJECTS)}",
        )  # fmt: skip
    if namespace is None:
        from gpukit.cluster.client import connect

        namespace = connect(context).namespace
    output.text(to_yaml(roles(namespace, subject)))
