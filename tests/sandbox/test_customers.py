import pytest

from tests.sandbox.store import CUSTOMERS, existing, store


async def test_customers_are_found_by_id_with_their_profile_ids():
    """Who does not exist is left out; who has no profile has null."""
    async with store(customers=3, profiles=1) as (sandbox, call):
        query = {"id:in": "2,1,9,1", "include": "shopper_profile_id,segment_ids"}
        rows = (await call("GET", CUSTOMERS, params=query)).json["data"]
        found = {row["id"]: (row["shopper_profile_id"], row["segment_ids"]) for row in rows}
        assert len(rows) == 2
        assert found == {1: (str(existing(sandbox)[0]), []), 2: (None, [])}


@pytest.mark.parametrize(
    ("include", "fields"),
    [
        ({}, set()),
        ({"include": "addresses"}, set()),
        ({"include": "shopper_profile_id"}, {"shopper_profile_id"}),
        ({"include": "segment_ids"}, {"segment_ids"}),
        ({"include": "segment_ids,shopper_profile_id"}, {"shopper_profile_id", "segment_ids"}),
    ],
)
async def test_customers_have_only_what_is_included(include, fields):
    """Without `include` there is no profile id."""
    async with store(customers=1) as (_, call):
        (row,) = (await call("GET", CUSTOMERS, params=include)).json["data"]
        assert row.keys() == {"id", "email"} | fields


async def test_customers_come_in_pages_with_and_without_ids():
    """`id:in` and paging work together."""
    async with store(customers=9) as (_, call):
        query = {"id:in": "8,6,4,2,1", "limit": "2", "page": "3"}
        answer = await call("GET", CUSTOMERS, params=query)
        assert [row["id"] for row in answer.json["data"]] == [1]
        assert (answer.pagination["total"], answer.pagination["total_pages"]) == (5, 3)
        answer = await call("GET", CUSTOMERS, params={"limit": "4", "page": "2"})
        assert [row["id"] for row in answer.json["data"]] == [5, 6, 7, 8]


async def test_customer_ids_must_be_integers():
    """422, as the real API has it."""
    async with store(customers=1) as (_, call):
        assert (await call("GET", CUSTOMERS, params={"id:in": "1,x"})).status == 422
