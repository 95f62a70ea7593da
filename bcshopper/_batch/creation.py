"""Creating a chunk of things: what becomes of each, whatever the answer."""

from __future__ import annotations

import asyncio
import copy
import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Generic, TypeVar
from uuid import UUID

import attrs
import msgspec

from bcshopper._batch.batch import Batch
from bcshopper._batch.halving import Halving, Refusal
from bcshopper._batch.ledger import Ledger
from bcshopper._models import ShopperProfile
from bcshopper._outcomes import Status
from bcshopper._transport import (
    NO_ERRORS,
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
    says_something,
)
from bcshopper.errors import (
    APIError,
    AuthenticationError,
    BCShopperError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ResponseFormatError,
    SessionClosedError,
    TransportError,
)

ItemT = TypeVar("ItemT")
ErrorT = TypeVar("ErrorT", bound=BCShopperError)
T = TypeVar("T")

# The API documents no code for these: its words are all there is.
_EXISTS = re.compile(
    r"due to conflicts|already exist|exists already|exists (for|in)\b|duplicate"
    r"|already ha(s|ve) an?\b|already (a member|added|associated|assigned|part of)"
    r"|already in (the |this |a )?segment",
    re.IGNORECASE,
)
_MISSING = re.compile(r"n.t exist|no such|not found|unknown|no longer", re.IGNORECASE)
_MOST_SAID = 500  # characters of a second error within a first one
_INVALID = re.compile(r"not valid|invalid|must be", re.IGNORECASE)


@attrs.frozen
class Created(Generic[T]):
    """The body of an answer to a POST: rows of what it created, also where it refused some."""

    data: tuple[T, ...]
    errors: msgspec.Raw = NO_ERRORS


_NOTHING_CREATED = Created[ShopperProfile](())


@attrs.frozen
class Creates(Generic[ItemT]):
    """All that creating profiles, or adding them to a segment, differs by.

    Attributes:
        request: makes the POST of these items.
        document: what its answer holds.
        item_of: the item that a row of the answer is of.
        find: looks items up: the profile of each that the store knows, None if it has none. None
            itself where the server's word for an item is enough, because the request is repeatable.
        done: the status of an item that the answer holds.
        is_there: asks for what the items are added to, and raises `NotFoundError` if it is gone;
            None where a 404 can't be read as an answer about items.
    """

    request: Callable[[Sequence[ItemT]], Request]
    document: type[Created[ShopperProfile]]
    item_of: Callable[[ShopperProfile], ItemT]
    find: Callable[[Sequence[ItemT], Watch], Awaitable[Mapping[ItemT, UUID | None]]] | None
    done: Status = Status.CREATED
    is_there: Callable[[Watch], Awaitable[object]] | None = None

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
        refused: the error, by item that the answer refuses by name.
        doubtful: the error, by item of which the answer leaves open what became.
        silent: the items of which it says nothing, while it refuses others by name.
        refusal: why all of the rest is refused, if the answer does not say because of whom.
    """

    created: Mapping[ItemT, ShopperProfile]
    refused: Mapping[ItemT, APIError]
    doubtful: Mapping[ItemT, BCShopperError]
    silent: Sequence[ItemT] = ()
    refusal: APIError | None = None


def read_verdict(
    reply: Reply, *, creates: Creates[ItemT], request: Request, items: Sequence[ItemT]
) -> Verdict[ItemT]:
    """Read any documented answer: all created, all refused, or some of each.

    Raises:
        MalformedDocumentError: a successful answer is not the documented one, or contradicts
            itself.
    """
    refusing = reply.status >= 400  # noqa: PLR2004 - HTTP
    try:
        document = converter.loads(reply.body, creates.document)
    except MalformedDocumentError:
        if not refusing:
            raise
        document = _NOTHING_CREATED
    created = _by_item(document.data, creates.item_of, frozenset(items))
    if not refusing and len(created) == len(items) and not says_something(document.errors):
        return Verdict(created, {}, {})
    problems = read_problems(reply.body)
    named: dict[ItemT, APIError] = {}
    for problem in problems:
        for position, words in problem.words_by_position(len(items)).items():
            own = attrs.evolve(problem, errors={str(position): words})
            named[items[position]] = api_error(request, reply, own)
    doubtful: dict[ItemT, BCShopperError] = {
        # An error of the server's own refuses nobody.
        item: error
        for item, error in named.items()
        if effect_of(error) is not Effect.REFUSED
    }
    for item in created.keys() & named.keys():
        reason = f"it both creates and refuses {item}"
        doubtful[item] = malformed(request, reply, reason, "$.errors")
    refused = {item: error for item, error in named.items() if item not in doubtful}
    created = {item: row for item, row in created.items() if item not in doubtful}
    silent = [item for item in items if item not in created and item not in named]
    if not silent or refused:
        return Verdict(created, refused, doubtful, silent)
    if refusing or problems:
        reasons = [api_error(request, reply, problem) for problem in problems]
        reasons = reasons or [api_error(request, reply)]
        # Where the server failed for some, and does not say for whom, it may be for any of them.
        error = next((e for e in reasons if effect_of(e) is not Effect.REFUSED), reasons[0])
        if effect_of(error) is Effect.REFUSED and not doubtful:
            return Verdict(created, refused, doubtful, silent, error)
        doubtful.update(dict.fromkeys(silent, error))
    else:
        why = malformed(request, reply, f"it leaves out {silent[0]}", "$.data")
        doubtful.update(dict.fromkeys(silent, why))
    return Verdict(created, refused, doubtful)


def _by_item(
    rows: Sequence[ShopperProfile],
    item_of: Callable[[ShopperProfile], ItemT],
    sent: frozenset[ItemT],
) -> dict[ItemT, ShopperProfile]:
    """The rows of an answer, by item; none of another's, no item and no profile twice."""
    by_item = {item_of(row): row for row in rows}
    if not sent.issuperset(by_item):
        stranger = next(item for item in by_item if item not in sent)
        raise MalformedDocumentError(f"it has {stranger}, which was not sent", "$.data")
    if len(by_item) < len(rows) or len({row.id.int for row in rows}) < len(rows):
        raise MalformedDocumentError("it has the same one twice", "$.data")
    return by_item


