"""Writes of several items: all of them, none, or those that are good."""

from __future__ import annotations

import json
from collections.abc import Callable, Container
from typing import Any
from uuid import UUID

import attrs

from bcshopper.sandbox._answers import MAX_PER_WRITE, TYPE, Answer, Call, problem, read_uuids
from bcshopper.sandbox._rules import Rules

INVALID = "the request is not valid"
MISSING = "what is named does not exist"
_FAILED = "the store failed for some items"

_CONFLICT = 409
# Of a call that is refused for several reasons, the first of these is told, and no other.
_FIRST_TOLD = (422, 404, _CONFLICT, 403, 507)


@attrs.frozen
class Flaw:
    """Why an item is refused.

    Attributes:
        status: the status that the API has for it.
        title: what that is called.
        text: the reason in words; empty if the API does not say which item it is.
        field: the item's field that is wrong, if it is one alone.
    """

    status: int
    title: str
    text: str = ""
    field: str = ""


@attrs.frozen(kw_only=True)
class Write:
    """One POST or PUT of several items.

    Attributes:
        rules: the store's behaviour.
        call: what came.
        refuse: looks at one item after the other, and says what is wrong with it.
        apply: does what is asked for with an item, and returns its row.
        status: of the answer if nothing is wrong.
    """

    rules: Rules
    call: Call
    refuse: Callable[[Any], Flaw | None]
    apply: Callable[[Any], bytes]
    status: int = 201

    def answer(self, items: list[Any]) -> Answer:
        """Do what the rules say with items of which some may be refused."""
        found = {position: self.refuse(item) for position, item in enumerate(items)}
        flaws = {position: flaw for position, flaw in found.items() if flaw is not None}
        good = [position for position in found if position not in flaws]
        failing = self.call.failing
        failed = [p for p in good if failing is not None and failing.hits(p)]
        if flaws and not failed and self.rules.bad_items == "refuse":
            return self._refusal(flaws, len(items))
        rows = [self.apply(items[position]) for position in good if position not in failed]
        if failing is not None and failed:
            if failing.applied:
                for position in failed:
                    self.apply(items[position])
            flaws |= dict.fromkeys(failed, Flaw(failing.status, _FAILED, _FAILED))
            return self._partial(failing.outer, rows, flaws, len(items))
        if flaws:
            return self._partial(int(self.rules.bad_items), rows, flaws, len(items))
        return Answer(self.status, b'{"data":[%b],"meta":{}}' % b",".join(rows))

    def _refusal(self, flaws: dict[int, Flaw], total: int) -> Answer:
        status = min((flaw.status for flaw in flaws.values()), key=_FIRST_TOLD.index)
        told = {position: flaw for position, flaw in flaws.items() if flaw.status == status}
        if status == _CONFLICT:
            return self._partial(status, [], told, total)
        named = {f"{p}.{f.field}" if f.field else f"{p}": f.text for p, f in told.items() if f.text}
        title = next(iter(told.values())).title
        return problem(status, title, named if self.rules.names_items else None)

    def _partial(
        self, status: int, rows: list[bytes], flaws: dict[int, Flaw], total: int
    ) -> Answer:
        kinds: dict[tuple[int, str], dict[str, str]] = {}
        for position, flaw in flaws.items():
            named = kinds.setdefault((flaw.status, flaw.title), {})
            if flaw.text and self.rules.names_items:
                named[str(position)] = flaw.text
        errors = [
            {"status": inner, "title": title, "type": TYPE, "errors": named}
            for (inner, title), named in kinds.items()
        ]
        meta = {"total": total, "success": len(rows), "failed": total - len(rows)}
        body = b'{"data":[%b],"errors":%b,"meta":%b}' % (
            b",".join(rows),
            json.dumps(errors).encode(),
            json.dumps(meta).encode(),
        )
        return Answer(status, body)


def conflict(rules: Rules, title: str, text: str, field: str = "") -> Flaw:
    """Why an item that exists already is refused."""
    if rules.conflicts == "422":
        return Flaw(422, INVALID, text, field)
    return Flaw(_CONFLICT, title, text, field)


def answer_delete(
    call: Call,
    rules: Rules,
    known: Container[UUID],
    *,
    delete: Callable[[list[UUID]], object],
    wipe: Callable[[], object],
) -> Answer:
    """Delete what `id:in` names; all there is, where it names nothing."""
    ids = read_uuids(call, rules)
    if not ids:
        wipe()
        return Answer(204)
    if len(ids) > MAX_PER_WRITE and rules.above_max_ids == "refuse":
        return problem(422, f"at most {MAX_PER_WRITE} ids per request")
    ids = ids[:MAX_PER_WRITE]
    if rules.vanished == "not_found" and not all(row_id in known for row_id in ids):
        return problem(404, MISSING)
    delete(ids)
    return Answer(204)
