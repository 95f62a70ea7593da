"""`list(consistent=True)`: whatever is there from start to end comes exactly once."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcshopper import InvalidInputError, ResponseFormatError
from bcshopper._listing import ListDocument, Pages, paginate
from bcshopper._listing.consistent import Seen
from bcshopper._models import ShopperProfile
from bcshopper._profiles import ProfileRequests
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run

pytestmark = pytest.mark.thousands

UUIDS = [UUID(int=n, version=4) for n in range(31)]


def pages_asked(sandbox):
    return [int(dict(r.query)["page"]) for r in sandbox.record.requests if r.method == "GET"]


def deleting(start, count):
    """Delete some profiles from a place in the list on."""
    return lambda store: store.delete(list(store.profiles)[start : start + count])


def check(found, before, store):
    """Everyone who stayed is there once; nobody is there twice."""
    ids = [profile.id for profile in found]
    assert len(ids) == len(set(ids))
    stayed = [i for i in before if i in store.profiles]
    assert set(stayed) <= set(ids)


changes = st.lists(
    st.tuples(
        st.integers(1, 60),  # at which request
        st.sampled_from(["delete", "add", "both"]),
        st.integers(0, 120),
        st.integers(1, 25),
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(
    profiles=st.integers(0, 120),
    limit=st.integers(1, 15),
    prefetch=st.integers(1, 6),
    changes=changes,
    jitter=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 5),
)
def test_who_stays_comes_exactly_once_whatever_changes(
    profiles, limit, prefetch, changes, jitter, seed
):
    """Any mixture of deletions and additions, at any request, with answers out of order."""

    async def main():
        async with Sandbox(profiles=profiles, seed=seed) as sandbox, sandbox.session() as session:
            for nth, kind, start, count in changes:

                def change(store, kind=kind, start=start, count=count):
                    if kind != "add":
                        deleting(start, count)(store)
                    if kind != "delete":
                        store.add_profiles(count)

                sandbox.faults.rule(Fault(change=change, jitter=jitter), nth=nth)
            sandbox.faults.rule(Fault.slow(0.0, jitter=jitter))
            before = list(sandbox.store.profiles)
            walk = session.shopper_profiles.list(limit=limit, prefetch=prefetch, consistent=True)
            check(await walk.all(), before, sandbox.store)

    run(main())


@pytest.mark.parametrize("profiles", [0, 1, 10, 11, 200, 205])
async def test_a_quiet_store_costs_at_most_two_requests_more(profiles):
    """However long the list; and it comes in order."""
    async with Sandbox(profiles=profiles) as sandbox, sandbox.session() as session:
        walk = session.shopper_profiles.list(limit=10, consistent=True)
        assert await walk.all() == list(sandbox.store.profiles.values())
        assert not walk.drifted
        assert len(pages_asked(sandbox)) <= max(1, -(-profiles // 10)) + 2


@pytest.mark.parametrize("left", [0, 5, 35])
async def test_a_list_that_shrinks_before_its_end_is_known_has_changed(left):
    """Nobody who stays is missed, and `drifted` tells."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        shrink = Fault.changing(lambda store: store.delete_oldest(100 - left))
        sandbox.faults.rule(shrink, nth=2)
        walk = session.shopper_profiles.list(limit=10, consistent=True)
        assert await walk.all() == list(sandbox.store.profiles.values())
        assert len(sandbox.store.profiles) == left
        assert walk.drifted


async def test_additions_alone_cost_nothing_more():
    """New profiles at the end move nobody."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(lambda store: store.add_profiles(3)))
        before = list(sandbox.store.profiles.values())
        walk = session.shopper_profiles.list(limit=10, consistent=True)
        assert (await walk.all())[:100] == before
        assert len(pages_asked(sandbox)) == 11 + 2


async def test_a_plain_walk_misses_what_a_consistent_one_finds(caplog):
    """The very trap: a page's worth deleted at the front in the middle of the walk."""
    missed = {}
    for consistent in (False, True):
        async with Sandbox(profiles=400) as sandbox, sandbox.session() as session:
            sandbox.faults.rule(Fault.slow(1.0))
            walk = session.shopper_profiles.list(limit=10, prefetch=4, consistent=consistent)
            before = list(sandbox.store.profiles)
            found = []
            async for page in walk.pages():
                found += page.items
                if page.number == 12:
                    sandbox.store.delete_oldest(10)
            stayed = set(before) & set(sandbox.store.profiles)
            missed[consistent] = stayed - {p.id for p in found}
            assert walk.drifted
    assert len(missed[False]) == 10
    assert missed[True] == set()
    warnings = [r for r in caplog.records if r.name == "bcshopper.pagination"]
    assert len(warnings) == 2  # one a walk, however many pages show it


async def test_equal_numbers_of_deletions_and_additions_are_noticed():
    """The total stays the same all along, and still nobody is missed."""

    def swap(store):
        store.delete_oldest(1)
        store.add_profiles(1)

    async with Sandbox(profiles=200) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault(change=swap, latency=1.0), nth=9)
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, prefetch=2, consistent=True)
        check(await walk.all(), before, sandbox.store)
        assert walk.drifted


