"""`session.shopper_profiles`: the verbs."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING
from uuid import UUID

from yarl import URL

from bcshopper._inputs import (
    AnyIterable,
    check_count,
    check_number,
    collect,
    customer_id,
)
from bcshopper._inputs import profile_id as parse_profile_id
from bcshopper._listing import (
    MAX_LIMIT,
    ListDocument,
    Pages,
    Paginator,
    in_order,
    paginate,
    read_list,
)
from bcshopper._models import Page, Segment, ShopperProfile
from bcshopper._profiles.wire import ProfileRequests
from bcshopper._transport import Reply, Transport, Watch, read_no_body
from bcshopper.errors import InvalidInputError

if TYPE_CHECKING:
    from bcshopper._batch import Batch
    from bcshopper._customers import Lookup
    from bcshopper._outcomes import BatchReport, Outcome
    from bcshopper._profiles.coalescer import Coalescer
    from bcshopper._profiles.creation import ProfileCreation

_LONGEST = 24 * 3600.0  # seconds; longer waits than a day are mistakes
_Profiles = ListDocument[ShopperProfile]


class ShopperProfiles:
    """The store's shopper profiles.

    See https://developer.bigcommerce.com/docs/rest-management/customer-segmentation/shopper-profiles
    """

    def __init__(self, transport: Transport, root: URL, store_hash: str) -> None:
        self._transport = transport
        self._root = root
        self._requests = ProfileRequests(root)
        self._store_hash = store_hash

    def list(
        self,
        *,
        limit: int = MAX_LIMIT,
        page: int = 1,
        prefetch: int | None = None,
        consistent: bool = False,
    ) -> Paginator[ShopperProfile]:
        """List every profile, oldest first; nothing is sent before it is iterated.

        The API has pages only: if profiles are deleted during a plain walk, others move to pages
        that were read already, and are missed. With `consistent`, every profile that exists from
        the start to the end comes exactly once, whatever is deleted or added meanwhile, provided
        that the list's order is stable and new profiles come at its end. In a quiet store that
        costs two requests more; in a changing one those that moved come last.

        Args:
            limit: profiles per page to ask for, 1 to 250.
            page: the page to start with, from 1; only a plain walk can start elsewhere.
            prefetch: pages to have under way or waiting ahead of the reader; twice the session's
                concurrency if not given.
            consistent: miss nothing.

        Returns:
            A `Paginator`: `async for profile in it`, `async for page in it.pages()`,
            `await it.all()`.

        Raises:
            InvalidInputError: an argument is out of range.
        """
        return paginate(self._pages(limit), first=page, prefetch=prefetch, consistent=consistent)

    async def page(self, number: int = 1, *, limit: int = 50) -> Page[ShopperProfile]:
        """Fetch one page, with one request.

        Args:
            number: the page, from 1; one past the end has no items.
            limit: profiles per page to ask for, 1 to 250.

        Raises:
            InvalidInputError: an argument is out of range.
            BCShopperError: the page could not be had.
        """
        return await self._pages(limit).fetch(number)

    async def create(
        self, customer_ids: AnyIterable[int], *, check: bool = True
    ) -> BatchReport[int]:
        """Give every customer a profile; safe to repeat.

        A customer who has one already is `Status.EXISTS`, with its id. Chunks of 50 go out
        concurrently. If the call is cancelled, `BatchReport.from_exception` has what is known.

        Args:
            customer_ids: any iterable or async iterable; repeats count once.
            check: raise if any of them failed.

        Returns:
            One outcome per distinct customer, in the order given.

        Raises:
            InvalidInputError: one is not a customer id; nothing was sent.
            BatchError: with `check`, if any failed; it has the report.
        """
        return await self._creation().report(customer_ids, check=check)

    def create_stream(self, customer_ids: AnyIterable[int]) -> AsyncGenerator[Outcome[int]]:
        """Give every customer a profile, in memory that does not grow with their number.

        Args:
            customer_ids: any iterable or async iterable. Repeats count once while the first is
                under way; a later one is sent again, which is harmless.

        Yields:
            An outcome per customer as its chunk is done. What is no customer id is an outcome
            of its own, `Status.REJECTED`.

        Raises:
            BCShopperError: something fatal for all, such as a refused token, after the outcomes
                of all that had been read.
        """
        return self._creation().stream(customer_ids)

    async def delete(
        self, profile_ids: AnyIterable[UUID | str], *, check: bool = True
    ) -> BatchReport[UUID]:
        """Make sure that none of these profiles exists; safe to repeat.

        Chunks of up to 50, within 2,048 characters of URL, go out concurrently. No ids, no
        request. If the call is cancelled, `BatchReport.from_exception` has what is known.

        Args:
            profile_ids: any iterable or async iterable; repeats count once.
            check: raise if any of them failed.

        Returns:
            One outcome per distinct profile, in the order given.

        Raises:
            InvalidInputError: one is not a profile id; nothing was sent.
            BatchError: with `check`, if any failed; it has the report.
        """
        return await self._deletion().report(profile_ids, check=check)

    def delete_stream(self, profile_ids: AnyIterable[UUID | str]) -> AsyncGenerator[Outcome[UUID]]:
        """Delete profiles, in memory that does not grow with their number.

        Takes, yields and raises as `create_stream` does, for profile ids.
        """
        return self._deletion().stream(profile_ids)

    async def delete_all(self, *, confirm: str) -> None:
        """Delete EVERY shopper profile of the store, with the documented DELETE without ids.

        Args:
            confirm: the store hash, to show that this is meant.

        Raises:
            InvalidInputError: `confirm` is not the store hash; nothing was sent.
            BCShopperError: it failed.
        """
        if confirm != self._store_hash:
            raise InvalidInputError(
                f"delete_all deletes every shopper profile; confirm must be the store hash, "
                f"{self._store_hash}, and is not"
            )
        await self._transport.send(self._requests.delete_all(), read_no_body)

    async def lookup(self, customer_ids: AnyIterable[int]) -> dict[int, UUID | None]:
        """Find the profiles of customers, through `GET /customers`.

        Args:
            customer_ids: any iterable or async iterable; repeats count once.

        Returns:
            Each customer's profile id, in the order given; None for one without a profile, or
            unknown to the store.

        Raises:
            InvalidInputError: one is not a customer id; nothing was sent.
            BCShopperError: a part could not be looked up.
        """
        ids = await collect(customer_ids, customer_id)
        chunks = self._lookup.requests.split(ids)

        def next_call() -> Callable[[], Awaitable[dict[int, UUID | None]]] | None:
            chunk = next(chunks, None)
            return None if chunk is None else functools.partial(self._lookup.find, chunk)

        result: dict[int, UUID | None] = dict.fromkeys(ids)

        async def keep(found: dict[int, UUID | None]) -> None:
            result.update(found)

        ahead = 2 * self._transport.concurrency
        answers = in_order(next_call, keep, ahead=ahead, transport=self._transport)
        async with aclosing(answers):
            async for _ in answers:
                pass
        return result

    def segments(self, profile_id: UUID | str) -> Paginator[Segment]:
        """List the segments that a profile is in; nothing is sent before it is iterated.

        Args:
            profile_id: a UUID, or its text.

        Returns:
            A `Paginator`; iterating it raises `NotFoundError` if there is no such profile.

        Raises:
            InvalidInputError: it is not a profile id.
        """
        request = functools.partial(self._requests.segments_page, parse_profile_id(profile_id))
        pages = Pages(self._transport, request, ListDocument[Segment], MAX_LIMIT)
        return paginate(pages, first=1, prefetch=None, consistent=False)

    def coalesce(
        self, *, max_delay: float = 0.05, max_pending: int = 10_000, shutdown_timeout: float = 30.0
    ) -> Coalescer:
        """Send single calls from many tasks together, up to 50 in a request.

        For event handlers and web requests that each have one id:
        `async with session.shopper_profiles.coalesce() as one: await one.create(customer_id)`.
        Leaving the block sends what is pending and answers everyone; if the block is cancelled,
        nothing more goes out.

        Args:
            max_delay: seconds that a call waits for others to share its request.
            max_pending: ids that are not answered yet at most; further callers wait, first come,
                first served.
            shutdown_timeout: seconds that leaving the block may take. Whoever has no answer then
                gets `Status.UNKNOWN` if the id was sent, and `SessionClosedError` otherwise.

        Returns:
            A `Coalescer`, with `create`, `delete` and `lookup` for one id each.

        Raises:
            InvalidInputError: an argument is out of range.
        """
        from bcshopper._profiles.coalescer import Coalescer  # noqa: PLC0415 - for those who use it

        check_number("max_delay", max_delay, least=0, most=_LONGEST)
        check_count("max_pending", max_pending)
        check_number("shutdown_timeout", shutdown_timeout, least=0, most=_LONGEST)
        return Coalescer(
            self._transport,
            self._lookup,
            creation=self._creation,
            deletion=self._deletion,
            delete_capacity=self._requests.delete_capacity,
            max_delay=max_delay,
            max_pending=max_pending,
            shutdown_timeout=shutdown_timeout,
        )

    def _pages(self, limit: int) -> Pages[ShopperProfile]:
        return Pages(self._transport, self._requests.page, _Profiles, limit)

    @functools.cached_property
    def _lookup(self) -> Lookup:
        from bcshopper._customers import CustomerRequests, Lookup  # noqa: PLC0415 - who only lists looks nobody up

        return Lookup(self._transport, CustomerRequests(self._root))

    @functools.cached_property
    def _creation(self) -> ProfileCreation:
        from bcshopper._profiles.creation import ProfileCreation  # noqa: PLC0415 - who only reads creates nothing

        return ProfileCreation(self._requests, self._lookup)

    def _deletion(self, on_send: Callable[[], None] = lambda: None) -> Batch[UUID]:
        from bcshopper._batch import Batch, Deletes, IsThere  # noqa: PLC0415 - who only reads deletes nothing

        return Batch(
            "delete",
            self._transport,
            parse=parse_profile_id,
            size=self._requests.delete_capacity,
            settle=Deletes(self._requests.delete, IsThere(self._ask_for_one)).settle,
            on_send=on_send,
        )

    async def _ask_for_one(self, watch: Watch) -> None:
        def read(reply: Reply) -> None:
            read_list(reply, _Profiles)

        await self._transport.send(self._requests.page(1, 1), read, watch)

    def __repr__(self) -> str:
        return f"<ShopperProfiles of store {self._store_hash}>"
