"""`session.segments`: the verbs."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import Any
from uuid import UUID

from yarl import URL

from bcshopper._batch import Batch, Deletes, IsThere
from bcshopper._customers import CustomerRequests, Lookup
from bcshopper._inputs import AnyIterable, shown
from bcshopper._inputs import segment_id as parse_segment_id
from bcshopper._listing import MAX_LIMIT, ListDocument, Pages, Paginator, paginate, read_list
from bcshopper._models import Page, Segment
from bcshopper._outcomes import BatchReport
from bcshopper._profiles import ProfileRequests
from bcshopper._segments.members import SegmentMembers
from bcshopper._segments.verbs import MemberVerbs
from bcshopper._segments.wire import MemberRequests, SegmentRequests, read_written
from bcshopper._transport import Effect, Reply, Transport, Watch, effect_of, read_no_body
from bcshopper.errors import (
    APIError,
    BCShopperError,
    ConflictError,
    InvalidInputError,
    ResponseFormatError,
    TransportError,
)

_FULL = 507  # the store has reached a limit, says the API's page on status codes
_LIMIT = re.compile(r"limit|maximum|at most", re.IGNORECASE)


class _Tries:
    """How many there were, and since when."""

    def __init__(self) -> None:
        self.count = 0
        self._began: float | None = None  # when the first one went out

    def note(self) -> None:
        """One goes out."""
        if self._began is None:
            self._began = asyncio.get_running_loop().time()

    def elapsed(self) -> float:
        """Seconds since the first one went out."""
        now = asyncio.get_running_loop().time()
        return 0.0 if self._began is None else now - self._began


class Segments:
    """The store's segments: at most 1,000.

    See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation/segments
    """

    def __init__(self, transport: Transport, root: URL, store_hash: str) -> None:
        from bcshopper._profiles.creation import ProfileCreation  # noqa: PLC0415 - its room does not offer it: it is late there

        self._transport = transport
        self._requests = SegmentRequests(root)
        self._lookup = Lookup(transport, CustomerRequests(root))
        self._create_profiles = ProfileCreation(ProfileRequests(root), self._lookup)
        self._store_hash = store_hash

    def list(
        self,
        *,
        limit: int = MAX_LIMIT,
        page: int = 1,
        prefetch: int | None = None,
        consistent: bool = False,
    ) -> Paginator[Segment]:
        """List every segment, oldest first; nothing is sent before it is iterated.

        Takes, returns and raises what `ShopperProfiles.list` does.
        """
        return paginate(self._pages(limit), first=page, prefetch=prefetch, consistent=consistent)

    async def page(self, number: int = 1, *, limit: int = 50) -> Page[Segment]:
        """Fetch one page, with one request.

        Args:
            number: the page, from 1; one past the end has no items.
            limit: segments per page to ask for, 1 to 250.

        Raises:
            InvalidInputError: an argument is out of range.
            BCShopperError: the page could not be had.
        """
        return await self._pages(limit).fetch(number)

    async def get(self, segment_id: UUID | str) -> Segment:
        """Fetch one segment, with one request.

        Args:
            segment_id: a UUID, or its text.

        Raises:
            InvalidInputError: it is not a segment id; nothing was sent.
            NotFoundError: there is no such segment.
            BCShopperError: there was no answer.
        """
        return await self._verbs(parse_segment_id(segment_id)).get_segment()

    async def find(self, name: str) -> Segment | None:
        """Find the segment of this name, in the list of all: 1 to 6 requests.

        Args:
            name: its name, compared exactly as it is given: capitals and blanks count.

        Returns:
            The segment; None if no segment has this name.

        Raises:
            InvalidInputError: it is no name; nothing was sent.
            BCShopperError: the list could not be read.
        """
        _check_text("name", name, blank=False)
        # A plain walk could miss it, when others are deleted meanwhile.
        async with aclosing(self.list(consistent=True).pages()) as pages:
            async for page in pages:
                for segment in page:
                    if segment.name == name:
                        return segment
        return None

    async def ensure(self, name: str, *, description: str = "") -> Segment:
        """Get the segment of this name, and create it if there is none; safe to repeat.

        When several do it at once, all of them get the same one.

        Args:
            name: its name, compared exactly as it is given.
            description: for a new one; one that is there keeps its own.

        Raises:
            InvalidInputError: an argument is no text, or the name is blank; nothing was sent.
            ConflictError: the API calls the name taken, but no segment with exactly this name is
                in the list; or the store has as many segments as it can have.
            BCShopperError: it could neither be found nor created.
        """
        _check_text("description", description, blank=True)
        found = await self.find(name)
        return found or await self._create(name, description, takes_existing=True)

    async def create(self, name: str, *, description: str = "") -> Segment:
        """Create a segment.

        If the answer gets lost, the segment of this name is looked for, not created again blindly.

        Args:
            name: its name, which no other segment may have.
            description: what people are told of it.

        Raises:
            InvalidInputError: an argument is no text, or the name is blank; nothing was sent.
            ConflictError: the name is taken.
            APIError: the store has as many segments as it can have: with which status the API
                refuses one more is not documented.
            BCShopperError: it could not be created.
        """
        _check_text("name", name, blank=False)
        _check_text("description", description, blank=True)
        return await self._create(name, description, takes_existing=False)

    async def update(
        self, segment_id: UUID | str, *, name: str | None = None, description: str | None = None
    ) -> Segment:
        """Change a segment's name, its description, or both.

        Args:
            segment_id: a UUID, or its text.
            name: the new name, which no other segment may have; None: as it is.
            description: the new description; None: as it is.

        Returns:
            The segment as it is then.

        Raises:
            InvalidInputError: an argument is bad, or there is nothing to change; nothing was sent.
            ConflictError: the name is taken.
            NotFoundError: there is no such segment.
            BCShopperError: it could not be changed.
        """
        one = parse_segment_id(segment_id)
        changes = {"name": name, "description": description}
        given = {field: text for field, text in changes.items() if text is not None}
        if not given:
            raise InvalidInputError(
                "give a name, a description or both: there is nothing to change"
            )
        for field, text in given.items():
            _check_text(field, text, blank=field != "name")
        request = self._requests.update(one, given)
        return await self._transport.send(
            request, lambda reply: read_written(reply, request, segment_id=one, name=name)
        )

    async def delete(
        self, segment_ids: AnyIterable[UUID | str], *, check: bool = True
    ) -> BatchReport[UUID]:
        """Make sure that none of these segments exists; no profile is deleted. Safe to repeat.

        Takes, returns and raises what `ShopperProfiles.delete` does, for segment ids.
        """
        batch = Batch(
            "delete",
            self._transport,
            parse=parse_segment_id,
            size=self._requests.delete_capacity,
            settle=Deletes(
                self._requests.delete, IsThere(self._ask_for_one), of_profiles=False
            ).settle,
            on_send=lambda: None,
        )
        return await batch.report(segment_ids, check=check)

    async def delete_all(self, *, confirm: str) -> None:
        """Delete EVERY segment of the store, with the documented DELETE without ids.

        Args:
            confirm: the store hash, to show that this is meant.

        Raises:
            InvalidInputError: `confirm` is not the store hash; nothing was sent.
            BCShopperError: it failed.
        """
        if confirm != self._store_hash:
            raise InvalidInputError(
                f"delete_all deletes every segment; confirm must be the store hash, "
                f"{self._store_hash}, and is not"
            )
        await self._transport.send(self._requests.delete_all(), read_no_body)

    def members(self, segment_id: UUID | str) -> SegmentMembers:
        """The profiles in a segment; nothing is sent.

        Args:
            segment_id: a UUID, or its text.

        Raises:
            InvalidInputError: it is not a segment id.
        """
        return SegmentMembers(self._verbs(parse_segment_id(segment_id)))

    def _verbs(self, segment_id: UUID) -> MemberVerbs:
        requests = MemberRequests(self._requests, segment_id)
        return MemberVerbs(self._transport, requests, self._lookup, self._create_profiles)

    def _pages(self, limit: int) -> Pages[Segment]:
        return Pages(self._transport, self._requests.page, ListDocument[Segment], limit)

    async def _create(self, name: str, description: str, *, takes_existing: bool) -> Segment:
        """Create it; after a lost answer, or where one will do that exists, look for it first."""
        request = self._requests.create(name, description)
        tries, was_lost = _Tries(), False

        def will_do(found: Segment) -> bool:
            return takes_existing or found.description == description  # else it is another's

        while True:
            tries.count += 1
            try:
                return await self._transport.send(
                    request,
                    lambda reply: read_written(reply, request, name=name),
                    Watch(going_out=tries.note),
                )
            except (APIError, TransportError, ResponseFormatError) as caught:
                error: BCShopperError = caught
            reason = error
            if isinstance(error, ConflictError) and (takes_existing or was_lost):
                found = await self.find(name)
                if found and will_do(found):
                    return found
                if found or _is_full(error):
                    raise error
                reason = _contradicted(error)  # the list may lag behind
            elif effect_of(error) is not Effect.UNKNOWN or _is_full(error):
                raise error
            else:
                was_lost = True
            may_go_on = await self._transport.back_off(
                request, reason, tries.count, tries.elapsed()
            )
            if (found := await self.find(name)) and will_do(found):
                return found
            if not may_go_on:
                raise error

    async def _ask_for_one(self, watch: Watch) -> None:
        def read(reply: Reply) -> None:
            read_list(reply, ListDocument[Segment])

        await self._transport.send(self._requests.page(1, 1), read, watch)

    def __repr__(self) -> str:
        return f"<Segments of store {self._store_hash}>"


def _is_full(error: BCShopperError) -> bool:
    """Whether it says that the store has all the segments that it can have."""
    if not isinstance(error, APIError):
        return False
    is_limit = isinstance(error, ConflictError) and _LIMIT.search(error.title) is not None
    return error.status == _FULL or is_limit


def _check_text(name: str, value: Any, *, blank: bool) -> None:
    if not isinstance(value, str) or not (blank or value.strip()):
        raise InvalidInputError(
            f"{name} must be {'' if blank else 'some '}text, not {shown(value)}"
        )
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name} has half a surrogate pair: {shown(value)}") from None


def _contradicted(error: APIError) -> ResponseFormatError:
    """The same name is taken, says the API, and then that it is not."""
    return ResponseFormatError(
        f"{error}; but no segment has this name",
        method=error.method,
        url=error.url,
        status=error.status,
        field="$.errors",
        excerpt=error.body[:200],
    )
