"""`session.segments`: get, find, ensure, create, update, delete."""

import asyncio
import json
import pickle
from uuid import UUID

import pytest

from bcshopper import (
    APIError,
    BatchError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    ResponseFormatError,
    RetryPolicy,
    Segment,
    ServerError,
    Session,
    Status,
    UnprocessableError,
)
from bcshopper.sandbox import Fault, Sandbox
from tests.segments.store import NOBODY, SEGMENTS, counts, ids_of, opened

LOST = [
    Fault.cut(applied=True),
    Fault.cut(applied=False),
    Fault.cut(applied=False, lands_after=0.001),
    Fault.half(),
    Fault.garbage(),
    Fault.error(500, applied=True),
    Fault.error(503, body="html"),
    Fault.error(502, lands_after=0.5),
    Fault.answer(201, b'{"data":[]}'),
    Fault.partial(503, outer=207),
    Fault.partial(500, outer=207, applied=True),
]


async def test_segments_are_listed_as_profiles_are():
    """By page, all of them, consistently, and one page alone."""
    async with opened() as (sandbox, session, _):
        for number in range(1, 8):
            sandbox.store.create_segment(f"segment {number}", "text")
        segments = session.segments
        names = ["VIP", *(f"segment {number}" for number in range(1, 8))]
        assert [s.name async for s in segments.list()] == names
        assert [s.name for s in await segments.list(limit=3, consistent=True).all()] == names
        assert [s.name for s in await segments.list(limit=3, page=2).all()] == names[3:]
        page = await segments.page(2, limit=5)
        assert ([s.name for s in page], page.pagination.total) == (names[5:], 8)
        assert page.items[0].description == "text"
        assert page.items[0].created_at.tzinfo is not None


async def test_a_segment_is_plain_data():
    """Frozen, comparable, to be pickled; what the API leaves out is None."""
    async with opened() as (_, session, stored):
        segment = await session.segments.get(stored.id)
        assert pickle.loads(pickle.dumps(segment)) == segment == await session.segments.find("VIP")
        assert Segment(stored.id, "VIP").description is None
        with pytest.raises(AttributeError):
            segment.name = "other"


async def test_get_takes_one_request_and_says_which_segment_is_missing():
    """A UUID or its text; not somebody else's segment."""
    async with opened() as (sandbox, session, stored):
        sandbox.store.create_segment("other")
        assert (await session.segments.get(str(stored.id))).id == stored.id
        assert counts(sandbox) == {("GET", SEGMENTS): 1}
        with pytest.raises(NotFoundError, match=f"segment {NOBODY} does not exist"):
            await session.segments.get(NOBODY)
        with pytest.raises(InvalidInputError, match="'VIP' is not a segment id"):
            await session.segments.get("VIP")


async def test_get_does_not_believe_a_server_that_ignores_the_id():
    """Another segment is no answer, and no proof that this one is missing."""
    async with opened(retry=RetryPolicy(attempts=2)) as (sandbox, session, stored):
        other = Fault.answer(200, _list_of("other"))
        sandbox.faults.queue(other)
        assert (await session.segments.get(stored.id)).id == stored.id
        sandbox.faults.queue(other, other)
        with pytest.raises(ResponseFormatError, match=f"more than segment {stored.id}"):
            await session.segments.get(stored.id)


def _list_of(*names):
    rows = [{"id": NOBODY, "name": name} for name in names]
    page = {"total": len(rows), "count": len(rows), "per_page": 250, "current_page": 1}
    return json.dumps({"data": rows, "meta": {"pagination": {**page, "total_pages": 1}}}).encode()


async def test_find_compares_names_exactly():
    """Capitals and blanks count."""
    async with opened() as (_, session, stored):
        assert (await session.segments.find("VIP")).id == stored.id
        for name in ("vip", "VIP ", "V", "missing"):
            assert await session.segments.find(name) is None


async def test_find_sees_a_segment_that_moves_while_it_looks():
    """Others before it are deleted between two pages; six requests find the last of 1,000."""
    async with opened(max_limit=10) as (sandbox, session, _):
        for number in range(40):
            sandbox.store.create_segment(f"segment {number}")

        def delete_oldest(store):
            store.delete_segments(list(store.segments)[:10])

        sandbox.faults.rule(Fault.changing(delete_oldest), nth=4)
        for number in (39, 11, 25):
            assert (await session.segments.find(f"segment {number}")).name == f"segment {number}"
    async with opened() as (sandbox, session, _):
        for number in range(999):
            sandbox.store.create_segment(f"segment {number}")
        assert await session.segments.find("segment 998")
        assert counts(sandbox)["GET", SEGMENTS] <= 6


