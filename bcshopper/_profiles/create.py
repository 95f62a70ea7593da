"""Creating a chunk of profiles: what becomes of each customer, whatever the answer."""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Mapping, Sequence
from typing import TypeVar

import attrs

from bcshopper._batch.batch import Batch
from bcshopper._batch.halving import Bisection, Refusal
from bcshopper._batch.ledger import Account
from bcshopper._customers.lookup import find_profiles
from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Status
from bcshopper._transport.convert import MalformedDocumentError, converter
from bcshopper._transport.documents import CreatedProfiles
from bcshopper._transport.messages import Reply, Request, Requests
from bcshopper._transport.problems import api_error, malformed, read_problems
from bcshopper._transport.retry import is_refusal, took_no_effect
from bcshopper._transport.transport import Transport, Watch
from bcshopper.errors import (
    APIError,
    BCShopperError,
    ConflictError,
    ResponseFormatError,
    ServerError,
    SessionClosedError,
    TransportError,
)

ErrorT = TypeVar("ErrorT", bound=BCShopperError)

# A gateway gave up on a server that may still be at work, so that a look-up can come too early.
_MAY_LAND_LATE = frozenset({502, 504})


@attrs.frozen
class Verdict:
    """What an answer to a POST says of each customer in it.

    Attributes:
        created: the new profiles, by customer.
        refused: the error, by customer that the answer names.
        silent: the customers of whom the answer says nothing.
        error: why they are not created: an `APIError` that names nobody, a `ResponseFormatError`
            where a success leaves them out, or None where others are to blame.
    """

    created: Mapping[int, ShopperProfile]
    refused: Mapping[int, APIError]
    silent: Sequence[int]
    error: APIError | ResponseFormatError | None


def read_verdict(reply: Reply, *, request: Request, customer_ids: Sequence[int]) -> Verdict:
    """Read any documented answer: all created, all refused, or some of each.

    Raises:
        MalformedDocumentError: a successful answer is not the documented one.
    """
    refusing = reply.status >= 400  # noqa: PLR2004 - HTTP
    try:
        profiles = converter.loads(reply.body, CreatedProfiles).data
    except MalformedDocumentError:
        if not refusing:
            raise
        profiles = ()
    created = {p.customer_id: p for p in profiles if p.customer_id in set(customer_ids)}
    problems = read_problems(reply.body)
    refused: dict[int, APIError] = {}
    for problem in problems:
        for position, words in problem.words_by_position(len(customer_ids)).items():
            customer_id = customer_ids[position]
            if customer_id not in created:
                named = attrs.evolve(problem, errors={str(position): words})
                refused[customer_id] = api_error(request, reply, named)
    silent = [i for i in customer_ids if i not in created and i not in refused]
    error: APIError | ResponseFormatError | None = None
    if silent and not refused:
        if refusing or problems:
            error = api_error(request, reply)
        else:
            error = malformed(request, reply, f"it leaves out customer {silent[0]}", "$.data")
    return Verdict(created, refused, silent, error)


