"""What in a page can't be: pure decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, TypeAlias

import attrs

from bcshopper._models import DISTINCT, Page
from bcshopper._transport import MalformedDocumentError

_ValuesOf: TypeAlias = Callable[[Sequence[Any]], set[Any]]

_PAGINATION = "$.meta.pagination"
_DATA = "$.data"


def check_page(page: Page[Any]) -> None:
    """Refuse a page that contradicts itself, whatever the other pages say.

    A page that has fewer items than its place in the list calls for is none of these: see
    `count_missing`.

    Raises:
        MalformedDocumentError: it says what can't be, and in which field.
    """
    p, count = page.pagination, len(page.items)
    offset = (page.number - 1) * p.per_page
    if p.per_page < 1 or p.total < 0:
        reason = f"per_page {p.per_page} and total {p.total} can't be"
        raise MalformedDocumentError(reason, _PAGINATION)
    if p.total_pages != -(-p.total // p.per_page) and (p.total, p.total_pages) != (0, 1):
        reason = f"{p.total} items on pages of {p.per_page} are not {p.total_pages} pages"
        raise MalformedDocumentError(reason, f"{_PAGINATION}.total_pages")
    if count != p.count:
        reason = f"{count} items came, and count says {p.count}"
        raise MalformedDocumentError(reason, f"{_PAGINATION}.count")
    if page.number > p.total_pages:  # servers differ in what such a page says of itself
        if count:
            reason = f"{count} items came for page {page.number} of {p.total_pages}"
            raise MalformedDocumentError(reason, _DATA)
        return
    if p.current_page != page.number:
        reason = f"page {p.current_page} came for page {page.number}"
        raise MalformedDocumentError(reason, f"{_PAGINATION}.current_page")
    if count > p.per_page:
        reason = f"{count} items came on a page of {p.per_page}"
        raise MalformedDocumentError(reason, _DATA)
    if not count and p.total:
        raise MalformedDocumentError(f"page {page.number} of {p.total_pages} is empty", _DATA)
    if offset + count > p.total:
        reason = f"item {offset + count} came, and total says {p.total}"
        raise MalformedDocumentError(reason, f"{_PAGINATION}.total")
    check_distinct(page.items)


def count_missing(page: Page[Any]) -> int:
    """How many items a page lacks, by its own pagination.

    Some servers take rows off a page after they have cut it, so that this alone is no reason to
    refuse it; but whoever needs all of them must not take it for whole.
    """
    p = page.pagination
    left = p.total - (page.number - 1) * p.per_page
    return max(0, min(p.per_page, left)) - len(page.items)


def check_distinct(rows: Sequence[Any]) -> None:
    """Refuse rows of one moment that share what no two of them can.

    Raises:
        MalformedDocumentError: two of them share a field's value that is marked `DISTINCT`.
    """
    if not rows:
        return
    row_type: type = type(rows[0])
    for name, values_of in _distinct_fields(row_type).items():
        if len(values_of(rows)) != len(rows):
            for value, times in Counter(map(attrgetter(name), rows)).items():
                if times > 1 and value is not None:
                    reason = f"{times} items have the {name} {value}"
                    raise MalformedDocumentError(reason, _DATA)


@cache
def _distinct_fields(row_type: type[attrs.AttrsInstance]) -> Mapping[str, _ValuesOf]:
    return {
        field.name: field.metadata[DISTINCT]
        for field in attrs.fields(row_type)
        if DISTINCT in field.metadata
    }
