import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bcshopper import (
    InvalidInputError,
    NotFoundError,
    ResponseFormatError,
    RetryPolicy,
    ServerError,
    Session,
)
from bcshopper._listing.walk import PageNumbers, most_pages
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.conftest import run
from tests.served import serving


def gets(sandbox):
    return [dict(r.query) for r in sandbox.record.requests if r.method == "GET"]


async def settle():
    """Let what was cancelled end: a few turns of the loop, no time."""
    for _ in range(20):
        await asyncio.sleep(0)


def library_tasks():
    return [t for t in asyncio.all_tasks() if "in_order" in repr(t) or "fetch" in repr(t)]


def test_page_numbers_follow_the_newest_total():
    """Only the first page is known at first; each answer moves the end, either way."""
    numbers = PageNumbers(3)
    assert [numbers.take(), numbers.take()] == [3, None]
    numbers.learn(5)
    assert [numbers.take(), numbers.take(), numbers.take()] == [4, 5, None]
    numbers.learn(7)
    assert numbers.take() == 6
    numbers.learn(2)
    assert numbers.take() is None


@given(st.integers(0, 10**6), st.integers(1, 100))
def test_a_list_may_grow_so_far_while_one_reads_it_and_no_further(total_pages, more):
    """By the first answer's word; what comes back to it is fine again."""
    numbers = PageNumbers(1)
    assert numbers.learn(total_pages)
    assert numbers.learn(most_pages(total_pages))
    assert not numbers.learn(most_pages(total_pages) + more)
    assert numbers.learn(total_pages)


