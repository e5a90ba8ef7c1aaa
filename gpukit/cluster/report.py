"""Reading and trying what ``gpukit doctor`` judges; nothing is changed in the cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from gpukit.archive import Archive
from gpukit.catalog import Catalog
from gpukit.diagnose.doctor import ClusterReport, Trial
from gpukit.diagnose.offers import offers_of
from gpukit.diagnose.platforms import recognise_facts
from gpukit.diagnose.rights import RIGHTS, Right
from gpukit.diagnose.snapshot import ClusterSnapshot
from gpukit.errors import PlacementError
from gpukit.placement import resolve
from gpukit.render import render
from gpukit.spec import make_spec

from .errors import ApiError
from .snapshot import read_surroundings

if TYPE_CHECKING:
    from .client import Client

__all__ = ["read_report"]

_THREADS = 6
_NAME = "gpukit-doctor"
_REVIEW = "SelfSubjectAccessReview"


def read_report(
    client: Client, namespace: str, catalog: Catalog, profile: str | None = None
) -> ClusterReport:
    """Return what is seen of a cluster, our rights there, and what dry runs said.

    Args:
        client: of the cluster.
        namespace: where runs would be submitted.
        catalog: the facts.
        profile: of the job that is tried; default: the first that the nodes offer.

    Raises:
        ClusterError: the cluster does not answer, or does not know us.
        SpecError: there is no such profile.
    """
    version = client.read("/version", "read the server's version")
    groups = _groups(client)
    with ThreadPoolExecutor(_THREADS) as pool:
        asked = [
            (right, verb, pool.submit(_allowed, client, right, verb, namespace))
            for right in RIGHTS
            if not right.group.endswith(".x-k8s.io") or right.group in groups
            for verb in right.verbs
        ]
        snapshot = read_surroundings(client, namespace)
        denied = tuple((right, verb) for right, verb, answer in asked if not answer.result())
    chosen = profile or _offered(snapshot, catalog)
    refused = {(right.resource, verb) for right, verb in denied if not right.cluster}
    return ClusterReport(
        server=client.access.server,
        version=str(version.get("gitVersion", "")),
        number=client.version(),
        groups=groups,
        skew=client.skew,
        denied=denied,
        snapshot=snapshot,
        trials=tuple(_trials(client, namespace, catalog, snapshot, chosen, refused)),
        profile=chosen,
    )


def _groups(client: Client) -> dict[str, tuple[str, ...]]:
    found = client.read("/apis", "list the API groups")
    return {
        group["name"]: tuple(version["version"] for version in group.get("versions") or ())
        for group in found.get("groups") or ()
    }


def _allowed(client: Client, right: Right, verb: str, namespace: str) -> bool:
    resource, _, part = right.resource.partition("/")
    attributes: dict[str, Any] = {"group": right.group, "resource": resource, "verb": verb}
    if part:
        attributes["subresource"] = part
    if not right.cluster:
        attributes["namespace"] = namespace
    elif right.resource == "namespaces":
        attributes["name"] = namespace
    body = {
        "apiVersion": "authorization.k8s.io/v1", "kind": _REVIEW, "metadata": {},
        "spec": {"resourceAttributes": attributes},
    }  # fmt: skip
    return bool((client.create(body).get("status") or {}).get("allowed"))


def _offered(snapshot: ClusterSnapshot, catalog: Catalog) -> str:
    offers = (offer.profile() for node in snapshot.nodes for offer in offers_of(node, catalog))
    return next(iter(sorted(offers)), "cpu")


def _trials(
    client: Client, namespace: str, catalog: Catalog, snapshot: ClusterSnapshot, profile: str,
    refused: set[tuple[str, str]],
) -> list[Trial]:  # fmt: skip
    job = _job(namespace, catalog, snapshot, profile)
    template = job["spec"]["template"]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
        "metadata": {**template["metadata"], "name": _NAME, "namespace": namespace},
    }  # fmt: skip
    found = []
    for what, plural, body in (("Job", "jobs", job), ("Pod", "pods", pod)):
        if (plural, "create") in refused:
            found.append(Trial(what, allowed=False))
            continue
        before = len(client.warnings)
        try:
            client.create(body, dry_run=True)
            found.append(Trial(what, warnings=tuple(client.warnings[before:])))
        except ApiError as error:
            if error.status not in (400, 403, 404, 409, 422):
                raise
            found.append(Trial(what, error.message))
    return found


def _job(
    namespace: str, catalog: Catalog, snapshot: ClusterSnapshot, profile: str
) -> dict[str, Any]:
    """Return the Job of a declaration that says nothing but the profile."""
    archive = Archive(b"", "0" * 64, "0" * 64, b"", (), (".",), ())
    spec = make_spec({"profile": profile, "namespace": namespace, "platform": "auto"})
    try:
        placement = resolve(spec, catalog, None, recognise_facts(snapshot.nodes, catalog.platforms))
    except PlacementError:  # several platforms, or none that is seen: as any cluster
        spec = make_spec({"profile": profile, "namespace": namespace})
        placement = resolve(spec, catalog)
    bundle = render(
        spec, placement, archive, job=_NAME, module="train", function="train", paths=(".",),
        arguments={}, version="0", run=_NAME,
    )  # fmt: skip
    return bundle.to_dicts()[-1]
