"""`/segments/{id}/shopper-profiles`."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from bcshopper.sandbox._answers import (
    Answer,
    Call,
    Refused,
    read_items,
    read_page_and_limit,
    read_uuid,
)
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store, StoredSegment
from bcshopper.sandbox._writes import INVALID, MISSING, Flaw, Write, answer_delete, conflict

_IS_MEMBER = "Unable to add shopper profiles to segment due to conflicts."


def list_members(store: Store, rules: Rules, call: Call) -> Answer:
    """GET: a page of the profiles in a segment, in the order of joining."""
    members = _segment(store, call).members
    number, limit = read_page_and_limit(call, rules)
    page = members.page(number, limit, links=rules.links, newest_first=rules.newest_first)
    return Answer(200, page)


def add_members(store: Store, rules: Rules, call: Call) -> Answer:
    """POST: put profiles into a segment."""
    segment = _segment(store, call)
    taken: set[UUID] = set()

    def refuse(item: object) -> Flaw | None:
        profile_id = read_uuid(item)
        if profile_id is None:
            return Flaw(422, INVALID, "a shopper profile is named by its UUID")
        if profile_id not in store.profiles:
            text = f"Shopper profile `{profile_id}` does not exist"
            return Flaw(int(rules.unknown_items), MISSING, text)
        if profile_id in taken or profile_id in segment.members:
            text = f"Shopper profile `{profile_id}` already exists for segment `{segment.id}`."
            return conflict(rules, _IS_MEMBER, text)
        taken.add(profile_id)
        return None

    def apply(item: str) -> bytes:
        store.add_members(segment.id, [UUID(item)])
        return store.profiles.body(UUID(item))

    write = Write(rules=rules, call=call, refuse=refuse, apply=apply)
    return write.answer(read_items(call, "ids of shopper profiles"))


def remove_members(store: Store, rules: Rules, call: Call) -> Answer:
    """DELETE: take the named profiles out of a segment, or every one."""
    segment = _segment(store, call)
    return answer_delete(
        call,
        rules,
        segment.members,
        delete=partial(store.remove_members, segment.id),
        wipe=partial(store.clear_members, segment.id),
    )


def _segment(store: Store, call: Call) -> StoredSegment:
    segment_id = read_uuid(call.within)
    if segment_id is None or segment_id not in store.segments:
        raise Refused(404, f"Segment `{call.within:.50}` does not exist")
    return store.segments[segment_id]
