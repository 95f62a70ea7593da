"""Creating a chunk of things: what becomes of each, whatever the answer."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar
from uuid import UUID

import attrs

from bcshopper._batch.batch import Batch
from bcshopper._batch.halving import Halving, Refusal
from bcshopper._batch.ledger import Ledger
from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Status
from bcshopper._transport import (
    Effect,
    MalformedDocumentError,
    Reply,
    Request,
    Watch,
    api_error,
    converter,
    effect_of,
    malformed,
    read_problems,
)
from bcshopper.errors import (
    APIError,
    BCShopperError,
    ConflictError,
    ResponseFormatError,
    ServerError,
    SessionClosedError,
    TransportError,
)

ItemT = TypeVar("ItemT")
ErrorT = TypeVar("ErrorT", bound=BCShopperError)
T = TypeVar("T")

# A gateway gave up on a server that may still be at work, so that a look-up can come too early.
_MAY_LAND_LATE = frozenset({502, 504})


@attrs.frozen
class Created(Generic[T]):
    """The body of an answer to a POST: rows of what it created, also where it refused some."""

    data: tuple[T, ...]


@attrs.frozen
class Creates(Generic[ItemT]):
    """All that creating profiles, or adding them to a segment, differs by.

    Attributes:
        request: makes the POST of these items.
        document: what its answer holds.
        item_of: the item that a row of the answer is of.
        find: looks up the profiles of those items that are as they should be already.
        done: the status of an item that the answer holds.
    """

    request: Callable[[Sequence[ItemT]], Request]
    document: type[Created[ShopperProfile]]
    item_of: Callable[[ShopperProfile], ItemT]
    find: Callable[[Sequence[ItemT], Watch], Awaitable[Mapping[ItemT, UUID]]]
    done: Status = Status.CREATED

    async def settle(self, batch: Batch[ItemT], ledger: Ledger[ItemT]) -> None:
        """Settle every item of a chunk.

        Raises:
            BCShopperError: it could not be finished; the ledger says how far it came.
        """
        await _Creation(self, batch, ledger).run()


@attrs.frozen
class Verdict(Generic[ItemT]):
    """What an answer to a POST says of each item in it.

    Attributes:
        created: the new profiles, by item.
        refused: the error, by item that the answer names.
        silent: the items of which the answer says nothing.
        error: why they are not created: an `APIError` that names nobody, a `ResponseFormatError`
            where a success leaves them out, or None where others are to blame.
    """

    created: Mapping[ItemT, ShopperProfile]
    refused: Mapping[ItemT, APIError]
    silent: Sequence[ItemT]
    error: APIError | ResponseFormatError | None


def read_verdict(
    reply: Reply, *, creates: Creates[ItemT], request: Request, items: Sequence[ItemT]
) -> Verdict[ItemT]:
    """Read any documented answer: all created, all refused, or some of each.

    Raises:
        MalformedDocumentError: a successful answer is not the documented one.
    """
    refusing = reply.status >= 400  # noqa: PLR2004 - HTTP
    try:
        rows = converter.loads(reply.body, creates.document).data
    except MalformedDocumentError:
        if not refusing:
            raise
        rows = ()
    sent = set(items)
    created = {item: row for row in rows if (item := creates.item_of(row)) in sent}
    problems = read_problems(reply.body)
    refused: dict[ItemT, APIError] = {}
    for problem in problems:
        for position, words in problem.words_by_position(len(items)).items():
            item = items[position]
            if item not in created:
                named = attrs.evolve(problem, errors={str(position): words})
                refused[item] = api_error(request, reply, named)
    silent = [item for item in items if item not in created and item not in refused]
    error: APIError | ResponseFormatError | None = None
    if silent and not refused:
        if refusing or problems:
            error = api_error(request, reply)
        else:
            error = malformed(request, reply, f"it leaves out {silent[0]}", "$.data")
    return Verdict(created, refused, silent, error)


class _Creation(Generic[ItemT]):
    """Settles one chunk."""

    def __init__(self, creates: Creates[ItemT], batch: Batch[ItemT], ledger: Ledger[ItemT]) -> None:
        self._creates = creates
        self._transport = batch.transport
        self._batch = batch
        self._ledger = ledger
        self._looked_up = False
        self._lost = 0
        self._began: float | None = None  # when the first POST went out

    async def run(self) -> None:
        await Halving(self._attempt, self._reject).run(self._ledger.items)

    async def _attempt(self, items: Sequence[ItemT]) -> Refusal[ItemT] | None:
        todo = items
        while todo:
            request = self._creates.request(todo)
            read = functools.partial(
                read_verdict, creates=self._creates, request=request, items=todo
            )
            try:
                verdict: Verdict[ItemT] = await self._transport.send(
                    request,
                    read,
                    self._watch(todo),
                )
            except (APIError, TransportError, ResponseFormatError) as error:
                if effect_of(error) is not Effect.UNKNOWN:
                    self._ledger.failed(todo, error)
                    raise
                todo = await self._recover(request, todo, error)
                continue
            for item, row in verdict.created.items():
                self._ledger.settle(item, self._creates.done, profile_id=row.id, profile=row)
            if isinstance(verdict.error, ResponseFormatError):
                todo = await self._recover(request, verdict.silent, verdict.error)
                continue
            self._ledger.without_effect(verdict.silent)
            if verdict.error is None:
                await self._settle_refused(verdict.refused)
                todo = self._ledger.unsettled(verdict.silent)
                continue
            rest = await self._leave_out_existing(verdict.silent, verdict.error)
            if rest is None:
                return Refusal(verdict.silent, verdict.error)
            todo = rest
        return None

    def _watch(self, items: Sequence[ItemT]) -> Watch:
        watch = self._batch.watch(self._ledger, items)

        def going_out() -> None:
            watch.going_out()
            if self._began is None:
                self._began = asyncio.get_running_loop().time()

        return attrs.evolve(watch, going_out=going_out)

    def _reject(self, item: ItemT, error: APIError) -> None:
        self._ledger.refused([item], error)

    async def _settle_refused(self, refused: Mapping[ItemT, APIError]) -> None:
        """Those who are refused because they have a profile are as they should be."""
        failure = None
        if any(isinstance(error, ConflictError) for error in refused.values()):
            failure = await self._settle_existing(self._ledger.pending)
        for item in self._ledger.unsettled(refused):
            error = refused[item]
            if failure is not None and isinstance(error, ConflictError):
                error = _unresolved(error, failure)
            self._reject(item, error)

    async def _leave_out_existing(
        self, items: Sequence[ItemT], error: APIError
    ) -> Sequence[ItemT] | None:
        """After a refusal that names nobody: who may be resent, or None if nothing explains it."""
        is_conflict = isinstance(error, ConflictError)
        if self._looked_up and not (is_conflict and len(items) == 1):
            return None
        failure = await self._settle_existing(self._ledger.pending)
        if failure is not None and is_conflict:
            # Most of a chunk may exist, and each would cost a search: not worth the requests.
            self._ledger.refused(items, _unresolved(error, failure))
            return ()
        rest = self._ledger.unsettled(items)
        return rest if len(rest) < len(items) else None

    async def _recover(
        self, request: Request, items: Sequence[ItemT], error: BCShopperError
    ) -> Sequence[ItemT]:
        """After an answer that never came: settle who has a profile, return who may be resent."""
        self._lost += 1
        self._ledger.doubt(items, error)
        now = asyncio.get_running_loop().time()
        elapsed = 0.0 if self._began is None else now - self._began
        may_go_on = await self._transport.back_off(request, error, self._lost, elapsed)
        failure = await self._settle_existing(items)
        rest = self._ledger.unsettled(items)
        if failure is not None:
            self._ledger.explain(rest, _unresolved(error, failure))
            return ()
        if isinstance(error, ServerError) and error.status not in _MAY_LAND_LATE:
            self._ledger.clear_doubts(rest, error)
        if may_go_on:
            return rest
        self._ledger.refused(rest, error)
        return ()

    async def _settle_existing(self, items: Sequence[ItemT]) -> BCShopperError | None:
        """Settle those who have a profile; return why that could not be learnt."""
        self._looked_up = self._ledger.is_looked_up = True
        watch = Watch(going_out=self._batch.check)
        try:
            found = await self._creates.find(items, watch)
        except SessionClosedError:
            raise
        except BCShopperError as error:
            return error
        finally:
            self._ledger.is_looked_up = False
        for item, profile_id in found.items():
            self._ledger.settle(item, Status.EXISTS, profile_id=profile_id)
        return None


def _unresolved(error: ErrorT, failure: BCShopperError) -> ErrorT:
    """The same error, which says that looking the customer up failed too."""
    explained = copy.copy(error)
    explained.args = (f"{error}; looking up who has a profile failed too: {failure}",)
    explained.__cause__ = failure
    return explained