async def test_create_and_update():
    """One request each; what is not given stays as it is."""
    async with opened() as (sandbox, session, _):
        created = await session.segments.create("new", description="of this year")
        assert (created.name, created.description) == ("new", "of this year")
        assert sandbox.store.segments[created.id].name == "new"
        updated = await session.segments.update(created.id, name="newer")
        assert (updated.id, updated.name, updated.description) == (
            created.id, "newer", "of this year",
        )  # fmt: skip
        updated = await session.segments.update(str(created.id), description="")
        assert (updated.name, updated.description) == ("newer", "")
        assert counts(sandbox) == {("POST", SEGMENTS): 1, ("PUT", SEGMENTS): 2}


@pytest.mark.parametrize("bad_items", ["refuse", "207", "409"])
async def test_a_name_that_is_taken_is_a_conflict(bad_items):
    """For create and for update, however the API puts it."""
    async with opened(bad_items=bad_items) as (sandbox, session, _):
        other = await session.segments.create("other")
        with pytest.raises(ConflictError, match="same name\\.; the name is taken"):
            await session.segments.create("VIP")
        with pytest.raises(ConflictError, match="same name\\.; the name is taken"):
            await session.segments.update(other.id, name="VIP")
        assert len(sandbox.store.segments) == 2


@pytest.mark.parametrize("unknown_items", ["404", "422"])
async def test_an_update_of_nothing_is_an_error(unknown_items):
    """A segment that is not there, and nothing to change."""
    async with opened(unknown_items=unknown_items) as (sandbox, session, stored):
        expected = NotFoundError if unknown_items == "404" else UnprocessableError
        with pytest.raises(expected, match=NOBODY):
            await session.segments.update(NOBODY, name="new")
        sandbox.record.requests.clear()
        with pytest.raises(InvalidInputError, match="nothing to change"):
            await session.segments.update(stored.id)
        assert not sandbox.record.requests


@pytest.mark.parametrize("bad", ["", "  ", None, 7, b"name"])
async def test_bad_names_are_refused_before_anything_is_sent(bad):
    """By create, ensure and find, and by update unless there is none."""
    async with opened() as (sandbox, session, stored):
        for call in (session.segments.create, session.segments.ensure, session.segments.find):
            with pytest.raises(InvalidInputError, match="name must be"):
                await call(bad)
        with pytest.raises(InvalidInputError):
            await session.segments.update(stored.id, name=bad)
        with pytest.raises(InvalidInputError, match="description must be text, not 7"):
            await session.segments.ensure("x", description=7)
        assert not sandbox.record.requests


@pytest.mark.parametrize("status", ["403", "409", "422", "507"])
async def test_one_segment_too_many_is_an_error_that_names_the_limit(status):
    """With whatever status the API refuses it; for ensure too."""
    async with opened(above_max_segments=status, max_segments=3) as (sandbox, session, _):
        await session.segments.create("2")
        await session.segments.create("3")
        for call in (session.segments.create, session.segments.ensure):
            with pytest.raises(APIError, match="1,000 segments, which is the limit") as caught:
                await call("4")
            assert caught.value.status == int(status)
        assert len(sandbox.store.segments) == 3


@pytest.mark.parametrize("fault", LOST)
@pytest.mark.parametrize("verb", ["create", "ensure"])
async def test_a_lost_answer_makes_one_segment(fault, verb):
    """It is looked for, not created again blindly."""
    async with opened() as (sandbox, session, _):
        sandbox.faults.rule(fault, method="POST", path=SEGMENTS, nth=1)
        segment = await getattr(session.segments, verb)("new", description="text")
        await asyncio.sleep(60)  # what lands late has landed
        assert [s.id for s in sandbox.store.segments.values() if s.name == "new"] == [segment.id]
        assert segment == await session.segments.get(segment.id)


async def test_a_create_that_stays_unanswered_says_so():
    """After the attempts of the retry policy; each was looked for before the next."""
    async with opened(retry=RetryPolicy(attempts=3)) as (sandbox, session, _):
        sandbox.faults.rule(Fault.error(503), method="POST", path=SEGMENTS)
        with pytest.raises(ServerError):
            await session.segments.create("new")
        methods = [request.method for request in sandbox.record.requests]
        assert methods == ["POST", "GET"] * 3


async def test_what_is_refused_is_not_looked_for():
    """A refusal is an answer."""
    async with opened() as (sandbox, session, _):
        sandbox.faults.rule(Fault.error(403), method="POST", path=SEGMENTS)
        with pytest.raises(PermissionDeniedError, match="Enterprise"):
            await session.segments.create("new")
        assert counts(sandbox) == {("POST", SEGMENTS): 1}


async def test_ensure_gets_or_creates():
    """Twice gives the same; one that is there keeps its description."""
    async with opened() as (sandbox, session, stored):
        found = await session.segments.ensure("VIP", description="other")
        assert (found.id, found.description) == (stored.id, "")
        created = await session.segments.ensure("new", description="text")
        assert created == await session.segments.ensure("new")
        assert created.description == "text"
        assert counts(sandbox) == {("POST", SEGMENTS): 1, ("GET", SEGMENTS): 3}