FRONT = [1, 10, *range(1, 11)]  # the end, all before it, and the end once more
BACK = [10, 9, 8, 10, 7, 6, 5, 7, 4, 3, 2, 4, 1]  # from the end to the front, three at a time


@pytest.mark.parametrize(
    ("nth", "start", "count", "asked"),
    [
        (6, 0, 1, [*FRONT, 3, 10]),  # the page before the one whose total is less, and the end
        (12, 0, 1, [*FRONT, 10]),  # as the last page was read: nobody has slipped past
        (6, -1, 1, [*FRONT, 3, 10, 9, *BACK]),  # the last row itself, so that nothing tells
        (6, -10, 10, [*FRONT, 3, 10, 9, 10, 9, 8, 7, 9, 6, 5, 4, 6, 3, 2, 1, 3]),  # its whole page
        (2, 0, 1, FRONT),  # before the end is known: nobody is owed whoever went
        (2, 0, 10, [1, 10, 9, *range(1, 10)]),
    ],
)
async def test_a_deletion_costs_these_pages_and_no_more(nth, start, count, asked):
    """Of a hundred rows, with two pages ahead."""

    def delete(store):
        deleting(start if start >= 0 else len(store.profiles) + start, count)(store)

    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(delete), nth=nth)
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, prefetch=2, consistent=True)
        found = await walk.all()
        check(found, before, sandbox.store)
        assert sorted(pages_asked(sandbox)) == sorted(asked)
        assert walk.drifted


@pytest.mark.parametrize("nth", range(4, 11))
@pytest.mark.parametrize("gone", range(10, 21))
async def test_rows_that_are_new_make_up_for_none_that_slipped_past(nth, gone):
    """As many are appended before the end that was known as slipped past: all the same."""

    def change(store):
        store.delete_oldest(gone)
        store.add_profiles(gone - 10)

    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(change), nth=nth)
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, prefetch=1, consistent=True)
        check(await walk.all(), before, sandbox.store)


async def test_a_deletion_with_every_request_is_read_around_one_page_at_a_time():
    """Ever more of them one by one, the longer it goes on; and then all is there."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(deleting(0, 1)))
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, prefetch=2, consistent=True)
        check(await walk.all(), before, sandbox.store)
        assert len(pages_asked(sandbox)) == len(FRONT) + 25


async def test_more_suspects_than_pages_ahead_are_not_looked_for():
    """The list is read back at once, as many pages together as are read ahead."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        for nth in range(3, 12, 2):
            sandbox.faults.rule(Fault.changing(deleting(0, 1)), nth=nth)
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, prefetch=2, consistent=True)
        check(await walk.all(), before, sandbox.store)
        assert sorted(pages_asked(sandbox)) == sorted(FRONT + BACK)


@pytest.mark.parametrize(
    ("kept", "says"), [(9, "page=3.* lacks 1 items"), (10, "it is number 100, but 90 came")]
)
async def test_a_list_that_contradicts_itself_is_no_list(kept, says):
    """A page that is not full, or the rows of another page, while nothing moved."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        page = json.loads(sandbox.store.page(3, 10, links=False))
        other = json.loads(sandbox.store.page(2, 10, links=False))
        page["data"] = page["data"][:9] if kept == 9 else other["data"]
        page["meta"]["pagination"]["count"] = kept
        sandbox.faults.rule(Fault.answer(200, json.dumps(page).encode()), nth=5)
        walk = session.shopper_profiles.list(limit=10, prefetch=1, consistent=True)
        with pytest.raises(ResponseFormatError, match=says):
            await walk.all()


async def test_one_deletion_costs_a_few_requests_not_another_pass():
    """Where totals changed between two pages, the row that slipped past is found at once."""
    async with Sandbox(profiles=1000) as sandbox, sandbox.session() as session:
        walk = session.shopper_profiles.list(limit=10, prefetch=4, consistent=True)
        before = list(sandbox.store.profiles)
        found = []
        async for page in walk.pages():
            found += page.items
            if page.number == 50:
                sandbox.store.delete_oldest(1)
        check(found, before, sandbox.store)
        assert len(pages_asked(sandbox)) <= 102 + 6


@pytest.mark.parametrize("where", ["front", "anywhere", "ahead"])
async def test_a_trickle_of_deletions_that_outlasts_the_listing_ends(where):
    """One profile is deleted with every single request; it ends, complete, at a bounded cost."""
    starts = {"front": lambda store: 0, "anywhere": lambda store: len(store.profiles) // 3,
              "ahead": lambda store: len(store.profiles) - 5}  # fmt: skip

    def trickle(store):
        deleting(starts[where](store), 1)(store)

    async with Sandbox(profiles=3000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(trickle))
        before = list(sandbox.store.profiles)
        walk = session.shopper_profiles.list(limit=10, consistent=True)
        check(await walk.all(), before, sandbox.store)
        assert len(pages_asked(sandbox)) <= 3 * 300


@pytest.mark.parametrize("every", [1, 3])
async def test_deleting_what_one_lists_reaches_everyone(every):
    """Page by page, all or each third of them: nobody who should go is left."""
    async with Sandbox(profiles=2000) as sandbox, sandbox.session() as session:
        profiles = session.shopper_profiles
        doomed = {p.id for p in sandbox.store.profiles.values() if p.customer_id % every == 0}
        async for page in profiles.list(limit=50, consistent=True).pages():
            await profiles.delete(p.id for p in page if p.customer_id % every == 0)
        assert not doomed & set(sandbox.store.profiles)
        assert len(sandbox.store.profiles) == 2000 - len(doomed)
        assert len(pages_asked(sandbox)) <= 2.5 * 40


async def test_a_list_that_is_newest_first_is_refused():
    """A wrong assumption is said, and no wrong list is given for a right one."""
    async with Sandbox(customers=35, rules=Rules(newest_first=True)) as sandbox:
        for day in range(1, 31):
            sandbox.store.create(day, created_at=datetime(2026, 1, day, tzinfo=UTC))
        sandbox.seed(profiles=5)
        async with sandbox.session() as session:
            walk = session.shopper_profiles.list(limit=10, consistent=True)
            with pytest.raises(ResponseFormatError, match="newest first"):
                await walk.all()
            assert len(await session.shopper_profiles.list(limit=10).all()) == 35


def listed_by_joining(sandbox, session, **settings):
    """The sandbox's list of profiles, as one whose order is not that of `created_at`."""
    requests = ProfileRequests(session._root)
    document = ListDocument[ShopperProfile]
    pages = Pages(session._transport, requests.page, document, 10, ordered_by_creation=False)
    return paginate(pages, first=1, consistent=True, **settings)


