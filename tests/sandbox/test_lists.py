from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from tests.sandbox.store import CUSTOMERS, PROFILES, create, existing, store


async def test_a_list_has_the_documented_rows_oldest_first():
    """Id, customer and UTC times, in the order of creation."""
    async with store(customers=3) as (sandbox, call):
        before = datetime.now(UTC) - timedelta(seconds=1)
        for customer_id in (3, 1, 2):
            await call("POST", **create(customer_id))
        rows = (await call("GET")).json["data"]
        assert [row["customer_id"] for row in rows] == [3, 1, 2]
        assert [UUID(row["id"]) for row in rows] == existing(sandbox)
        for row in rows:
            assert row.keys() == {"id", "customer_id", "created_at", "updated_at"}
            assert row["created_at"].endswith("Z")
            assert before <= datetime.fromisoformat(row["created_at"]) <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, (50, 50, 1, 11)),
        ({"page": "11"}, (20, 50, 11, 11)),
        ({"page": "12"}, (0, 50, 12, 11)),
        ({"page": "1000000"}, (0, 50, 1_000_000, 11)),
        ({"limit": "1"}, (1, 1, 1, 520)),
        ({"limit": "250", "page": "3"}, (20, 250, 3, 3)),
        ({"limit": "520"}, (250, 250, 1, 3)),
        ({"limit": "251", "page": "2"}, (250, 250, 2, 3)),
    ],
)
@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
async def test_pages_follow_page_and_limit(path, query, expected):
    """50 by default, at most 250, and past the end there is nothing."""
    async with store(customers=520, profiles=520) as (_, call):
        answer = await call("GET", path, params=query)
        got = answer.pagination
        shown = got["count"], got["per_page"], got["current_page"], got["total_pages"]
        assert (answer.status, got["total"]) == (200, 520)
        assert shown == expected
        assert len(answer.json["data"]) == expected[0]


async def test_pages_together_hold_every_profile_once():
    """Walking the pages is walking the list."""
    async with store(profiles=101) as (sandbox, call):
        pages = [await call("GET", params={"page": n, "limit": 25}) for n in range(1, 6)]
        found = [UUID(row["id"]) for page in pages for row in page.json["data"]]
        assert found == existing(sandbox)


@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
@pytest.mark.parametrize("name", ["page", "limit"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "x", ""])
async def test_a_page_or_limit_that_makes_no_sense_is_422(path, name, value):
    """The title says which, and what it was."""
    async with store() as (_, call):
        answer = await call("GET", path, params={name: value})
        assert answer.status == 422
        assert f"{name} must be" in answer.json["title"]
        assert f"`{value}`" in answer.json["title"]


async def test_the_largest_limit_is_a_rule():
    """A store may give fewer per page than the documented 250, by default too."""
    async with store(profiles=60, max_limit=20) as (_, call):
        assert (await call("GET")).pagination["per_page"] == 20
        assert (await call("GET", params={"limit": 250})).pagination["per_page"] == 20


async def test_a_limit_above_the_largest_can_be_refused_with_413():
    """The documented answer, if the rules want it."""
    async with store(profiles=1, above_max_limit="refuse") as (_, call):
        assert (await call("GET", params={"limit": 250})).status == 200
        answer = await call("GET", params={"limit": 251})
        assert answer.status == 413
        assert "250" in answer.json["title"]


@pytest.mark.parametrize("path", [PROFILES, CUSTOMERS])
async def test_an_empty_store_has_an_empty_list(path):
    """200, no rows, no pages."""
    async with store() as (_, call):
        answer = await call("GET", path)
        assert (answer.status, answer.json["data"]) == (200, [])
        assert (answer.pagination["total"], answer.pagination["total_pages"]) == (0, 0)


@pytest.mark.parametrize(
    ("page", "names"),
    [
        (1, {"current": 1, "next": 2}),
        (2, {"previous": 1, "current": 2, "next": 3}),
        (3, {"previous": 2, "current": 3}),
    ],
)
async def test_links_name_the_pages_around(page, names):
    """`meta.pagination.links` is there by default, and leads to pages that exist."""
    async with store(profiles=5) as (_, call):
        links = (await call("GET", params={"page": page, "limit": 2})).pagination["links"]
        assert links == {name: f"?page={n}&limit=2" for name, n in names.items()}


async def test_links_can_be_left_out():
    """Not every answer of the real API has them."""
    async with store(profiles=5, links=False) as (_, call):
        assert "links" not in (await call("GET")).pagination
        assert "links" not in (await call("GET", CUSTOMERS)).pagination
