"""`/shopper-profiles`."""

from __future__ import annotations

from bcshopper.sandbox._answers import Answer, Call, read_items, read_page_and_limit
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store
from bcshopper.sandbox._writes import INVALID, Flaw, Write, answer_delete, conflict

_FIELD = "customer_id"
_EXISTS = "Unable to create shopper profiles due to conflicts."


def list_profiles(store: Store, rules: Rules, call: Call) -> Answer:
    """GET: a page of all profiles."""
    number, limit = read_page_and_limit(call, rules)
    page = store.page(number, limit, links=rules.links, newest_first=rules.newest_first)
    return Answer(200, page)


def create_profiles(store: Store, rules: Rules, call: Call) -> Answer:
    """POST: profiles for customers."""
    taken: set[int] = set()

    def refuse(item: object) -> Flaw | None:
        customer_id = _customer_id(item)
        if customer_id is None:
            return Flaw(422, INVALID, "customer_id must be an integer", _FIELD)
        if customer_id not in store.customers:
            return Flaw(422, INVALID, f"Customer `{customer_id}` does not exist", _FIELD)
        if customer_id in taken or store.customers[customer_id] is not None:
            text = f"Shopper profile for customer `{customer_id}` already exists"
            return conflict(rules, _EXISTS, text, _FIELD)
        taken.add(customer_id)
        return None

    write = Write(
        rules=rules,
        call=call,
        refuse=refuse,
        apply=lambda item: store.profiles.body(store.create(int(item[_FIELD])).id),
    )
    return write.answer(read_items(call, "objects with a customer_id"))


def _customer_id(item: object) -> int | None:
    value = item.get(_FIELD) if isinstance(item, dict) else None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number: 150.0 is 150
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def delete_profiles(store: Store, rules: Rules, call: Call) -> Answer:
    """DELETE: the named profiles, or every one."""
    return answer_delete(call, rules, store.profiles, delete=store.delete, wipe=store.wipe)