class Claim(Enum):
    """What the server's words for one item that it refuses say of whether it exists already."""

    EXISTS = "exists"
    MAYBE = "maybe"
    """A conflict, in words that do not say with what."""
    UNSAID = "unsaid"
    MISSING = "missing"
    """What it is to be made of does not exist."""


def read_claim(error: APIError) -> Claim:
    """Read the words of a refusal that is about one item."""
    words = "; ".join(error.errors.values()) or error.title
    is_conflict = isinstance(error, ConflictError)
    if _MISSING.search(words):
        return Claim.UNSAID if is_conflict else Claim.MISSING
    if _EXISTS.search(words):
        return Claim.EXISTS
    return Claim.MAYBE if is_conflict and not _INVALID.search(words) else Claim.UNSAID


class _Creation(Generic[ItemT]):
    """Settles one chunk."""

    def __init__(self, creates: Creates[ItemT], batch: Batch[ItemT], ledger: Ledger[ItemT]) -> None:
        self._creates = creates
        self._transport = batch.transport
        self._batch = batch
        self._ledger = ledger
        self._looked_up = False
        self._asked_since = False  # the last POST
        self._was_there = False
        self._tries = 0
        self._began: float | None = None  # when the first POST went out
        self._called_existing: dict[ItemT, APIError] = {}  # by the server, in these words
        self._known: set[ItemT] = set()  # to the store, so that nothing speaks against a profile

    async def run(self) -> None:
        await Halving(self._attempt, self._reject).run(self._ledger.items)

    async def _attempt(self, items: Sequence[ItemT]) -> Refusal[ItemT] | None:
        todo: Sequence[ItemT] = self._ledger.unsettled(items)  # a look-up may have settled some
        while todo:
            request = self._creates.request(todo)
            self._asked_since = False
            read = functools.partial(
                read_verdict, creates=self._creates, request=request, items=todo
            )
            try:
                verdict: Verdict[ItemT] = await self._transport.send(
                    request, read, self._watch(todo)
                )
            except (APIError, TransportError, ResponseFormatError) as error:
                if effect_of(error) is not Effect.UNKNOWN or request.repeatable:
                    raise
                todo = await self._recover(request, dict.fromkeys(todo, error))
                continue
            for item, row in verdict.created.items():
                self._ledger.settle(item, self._creates.done, profile_id=row.id, profile=row)
            if len(verdict.created) == len(todo):
                return None
            rest = await self._go_on(request, verdict)
            if isinstance(rest, Refusal):
                return rest
            todo = rest
        return None

    async def _go_on(
        self, request: Request, verdict: Verdict[ItemT]
    ) -> Sequence[ItemT] | Refusal[ItemT]:
        """After an answer that does not create all: settle what can be.

        Returns:
            Those that may be resent. Or the refusal, if nothing explains it.
        """
        self._ledger.without_effect([*verdict.refused, *verdict.silent])
        for refusal in verdict.refused.values():
            if isinstance(refusal, AuthenticationError | PermissionDeniedError):
                raise refusal  # which is about no item
        doubtful = {**verdict.doubtful, **await self._settle_refused(verdict.refused)}
        rest: Sequence[ItemT] = self._ledger.unsettled(verdict.silent)
        if verdict.refusal is not None and rest:
            outcome = await self._explain_refusal(rest, verdict.refusal)
            if isinstance(outcome, Refusal):
                return outcome
            doubtful.update(outcome)
            rest = [i for i in self._ledger.unsettled(rest) if i not in outcome]
        if doubtful:
            rest = [*await self._recover(request, doubtful), *self._ledger.unsettled(rest)]
        return rest

    def _watch(self, items: Sequence[ItemT]) -> Watch:
        watch = self._batch.watch(self._ledger, items)

        def going_out() -> None:
            watch.going_out()
            if self._began is None:
                self._began = asyncio.get_running_loop().time()

        return Watch(going_out, watch.failed)

    def _reject(self, item: ItemT, error: APIError) -> None:
        self._ledger.refused([item], error)

    async def _settle_refused(
        self, refused: Mapping[ItemT, APIError], *, trusts: bool = True
    ) -> Mapping[ItemT, BCShopperError]:
        """Those who are refused because they have a profile are as they should be.

        Args:
            refused: the error, by item.
            trusts: whether words that speak of no profile are words about this item.

        Returns:
            Those that stay in doubt, with the reason.
        """
        claims = {item: read_claim(error) for item, error in refused.items()}
        if self._creates.find is None:
            return await self._settle_without_look_up(refused, claims)
        failure = None
        if not {Claim.MISSING}.issuperset(claims.values()):
            failure = await self._settle_existing(self._ledger.pending)
        doubtful: dict[ItemT, BCShopperError] = {}
        for item in self._ledger.unsettled(refused):
            error, claim = refused[item], claims[item]
            if claim is Claim.EXISTS:
                self._called_existing[item] = error
            if claim is Claim.MISSING:
                self._reject(item, error)
            elif failure is not None:
                doubtful[item] = _unresolved(error, failure)
            elif claim is Claim.UNSAID and (trusts or item not in self._known):
                self._reject(item, error)
            else:
                doubtful[item] = _contradicted(error)
        return doubtful

    async def _settle_without_look_up(
        self, refused: Mapping[ItemT, APIError], claims: Mapping[ItemT, Claim]
    ) -> Mapping[ItemT, BCShopperError]:
        """The server's words are all there is; what they do not say stays in doubt."""
        if any(
            claim is Claim.MISSING and str(item) not in str(refused[item])
            for item, claim in claims.items()
        ):
            await self._make_sure_it_is_there()  # it may be what is missing
        doubtful: dict[ItemT, BCShopperError] = {}
        for item, claim in claims.items():
            if claim is Claim.EXISTS:
                profile_id = item if isinstance(item, UUID) else None
                self._ledger.settle(item, Status.EXISTS, profile_id=profile_id)
            elif claim is Claim.MAYBE:
                doubtful[item] = refused[item]
            else:
                self._reject(item, refused[item])
        return doubtful

    async def _explain_refusal(
        self, items: Sequence[ItemT], error: APIError
    ) -> Mapping[ItemT, BCShopperError] | Refusal[ItemT]:
        """After a refusal that names nobody: settle those that may be why.

        Returns:
            Those that stay in doubt, with the reason; the rest may be resent. Or the refusal, if
            nothing explains it.
        """
        is_lone = len(items) == 1
        if isinstance(error, NotFoundError) and (is_lone or not self._was_there):
            await self._make_sure_it_is_there()
        if self._creates.find is None:
            if is_lone and read_claim(error) in {Claim.EXISTS, Claim.MAYBE}:
                return await self._settle_refused({items[0]: error})
            return Refusal(items, error)
        if is_lone and (
            not self._looked_up
            or items[0] in self._known
            or read_claim(error) in {Claim.EXISTS, Claim.MAYBE}
        ):
            return await self._settle_refused({items[0]: error}, trusts=False)
        if self._looked_up:
            return Refusal(items, error)
        failure = await self._settle_existing(self._ledger.pending)
        if failure is not None:
            # Most of a chunk may exist, and each would cost a search: not worth the requests.
            return dict.fromkeys(items, _unresolved(error, failure))
        if len(self._ledger.unsettled(items)) == len(items):
            return Refusal(items, error)
        return {}

    async def _recover(
        self, request: Request, doubtful: Mapping[ItemT, BCShopperError]
    ) -> Sequence[ItemT]:
        """Settle who has a profile after all, and return who may be resent."""
        self._tries += 1
        for item, error in doubtful.items():
            self._ledger.doubt([item], error)
        first = next(iter(doubtful.values()))
        now = asyncio.get_running_loop().time()
        elapsed = 0.0 if self._began is None else now - self._began
        may_go_on = await self._transport.back_off(request, first, self._tries, elapsed)
        failure = None
        if may_go_on or not self._asked_since:
            failure = await self._settle_existing(list(doubtful))
        rest = self._ledger.unsettled(doubtful)
        if failure is None and may_go_on:
            return rest
        for item in rest:
            reason = doubtful[item]
            if failure is not None and not isinstance(reason.__cause__, BCShopperError):
                reason = _unresolved(reason, failure)
            self._ledger.explain([item], reason)
            if item in self._called_existing:
                self._ledger.settle(item, Status.EXISTS, error=reason)
        return ()

    async def _make_sure_it_is_there(self) -> None:
        """After a 404 that names nobody: only an answer from then on tells what it is about."""
        if self._creates.is_there is None:
            return
        self._ledger.is_looked_up = True
        try:
            await self._creates.is_there(self._batch.looking)
        finally:
            self._ledger.is_looked_up = False
        self._was_there = True

    async def _settle_existing(self, items: Sequence[ItemT]) -> BCShopperError | None:
        """Settle those who have a profile; return why that could not be learnt."""
        if self._creates.find is None:
            return None
        self._looked_up = self._asked_since = self._ledger.is_looked_up = True
        try:
            found = await self._creates.find(items, self._batch.looking)
        except SessionClosedError:
            raise
        except BCShopperError as error:
            return error
        finally:
            self._ledger.is_looked_up = False
        for item, profile_id in found.items():
            if profile_id is not None:
                self._ledger.settle(item, Status.EXISTS, profile_id=profile_id)
        self._known.update(found)
        return None


def _contradicted(error: APIError) -> ResponseFormatError:
    """Why nobody can tell: the server says that it is there, and then that it is not."""
    return ResponseFormatError(
        f"{error}; but a look-up finds no profile",
        method=error.method,
        url=error.url,
        status=error.status,
        field="$.errors",
        excerpt=error.body[:200],
    )


def _unresolved(error: ErrorT, failure: BCShopperError) -> ErrorT:
    """The same error, which says that looking the items up failed too."""
    explained = copy.copy(error)
    why = str(failure)[:_MOST_SAID]
    explained.args = (f"{error}; looking up who has a profile failed too: {why}",)
    explained.__cause__ = failure
    return explained
