"""`customers.list()`: every customer once, by cursors, with profile and segments."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bcshopper import Customers, InvalidInputError, ResponseFormatError, RetryPolicy, Session
from bcshopper._customers.cursor import CursorDocument, Progress
from bcshopper._models import Customer
from bcshopper._transport import MalformedDocumentError, converter
from tests.conftest import run
from tests.served import serving

VIP = "5bb733a9-5491-47b3-9451-9ae8d6a6bc6b"
MODIFIED = "2024-05-14T09:34:00Z"


def row(number, **fields):
    """A customer as the API gives it; the even ones have a profile."""
    return {
        "id": number, "email": f"customer{number}@example.com",
        "shopper_profile_id": None if number % 2 else str(UUID(int=number)),
        "segment_ids": [] if number % 2 else [VIP], "date_modified": MODIFIED, **fields,
    }  # fmt: skip


def customer(number):
    profile, segments = (None, ()) if number % 2 else (UUID(int=number), (UUID(VIP),))
    return Customer(number, profile, segments, datetime(2024, 5, 14, 9, 34, tzinfo=UTC))


def cursor(number):
    return base64.b64encode(f"id:{number}+?&=".encode()).decode()


# What the last page looks like is not documented.
ENDINGS = {
    "no next link": lambda links: links,
    "no links": lambda links: links if "next" in links else None,
    "links never": lambda links: None,
    "a list for no links": lambda links: links or [],
    "a next link always": lambda links: {"next": "?after=more"},
    "a link to nothing": lambda links: {"next": None, **links},
}


@attrs.define
class Store:
    """Customers in the order of their ids, by cursors that stand for an id."""

    ids: list[int]
    most: int = 250
    ending: str = "no next link"
    change: object = lambda store, nth: None
    queries: list = attrs.field(factory=list)

    def answer(self, request):
        self.queries.append(query := dict(request.query))
        self.change(self, len(self.queries))
        assert request.path == "/stores/a/v3/customers"
        limit = min(int(query["limit"]), self.most)
        after = 0
        if "after" in query:
            after = int(base64.b64decode(query["after"]).removeprefix(b"id:").removesuffix(b"+?&="))
        rest = [i for i in self.ids if i > after]
        rows = rest[:limit]
        links = {"next": "?after=..."} if rest[limit:] else {}
        meta = {
            "cursor_pagination": {
                "count": len(rows), "per_page": limit,
                "start_cursor": cursor(rows[0]) if rows else None,
                "end_cursor": cursor(rows[-1]) if rows else None,
                "links": ENDINGS[self.ending](links),
            },
        }  # fmt: skip
        if "after" not in query:
            meta["pagination"] = {
                "total": len(self.ids), "count": len(rows), "per_page": limit, "current_page": 1,
                "total_pages": -(-len(self.ids) // limit),
            }  # fmt: skip
        return {"data": [row(i) for i in rows], "meta": meta}


@asynccontextmanager
async def customers_of(answer):
    """The resource, with a server that answers so."""
    retry = RetryPolicy(attempts=1)
    async with (
        serving(answer) as url,
        Session("a", "made-up", base_url=url, retry=retry) as session,
    ):
        yield Customers(session._transport, session._root)


@given(
    count=st.integers(0, 40),
    limit=st.integers(1, 12),
    most=st.integers(1, 12),
    ending=st.sampled_from(list(ENDINGS)),
)
def test_every_customer_comes_once_in_order_with_the_fewest_requests(count, limit, most, ending):
    """Whatever the sizes, and whatever the last page looks like."""

    async def main():
        store = Store(list(range(1, count + 1)), most=most, ending=ending)
        async with customers_of(store.answer) as customers:
            walk = customers.list(limit=limit)
            pages = [page async for page in walk.pages()]
        assert [c for page in pages for c in page] == [customer(i) for i in store.ids]
        assert not walk.drifted
        assert [page.number for page in pages] == list(range(1, len(pages) + 1))
        assert {page.pagination.total for page in pages} <= {count}
        assert {page.limit for page in pages} <= {limit}
        always = ending == "a next link always" and count > 0  # one more, to see that it is empty
        assert len(store.queries) == max(1, -(-count // min(limit, most))) + always

    run(main())


async def test_it_asks_by_cursor_and_for_both_includes():
    """The documented query and nothing else; cursors go back as they came."""
    store = Store([1, 2, 3], most=2)
    async with customers_of(store.answer) as customers:
        assert len(await customers.list(limit=200).all()) == 3
    first = {"include": "shopper_profile_id,segment_ids", "limit": "200"}
    assert store.queries == [first, {**first, "after": cursor(2)}]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2024, 5, 14, 9, 34, tzinfo=UTC), "2024-05-14T09:34:00Z"),
        (datetime(2024, 5, 14, 9, 34, 5, 999_999, tzinfo=UTC), "2024-05-14T09:34:05Z"),
        (datetime(2024, 5, 14, 1, tzinfo=timezone(timedelta(hours=2))), "2024-05-13T23:00:00Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
async def test_only_those_modified_since_are_asked_for(moment, text):
    """In UTC, on every page; the fraction of a second is dropped, so that nobody is missed."""
    store = Store([1, 2, 3], most=2)
    async with customers_of(store.answer) as customers:
        assert len(await customers.list(modified_since=moment).all()) == 3
    assert [query["date_modified:min"] for query in store.queries] == [text, text]


@pytest.mark.parametrize(
    "settings",
    [
        {"limit": 0},
        {"limit": 251},
        {"limit": "5"},
        {"modified_since": datetime(2024, 5, 14)},  # noqa: DTZ001
        {"modified_since": "2024-05-14"},
        {"modified_since": datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))},
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(settings):
    """A plain `def`: the error comes where the mistake is, not at the first iteration."""
    store = Store([1])
    async with customers_of(store.answer) as customers:
        with pytest.raises(InvalidInputError, match=next(iter(settings))):
            customers.list(**settings)
    assert store.queries == []


changes = st.lists(
    st.tuples(st.integers(1, 20), st.sampled_from(["delete", "add"]), st.integers(1, 99)),
    max_size=12,
)


@given(count=st.integers(1, 50), limit=st.integers(1, 8), changes=changes)
def test_who_stays_comes_exactly_once_whatever_changes(count, limit, changes):
    """Cursors do not shift; and whether the number changed, `drifted` tells."""

    async def main():
        def change(store, nth):
            for _, kind, number in (c for c in changes if c[0] == nth):
                if kind == "delete":
                    store.ids = [i for i in store.ids if i != number]
                else:
                    store.ids = sorted({*store.ids, number})

        store = Store(list(range(2, 2 * count + 2, 2)), change=change)
        store.change(store, 1)
        before = set(store.ids)
        gone = set()

        def watch(store, nth):
            change(store, nth)
            gone.update(before - set(store.ids))

        store.change = watch
        async with customers_of(store.answer) as customers:
            walk = customers.list(limit=limit)
            found = [c.id for c in await walk.all()]
        assert len(found) == len(set(found))
        assert set(found) >= before - gone
        assert walk.drifted == (len(found) != len(before))

    run(main())


async def test_a_last_page_that_may_not_be_the_last_is_not_believed():
    """No link, and fewer customers than there were: one more request makes sure."""

    def forgets_links(store, nth):
        store.ending = "links never"

    store = Store(list(range(1, 8)), most=2, change=forgets_links)
    async with customers_of(store.answer) as customers:
        assert [c.id for c in await customers.list().all()] == store.ids

    def deletes_the_last(store, nth):
        store.ids = store.ids[: 7 if nth == 1 else 5]

    store = Store(list(range(1, 8)), most=3, change=deletes_the_last)
    async with customers_of(store.answer) as customers:
        walk = customers.list()
        assert [c.id for c in await walk.all()] == [1, 2, 3, 4, 5]
        assert walk.drifted
    assert len(store.queries) == 3


def page(number, rows, *, total=6, links=True, **changes):
    """One of three pages of two, in the API's words."""
    cursors = {"count": len(rows), "per_page": 2, "start_cursor": "s", "end_cursor": f"c{number}"}
    cursors |= {"links": {"next": "?after=..."} if links else {}, **changes}
    meta = {"cursor_pagination": cursors}
    if number == 1:
        numbers = {"total": total, "count": len(rows), "per_page": 2, "current_page": 1}
        meta["pagination"] = {**numbers, "total_pages": -(-total // 2)}
    return {"data": rows, "meta": meta}


def pair(number, **fields):
    """The rows of a page, the last one changed."""
    return [row(2 * number - 1), row(2 * number, **fields)]


def without(document, *path):
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return document


def later(make):
    """An honest first page, and then what is made for each."""
    return lambda n: page(1, pair(1)) if n == 1 else make(n)


# field: where the reason is to be found
BAD = {
    "repeats a cursor": ("end_cursor", later(lambda n: page(n, pair(n), end_cursor="c1"))),
    "goes round in circles": ("end_cursor", lambda n: page((n - 1) % 3 + 1, pair((n - 1) % 3 + 1))),
    "ignores the cursor": ("end_cursor", lambda n: page(1, pair(1))),
    "repeats a page": ("data", later(lambda n: page(n, pair(1)))),
    "never ends": ("data", later(lambda n: page(n, pair(n)))),
    "has fewer rows than count": ("count", later(lambda n: page(n, pair(n)[1:], count=2))),
    "has more rows than count": ("count", later(lambda n: page(n, pair(n), count=1))),
    "has more rows than per_page": ("data", later(lambda n: page(n, pair(n), per_page=1))),
    "has errors beside data": ("errors", later(lambda n: page(n, pair(n)) | {"errors": [{}]})),
    "has no cursors": (
        "cursor_pagination", lambda n: without(page(1, pair(1)), "meta", "cursor_pagination"),
    ),
    "has no cursors later": (
        "cursor_pagination",
        later(lambda n: without(page(n, pair(n)), "meta", "cursor_pagination")),
    ),
    "links to a next page without a cursor": (
        "end_cursor", later(lambda n: page(n, pair(n), end_cursor=None)),
    ),
    "does not say how many": (
        "pagination", lambda n: without(page(1, pair(1)), "meta", "pagination"),
    ),
    "has rows beside total 0": ("data", lambda n: page(1, pair(1), total=0)),
    "has fewer rows than its first page": ("data", lambda n: page(1, [], links=False)),
    "gives a customer twice": ("data", later(lambda n: page(n, [row(2 * n), row(2 * n)]))),
    "gives a profile to two": (
        "data", later(lambda n: page(n, [row(2 * n), {**row(2 * n), "id": 2 * n + 1}])),
    ),
    "has a guest": ("data[1].id", later(lambda n: page(n, pair(n, id=0)))),
    "says nothing of the profile": (
        "shopper_profile_id",
        later(lambda n: without(page(n, pair(n)), "data", 0, "shopper_profile_id")),
    ),
    "says nothing of the segments": (
        "segment_ids", later(lambda n: without(page(n, pair(n)), "data", 1, "segment_ids")),
    ),
    "has null for the segments": (
        "segment_ids", later(lambda n: page(n, pair(n, segment_ids=None))),
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BAD)
async def test_a_server_that_contradicts_itself_ends_the_walk(how):
    """No list is endless, and none is quietly wrong; the field says where."""
    field, answer = BAD[how]
    asked = 0

    def count(request):
        nonlocal asked
        asked += 1
        return answer(asked)

    async with customers_of(count) as customers:
        with pytest.raises(ResponseFormatError, match="customers") as caught:
            await customers.list(limit=2).all()
    assert caught.value.field.endswith(field) or caught.value.field.startswith(f"$.{field}")
    assert caught.value.resume_page is None
    assert asked < 300


def test_progress_is_decided_without_a_server():
    """A page at a time: what can't be, where to go on, and when it is over."""
    progress = Progress(2)

    def read(document):
        return converter.loads(json.dumps(document).encode(), CursorDocument)

    for number in (1, 2):
        document = read(page(number, pair(number)))
        progress.check(document)
        assert progress.add(document).number == number
        assert (progress.after, progress.is_over) == (f"c{number}", False)
    with pytest.raises(MalformedDocumentError, match="comes again"):
        progress.check(read(page(3, pair(3), end_cursor="c1")))
    progress.check(document := read(page(3, pair(3), links=False)))
    assert progress.add(document).items == (customer(5), customer(6))
    assert (progress.is_over, progress.came, progress.total) == (True, 6, 6)


async def test_one_page_is_fetched_ahead_and_leaving_cancels_it():
    """While the reader works, the next page is on its way, and no more."""
    store = Store(list(range(1, 100)), most=10)
    async with customers_of(store.answer) as customers:
        pages = customers.list().pages()
        await anext(pages)
        await asyncio.sleep(100)
        assert len(store.queries) == 2
        await anext(pages)
        await pages.aclose()
        await asyncio.sleep(100)
        assert len(store.queries) <= 3
        assert not customers._transport.life._tasks


async def test_each_iteration_walks_anew():
    """A paginator is a description, not a position."""
    store = Store([1, 2, 3], most=2)
    async with customers_of(store.answer) as customers:
        walk = customers.list()
        assert store.queries == []
        assert [c.id async for c in walk] == [1, 2, 3]
        store.ids.append(4)
        assert [c.id async for c in walk] == [1, 2, 3, 4]
        assert "customers" in repr(walk)
