"""What goes over the wire, and what comes back: plain values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

import attrs
import msgspec
from yarl import URL

from bcshopper.errors import BCShopperError

T = TypeVar("T")

MAX_URL = 2048
"""Characters of a URL, counted percent-encoded, that are safe to send."""
MAX_PER_WRITE = 50
"""Items per POST and ids per DELETE that the API takes."""

_COMMA = len("%2C")
_COLON_GROWS = len("%3A") - len(":")  # yarl leaves the colon of `id:in` as it is
_LABEL_URL = 150  # characters; fifty ids in every log line would help nobody
_ID = re.compile(r"\d")  # every id has a digit, and no resource's name has
_REFUSALS = frozenset({400, 409, 413, 422})


class MalformedDocumentError(Exception):
    """A body that is not the document it should be."""

    def __init__(self, reason: str, field: str = "$") -> None:
        super().__init__(reason, field)
        self.reason = reason
        self.field = field


@attrs.frozen
class Request:
    """One request, without the headers that every request has.

    Attributes:
        method: the HTTP method.
        url: the whole URL.
        body: the JSON body, if any.
        reads: error statuses whose body the caller reads itself.
        repeatable: whether sending it twice does no more than once.
        wipes: True only for the documented DELETE of a whole collection.
        hints: by error status, what it means here and what to do.
    """

    method: str
    url: URL
    body: bytes | None = None
    reads: frozenset[int] = frozenset()
    repeatable: bool = True
    wipes: bool = False
    hints: Mapping[int, str] = {}

    @property
    def label(self) -> str:
        """The request in a few words, for people."""
        url = str(self.url)
        return f"{self.method} {url if len(url) <= _LABEL_URL else url[:_LABEL_URL] + '...'}"

    @property
    def route(self) -> str:
        """Method and path, with `{id}` for each id: one of few."""
        path = self.url.path.rpartition("/v3/")[2]
        parts = ("{id}" if _ID.search(part) else part for part in path.split("/"))
        return f"{self.method} /{'/'.join(parts)}"

    @property
    def names_ids(self) -> bool:
        """Whether `id:in` holds anything but commas, blanks and the like."""
        return any(map(str.isalnum, "".join(self.url.query.getall("id:in", ()))))


@attrs.frozen
class Reply:
    """A whole answer, as it came; only its status shows in a `repr`: the rest may hold the token.

    Attributes:
        status: the HTTP status.
        reason: the words beside it.
        headers: its headers.
        body: its whole body.
        mask: makes of the server's words what may be shown.
    """

    status: int
    reason: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    mask: Callable[[str], str] = attrs.field(default=str, repr=False)


@attrs.frozen
class Watch:
    """Told of each attempt of one call.

    Attributes:
        going_out: right before it leaves; what this raises stops the call.
        failed: as soon as it has failed, before anything is waited for.
    """

    going_out: Callable[[], None] = lambda: None
    failed: Callable[[BCShopperError], None] = lambda _: None


UNWATCHED = Watch()


def post(url: URL, items: Sequence[Any], *, repeatable: bool, **more: Any) -> Request:
    """A POST of these items; refusals come back to be read item by item."""
    body = msgspec.json.encode(items)
    return Request("POST", url, body, reads=_REFUSALS, repeatable=repeatable, **more)


def with_ids(url: URL, ids: Iterable[object]) -> URL:
    """The URL that names these ids.

    The API's OpenAPI file says repeated keys, its text and its guides say commas: commas it is.
    """
    # str() each: yarl writes a bare UUID as a decimal integer.
    return url.update_query({"id:in": ",".join(map(str, ids))})


def count_fitting(url: URL, ids: Iterable[object], most: int) -> int:
    """How many of these ids, from the first on, one URL takes: at least one.

    Args:
        url: what they are added to.
        ids: the ids.
        most: as many the API takes.
    """
    frame = str(with_ids(url, ()))
    room = MAX_URL - len(frame) - _COLON_GROWS + _COMMA  # no comma after the last
    count = 0
    for one in islice(ids, most):
        room -= len(str(one)) + _COMMA
        if room < 0 and count:
            break
        count += 1
    return count


def split_fitting(url: URL, ids: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    """Cut a list into the fewest runs that one URL each takes. Takes what `count_fitting` does."""
    start = 0
    while start < len(ids):
        run = ids[start : start + most]
        count = count_fitting(url, run, most)
        yield run[:count]
        start += count


def read_no_body(reply: Reply) -> None:
    """Make sure that a success is one, and neither a proxy's page nor a failure in disguise.

    Raises:
        MalformedDocumentError: there is a body, where none is documented.
    """
    if reply.body.strip() not in {b"", b"{}"}:
        raise MalformedDocumentError("it should have no body")