@pytest.mark.parametrize("fault", [None, *LOST])
async def test_ensure_by_several_at_once_gives_all_of_them_the_same(fault):
    """Two processes that know nothing of each other, and answers that get lost."""
    async with Sandbox() as sandbox:
        if fault is not None:
            sandbox.faults.rule(fault, method="POST", probability=0.5, times=3)
        sessions = [sandbox.session() for _ in range(4)]
        found = await asyncio.gather(*(session.segments.ensure("VIP") for session in sessions))
        for session in sessions:
            await session.aclose()
        await asyncio.sleep(60)
        assert {segment.id for segment in found} == set(sandbox.store.segments)
        assert len(sandbox.store.segments) == 1


async def test_ensure_looks_again_when_the_list_is_behind():
    """The name is taken, but the list does not show it yet."""
    async with opened() as (sandbox, session, stored):
        empty = Fault.answer(200, _list_of())
        sandbox.faults.rule(empty, method="GET", path=SEGMENTS, times=4)
        assert (await session.segments.ensure("VIP")).id == stored.id
        sandbox.faults.rule(empty, method="GET", path=SEGMENTS)
        with pytest.raises(ConflictError, match="the name is taken"):
            await session.segments.ensure("VIP")


@pytest.mark.parametrize("vanished", ["ignore", "not_found"])
async def test_delete_gives_one_true_outcome_per_segment(vanished):
    """In chunks that a URL takes; segments that are gone are deleted; no profile is."""
    async with opened(profiles=3, members=3, vanished=vanished) as (sandbox, session, stored):
        ids = [sandbox.store.create_segment(str(n)).id for n in range(119)]
        kept = sandbox.store.create_segment("kept")
        report = await session.segments.delete([stored.id, *map(str, ids), NOBODY, ids[0]])
        assert [o.item for o in report] == [stored.id, *ids, UUID(NOBODY)]
        assert {o.status for o in report} == {Status.DELETED}
        assert report.profile_ids == ()  # they are ids of segments
        assert list(sandbox.store.segments) == [kept.id]
        assert len(sandbox.store.profiles) == 3
        if vanished == "ignore":
            assert counts(sandbox) == {("DELETE", SEGMENTS): 3}


async def test_a_failed_delete_has_its_report():
    """As for profiles."""
    async with opened() as (sandbox, session, stored):
        sandbox.faults.rule(Fault.error(401))
        with pytest.raises(BatchError) as caught:
            await session.segments.delete([stored.id])
        assert [o.status for o in caught.value.report] == [Status.NOT_SENT]


async def test_the_segments_of_a_profile():
    """Whole segments; a profile that is missing is named."""
    async with opened(profiles=2, members=1) as (sandbox, session, stored):
        sandbox.store.create_segment("other")
        member, other = ids_of(sandbox)
        found = await session.shopper_profiles.segments(str(member)).all()
        assert [segment.id for segment in found] == [stored.id]
        assert await session.shopper_profiles.segments(other).all() == []
        missing = session.shopper_profiles.segments(NOBODY)
        assert "segments" in repr(missing)
        with pytest.raises(NotFoundError, match=f"shopper profile {NOBODY} does not exist"):
            await missing.all()
        with pytest.raises(InvalidInputError, match="not a profile id"):
            session.shopper_profiles.segments("x")


async def test_members_of_what_is_no_id_are_refused_at_once():
    """Nothing is sent to make a `SegmentMembers`."""
    async with opened() as (sandbox, session, stored):
        members = session.segments.members(str(stored.id))
        assert members.segment_id == stored.id
        assert str(stored.id) in repr(members)
        assert "sandbox" in repr(session.segments)
        with pytest.raises(InvalidInputError, match="not a segment id"):
            session.segments.members("VIP")
        assert not sandbox.record.requests


async def test_a_read_only_token_cant_read_members_and_the_error_says_so():
    """The API wants the modify scope, though it is a GET."""
    async with (
        opened(profiles=1, members=1) as (sandbox, _, stored),
        Session("sandbox", sandbox.read_only_token, base_url=sandbox.url) as session,
    ):
        assert await session.segments.get(stored.id)
        with pytest.raises(PermissionDeniedError, match="takes more than a read-only scope"):
            await session.segments.members(stored.id).page()


async def test_a_name_that_is_no_text_is_an_answer_that_is_not_documented():
    """Bytes that are not UTF-8, from whoever stands between: an error of ours, with the place."""
    rows = b'[{"id":"2f8b1a4e-4f0c-4a8e-9d3b-0c1d2e3f4a5b","name":"caf\xe9"}]'
    body = b'{"data":%s,"meta":{}}' % rows
    async with Sandbox() as sandbox, sandbox.session(retry=RetryPolicy(attempts=1)) as session:
        sandbox.faults.queue(Fault.answer(200, body))
        with pytest.raises(ResponseFormatError, match="not JSON"):
            await session.segments.page()
