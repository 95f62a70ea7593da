"""A list of the API, page by page."""

from bcshopper._listing.ahead import in_order
from bcshopper._listing.pages import MAX_LIMIT, ListDocument, Pages, page_of, read_list
from bcshopper._listing.paginator import Paginator, paginate