@given(
    profiles=st.integers(0, 60),
    limit=st.integers(1, 20),
    prefetch=st.integers(1, 8),
    cap=st.integers(1, 20),
)
def test_every_profile_comes_once_in_order_with_the_fewest_requests(profiles, limit, prefetch, cap):
    """Whatever the sizes, and whatever page size the server really gives."""

    async def main():
        rules = Rules(max_limit=cap)
        async with Sandbox(profiles=profiles, rules=rules) as sandbox, sandbox.session() as session:
            walk = session.shopper_profiles.list(limit=limit, prefetch=prefetch)
            found = await walk.all()
            assert found == list(sandbox.store.profiles.values())
            pages = max(1, -(-profiles // min(limit, cap)))
            assert [int(q["page"]) for q in gets(sandbox)] == list(range(1, pages + 1))
            assert {q["limit"] for q in gets(sandbox)} == {str(limit)}

    run(main())


async def test_pages_come_in_order_however_late_some_are():
    """A slow page holds back those after it, and nothing is mixed up."""
    async with Sandbox(profiles=300) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(0.0, jitter=5.0))
        pages = [page async for page in session.shopper_profiles.list(limit=10).pages()]
        assert [page.number for page in pages] == list(range(1, 31))
        assert [p for page in pages for p in page] == list(sandbox.store.profiles.values())
        assert {len(page) for page in pages} == {10}


@pytest.mark.parametrize("turns", range(6))
async def test_failures_ahead_of_a_reader_who_is_cancelled_twice_are_told_to_nobody(turns):
    """Nothing is left that asyncio would complain of."""
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
    async with Sandbox(profiles=20) as sandbox, sandbox.session(concurrency=2) as session:
        sandbox.faults.rule(Fault.stall(), nth=2)
        sandbox.faults.rule(Fault.error(400), nth=3)
        sandbox.faults.rule(Fault.error(400), nth=4)
        reader = asyncio.create_task(session.shopper_profiles.list(limit=1, prefetch=6).all())
        await asyncio.sleep(1)
        reader.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        del reader
        gc.collect()
        await asyncio.sleep(1)
    assert complaints == []


async def test_pages_are_fetched_ahead_but_not_further_than_prefetch():
    """While the reader works on a page, the next ones are on their way, and no more."""
    async with Sandbox(profiles=300) as sandbox, sandbox.session() as session:
        pages = session.shopper_profiles.list(limit=10, prefetch=4).pages()
        await anext(pages)
        await asyncio.sleep(100)
        assert len(gets(sandbox)) == 1 + 4
        await anext(pages)
        await asyncio.sleep(100)
        assert len(gets(sandbox)) == 1 + 5
        await pages.aclose()


async def test_the_prefetch_window_keeps_every_slot_busy():
    """100 pages of a second each through ten slots: the first alone, then ten at a time."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(1.0))
        await session.shopper_profiles.list(limit=1).all()
        assert asyncio.get_running_loop().time() == pytest.approx(11.0, abs=0.01)
        assert sandbox.record.peak == 10


async def test_pages_appended_meanwhile_are_walked_too():
    """The walk ends by the newest total that it has seen."""
    async with Sandbox(profiles=30) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.changing(lambda store: store.add_profiles(20)), nth=3)
        found = await session.shopper_profiles.list(limit=10).all()
        assert found == list(sandbox.store.profiles.values())
        assert len(found) == 50


async def test_an_empty_store_lists_nothing():
    """No profiles, no pages, one request."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        assert await session.shopper_profiles.list().all() == []
        assert [page async for page in session.shopper_profiles.list().pages()] == []
        assert len(gets(sandbox)) == 2


async def test_listing_may_start_at_any_page():
    """`page=n` leaves out the pages before it."""
    async with Sandbox(profiles=25) as sandbox, sandbox.session() as session:
        found = await session.shopper_profiles.list(limit=10, page=2).all()
        assert found == list(sandbox.store.profiles.values())[10:]
        assert await session.shopper_profiles.list(limit=10, page=9).all() == []


async def test_each_iteration_walks_anew():
    """A paginator is a description, not a position."""
    async with Sandbox(profiles=3) as sandbox, sandbox.session() as session:
        walk = session.shopper_profiles.list()
        assert gets(sandbox) == []
        assert len(await walk.all()) == 3
        sandbox.seed(profiles=1)
        assert len(await walk.all()) == 4


@pytest.mark.parametrize("way", ["break", "raise", "cancel", "aclose"])
@pytest.mark.parametrize("by", ["items", "pages"])
async def test_leaving_early_leaves_no_task_and_no_request(way, by):
    """A break, an error in the loop's body, or a cancellation ends all that was under way."""
    async with Sandbox(profiles=1000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(1.0))

        async def read():
            walk = session.shopper_profiles.list(limit=10)
            if way == "aclose":
                iterator = aiter(walk) if by == "items" else walk.pages()
                await anext(iterator)
                await iterator.aclose()
                return
            async for _ in walk if by == "items" else walk.pages():
                if way == "break":
                    break
                if way == "raise":
                    raise KeyError
                if way == "cancel":
                    await asyncio.sleep(1000)

        task = asyncio.create_task(read())
        await asyncio.sleep(1.5)
        if way == "cancel":
            task.cancel()
        await asyncio.wait([task])
        del task
        gc.collect()
        await settle()
        assert library_tasks() == []
        sent = len(sandbox.record.requests)
        await asyncio.sleep(100)
        assert len(sandbox.record.requests) == sent <= 1 + 20
        assert sandbox.record.in_flight == 0
        assert (await session.shopper_profiles.page()).items


async def test_a_page_that_fails_ends_the_walk_after_the_pages_before_it():
    """What came before the failure has been yielded, in order; the rest is given up."""
    async with (
        Sandbox(profiles=100) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        sandbox.faults.rule(Fault.error(404), nth=4)
        seen = []
        with pytest.raises(NotFoundError):
            async for page in session.shopper_profiles.list(limit=10).pages():
                seen.append(page.number)
        assert seen == [1, 2, 3]
        await settle()
        assert library_tasks() == []


async def test_one_page_is_one_request_and_says_where_it_stands():
    """`page(n)` is for a web view: items, totals, and the next number."""
    async with Sandbox(profiles=120) as sandbox, sandbox.session() as session:
        page = await session.shopper_profiles.page(2)
        assert list(page) == list(sandbox.store.profiles.values())[50:100]
        assert (page.number, page.limit, page.next_number) == (2, 50, 3)
        assert page.pagination.total == 120
        last = await session.shopper_profiles.page(3)
        assert (len(last), last.next_number) == (20, None)
        assert (await session.shopper_profiles.page(9)).items == ()
        assert len(gets(sandbox)) == 3


@pytest.mark.parametrize(
    "settings",
    [{"limit": 0}, {"limit": 251}, {"limit": "5"}, {"page": 0}, {"prefetch": 0}, {"page": True}],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(settings):
    """A plain `def`: the error comes where the mistake is, not at the first iteration."""
    async with Sandbox() as sandbox, sandbox.session() as session:
        with pytest.raises(InvalidInputError, match=next(iter(settings))):
            session.shopper_profiles.list(**settings)
        assert gets(sandbox) == []


async def test_a_walk_that_fails_says_where_to_go_on():
    """Nothing that was read has to be read again."""
    async with (
        Sandbox(profiles=100) as sandbox,
        sandbox.session(retry=RetryPolicy(attempts=1)) as session,
    ):
        sandbox.faults.rule(Fault.error(500), nth=7)
        found = []
        with pytest.raises(ServerError) as caught:
            async for page in session.shopper_profiles.list(limit=10).pages():
                found += page
        assert caught.value.resume_page == 7
        assert "list(page=7)" in caught.value.__notes__[0]
        found += await session.shopper_profiles.list(limit=10, page=7).all()
        assert found == list(sandbox.store.profiles.values())


@pytest.mark.parametrize(
    "change",
    [lambda s: s.delete_oldest(1), lambda s: s.add_profiles(1), lambda s: s.delete_oldest(15)],
)
async def test_a_plain_walk_says_when_the_list_changed(change, caplog):
    """`drifted`, and one warning, however many pages show it; the next walk starts afresh."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        walk = session.shopper_profiles.list(limit=10, prefetch=1)
        await walk.all()
        assert not walk.drifted
        sandbox.faults.rule(Fault.changing(change), nth=5)
        sandbox.faults.rule(Fault.changing(change), nth=8)
        await walk.all()
        assert walk.drifted
        assert len([r for r in caplog.records if r.name == "bcshopper.pagination"]) == 1
        await walk.all()
        assert not walk.drifted


@settings(max_examples=200)
@given(
    profiles=st.integers(1, 120),
    limit=st.integers(1, 15),
    prefetch=st.integers(1, 6),
    deletions=st.lists(
        st.tuples(st.integers(1, 40), st.integers(0, 120), st.integers(1, 120)), max_size=4
    ),
    jitter=st.sampled_from([0.0, 3.0]),
)
def test_a_plain_walk_that_missed_somebody_says_so(profiles, limit, prefetch, deletions, jitter):
    """However many are deleted, wherever: also where the next page is then past the end."""

    async def main():
        async with Sandbox(profiles=profiles) as sandbox, sandbox.session() as session:
            for nth, start, count in deletions:

                def delete(store, start=start, count=count):
                    store.delete(list(store.profiles)[start : start + count])

                sandbox.faults.rule(Fault.changing(delete), nth=nth)
            sandbox.faults.rule(Fault.slow(0.0, jitter=jitter))
            walk = session.shopper_profiles.list(limit=limit, prefetch=prefetch)
            found = {profile.id for profile in await walk.all()}
            if not found >= set(sandbox.store.profiles):
                assert walk.drifted

    run(main())


@pytest.mark.parametrize("left", [0, 5, 35])
async def test_a_walk_whose_next_page_is_past_the_end_says_that_the_list_changed(left):
    """So much is gone that no further page has items: that, too, is an answer."""
    async with Sandbox(profiles=100) as sandbox, sandbox.session() as session:
        walk = session.shopper_profiles.list(limit=10, prefetch=1)
        shrink = Fault.changing(lambda store: store.delete_oldest(100 - left))
        sandbox.faults.rule(shrink, nth=5)
        assert len(await walk.all()) == 40
        assert walk.drifted
        assert len(await walk.all()) == left
        assert not walk.drifted


def row(number):
    return {"id": f"00000000-0000-4000-8000-{number:012}", "customer_id": number + 1}


def pagination(number, *, total, total_pages, count, per_page=10, current_page=None):
    return {
        "total": total, "count": count, "per_page": per_page,
        "current_page": current_page or number, "total_pages": total_pages,
    }  # fmt: skip


def honest(number, *, rows, total_pages, **changes):
    meta = {"total": total_pages * 10, "total_pages": total_pages, "count": len(rows), **changes}
    return {"data": [row(n) for n in rows], "meta": {"pagination": pagination(number, **meta)}}


def ten(number):
    """An honest page of five."""
    return honest(number, rows=range(number * 10, number * 10 + 10), total_pages=5)


def changed(number, change):
    """A page of five, whose last row is made of the one before and itself."""
    page = ten(number)
    *rows, before, last = page["data"]
    return page | {"data": [*rows, before, change(before, last)]}


CONTRADICTORY = {
    "repeats a page": lambda n: honest(n, rows=range(10), total_pages=5),
    "counts up for ever": lambda n: honest(n, rows=range(n * 10, n * 10 + 10), total_pages=n + 1),
    "leaps ahead": lambda n: honest(
        n, rows=range(n * 10, n * 10 + 10), total_pages=5 if n < 3 else 10**9
    ),
    "has empty pages": lambda n: honest(n, rows=range(10) if n == 1 else (), total_pages=3),
    "miscounts pages": lambda n: honest(n, rows=range(10), total_pages=5, total=11),
    "gives another page": lambda n: honest(n, rows=range(10), total_pages=5, current_page=2),
    "gives too many": lambda n: honest(n, rows=range(11), total_pages=5),
    "has no page size": lambda n: honest(n, rows=range(10), total_pages=5, per_page=0),
    "has less than nothing": lambda n: honest(n, rows=(), total_pages=-1, total=-5),
    "has rows beside total 0": lambda n: honest(n, rows=range(10), total_pages=1, total=0),
    "has fewer rows than count": lambda n: (
        ten(n) | honest(n, rows=range(9), total_pages=5, count=10)
    ),
    "has rows past the end": lambda n: (
        ten(n) if n < 3 else honest(n, rows=range(10), total_pages=2)
    ),
    "has errors beside data": lambda n: ten(n) | {"errors": [{"status": 500, "title": "no"}]},
    "gives a profile twice": lambda n: changed(n, lambda row, _: row),
    "gives two customers one profile": lambda n: changed(n, lambda a, b: {**b, "id": a["id"]}),
    "gives a customer two profiles": lambda n: changed(
        n, lambda a, b: {**b, "customer_id": a["customer_id"]}
    ),
    "has guests": lambda n: changed(n, lambda _, row: {**row, "customer_id": 0}),
    "has customers below 1": lambda n: changed(n, lambda _, row: {**row, "customer_id": -1}),
    "has customers above 64 bits": lambda n: changed(
        n, lambda _, row: {**row, "customer_id": 2**63}
    ),
}


@pytest.mark.parametrize("shift", [0, 1])
async def test_a_row_that_comes_again_tells_that_the_list_changed(shift):
    """One was put in before it and one is gone after it: all totals are as they were."""

    def answer(request):
        number = int(request.query["page"])
        start = 10 * number - (shift if number > 1 else 0)
        return honest(number, rows=range(start, start + 10), total_pages=3)

    async with serving(answer) as url, Session("a", "made-up", base_url=url) as session:
        walk = session.shopper_profiles.list(limit=10, prefetch=1)
        assert len(await walk.all()) == 30
        assert walk.drifted == bool(shift)


# A consistent walk owes only what was there at the start, and does not follow what is appended.
ENDS_BY_ITSELF = {"counts up for ever", "leaps ahead"}


@pytest.mark.parametrize("consistent", [False, True])
@pytest.mark.parametrize("how", CONTRADICTORY)
async def test_a_server_that_contradicts_itself_ends_the_walk(how, consistent):
    """No listing is endless, and none is quietly wrong."""
    asked = 0

    def answer(request):
        nonlocal asked
        asked += 1
        return CONTRADICTORY[how](int(request.query["page"]))

    async with (
        serving(answer) as url,
        Session("a", "made-up", base_url=url, retry=RetryPolicy(attempts=1)) as session,
    ):
        walk = session.shopper_profiles.list(limit=10, consistent=consistent)
        if consistent and how in ENDS_BY_ITSELF:
            assert await walk.all()
        else:
            with pytest.raises(ResponseFormatError, match="shopper-profiles"):
                await walk.all()
    assert asked < 300


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_listing_that_lacks_items_says_so(number):
    """A plain walk may then have missed them; a consistent one does not pass for complete."""

    def answer(request):
        asked = int(request.query["page"])
        rows = range(asked * 10, min(asked * 10 + 10, 35))
        rows = rows[2:] if asked == number else rows
        return honest(asked, rows=rows, total_pages=3, total=25, count=len(rows))

    async with (
        serving(answer) as url,
        Session("a", "made-up", base_url=url, retry=RetryPolicy(attempts=1)) as session,
    ):
        walk = session.shopper_profiles.list(limit=10)
        assert len(await walk.all()) == 23
        assert walk.drifted
        with pytest.raises(ResponseFormatError, match="lacks 2 items"):
            await session.shopper_profiles.list(limit=10, consistent=True).all()
