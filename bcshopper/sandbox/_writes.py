"""A POST or PUT of several items: all of them, none, or those that are good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

import attrs

from bcshopper.sandbox._answers import TYPE, Answer, Call, problem
from bcshopper.sandbox._rules import Rules

T = TypeVar("T")

CONFLICT = 409
_FIRST_TOLD = (422, 404, CONFLICT)
_TITLES = {422: "the request is not valid", 404: "something that is named does not exist"}
_FAILED = "the store failed for some items"


@attrs.frozen
class Flaw:
    """Why an item is refused.

    Attributes:
        position: which item, counted from 0.
        status: the status that the API has for it.
        text: the reason in words; empty if the API does not say which item it is.
        field: the item's field that is wrong, if it is one alone.
    """

    position: int
    status: int
    text: str
    field: str = ""


@attrs.frozen(kw_only=True)
class Write(Generic[T]):
    """One POST or PUT of several items.

    Attributes:
        rules: the store's behaviour.
        call: what came.
        apply: does what is asked for with items, and returns their rows.
        conflict: what a conflict is called.
        status: of the answer if nothing is wrong.
    """

    rules: Rules
    call: Call
    apply: Callable[[Iterable[T]], list[bytes]]
    conflict: str
    status: int = 201

    def answer(self, flaws: list[Flaw], good: Mapping[int, T]) -> Answer:
        """Do what the rules say, where items may be refused and others, by position, are good."""
        total = len(flaws) + len(good)
        failing = self.call.failing
        failed = [p for p in good if failing is not None and failing.hits(p)]
        if failing is not None and failed:
            if failing.applied:
                self.apply([good[p] for p in failed])
            flaws = flaws + [Flaw(p, failing.status, _FAILED) for p in failed]
            rest = [item for p, item in good.items() if p not in failed]
            return self._partial(failing.outer, self.apply(rest), flaws, total)
        if flaws and self.rules.bad_items == "refuse":
            return self._refusal(flaws, total)
        rows = self.apply(good.values())
        if flaws:
            return self._partial(int(self.rules.bad_items), rows, flaws, total)
        return Answer(self.status, b'{"data":[%b],"meta":{}}' % b",".join(rows))

    def _refusal(self, flaws: list[Flaw], total: int) -> Answer:
        status = min((flaw.status for flaw in flaws), key=_FIRST_TOLD.index)
        told = [flaw for flaw in flaws if flaw.status == status]
        if status == CONFLICT:
            return self._partial(status, [], told, total)
        named = {f"{f.position}.{f.field}" if f.field else f"{f.position}": f.text for f in told}
        return problem(status, _TITLES[status], named if self.rules.names_items else None)

    def _partial(self, status: int, rows: list[bytes], flaws: list[Flaw], total: int) -> Answer:
        named: dict[int, dict[str, str]] = {}
        for flaw in flaws:
            of_status = named.setdefault(flaw.status, {})
            if flaw.text and self.rules.names_items:
                of_status[str(flaw.position)] = flaw.text
        titles = {**_TITLES, CONFLICT: self.conflict}
        errors = [
            {"status": inner, "title": titles.get(inner, _FAILED), "type": TYPE, "errors": texts}
            for inner, texts in named.items()
        ]
        meta = {"total": total, "success": len(rows), "failed": total - len(rows)}
        body = b'{"data":[%b],"errors":%b,"meta":%b}' % (
            b",".join(rows),
            json.dumps(errors).encode(),
            json.dumps(meta).encode(),
        )
        return Answer(status, body)
