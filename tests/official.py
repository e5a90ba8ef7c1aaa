"""The judges of what is rendered: the official Python client's models, and the official schemas."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import kubernetes_validate
from kubernetes import client
from kubernetes_validate import utils

VERSIONS = ("1.31", "1.33", kubernetes_validate.latest_version())

_MODELS = {
    "ConfigMap": "V1ConfigMap",
    "PersistentVolumeClaim": "V1PersistentVolumeClaim",
    "Job": "V1Job",
}


@cache
def _validator(kind: str, api_version: str, version: str) -> Any:
    """Build once what kubernetes_validate.validate(…, strict=True) builds on each call.

    The references between its schemas are resolved here, not again for each object.
    """
    found = [v for v in utils.all_versions() if utils.major_minor(v) == utils.major_minor(version)]
    folder = f"kubernetes-json-schema/v{found[-1]}-local-strict"
    name = f"{kind.lower()}-{api_version.replace('/', '-')}.json"
    schema = utils.schema_contents(f"{folder}/{name}", version)
    definitions = utils.schema_contents(f"{folder}/_definitions.json", version)["$defs"]
    whole = _without_references(schema, definitions, {})
    return utils.jsonschema.validators.Draft202012Validator(whole)


def _without_references(schema: Any, definitions: dict[str, Any], done: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_without_references(item, definitions, done) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("$ref"), str):
        name = schema["$ref"].rpartition("/")[2]
        if name not in done:
            done[name] = _without_references(definitions[name], definitions, done)
        return done[name]
    return {
        key: _without_references(value, definitions, done)
        for key, value in schema.items()
        if key != "description" or not isinstance(value, str)
    }


def assert_valid(item: dict[str, Any], version: str) -> None:
    """Fail unless the object is valid for a version of Kubernetes, unknown fields refused."""
    validator = _validator(item["kind"], item["apiVersion"], version)
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in validator.iter_errors(item)]
    assert not errors, errors


class _Response:
    def __init__(self, item: dict[str, Any]) -> None:
        self.data = json.dumps(item)


@cache
def _api() -> Any:
    return client.ApiClient(configuration=client.Configuration())


def official_round_trip(item: dict[str, Any]) -> Any:
    """Return the object as it comes out of the official client's models."""
    response = _Response(item)
    try:
        model = _api().deserialize(response, _MODELS[item["kind"]])
    except (AttributeError, TypeError):  # newer clients take the text and its content type
        model = _api().deserialize(response.data, _MODELS[item["kind"]], "application/json")
    return _api().sanitize_for_serialization(model)
