"""What the admin API is, as OpenAPI has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import msgspec

from bcshopper._version import __version__
from bcshopper.sandbox._paths import ADMIN

_SCHEMAS = "#/components/schemas/{name}"
_REFUSALS = {
    400: "the body is not JSON",
    403: "the Host is no loopback address, or a web page of another origin asks",
    404: "there is no such path",
    405: "the path does not take this method",
    413: "the body is larger than 1 MiB",
    422: "a value can't be; the title says which",
}


class Problem(msgspec.Struct):
    """Why a request is refused."""

    status: int
    title: str
    type: str


@attrs.frozen
class Operation:
    """One thing that the admin API does.

    Attributes:
        method: its HTTP method.
        path: its path below `/_sandbox/`.
        summary: what it does.
        handler: does it; is told the body of those that have one, the query of others.
        answer: what comes back; None: 204, and nothing.
        body: what it is sent.
        query: what its query may hold.
    """

    method: str
    path: str
    summary: str
    handler: Callable[[object], object]
    answer: Any = None
    body: Any = None
    query: Any = None


def describe(operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI document of these operations."""
    known = list(operations)
    kinds = [kind for o in known for kind in (o.answer, o.body, o.query) if kind is not None]
    _, schemas = msgspec.json.schema_components([*kinds, Problem], ref_template=_SCHEMAS)
    paths: dict[str, dict[str, Any]] = {}
    for operation in known:
        paths.setdefault(ADMIN + operation.path, {})[operation.method.lower()] = _one(
            operation, schemas
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Admin API of the bcshopper sandbox", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _one(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": f"{operation.method.lower()}_{operation.path}",
        "responses": {str(status): _content(Problem, why) for status, why in _REFUSALS.items()},
    }
    if operation.answer is None:
        said["responses"]["204"] = {"description": "done"}
    else:
        said["responses"]["200"] = _content(operation.answer, "as it is now")
    if operation.body is not None:
        said["requestBody"] = {"required": True, **_content(operation.body)}
    if operation.query is not None:
        fields = schemas.pop(operation.query.__name__)["properties"]
        said["parameters"] = [{"name": n, "in": "query", "schema": s} for n, s in fields.items()]
    return said


def _content(kind: Any, description: str | None = None) -> dict[str, Any]:
    reference = {"$ref": _SCHEMAS.format(name=kind.__name__)}
    content = {"content": {"application/json": {"schema": reference}}}
    return content if description is None else {"description": description, **content}
