"""What changing and reading one segment's members differs by."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import attrs

from bcshopper._batch import Batch, Created, Creates, Deletes, IsThere
from bcshopper._customers import Lookup
from bcshopper._inputs import profile_id
from bcshopper._listing import ListDocument, Pages, Row
from bcshopper._models import Segment, ShopperProfile
from bcshopper._outcomes import Status
from bcshopper._segments.wire import MemberRequests, read_wanted
from bcshopper._transport import MAX_PER_WRITE, UNWATCHED, Transport, Watch

if TYPE_CHECKING:
    from bcshopper._profiles.creation import ProfileCreation

RowT = TypeVar("RowT", bound=Row)


@attrs.frozen
class MemberVerbs:
    """One segment's members: makes runs of each verb.

    Attributes:
        transport: sends the requests.
        requests: builds them.
        lookup: finds the profiles of customers.
        create: makes runs that give customers profiles.
    """

    transport: Transport
    requests: MemberRequests
    lookup: Lookup
    create: ProfileCreation

    def pages(self, document: type[ListDocument[RowT]], limit: int) -> Pages[RowT]:
        """The list of members, in the order of joining."""
        return Pages(self.transport, self.requests.page, document, limit, ordered_by_creation=False)

    def add(self) -> Batch[UUID]:
        """A run that puts profiles into the segment."""
        creates = Creates[UUID](
            request=self.requests.add,
            document=Created[ShopperProfile],
            item_of=lambda profile: profile.id,
            find=None,
            done=Status.ADDED,
            is_there=self.get_segment,
        )
        return Batch(
            "add",
            self.transport,
            parse=profile_id,
            size=MAX_PER_WRITE,
            settle=creates.settle,
            on_send=lambda: None,
        )

    def remove(self) -> Batch[UUID]:
        """A run that takes profiles out of it."""
        is_there = IsThere(self.get_segment)
        return Batch(
            "remove",
            self.transport,
            parse=profile_id,
            size=self.requests.remove_capacity,
            settle=Deletes(self.requests.remove, is_there, Status.REMOVED).settle,
            on_send=lambda: None,
        )

    async def get_segment(self, watch: Watch = UNWATCHED) -> Segment:
        """Read the segment.

        Raises:
            NotFoundError: it does not exist.
            BCShopperError: there was no answer.
        """
        segment_id = self.requests.segment_id
        request = self.requests.segments.get(segment_id)
        return await self.transport.send(
            request, lambda reply: read_wanted(reply, request, segment_id), watch
        )
