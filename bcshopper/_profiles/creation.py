"""Giving customers profiles: what creating them differs by."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bcshopper._batch import Batch, Created, Creates
from bcshopper._customers import Lookup
from bcshopper._inputs import customer_id
from bcshopper._models import ShopperProfile
from bcshopper._profiles.wire import ProfileRequests
from bcshopper._transport import MAX_PER_WRITE


@attrs.frozen
class ProfileCreation:
    """Makes one run of it after the other.

    Attributes:
        requests: builds the POSTs.
        lookup: finds the profiles that are there already, and sends everything.
    """

    requests: ProfileRequests
    lookup: Lookup

    def __call__(self, on_send: Callable[[], None] = lambda: None) -> Batch[int]:
        """A run of it; `on_send` is called right before ids leave."""
        creates = Creates(
            request=self.requests.create,
            document=Created[ShopperProfile],
            item_of=lambda profile: profile.customer_id,
            find=self.lookup.find,
        )
        return Batch(
            "create",
            self.lookup.transport,
            parse=customer_id,
            size=MAX_PER_WRITE,
            settle=creates.settle,
            on_send=on_send,
        )
