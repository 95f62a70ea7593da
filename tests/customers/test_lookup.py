"""A look-up tells who has no profile by leaving them out: so its answer must be beyond doubt."""

from uuid import UUID

import pytest

from bcshopper import ResponseFormatError, RetryPolicy, Session
from bcshopper._customers.lookup import check_lookup
from bcshopper._customers.wire import CustomerRow
from bcshopper._models import Page, Pagination
from bcshopper._transport import MalformedDocumentError
from bcshopper.sandbox import Rules, Sandbox
from tests.served import serving

ONCE = RetryPolicy(attempts=1)


def customer(number, profile=None):
    return {"id": number, "shopper_profile_id": None if profile is None else str(UUID(int=profile))}


def document(rows, *, number=1, per_page=250, **changes):
    total = changes.get("total", len(rows))
    pagination = {
        "total": total, "count": len(rows), "per_page": per_page, "current_page": number,
        "total_pages": max(1, -(-total // per_page)),
    }  # fmt: skip
    return {"data": rows, "meta": {"pagination": {**pagination, **changes}}}


THREE = [customer(1, 11), customer(2), customer(3, 33)]


def in_pages(*pages, **changes):
    """One customer a page, three in all; the last page again and again."""

    def answer(number):
        rows = [pages[min(number, len(pages)) - 1]]
        return document(rows, **{"number": number, "per_page": 1, "total": 3, **changes})

    return answer


BAD = {
    "has fewer rows than count": lambda n: document(THREE[:2], count=3, total=3),
    "has fewer rows than total": lambda n: document(THREE[:2], total=3),
    "has rows beside total 0": lambda n: document(THREE, total=0, total_pages=1),
    "has errors beside data": lambda n: document(THREE) | {"errors": [{"status": 500}]},
    "ignores id:in": lambda n: document([customer(i) for i in range(1, 100)]),
    "ignores id:in, but for the rows": lambda n: document(THREE, total=5000, per_page=3),
    "names somebody else": lambda n: document([*THREE[:2], customer(4)]),
    "ignores page": in_pages(*THREE, number=1),
    "ignores page, and says it does not": in_pages(THREE[0]),
    "comes back to a page": in_pages(THREE[0], THREE[1], THREE[0]),
    "shrinks": lambda n: in_pages(*THREE, total=3 if n == 1 else 2)(n),
    "changes its pages": lambda n: (
        document(THREE[:1], number=n, per_page=1, total=3)
        if n == 1
        else document(THREE[2:], number=n, per_page=2, total=3)
    ),
    "ends before its end": lambda n: (
        in_pages(*THREE)(n) if n == 1 else document([], number=n, total=1)
    ),
    "says nothing of profiles": lambda n: document([{"id": i} for i in (1, 2, 3)]),
    "says nothing of one profile": lambda n: document([*THREE[:2], {"id": 3}]),
    "gives a customer two profiles": lambda n: document([*THREE[:2], customer(1, 12)]),
    "gives a customer and none": lambda n: document([*THREE[:2], customer(1)]),
    "gives a customer twice": lambda n: document([*THREE[:2], THREE[0]]),
    "gives a profile to two": lambda n: document([*THREE[:2], customer(3, 11)]),
    "gives a profile to two, on two pages": in_pages(customer(1, 11), THREE[1], customer(3, 11)),
    "has a guest": lambda n: document([*THREE[:2], customer(0)]),
    "has a customer above 64 bits": lambda n: document([*THREE[:2], customer(2**63)]),
}

ODD = {
    "on one page": lambda n: document(THREE),
    "on three pages": in_pages(*THREE),
    "in another order": lambda n: document(THREE[::-1]),
    "without the unknown": lambda n: document(THREE[::2]),
    "of nobody": lambda n: document([]),
    "of nobody, on no page": lambda n: document([], total_pages=0),
    "with no errors": lambda n: document(THREE) | {"errors": []},
}


async def lookup(answer):
    """Look customers 1, 2 and 3 up where each page is answered so; count the requests."""
    asked = 0

    def count(request):
        nonlocal asked
        asked += 1
        return answer(int(request.query["page"]))

    async with serving(count) as url, Session("a", "made-up", base_url=url, retry=ONCE) as session:
        try:
            return await session.shopper_profiles.lookup([1, 2, 3])
        finally:
            assert asked <= 3


@pytest.mark.parametrize("how", BAD)
async def test_an_answer_that_contradicts_itself_is_no_answer(how):
    """Nobody is taken for a customer without a profile because of it."""
    with pytest.raises(ResponseFormatError, match="customers") as caught:
        await lookup(BAD[how])
    assert caught.value.field.startswith("$")


@pytest.mark.parametrize("how", ODD)
async def test_an_answer_that_is_only_odd_is_an_answer(how):
    """Servers differ where nothing is documented."""
    rows = [row for number in range(1, 4) for row in ODD[how](number)["data"]]
    expected = {row["id"]: row["shopper_profile_id"] for row in rows}
    found = await lookup(ODD[how])
    assert found == {i: UUID(expected[i]) if expected.get(i) else None for i in (1, 2, 3)}


def page(number, *rows, total=3, per_page=1):
    pagination = Pagination(total, len(rows), per_page, number, -(-total // per_page))
    return Page(tuple(CustomerRow(i, p and UUID(int=p)) for i, p in rows), pagination, number, 250)


@pytest.mark.parametrize(
    ("pages", "reason", "field"),
    [
        ([page(1, (1, 11)), page(2, (2, None), total=2)], "3 items on pages of 1 became 2", "pagi"),
        ([page(1, (1, 11)), page(2, (2, None), per_page=2)], "3 on pages of 2", "pagination"),
        ([page(1, (1, 11), per_page=3)], "page 1 lacks 2 items", "$.data"),
        ([page(1, (1, 11), total=4)], "total says 4, and 3 customers were asked for", "total"),
        ([page(1, (7, 11))], "customer 7 came, whom nobody asked for", "$.data"),
        ([page(1, (1, 11)), page(2, (1, 12))], "2 items have the id 1", "$.data"),
        ([page(1, (1, 11)), page(2, (2, 11))], "2 items have the shopper_profile_id", "$.data"),
    ],
)  # fmt: skip
def test_the_reason_says_what_can_not_be(pages, reason, field):
    """Whoever reads the error knows what is wrong, and where."""
    with pytest.raises(MalformedDocumentError) as caught:
        check_lookup([1, 2, 3], pages)
    assert reason in caught.value.reason
    assert field in caught.value.field


@pytest.mark.parametrize("per_page", [1, 2, 250])
async def test_a_look_up_reads_every_page_that_there_is_and_no_other(per_page):
    """A server may give fewer per page than asked for."""
    async with Sandbox(customers=7, rules=Rules(max_limit=per_page)) as sandbox:
        profiles = {i: sandbox.store.create(i).id for i in (2, 5, 7)}
        async with sandbox.session() as session:
            found = await session.shopper_profiles.lookup([7, 99, 2, 1])
            assert found == {7: profiles[7], 99: None, 2: profiles[2], 1: None}
            assert len(sandbox.record.requests) == -(-3 // per_page)