@settings(max_examples=100)
@given(
    profiles=st.integers(0, 60),
    ages=st.sampled_from([lambda n: -n, lambda n: n * 7919 % 61, lambda n: 0]),
    prefetch=st.integers(1, 6),
    changes=changes,
)
def test_rows_that_are_not_in_the_order_of_their_creation_come_exactly_once(
    profiles, ages, prefetch, changes
):
    """The members of a segment come in the order of joining: `created_at` says nothing there."""

    async def main():
        async with Sandbox(customers=profiles) as sandbox, sandbox.session() as session:
            start = datetime(2026, 1, 1, tzinfo=UTC)
            for n in range(1, profiles + 1):
                sandbox.store.create(n, created_at=start + timedelta(days=ages(n)))
            before = list(sandbox.store.profiles)
            for nth, kind, place, count in changes:

                def change(store, kind=kind, place=place, count=count):
                    if kind != "add":
                        deleting(place, count)(store)
                    if kind != "delete":
                        store.add_profiles(count)

                sandbox.faults.rule(Fault.changing(change), nth=nth)
            found = await listed_by_joining(sandbox, session, prefetch=prefetch).all()
            check(found, before, sandbox.store)

    run(main())


async def test_the_members_of_a_segment_cost_what_profiles_cost():
    """Two requests more than a plain walk in a quiet store, in order."""
    async with Sandbox(customers=95) as sandbox, sandbox.session() as session:
        for n in range(1, 96):
            created_at = datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=n)
            sandbox.store.create(n, created_at=created_at)
        walk = listed_by_joining(sandbox, session, prefetch=None)
        assert await walk.all() == list(sandbox.store.profiles.values())
        assert not walk.drifted
        assert len(pages_asked(sandbox)) == 10 + 2


async def test_a_consistent_listing_starts_at_the_first_page():
    """Anything else would not be complete."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match="starts at page 1"):
            session.shopper_profiles.list(page=2, consistent=True)


async def test_leaving_a_consistent_listing_early_leaves_nothing_under_way():
    """As with any other listing."""
    async with Sandbox(profiles=1000) as sandbox, sandbox.session() as session:
        pages = session.shopper_profiles.list(limit=10, consistent=True).pages()
        await anext(pages)
        await pages.aclose()
        sent = session.stats.requests
        await asyncio.sleep(100)
        assert session.stats.requests == sent
        assert sandbox.record.in_flight == 0


@given(
    pages=st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12),
    switch=st.integers(0, 12),
)
def test_seen_profiles_are_new_once(pages, switch):
    """Before and after everything is recalled; the archive forgets nobody."""
    seen = Seen(together=100)
    known = set()
    for number, page in enumerate(pages):
        if number == switch:
            seen.recall()
        new = seen.take_new(tuple(ShopperProfile(UUIDS[n], n + 1) for n in page))
        distinct = dict.fromkeys(n for n in page if n not in known)
        assert [p.customer_id - 1 for p in new] == list(distinct)
        known |= set(page)
    assert seen.count == len(known)


def test_seen_compares_with_all_once_it_recalls():
    """A page of long ago is remembered too."""
    seen = Seen(together=1)
    first, second = ShopperProfile(UUIDS[1], 1), ShopperProfile(UUIDS[2], 2)
    seen.take_new((first,))
    seen.take_new((second,))
    seen.recall()
    assert seen.take_new((first, second)) == ()
