"""`/segments`, and the segments of a profile."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bcshopper.sandbox._answers import (
    Answer,
    Call,
    Refused,
    read_items,
    read_page_and_limit,
    read_uuid,
    read_uuids,
)
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store
from bcshopper.sandbox._table import render
from bcshopper.sandbox._writes import INVALID, MISSING, Flaw, Write, answer_delete

_NAME_TAKEN = "Cannot have multiple segments with the same name."


def list_segments(store: Store, rules: Rules, call: Call) -> Answer:
    """GET: a page of all segments, or of those that `id:in` names."""
    if "id:in" in call.query:
        wanted = dict.fromkeys(read_uuids(call, rules))
        return _page_of(store, rules, call, [i for i in wanted if i in store.segments])
    number, limit = read_page_and_limit(call, rules)
    links, newest_first = rules.links, rules.newest_first
    page = store.segments.page(number, limit, links=links, newest_first=newest_first)
    return Answer(200, page)


def list_segments_of_profile(store: Store, rules: Rules, call: Call) -> Answer:
    """GET: a page of the segments that a profile is in."""
    profile_id = read_uuid(call.within)
    if profile_id is None or profile_id not in store.profiles:
        raise Refused(404, f"Shopper profile `{call.within:.50}` does not exist")
    return _page_of(store, rules, call, [s.id for s in store.segments_of(profile_id)])


def _page_of(store: Store, rules: Rules, call: Call, ids: Sequence[UUID]) -> Answer:
    number, limit = read_page_and_limit(call, rules)
    bodies = [store.segments.body(i) for i in ids[(number - 1) * limit : number * limit]]
    return Answer(200, render(bodies, len(ids), number, limit, links=rules.links))


def create_segments(store: Store, rules: Rules, call: Call) -> Answer:
    """POST: segments with names that are new."""
    names = {segment.name for segment in store.segments.values()}
    most = rules.max_segments
    full = Flaw(int(rules.above_max_segments), f"a store can have at most {most} segments")

    def refuse(item: object) -> Flaw | None:
        if not isinstance(item, dict) or "name" not in item:
            return Flaw(422, INVALID, "name is required", "name")
        flaw = _refuse_texts(item)
        if flaw is None and item["name"] in names:
            flaw = _name_taken(rules, item["name"])
        if flaw is None and len(names) >= most:
            flaw = full
        if flaw is None:
            names.add(item["name"])
        return flaw

    def apply(item: dict[str, str]) -> bytes:
        segment = store.create_segment(item["name"], item.get("description", ""))
        return store.segments.body(segment.id)

    write = Write(rules=rules, call=call, refuse=refuse, apply=apply)
    return write.answer(read_items(call, "objects with a name"))


def update_segments(store: Store, rules: Rules, call: Call) -> Answer:
    """PUT: another name or description for segments that exist."""
    owners = {segment.name: segment.id for segment in store.segments.values()}

    def refuse(item: object) -> Flaw | None:
        segment_id = read_uuid(item.get("id")) if isinstance(item, dict) else None
        if segment_id is None or not isinstance(item, dict):
            return Flaw(422, INVALID, "id must be a UUID", "id")
        if segment_id not in store.segments:
            text = f"Segment `{segment_id}` does not exist"
            return Flaw(int(rules.unknown_items), MISSING, text, "id")
        flaw = _refuse_texts(item)
        if flaw is None and "name" in item:
            if owners.get(item["name"], segment_id) != segment_id:
                return _name_taken(rules, item["name"])
            owners[item["name"]] = segment_id
        return flaw

    def apply(item: dict[str, str]) -> bytes:
        segment_id = UUID(item["id"])
        store.update_segment(segment_id, name=item.get("name"), description=item.get("description"))
        return store.segments.body(segment_id)

    write = Write(rules=rules, call=call, refuse=refuse, apply=apply, status=200)
    return write.answer(read_items(call, "objects with an id"))


def delete_segments(store: Store, rules: Rules, call: Call) -> Answer:
    """DELETE: the named segments, or every one; no profile."""
    return answer_delete(
        call,
        rules,
        store.segments,
        delete=store.delete_segments,
        wipe=store.wipe_segments,
    )


def _refuse_texts(item: dict[str, object]) -> Flaw | None:
    for field in ("name", "description"):
        if not isinstance(item.get(field, ""), str):
            return Flaw(422, INVALID, f"{field} must be a string", field)
    if not str(item.get("name", "-")).strip():
        return Flaw(422, INVALID, "name must not be empty", "name")
    return None


def _name_taken(rules: Rules, name: str) -> Flaw:
    if rules.conflicts == "422":
        return Flaw(422, INVALID, f"Segment `{name}` already exists", "name")
    return Flaw(409, _NAME_TAKEN)  # of whose name it speaks, the API does not say
