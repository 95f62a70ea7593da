"""A list of the API, page by page."""

from bcshopper._listing.ahead import in_order
from bcshopper._listing.checks import check_distinct, check_page, count_missing
from bcshopper._listing.pages import (
    MAX_LIMIT,
    ListDocument,
    Pages,
    Row,
    page_of,
    read_list,
    read_page,
)
from bcshopper._listing.paginator import Paginator, paginate
from bcshopper._listing.walk import NoteDrift, most_pages
