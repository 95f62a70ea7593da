"""The API as the sandbox plays it: a request in, an answer out, no sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

import attrs
from multidict import MultiMapping

from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store, pagination

_TYPE = "https://developer.bigcommerce.com/api-docs/getting-started/api-status-codes"
_MAX_PER_WRITE = 50
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


class _Refused(Exception):  # noqa: N818 - an answer, not a failure
    def __init__(self, status: int, title: str, errors: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.answer = problem(status, title, errors)


def problem(status: int, title: str, errors: Mapping[str, str] | None = None) -> Answer:
    """The documented error body."""
    document: dict[str, Any] = {"status": status, "title": title, "type": _TYPE}
    if errors:
        document["errors"] = errors
    return Answer(status, json.dumps(document).encode())


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
        except _Refused as refused:
            return refused.answer

    def _list_profiles(self, call: Call) -> Answer:
        number, limit = self._page_and_limit(call)
        return Answer(
            200,
            self.store.page(
                number, limit, links=self.rules.links, newest_first=self.rules.newest_first
            ),
        )

    def _list_customers(self, call: Call) -> Answer:
        number, limit = self._page_and_limit(call)
        ids = list(self.store.customers)
        if "id:in" in call.query:
            texts = _listed(call.query)
            if not all(map(_is_number, texts)):
                raise _Refused(422, "id:in must hold integers")
            wanted = dict.fromkeys(map(int, texts))
            ids = [i for i in wanted if i in self.store.customers]
        include = ",".join(call.query.getall("include", ())).split(",")
        rows = [
            self._customer(customer_id, include)
            for customer_id in ids[(number - 1) * limit : number * limit]
        ]
        meta = pagination(len(ids), len(rows), number, limit, links=self.rules.links)
        body = b'{"data":%b,"meta":{"pagination":%b}}' % (json.dumps(rows).encode(), meta)
        return Answer(200, body)

    def _customer(self, customer_id: int, include: list[str]) -> dict[str, Any]:
        row: dict[str, Any] = {"id": customer_id, "email": f"customer{customer_id}@example.com"}
        if "shopper_profile_id" in include:
            profile_id = self.store.customers[customer_id]
            row["shopper_profile_id"] = None if profile_id is None else str(profile_id)
        if "segment_ids" in include:
            row["segment_ids"] = []
        return row

    def _create_profiles(self, call: Call) -> Answer:
        if call.content_type != _JSON:
            raise _Refused(415, f"send {_JSON}, not {call.content_type}")
        try:
            items = json.loads(call.body)
        except (ValueError, RecursionError):
            raise _Refused(400, "the body is not JSON") from None
        if not isinstance(items, list) or not items:
            raise _Refused(422, "the body must be an array of objects with a customer_id")
        if len(items) > _MAX_PER_WRITE:
            raise _Refused(422, f"at most {_MAX_PER_WRITE} profiles per request")
        invalid, conflicts, good = self._examine(items)
        if not invalid and not conflicts:
            return Answer(201, b'{"data":[%b],"meta":{}}' % self._create(good))
        if self.rules.bad_items == "refuse":
            if invalid:
                return problem(422, "the request is not valid", self._named(invalid))
            return self._partial(409, b"", {}, conflicts, len(items))
        status = int(self.rules.bad_items)
        return self._partial(status, self._create(good), invalid, conflicts, len(items))

    def _examine(self, items: list[Any]) -> tuple[dict[str, str], dict[str, str], list[int]]:
        invalid: dict[str, str] = {}
        conflicts: dict[str, str] = {}
        good: dict[int, None] = {}
        for position, item in enumerate(items):
            customer_id = item.get("customer_id") if isinstance(item, dict) else None
            if isinstance(customer_id, bool) or not isinstance(customer_id, int):
                invalid[f"{position}.customer_id"] = "customer_id must be an integer"
            elif customer_id not in self.store.customers:
                invalid[f"{position}.customer_id"] = f"Customer `{customer_id}` does not exist"
            elif customer_id in good or self.store.customers[customer_id] is not None:
                conflicts[str(position)] = (
                    f"Shopper profile for customer `{customer_id}` already exists"
                )
            else:
                good[customer_id] = None
        return invalid, conflicts, list(good)

    def _create(self, customer_ids: list[int]) -> bytes:
        return b",".join(self.store.row(self.store.create(i).id) for i in customer_ids)

    def _named(self, errors: dict[str, str]) -> dict[str, str]:
        return errors if self.rules.names_items else {}

    def _partial(
        self,
        status: int,
        rows: bytes,
        invalid: dict[str, str],
        conflicts: dict[str, str],
        total: int,
    ) -> Answer:
        kinds = [
            (422, "the item is not valid", {k.partition(".")[0]: v for k, v in invalid.items()}),
            (409, "Unable to create shopper profiles due to conflicts.", conflicts),
        ]
        errors = [
            {"status": code, "title": title, "type": _TYPE, "errors": self._named(named)}
            for code, title, named in kinds
            if named
        ]
        failed = len(invalid) + len(conflicts)
        success = total - failed if rows else 0
        meta = {"total": total, "success": success, "failed": total - success}
        body = b'{"data":[%b],"errors":%b,"meta":%b}' % (
            rows,
            json.dumps(errors).encode(),
            json.dumps(meta).encode(),
        )
        return Answer(status, body)

    def _delete_profiles(self, call: Call) -> Answer:
        texts = _listed(call.query)
        if not texts:
            self.store.wipe()
            return Answer(204)
        profile_ids: list[UUID] = []
        for position, text in enumerate(texts):
            try:
                profile_ids.append(UUID(text))
            except ValueError:
                errors = self._named({str(position): f"`{text}` is not a UUID"})
                raise _Refused(422, "id:in must hold UUIDs", errors) from None
        if self.rules.vanished == "not_found" and not self.store.profiles.keys() >= set(
            profile_ids
        ):
            raise _Refused(404, "a shopper profile does not exist")
        self.store.delete(profile_ids)
        return Answer(204)

    def _page_and_limit(self, call: Call) -> tuple[int, int]:
        values: list[int] = []
        for name, default in (("page", "1"), ("limit", str(min(50, self.rules.max_limit)))):
            text = call.query.get(name, default)
            if not _is_number(text) or int(text) < 1:
                raise _Refused(422, f"{name} must be a whole number from 1, not `{text:.50}`")
            values.append(int(text))
        number, limit = values
        if limit > self.rules.max_limit:
            if self.rules.above_max_limit == "refuse":
                title = f"limit is at most {self.rules.max_limit}"
                raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, title)
            limit = self.rules.max_limit
        return number, limit


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _LONGEST_NUMBER


def _listed(query: MultiMapping[str]) -> list[str]:
    """The values of `id:in`, comma separated or as repeated keys; blank ones do not count."""
    return [
        text for value in query.getall("id:in", ()) for text in value.split(",") if text.strip()
    ]
