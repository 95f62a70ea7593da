import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from tests.sandbox.store import CUSTOMERS, store


async def walk(call, **query):
    """Follow `links.next` from the first page on, and return each page's document."""
    pages = [(await call("GET", CUSTOMERS, params=query)).json]
    while "next" in pages[-1]["meta"]["cursor_pagination"]["links"]:
        link = pages[-1]["meta"]["cursor_pagination"]["links"]["next"]
        pages.append((await call("GET", CUSTOMERS + link)).json)
    return pages


def customers(pages):
    """The customer ids of pages."""
    return [row["id"] for page in pages for row in page["data"]]


async def test_the_first_page_has_both_paginations_and_the_others_have_the_cursors_alone():
    """As documented."""
    async with store(customers=7) as (_, call):
        first, second, third = await walk(call, limit=3)
        assert first["meta"].keys() == {"pagination", "cursor_pagination"}
        assert first["meta"]["pagination"]["total"] == 7
        assert second["meta"].keys() == third["meta"].keys() == {"cursor_pagination"}
        cursors = second["meta"]["cursor_pagination"]
        assert cursors.keys() == {"count", "per_page", "start_cursor", "end_cursor", "links"}
        assert (cursors["count"], cursors["per_page"]) == (3, 3)
        assert customers([first, second, third]) == list(range(1, 8))


@pytest.mark.parametrize("count", [0, 1, 2, 6, 7])
@pytest.mark.parametrize("cursor_end", ["no_next", "empty_page"])
async def test_a_walk_meets_every_customer_once_and_ends(count, cursor_end):
    """With a last page that has no next, or with an empty one after it."""
    async with store(customers=count, cursor_end=cursor_end) as (_, call):
        pages = await walk(call, limit=3)
        assert customers(pages) == list(range(1, count + 1))
        empty = cursor_end == "empty_page" or not count
        assert bool(pages[-1]["data"]) != empty
        assert len(pages) == -(-count // 3) + (1 if empty else 0)


async def test_a_walk_can_go_back():
    """`links.previous` leads to the page before, `before=` to the rows before a cursor."""
    async with store(customers=7) as (_, call):
        pages = await walk(call, limit=3)
        link = pages[2]["meta"]["cursor_pagination"]["links"]["previous"]
        back = (await call("GET", CUSTOMERS + link)).json
        assert back["data"] == pages[1]["data"]
        assert back["meta"].keys() == {"cursor_pagination"}
        link = back["meta"]["cursor_pagination"]["links"]["previous"]
        first = (await call("GET", CUSTOMERS + link)).json
        assert first["data"] == pages[0]["data"]
        links = first["meta"]["cursor_pagination"]["links"]
        assert "previous" not in links
        assert customers([(await call("GET", CUSTOMERS + links["next"])).json]) == [4, 5, 6]


async def test_a_page_number_is_ignored_beside_a_cursor():
    """As documented."""
    async with store(customers=9) as (_, call):
        first = (await call("GET", CUSTOMERS, params={"limit": 2})).json
        after = first["meta"]["cursor_pagination"]["end_cursor"]
        for page in ("1", "3", "x"):
            query = {"limit": 2, "after": after, "page": page}
            assert customers([(await call("GET", CUSTOMERS, params=query)).json]) == [3, 4]


async def test_customers_who_come_and_go_do_not_shift_a_walk():
    """That is what cursors are for."""
    async with store(customers=9) as (sandbox, call):
        first = (await call("GET", CUSTOMERS, params={"limit": 3})).json
        after = first["meta"]["cursor_pagination"]["end_cursor"]
        for customer_id in (1, 3, 5):
            del sandbox.store.customers[customer_id]
        sandbox.seed(customers=1)
        pages = await walk(call, limit=3, after=after)
        assert customers(pages) == [4, 6, 7, 8, 9, 10]


async def test_links_keep_what_else_was_asked_for():
    """`limit` and `include` are still there on the second page."""
    async with store(customers=3, profiles=3) as (_, call):
        pages = await walk(call, limit=2, include="shopper_profile_id,segment_ids")
        link = pages[0]["meta"]["cursor_pagination"]["links"]["next"]
        asked = dict(parse_qsl(link.removeprefix("?")))
        assert asked.keys() == {"limit", "include", "after"}
        assert pages[1]["data"][0].keys() == {"id", "email", "shopper_profile_id", "segment_ids"}


@pytest.mark.parametrize("name", ["after", "before"])
@pytest.mark.parametrize("cursor", ["", "x", "aWQ", "YTox", "\N{SNOWMAN}", "9" * 500])
async def test_what_is_no_cursor_is_422(name, cursor):
    """The title says which."""
    async with store(customers=3) as (_, call):
        answer = await call("GET", CUSTOMERS, params={name: cursor})
        assert answer.status == 422
        assert name in answer.json["title"]


async def test_after_and_before_together_make_no_sense():
    """422."""
    async with store(customers=3) as (_, call):
        cursors = (await call("GET", CUSTOMERS)).json["meta"]["cursor_pagination"]
        query = {"after": cursors["start_cursor"], "before": cursors["end_cursor"]}
        assert (await call("GET", CUSTOMERS, params=query)).status == 422


async def test_the_largest_limit_holds_for_cursors_too():
    """250, or what the rule says."""
    async with store(customers=30, max_limit=20) as (_, call):
        pages = await walk(call, limit=250)
        assert [page["meta"]["cursor_pagination"]["count"] for page in pages] == [20, 10]


async def test_only_those_modified_since_a_time_can_be_asked_for():
    """Seeded customers were modified when they came; with or without a time zone it is UTC."""
    async with store(customers=5) as (sandbox, call):
        old = datetime.now(UTC) - timedelta(days=2)
        sandbox.store.touch(range(1, 6), at=old)
        sandbox.store.touch([2, 4])
        since = old + timedelta(days=1)
        for text in (since.isoformat(), since.replace(tzinfo=None).isoformat()):
            pages = await walk(call, **{"date_modified:min": text, "limit": 1})
            assert customers(pages) == [2, 4]
            assert pages[0]["meta"]["pagination"]["total"] == 2
        exactly = {"date_modified:min": old.isoformat()}
        assert len(customers(await walk(call, **exactly))) == 5
        wrong = await call("GET", CUSTOMERS, params={"date_modified:min": "yesterday"})
        assert wrong.status == 422


async def test_a_look_up_by_id_has_no_cursors():
    """It comes in pages alone."""
    async with store(customers=3) as (_, call):
        answer = await call("GET", CUSTOMERS, params={"id:in": "1,2"})
        assert answer.json["meta"].keys() == {"pagination"}


async def test_a_walk_lags_like_a_look_up():
    """Who came within the lag is not seen yet."""
    async with store(customers=2, lag=5.0) as (sandbox, call):
        sandbox.seed(customers=1)
        assert customers(await walk(call)) == [1, 2]
        await asyncio.sleep(5.1)
        assert customers(await walk(call)) == [1, 2, 3]
