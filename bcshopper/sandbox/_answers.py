"""What the API's requests and answers have in common, without a socket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import attrs
from multidict import MultiMapping

from bcshopper.sandbox._faults import Failing
from bcshopper.sandbox._rules import Rules

TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
MAX_PER_WRITE = 50
_JSON = "application/json"
_LONGEST_NUMBER = 18


@attrs.frozen
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])


@attrs.frozen
class Call:
    """What came, once it is known to be for this store."""

    method: str
    query: MultiMapping[str]
    content_type: str
    body: bytes
    failing: Failing | None = None


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
    values: list[int] = []
    for name, default in (("page", "1"), ("limit", str(min(50, rules.max_limit)))):
        text = call.query.get(name, default)
        if not is_number(text) or int(text) < 1:
            raise Refused(422, f"{name} must be a whole number from 1, not `{text:.50}`")
        values.append(int(text))
    number, limit = values
    if limit > rules.max_limit:
        if rules.above_max_limit == "refuse":
            title = f"limit is at most {rules.max_limit}"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title)
        limit = rules.max_limit
    return number, limit


def read_ids(call: Call) -> list[str]:
    """The values of `id:in`, comma separated or as repeated keys; blank ones do not count."""
    return [
        text
        for value in call.query.getall("id:in", ())
        for text in value.split(",")
        if text.strip()
    ]


def is_number(text: str) -> bool:
    """Whether it is a whole number, of a length that can be meant."""
    return text.isdecimal() and len(text) <= _LONGEST_NUMBER
