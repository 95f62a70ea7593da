"""What in a page can't be, and what only looks odd."""

from uuid import UUID

import attrs
import pytest

from bcshopper._customers.wire import CustomerRow
from bcshopper._listing.checks import check_distinct, check_page, count_missing
from bcshopper._models import Page, Pagination, ShopperProfile
from bcshopper._transport import MalformedDocumentError


def profiles(*numbers):
    return tuple(ShopperProfile(UUID(int=n), n) for n in numbers)


def page(number, rows, limit=250, **pagination):
    """The third of three pages, 25 profiles in all, but for what is given."""
    meta = {"total": 25, "count": len(rows), "per_page": 10, "current_page": number}
    meta = {**meta, "total_pages": 3, **pagination}
    return Page(tuple(rows), Pagination(**meta), number, limit)


TEN = profiles(*range(1, 11))
FIVE = profiles(*range(21, 26))

BAD = {
    "no page size": (page(1, TEN, per_page=0), "per_page 0", "$.meta.pagination"),
    "less than nothing": (page(1, (), total=-5, total_pages=0), "total -5", "$.meta.pagination"),
    "too many pages": (page(1, TEN, total_pages=4), "not 4 pages", "total_pages"),
    "too few pages": (page(1, TEN, total_pages=2), "not 2 pages", "total_pages"),
    "no pages": (page(1, TEN, total_pages=0), "not 0 pages", "total_pages"),
    "fewer than count": (page(1, TEN[1:], count=10), "9 items came, and count says 10", "count"),
    "more than count": (page(1, TEN, count=9), "10 items came, and count says 9", "count"),
    "nothing, but a count": (page(9, (), count=5), "0 items came, and count says 5", "count"),
    "another page": (page(2, TEN, current_page=1), "page 1 came for page 2", "current_page"),
    "too many": (page(1, profiles(*range(1, 12))), "11 items came on a page of 10", "$.data"),
    "empty in the middle": (page(2, ()), "page 2 of 3 is empty", "$.data"),
    "empty at the end": (page(3, ()), "page 3 of 3 is empty", "$.data"),
    "beside total 0": (
        page(1, TEN, total=0, total_pages=1), "item 10 came, and total says 0", "total",
    ),
    "beside total 0 and no pages": (
        page(1, TEN, total=0, total_pages=0), "10 items came for page 1 of 0", "$.data",
    ),
    "beyond the total": (page(3, TEN), "item 30 came, and total says 25", "total"),
    "past the end": (page(4, TEN), "10 items came for page 4 of 3", "$.data"),
    "past the end, called the last": (
        page(4, FIVE, current_page=3), "5 items came for page 4 of 3", "$.data",
    ),
    "a profile twice": (page(1, (*TEN[1:], TEN[3])), f"2 items have the id {TEN[3].id}", "$.data"),
    "one profile, two customers": (
        page(1, (*TEN[1:], attrs.evolve(TEN[3], customer_id=99))), "2 items have the id", "$.data",
    ),
    "one customer, two profiles": (
        page(1, (*TEN[1:], attrs.evolve(TEN[3], id=UUID(int=99)))),
        "2 items have the customer_id 4", "$.data",
    ),
}  # fmt: skip

ODD = {
    "a full page": page(1, TEN),
    "the last page, short": page(3, FIVE),
    "the last page, full": page(2, TEN, total=20, total_pages=2),
    "fewer per page than asked for": page(1, TEN, limit=250),
    "more per page than asked for": page(1, TEN, limit=5),
    "nothing, on no page": page(1, (), total=0, total_pages=0),
    "nothing, on one page": page(1, (), total=0, total_pages=1),
    "past the end": page(4, ()),
    "past the end, called the last": page(4, (), current_page=3),
    "past the end, called the first": page(9, (), current_page=1),
    "past the end of nothing": page(2, (), total=0, total_pages=0),
    "past the end of nothing, on one page": page(2, (), total=0, total_pages=1),
}


@pytest.mark.parametrize("how", BAD)
def test_a_page_that_contradicts_itself_is_refused_in_words_with_the_field(how):
    """Whoever reads the error knows what can't be, and where."""
    bad, reason, field = BAD[how]
    with pytest.raises(MalformedDocumentError) as caught:
        check_page(bad)
    assert reason in caught.value.reason
    assert caught.value.field.endswith(field)
    assert caught.value.field.startswith("$")


@pytest.mark.parametrize("how", ODD)
def test_a_page_that_is_only_odd_passes(how):
    """Servers differ where nothing is documented; and nothing is missing from these."""
    check_page(ODD[how])
    assert count_missing(ODD[how]) == 0


@pytest.mark.parametrize(
    ("number", "rows", "missing"), [(1, TEN[3:], 3), (2, TEN[:1], 9), (3, FIVE[1:], 1)]
)
def test_a_page_that_lacks_items_is_counted_not_refused(number, rows, missing):
    """Rows may be taken off a page that is cut already; whether that matters, the reader knows."""
    check_page(page(number, rows))
    assert count_missing(page(number, rows)) == missing


def test_rows_without_a_value_do_not_share_it():
    """Any number of customers have no profile."""
    check_distinct([CustomerRow(n, None) for n in range(1, 4)])
    with pytest.raises(MalformedDocumentError, match="2 items have the shopper_profile_id"):
        check_distinct([CustomerRow(n, UUID(int=5) if n > 1 else None) for n in range(1, 4)])
    check_distinct([])
