"""What the API's requests and answers have in common, without a socket."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

import attrs
from multidict import MultiMapping

from bcshopper.sandbox._faults import Failing
from bcshopper.sandbox._rules import Rules

TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
MAX_PER_WRITE = 50
_JSON = "application/json"
_WHOLE = re.compile(r"([0-9]{1,18})(\.0+)?")
_UUID = re.compile("-".join(f"[0-9a-fA-F]{{{n}}}" for n in (8, 4, 4, 4, 12)))


@attrs.frozen
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class Call:
    """What came, once it is known to be for this store.

    Attributes:
        method: its HTTP method.
        query: its query.
        content_type: the type of its body, in lower case and without parameters.
        body: its body.
        failing: the items that the store fails for.
        within: the id in the middle of its path, where it has one.
    """

    method: str
    query: MultiMapping[str]
    content_type: str
    body: bytes
    failing: Failing | None = None
    within: str = ""


class Refused(Exception):  # noqa: N818 - an answer, not a failure
    """Ends the handling of a call."""

    def __init__(self, status: int, title: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.answer = problem(status, title, errors)


def problem(status: int, title: str, errors: Mapping[str, str] | None = None) -> Answer:
    """The documented error body."""
    document: dict[str, Any] = {"status": status, "title": title, "type": TYPE}
    if errors:
        document["errors"] = errors
    return Answer(status, json.dumps(document).encode())


def read_items(call: Call, what: str) -> list[Any]:
    """The array that a POST or PUT carries."""
    if call.content_type != _JSON:
        raise Refused(415, f"send {_JSON}, not {call.content_type}")
    try:
        items = json.loads(call.body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(items, list) or not items:
        raise Refused(422, f"the body must be an array of {what}")
    if len(items) > MAX_PER_WRITE:
        raise Refused(422, f"at most {MAX_PER_WRITE} items per request")
    return items


def read_page_and_limit(call: Call, rules: Rules) -> tuple[int, int]:
    """Which page of a list is asked for, of how many items."""
    return _read_number(call, "page", 1), read_limit(call, rules)


def read_limit(call: Call, rules: Rules) -> int:
    """How many items of a list are asked for."""
    limit = _read_number(call, "limit", min(50, rules.max_limit))
    if limit > rules.max_limit and rules.above_max_limit == "refuse":
        title = f"limit is at most {rules.max_limit}"
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title)
    return min(limit, rules.max_limit)


def _read_number(call: Call, name: str, default: int) -> int:
    text = call.query.get(name, str(default))
    number = read_whole(text)
    if number is None or number < 1:
        raise Refused(422, f"{name} must be a whole number from 1, not `{text:.50}`")
    return number


def read_uuids(call: Call, rules: Rules) -> list[UUID]:
    """The UUIDs of `id:in`."""
    texts = read_ids(call)
    ids = [read_uuid(text) for text in texts]
    wrong = {
        str(p): f"`{text:.50}` is not a UUID"
        for p, (text, found) in enumerate(zip(texts, ids, strict=True))
        if found is None
    }
    if wrong:
        raise Refused(422, "id:in must hold UUIDs", wrong if rules.names_items else None)
    return [found for found in ids if found is not None]


def read_uuid(text: object) -> UUID | None:
    """The UUID that is written there; None if there is none."""
    return UUID(text) if isinstance(text, str) and _UUID.fullmatch(text) else None


def read_ids(call: Call) -> list[str]:
    """The values of `id:in`, comma separated or as repeated keys; blank ones do not count."""
    return [
        text
        for value in call.query.getall("id:in", ())
        for text in value.split(",")
        if text.strip()
    ]


def read_whole(text: str) -> int | None:
    """The whole number that is written there, be it as `150.0`; None if there is none."""
    found = _WHOLE.fullmatch(text)
    return int(found[1]) if found else None
