"""The API as the sandbox plays it: a request in, an answer out, no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import attrs

from bcshopper.sandbox._answers import (
    Answer,
    Call,
    Refused,
    is_number,
    problem,
    read_ids,
    read_items,
    read_page_and_limit,
)
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Look, Store, pagination
from bcshopper.sandbox._writes import Flaw, Write


class API:
    """Answers the calls that the sandbox knows."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store = store
        self.rules = rules
        self._routes: dict[str, dict[str, Callable[[Call], Answer]]] = {
            "shopper-profiles": {
                "GET": self._list_profiles,
                "POST": self._create_profiles,
                "DELETE": self._delete_profiles,
            },
            "customers": {"GET": self._list_customers},
        }
        self.resources = frozenset(self._routes)

    def answer(self, path: str, call: Call) -> Answer:
        """Answer a call to a path below `/v3/`."""
        methods = self._routes.get(path)
        if methods is None:
            known = ", ".join(f"{m} {p}" for p, ms in self._routes.items() for m in ms)
            return problem(404, f"the sandbox has no {call.method} {path}; it has {known}")
        if path == "shopper-profiles" and not self.rules.feature:
            return problem(403, "this store's plan has no shopper profiles")
        if call.method not in methods:
            refusal = problem(405, f"{path} takes {', '.join(methods)}, not {call.method}")
            return attrs.evolve(refusal, headers={"Allow": ", ".join(methods)})
        try:
            return methods[call.method](call)
        except Refused as refused:
            return refused.answer

    def _list_profiles(self, call: Call) -> Answer:
        number, limit = read_page_and_limit(call, self.rules)
        return Answer(
            200,
            self.store.page(
                number, limit, links=self.rules.links, newest_first=self.rules.newest_first
            ),
        )

    def _list_customers(self, call: Call) -> Answer:
        number, limit = read_page_and_limit(call, self.rules)
        ids: Iterable[int] = self.store.customers
        if "id:in" in call.query:
            texts = read_ids(call)
            if not all(map(is_number, texts)):
                raise Refused(422, "id:in must hold integers")
            ids = dict.fromkeys(map(int, texts))
        include = ",".join(call.query.getall("include", ())).split(",")
        looks = [(i, look) for i in ids if (look := self.store.look(i)) is not None]
        rows = [
            self._customer(customer_id, look, include)
            for customer_id, look in looks[(number - 1) * limit : number * limit]
        ]
        meta = pagination(len(looks), len(rows), number, limit, links=self.rules.links)
        body = b'{"data":%b,"meta":{"pagination":%b}}' % (json.dumps(rows).encode(), meta)
        return Answer(200, body)

    def _customer(self, customer_id: int, look: Look, include: list[str]) -> dict[str, Any]:
        row: dict[str, Any] = {"id": customer_id, "email": f"customer{customer_id}@example.com"}
        if "shopper_profile_id" in include:
            row["shopper_profile_id"] = None if look.profile_id is None else str(look.profile_id)
        if "segment_ids" in include:
            row["segment_ids"] = []
        return row

    def _create_profiles(self, call: Call) -> Answer:
        items = read_items(call, "objects with a customer_id")
        flaws: list[Flaw] = []
        good: dict[int, int] = {}
        for position, item in enumerate(items):
            customer_id: Any = item.get("customer_id") if isinstance(item, dict) else None
            reason = self._refuse_customer(customer_id, good.values())
            if reason is None:
                good[position] = customer_id
            else:
                flaws.append(Flaw(position, *reason, field="customer_id"))
        write = Write[int](
            rules=self.rules,
            call=call,
            apply=lambda ids: [self.store.row(self.store.create(i).id) for i in ids],
            conflict="Unable to create shopper profiles due to conflicts.",
        )
        return write.answer(flaws, good)

    def _refuse_customer(self, customer_id: object, taken: Iterable[int]) -> tuple[int, str] | None:
        if isinstance(customer_id, bool) or not isinstance(customer_id, int):
            return 422, "customer_id must be an integer"
        if customer_id not in self.store.customers:
            return 422, f"Customer `{customer_id}` does not exist"
        if customer_id in taken or self.store.customers[customer_id] is not None:
            text = f"Shopper profile for customer `{customer_id}` already exists"
            return int(self.rules.conflicts), text
        return None

    def _delete_profiles(self, call: Call) -> Answer:
        texts = read_ids(call)
        if not texts:
            self.store.wipe()
            return Answer(204)
        profile_ids: list[UUID] = []
        for position, text in enumerate(texts):
            try:
                profile_ids.append(UUID(text))
            except ValueError:
                named = {str(position): f"`{text}` is not a UUID"}
                errors = named if self.rules.names_items else None
                raise Refused(422, "id:in must hold UUIDs", errors) from None
        if self.rules.vanished == "not_found" and not self.store.profiles.keys() >= set(
            profile_ids
        ):
            raise Refused(404, "a shopper profile does not exist")
        self.store.delete(profile_ids)
        return Answer(204)
