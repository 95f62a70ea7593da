"""What goes over the wire, and what comes back: the API's requests as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import attrs
from yarl import URL

MAX_PER_WRITE = 50
"""Items per POST and ids per DELETE that the API takes."""
MAX_LIMIT = 250
"""The largest `limit` of the v3 lists."""
MAX_URL = 2048
"""Characters of a URL, counted percent-encoded, that are safe to send."""

_ENCODED_COMMA = len("%2C")
_LABEL_URL = 150


@attrs.frozen
class Request:
    """One request, without the headers that every request has.

    Attributes:
        method: the HTTP method.
        url: the whole URL.
        body: the JSON body, if any.
        reads: error statuses whose body the caller reads itself.
        wipes: True only for the documented DELETE of every profile.
    """

    method: str
    url: URL
    body: bytes | None = None
    reads: frozenset[int] = frozenset()
    wipes: bool = False

    @property
    def label(self) -> str:
        """The request in a few words, for people."""
        url = str(self.url)
        return f"{self.method} {url if len(url) <= _LABEL_URL else url[:_LABEL_URL] + '...'}"

    @property
    def names_ids(self) -> bool:
        """Whether `id:in` holds anything but commas, blanks and the like."""
        return any(map(str.isalnum, "".join(self.url.query.getall("id:in", ()))))


@attrs.frozen
class Reply:
    """A whole answer."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes


@attrs.frozen
class Requests:
    """Builds every request that bcshopper sends to one store.

    Attributes:
        root: `{base_url}/stores/{store_hash}/v3`.
    """

    root: URL
    _profiles: URL = attrs.field(init=False)
    _customers: URL = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_profiles", self.root / "shopper-profiles")
        object.__setattr__(self, "_customers", self.root / "customers")

    def list_profiles(self, page: int, limit: int) -> Request:
        """One page of the store's profiles."""
        return Request("GET", self._profiles.with_query(page=page, limit=limit))

    def create_profiles(self, customer_ids: Sequence[int]) -> Request:
        """A profile for each customer; refusals come back to be read item by item."""
        body = json.dumps([{"customer_id": customer_id} for customer_id in customer_ids])
        return Request(
            "POST", self._profiles, body=body.encode(), reads=frozenset({400, 409, 413, 422})
        )

    def delete_profiles(self, profile_ids: Sequence[UUID]) -> Request:
        """The deletion of these profiles, at least one and at most `delete_capacity`."""
        # str() each: yarl writes a bare UUID as a decimal integer.
        joined = ",".join(map(str, profile_ids))
        return Request("DELETE", self._profiles.with_query({"id:in": joined}))

    def delete_every_profile(self) -> Request:
        """The documented wipe."""
        return Request("DELETE", self._profiles, wipes=True)

    def find_customers(self, customer_ids: Sequence[int], page: int) -> Request:
        """These customers, each with its `shopper_profile_id`."""
        return Request("GET", self._customers.with_query(self._customers_query(customer_ids, page)))

    @property
    def delete_capacity(self) -> int:
        """How many profile ids one DELETE takes."""
        room = MAX_URL - len(str(self._profiles)) - len("?id%3Ain=")
        return max(1, min(MAX_PER_WRITE, (room + _ENCODED_COMMA) // (36 + _ENCODED_COMMA)))

    def split_for_find(self, customer_ids: Sequence[int]) -> Iterator[Sequence[int]]:
        """Cut a list into the fewest runs that one `find_customers` each takes."""
        # no answer has more pages than customers were asked for
        frame = self._customers.with_query(self._customers_query((), MAX_LIMIT))
        room = MAX_URL - len(str(frame)) - len("3A") + _ENCODED_COMMA  # of "id%3Ain"; no last comma
        start = used = 0
        for position, customer_id in enumerate(customer_ids):
            cost = len(str(customer_id)) + _ENCODED_COMMA
            if position > start and (used + cost > room or position - start == MAX_LIMIT):
                yield customer_ids[start:position]
                start, used = position, 0
            used += cost
        if start < len(customer_ids):
            yield customer_ids[start:]

    @staticmethod
    def _customers_query(customer_ids: Sequence[int], page: int) -> dict[str, str]:
        return {
            "id:in": ",".join(map(str, customer_ids)),
            "include": "shopper_profile_id",
            "limit": str(MAX_LIMIT),
            "page": str(page),
        }