class ChunkCreation:
    """Settles one chunk of customers."""

    def __init__(
        self, transport: Transport, requests: Requests, batch: Batch[int], account: Account[int]
    ) -> None:
        self._transport = transport
        self._requests = requests
        self._batch = batch
        self._account = account
        self._looked_up = False
        self._lost = 0
        self._began = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Settle every customer of the chunk.

        Raises:
            BCShopperError: it could not be finished; the account says how far it came.
        """
        await Bisection(self._attempt, self._reject).run(self._account.items)

    async def _attempt(self, customer_ids: Sequence[int]) -> Refusal[int] | None:
        todo = customer_ids
        while todo:
            request = self._requests.create_profiles(todo)
            try:
                verdict = await self._transport.send(
                    request,
                    functools.partial(read_verdict, request=request, customer_ids=todo),
                    self._batch.watch(self._account, todo),
                )
            except (APIError, TransportError, ResponseFormatError) as error:
                if not _is_lost(error):
                    self._account.failed(todo, error)
                    raise
                todo = await self._recover(request, todo, error)
                continue
            for customer_id, profile in verdict.created.items():
                self._account.settle(
                    customer_id, Status.CREATED, profile_id=profile.id, profile=profile
                )
            if isinstance(verdict.error, ResponseFormatError):
                todo = await self._recover(request, verdict.silent, verdict.error)
                continue
            self._account.without_effect(verdict.silent)
            if verdict.error is None:
                await self._settle_refused(verdict.refused)
                todo = self._account.unsettled(verdict.silent)
                continue
            rest = await self._leave_out_existing(verdict.silent, verdict.error)
            if rest is None:
                return Refusal(verdict.silent, verdict.error)
            todo = rest
        return None

    def _reject(self, customer_id: int, error: APIError) -> None:
        self._account.refused([customer_id], error)

    async def _settle_refused(self, refused: Mapping[int, APIError]) -> None:
        """Those who are refused because they have a profile are as they should be."""
        failure = None
        if any(isinstance(error, ConflictError) for error in refused.values()):
            failure = await self._settle_existing(self._account.pending)
        for customer_id in self._account.unsettled(refused):
            error = refused[customer_id]
            if failure is not None and isinstance(error, ConflictError):
                error = _unresolved(error, failure)
            self._reject(customer_id, error)

    async def _leave_out_existing(
        self, customer_ids: Sequence[int], error: APIError
    ) -> Sequence[int] | None:
        """After a refusal that names nobody: who may be resent, or None if nothing explains it."""
        is_conflict = isinstance(error, ConflictError)
        if self._looked_up and not (is_conflict and len(customer_ids) == 1):
            return None
        failure = await self._settle_existing(self._account.pending)
        if failure is not None and is_conflict:
            # Most of a chunk may exist, and each would cost a search: not worth the requests.
            self._account.refused(customer_ids, _unresolved(error, failure))
            return ()
        rest = self._account.unsettled(customer_ids)
        return rest if len(rest) < len(customer_ids) else None

    async def _recover(
        self, request: Request, customer_ids: Sequence[int], error: BCShopperError
    ) -> Sequence[int]:
        """After an answer that never came: settle who has a profile, return who may be resent."""
        self._lost += 1
        self._account.doubt(customer_ids, error)
        elapsed = asyncio.get_running_loop().time() - self._began
        try:
            await self._transport.back_off(request, error, self._lost, elapsed)
            gives_up = False
        except type(error) as raised:
            if raised is not error:
                raise
            gives_up = True
        failure = await self._settle_existing(customer_ids)
        rest = self._account.unsettled(customer_ids)
        if failure is not None:
            self._account.explain(rest, _unresolved(error, failure))
            return ()
        if isinstance(error, ServerError) and error.status not in _MAY_LAND_LATE:
            self._account.clear_doubts(rest, error)
        if not gives_up:
            return rest
        self._account.refused(rest, error)
        return ()

    async def _settle_existing(self, customer_ids: Sequence[int]) -> BCShopperError | None:
        """Settle those who have a profile; return why that could not be learnt."""
        self._looked_up = self._account.is_looked_up = True
        watch = Watch(going_out=self._batch.check)
        try:
            found = await find_profiles(self._transport, self._requests, customer_ids, watch)
        except SessionClosedError:
            raise
        except BCShopperError as error:
            return error
        finally:
            self._account.is_looked_up = False
        for customer_id, profile_id in found.items():
            self._account.settle(customer_id, Status.EXISTS, profile_id=profile_id)
        return None


def _is_lost(error: BCShopperError) -> bool:
    """Whether the request may have taken effect all the same."""
    if isinstance(error, APIError) and is_refusal(error.status):
        return False
    return not took_no_effect(error)


def _unresolved(error: ErrorT, failure: BCShopperError) -> ErrorT:
    """The same error, which says that looking the customer up failed too."""
    explained = copy.copy(error)
    explained.args = (f"{error}; looking up who has a profile failed too: {failure}",)
    explained.__cause__ = failure
    return explained
