"""What the admin API is, as OpenAPI has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from bcshopper._version import __version__
from bcshopper.sandbox._paths import ADMIN

_PROBLEM = {
    "type": "object",
    "required": ["status", "title", "type"],
    "properties": {"status": {"type": "integer"}, "title": {"type": "string"}},
}
_SCHEMAS = "#/components/schemas/{name}"
_REFUSALS = {
    400: "the body is not JSON",
    403: "the Host is no loopback address, or a web page of another origin asks",
    404: "there is no such path",
    405: "the path does not take this method",
    413: "the body is larger than 1 MiB",
    422: "a value can't be; the title says which",
}


class Operation(NamedTuple):
    """One thing that the admin API does; the handler is told the body, or else the query."""

    method: str
    path: str
    summary: str
    handler: Callable[[object], object]
    body: Any = None
    query: Any = None


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    kinds = [kind for o in operations for kind in (o.body, o.query) if kind is not None]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_SCHEMAS)
    refused = {str(s): {"description": why, **_content(_PROBLEM)} for s, why in _REFUSALS.items()}
    paths: dict[str, dict[str, Any]] = {}
    for o in operations:
        done = {"200": {"description": "as it is now", **_content({"type": "object"})}}
        if o.method != "GET":
            done = {"204": {"description": "done"}}
        said: dict[str, Any] = {"summary": o.summary, "responses": done | refused}
        paths.setdefault(ADMIN + o.path, {})[o.method.lower()] = said
        if o.body is not None:
            schema = {"$ref": _SCHEMAS.format(name=o.body.__name__)}
            said["requestBody"] = {"required": True, **_content(schema)}
        if o.query is not None:
            fields = schemas.pop(o.query.__name__)["properties"].items()
            said["parameters"] = [{"name": n, "in": "query", "schema": s} for n, s in fields]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Admin API of the bcshopper sandbox", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
