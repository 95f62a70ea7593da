"""`/shopper-profiles`: its requests.

See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation/shopper-profiles
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from uuid import UUID

import attrs
from yarl import URL

from bcshopper._listing import page_of
from bcshopper._transport import MAX_PER_WRITE, Request, count_fitting, post, with_ids


@attrs.frozen
class ProfileRequests:
    """Builds the requests for one store's profiles.

    Attributes:
        root: `{base_url}/stores/{store_hash}/v3`.
        url: of all profiles.
    """

    root: URL
    url: URL = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "url", self.root / "shopper-profiles")

    def page(self, number: int, limit: int) -> Request:
        """One page of the store's profiles."""
        return page_of(self.url, number, limit)

    def segments_page(self, profile_id: UUID, number: int, limit: int) -> Request:
        """One page of the segments that a profile is in."""
        request = page_of(self.url / str(profile_id) / "segments", number, limit)
        return attrs.evolve(request, hints={404: f"shopper profile {profile_id} does not exist"})

    def create(self, customer_ids: Sequence[int]) -> Request:
        """A profile for each customer."""
        items = [{"customer_id": customer_id} for customer_id in customer_ids]
        return post(self.url, items, repeatable=False)

    def delete(self, profile_ids: Sequence[UUID]) -> Request:
        """The deletion of these profiles, at least one and at most `delete_capacity`."""
        return Request("DELETE", with_ids(self.url, profile_ids))

    def delete_all(self) -> Request:
        """The documented wipe."""
        return Request("DELETE", self.url, wipes=True)

    @property
    def delete_capacity(self) -> int:
        """How many profile ids one DELETE takes."""
        return count_fitting(self.url, repeat(UUID(int=0)), MAX_PER_WRITE)
