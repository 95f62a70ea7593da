"""`/customers`: look-ups by id, and the list by page and by cursor."""

from __future__ import annotations

import base64
import binascii
import json
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import attrs

from bcshopper.sandbox._answers import (
    Answer,
    Call,
    Refused,
    read_ids,
    read_limit,
    read_page_and_limit,
    read_whole,
)
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store
from bcshopper.sandbox._table import pagination


def list_customers(store: Store, rules: Rules, call: Call) -> Answer:
    """GET: customers by `id:in`, from a cursor on, or a page of all."""
    if "id:in" in call.query:
        return _found(store, rules, call)
    ids = _modified_since(store, call)
    if "after" in call.query or "before" in call.query:
        stretch = _from_cursor(ids, read_limit(call, rules), call)
        meta = _json({"cursor_pagination": stretch.meta(rules, call)})
        return _answer(store, call, stretch.ids, meta)
    number, limit = read_page_and_limit(call, rules)
    stretch = _Stretch(ids, (number - 1) * limit, number * limit, limit)
    pages = pagination(len(ids), len(stretch.ids), number, limit, links=rules.links)
    cursors = _json(stretch.meta(rules, call))
    meta = b'{"pagination":%b,"cursor_pagination":%b}' % (pages, cursors)
    return _answer(store, call, stretch.ids, meta)


def _found(store: Store, rules: Rules, call: Call) -> Answer:
    wanted = [read_whole(text) for text in read_ids(call)]
    if None in wanted:
        raise Refused(422, "id:in must hold integers")
    number, limit = read_page_and_limit(call, rules)
    found = store.seen_ids(i for i in dict.fromkeys(wanted) if i is not None)
    ids = found[(number - 1) * limit : number * limit]
    pages = pagination(len(found), len(ids), number, limit, links=rules.links)
    return _answer(store, call, ids, b'{"pagination":%b}' % pages)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _answer(store: Store, call: Call, ids: Sequence[int], meta: bytes) -> Answer:
    include = ",".join(call.query.getall("include", ())).split(",")
    rows = [_row(store, customer_id, include) for customer_id in ids]
    return Answer(200, b'{"data":%b,"meta":%b}' % (_json(rows), meta))


def _row(store: Store, customer_id: int, include: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"id": customer_id, "email": f"customer{customer_id}@example.com"}
    look = store.look(customer_id)
    if look is not None and "shopper_profile_id" in include:
        row["shopper_profile_id"] = None if look.profile_id is None else str(look.profile_id)
    if look is not None and "segment_ids" in include:
        row["segment_ids"] = [str(segment_id) for segment_id in look.segment_ids]
    return row


@attrs.frozen
class _Stretch:
    """The customers of one answer of a walk.

    Attributes:
        all: the ids of the whole list, ascending.
        start: where in it they begin.
        end: where in it they end, at the latest.
        limit: how many there are at most.
    """

    all: Sequence[int]
    start: int
    end: int
    limit: int

    @property
    def ids(self) -> Sequence[int]:
        """Theirs."""
        return self.all[self.start : self.end]

    def meta(self, rules: Rules, call: Call) -> dict[str, Any]:
        """`meta.cursor_pagination`."""
        ids = self.ids
        first, last = (_cursor(ids[0]), _cursor(ids[-1])) if ids else (None, None)
        links = {}
        if ids and self.start > 0:
            links["previous"] = _link(call, "before", first)
        if ids and (self.end < len(self.all) or rules.cursor_end == "empty_page"):
            links["next"] = _link(call, "after", last)
        return {
            "count": len(ids),
            "per_page": self.limit,
            "start_cursor": first,
            "end_cursor": last,
            "links": links,
        }


def _from_cursor(ids: Sequence[int], limit: int, call: Call) -> _Stretch:
    if "after" in call.query and "before" in call.query:
        raise Refused(422, "give after or before, not both")
    if "after" in call.query:
        start = bisect_right(ids, _read_cursor(call, "after"))
        return _Stretch(ids, start, start + limit, limit)
    end = bisect_left(ids, _read_cursor(call, "before"))
    return _Stretch(ids, max(0, end - limit), end, limit)


def _cursor(customer_id: int) -> str:
    return base64.urlsafe_b64encode(f"id:{customer_id:x}".encode()).decode().rstrip("=")


def _read_cursor(call: Call, name: str) -> int:
    text = call.query[name]
    try:
        kind, _, number = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).partition(b":")
        if kind == b"id":
            return int(number, 16)
    except (ValueError, binascii.Error):
        pass
    raise Refused(422, f"{name} is no cursor of this list: `{text:.50}`")


def _link(call: Call, way: str, cursor: str | None) -> str:
    kept = {k: v for k, v in call.query.items() if k not in {"after", "before", "page"}}
    return "?" + urlencode({**kept, way: cursor}, safe=",:")


def _modified_since(store: Store, call: Call) -> Sequence[int]:
    text = call.query.get("date_modified:min")
    if text is None:
        return store.seen_ids()
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(422, f"date_modified:min is no date: `{text:.50}`") from None
    since = since if since.tzinfo else since.replace(tzinfo=UTC)
    return [i for i in store.seen_ids() if store.modified(i) >= since]
