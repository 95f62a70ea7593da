"""Which calls share a request, when it goes out, and whom its answer is for: pure decisions.

Calls have turns, in the order in which they were made. Nobody can tell beforehand whose profile a
delete names, so two rules keep the order of a create and a delete of one customer's profile:

- A delete waits until every create of an earlier turn is answered.
- A create does not wait: where the verbs come mixed, each request would hold one id. But if it
  finds a profile that a call of an earlier turn was deleting meanwhile, the answer is only for
  the callers before that one. The others wait for the deletes of earlier turns, and it goes again.

Each waits for earlier turns only, so nothing waits in a circle.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from itertools import islice, takewhile
from typing import Any, Generic, TypeAlias, TypeVar
from uuid import UUID

import attrs

from bcshopper._listing import MAX_LIMIT
from bcshopper._outcomes import Outcome, Status
from bcshopper._transport import MAX_PER_WRITE
from bcshopper.errors import ResponseFormatError

ItemT = TypeVar("ItemT")

# Timers come up to a millisecond late, and then a request takes a moment to leave.
_HEAD_START = 0.002  # seconds

Answer: TypeAlias = Outcome[Any] | UUID | BaseException | None
"""What a caller gets; an exception is to be raised."""
Given: TypeAlias = "list[tuple[Call[Any], Answer]]"
"""Whom which answer is for."""


@attrs.define(eq=False)
class Call(Generic[ItemT]):
    """One caller, who waits on `future`.

    Attributes:
        lane: the verb.
        item: the id.
        turn: its place among all calls.
        asked: when it came, in seconds.
        future: where the answer goes.
        entry: the id in the backlog; None while there is no room for it.
        context: in which it was made, if anybody is told of that.
    """

    lane: Lane[ItemT]
    item: ItemT
    turn: int
    asked: float
    future: asyncio.Future[Answer]
    entry: Entry[ItemT] | None = None
    context: Context | None = None


@attrs.define(eq=False)
class Entry(Generic[ItemT]):
    """One id that is not answered yet.

    Attributes:
        lane: the verb.
        item: the id.
        turn: of the first of its calls, which counts as made though it may be withdrawn.
        asked: when that came, in seconds.
        calls: everyone who asked for it.
        wanted: how many of them still wait.
        chunk: the request that it goes in; None while it waits for one.
        answered: whether it is.
    """

    lane: Lane[ItemT]
    item: ItemT
    turn: int
    asked: float
    calls: list[Call[ItemT]] = attrs.field(factory=list[Call[ItemT]])
    wanted: int = 0
    chunk: Chunk[ItemT] | None = None
    answered: bool = False


@attrs.define(eq=False)
class Chunk(Generic[ItemT]):
    """Ids that share a request.

    Attributes:
        lane: the verb.
        entries: the ids.
        sent: whether a request with them has gone out.
        recalled: whether it has been told not to go out.
        overtaken: of a creation, the profiles whose deletion was answered since it was cut, with
            the turn of the delete.
    """

    lane: Lane[ItemT]
    entries: Sequence[Entry[ItemT]]
    sent: bool = False
    recalled: bool = False
    overtaken: dict[UUID, int] = attrs.field(factory=dict[UUID, int])

    @property
    def items(self) -> list[ItemT]:
        """The ids, in order."""
        return [entry.item for entry in self.entries]


class Turns:
    """Turns that are open, and the oldest of them."""

    def __init__(self) -> None:
        self._in_order: OrderedDict[int, None] = OrderedDict()
        self._again: set[int] = set()

    def open(self, turn: int) -> None:
        if self._in_order and turn < next(reversed(self._in_order)):
            self._again.add(turn)
        else:
            self._in_order[turn] = None

    def close(self, turn: int) -> None:
        if turn in self._again:
            self._again.remove(turn)
        else:
            del self._in_order[turn]

    @property
    def oldest(self) -> float:
        """Infinity if none is open."""
        return min(next(iter(self._in_order), math.inf), min(self._again, default=math.inf))


class Lane(Generic[ItemT]):
    """One verb's ids.

    Args:
        verb: its name.
        enough: so many go out without waiting for more.
        most: how many one request takes at most.
        fit: how many of these, from the first on, one request takes.

    Attributes:
        waiting: those to be sent, by id, in the order in which they go.
        known: those that one more call for the same id joins.
        turns: of all that are not answered.
        crowd: how many calls have no room in the backlog.
    """

    def __init__(
        self, verb: str, *, enough: int, most: int, fit: Callable[[Sequence[ItemT]], int]
    ) -> None:
        self.verb = verb
        self.enough = enough
        self.most = most
        self.fit = fit
        self.waiting: OrderedDict[ItemT, Entry[ItemT]] = OrderedDict()
        self.known: dict[ItemT, Entry[ItemT]] = {}
        self.turns = Turns()
        self.crowd = 0


class Backlog:
    """All ids that are not answered yet, and the callers for whom there is no room.

    Args:
        delete_capacity: how many ids a deletion takes.
        count_searchable: how many of these, from the first on, a look-up takes.
        max_delay: seconds that an id waits for company at most.
        max_pending: ids at most; further callers wait, first come, first served.
    """

    def __init__(
        self,
        *,
        delete_capacity: int,
        count_searchable: Callable[[Sequence[int]], int],
        max_delay: float,
        max_pending: int,
    ) -> None:
        self._patience = max(0.0, max_delay - _HEAD_START)
        self._max_pending = max_pending
        # Who waits for 50 while there is room for less would wait in vain.
        enough = min(MAX_PER_WRITE, max_pending)
        self.creates = Lane[int]("create", enough=enough, most=MAX_PER_WRITE, fit=len)
        self.deletes = Lane[UUID](
            "delete", enough=min(delete_capacity, enough), most=delete_capacity, fit=len
        )
        self.lookups = Lane[int]("lookup", enough=enough, most=MAX_LIMIT, fit=count_searchable)
        self._lanes: tuple[Lane[Any], ...] = (self.creates, self.deletes, self.lookups)
        self._turn = 0
        self._pending = 0
        self._crowd: OrderedDict[Call[Any], None] = OrderedDict()
        self._held: dict[int, Entry[int]] = {}
        self._creations: set[Chunk[Any]] = set()

    def ask(
        self, lane: Lane[ItemT], item: ItemT, now: float, future: asyncio.Future[Answer]
    ) -> Call[ItemT]:
        """Take a call."""
        self._turn += 1
        call = Call(lane, item, self._turn, now, future)
        # Who joins passes the crowd; a create must not pass a delete.
        joins = item in lane.known and not (lane is self.creates and self.deletes.crowd)
        if joins or (self._pending < self._max_pending and not self._crowd):
            self._enter(call)
        else:
            self._crowd[call] = None
            lane.crowd += 1
        return call

    def withdraw(self, call: Call[Any]) -> Chunk[Any] | None:
        """Forget a caller, and the id if nobody else wants it and it was not sent.

        Returns:
            The chunk to be recalled and `put_back`, if the id is in one that was not sent.
        """
        entry = call.entry
        if entry is None:
            self._leave_crowd(call)
            self._admit()
            return None
        entry.wanted -= 1
        if entry.wanted or entry.answered:
            return None
        if entry.chunk is None:
            self._close(entry)
            self._admit()
        elif not entry.chunk.sent and not entry.chunk.recalled:
            entry.chunk.recalled = True
            return entry.chunk
        return None

    def take(self, now: float, *, hurry: bool) -> Chunk[Any] | None:
        """Cut the next chunk; None if nothing is to go yet.

        Args:
            now: the time, in seconds.
            hurry: whether nothing waits for company.
        """
        self._release()
        best: list[Entry[Any]] = []
        for lane in self._lanes:
            able = self._able(lane)
            if not able or not (
                hurry or len(able) >= lane.enough or able[0].asked + self._patience <= now
            ):
                continue
            if not best or able[0].turn < best[0].turn:
                best = able
        if not best:
            return None
        lane = best[0].lane
        del best[lane.fit([entry.item for entry in best]) :]
        chunk = Chunk(lane, best)
        for entry in best:
            del lane.waiting[entry.item]
            entry.chunk = chunk
        if lane is self.creates:
            self._creations.add(chunk)
        return chunk

    def next_due(self) -> float:
        """When an id has waited long enough, in seconds; infinity if none waits for company."""
        return min(
            (able[0].asked + self._patience for lane in self._lanes if (able := self._able(lane))),
            default=math.inf,
        )

    def sent(self, chunk: Chunk[Any]) -> None:
        """A request with this chunk goes out."""
        chunk.sent = True
        if chunk.lane is self.lookups:
            # What it finds may be older than the next call.
            for entry in chunk.entries:
                del chunk.lane.known[entry.item]

    def put_back(self, chunk: Chunk[Any]) -> None:
        """A chunk was recalled: its ids are to go out next, without those that nobody wants."""
        self._creations.discard(chunk)
        for entry in reversed(chunk.entries):
            if entry.wanted:
                entry.chunk = None
                self._put_first(entry)
            else:
                self._close(entry)
        self._admit()

    def settle(self, chunk: Chunk[Any], answers: Mapping[Any, Answer]) -> Given:
        """A chunk is done: say whom each answer is for.

        Args:
            chunk: it.
            answers: to each of its ids.
        """
        given: Given = []
        self._creations.discard(chunk)
        if chunk.lane is self.deletes:
            for creation in self._creations:
                for entry in chunk.entries:
                    creation.overtaken.setdefault(entry.item, entry.turn)
        for entry in chunk.entries:
            answer = answers[entry.item]
            until = self._contested(chunk, answer) if chunk.lane is self.creates else math.inf
            given += [(call, answer) for call in entry.calls if call.turn < until]
            late = [c for c in entry.calls if c.turn > until and not c.future.done()]
            self._close(entry)
            if late:
                self._hold(late)
        self._admit()
        return given

    def fail(self, lane: Lane[Any], error: BaseException) -> Given:
        """Nothing that waits in this lane goes out: say whom that concerns."""
        given: Given = []
        held = self._held.values() if lane is self.creates else ()
        for entry in [*lane.waiting.values(), *held]:
            given += [(call, error) for call in entry.calls]
            self._close(entry)
        self._admit()
        return given

    def end(self, error: BaseException) -> Given:
        """Nothing that waits anywhere goes out: say whom that concerns."""
        given: Given = [(call, error) for call in self._crowd]
        for call, _ in given:
            self._leave_crowd(call)
        for lane in self._lanes:
            given += self.fail(lane, error)
        return given

    def _enter(self, call: Call[Any]) -> None:
        lane = call.lane
        entry = lane.known.get(call.item)
        if entry is None:
            entry = Entry(lane, call.item, call.turn, call.asked)
            self._open(entry)
            lane.waiting[call.item] = entry
        entry.calls.append(call)
        entry.wanted += 1
        call.entry = entry

    def _open(self, entry: Entry[Any]) -> None:
        self._pending += 1
        entry.lane.known[entry.item] = entry
        entry.lane.turns.open(entry.turn)

    def _close(self, entry: Entry[Any]) -> None:
        lane, item = entry.lane, entry.item
        entry.answered = True
        self._pending -= 1
        lane.turns.close(entry.turn)
        if lane.known.get(item) is entry:
            del lane.known[item]
        if entry.chunk is None:
            if self._held.get(item) is entry:
                del self._held[item]
            else:
                del lane.waiting[item]

    def _admit(self) -> None:
        """Let those in who were waiting for room."""
        while self._crowd:
            call = next(iter(self._crowd))
            if self._pending >= self._max_pending and call.item not in call.lane.known:
                return
            self._leave_crowd(call)
            self._enter(call)

    def _leave_crowd(self, call: Call[Any]) -> None:
        if call in self._crowd:
            del self._crowd[call]
            call.lane.crowd -= 1

    def _able(self, lane: Lane[Any]) -> list[Entry[Any]]:
        """Those in a lane that may go out, in order, as many as one request may take."""
        first = islice(lane.waiting.values(), lane.most)
        if lane is self.deletes:
            oldest = self.creates.turns.oldest
            return list(takewhile(lambda entry: entry.turn < oldest, first))
        return list(first)

    def _contested(self, creation: Chunk[Any], answer: Answer) -> float:
        """The turn of the delete that may have come between; infinity if none has."""
        if not isinstance(answer, Outcome):
            return math.inf
        if (profile_id := answer.profile_id) is not None:
            turn = creation.overtaken.get(profile_id, math.inf)
            deletion = self.deletes.known.get(profile_id)
            return turn if deletion is None else min(turn, deletion.turn)
        if answer.status is Status.EXISTS or isinstance(answer.error, ResponseFormatError):
            # The profile was there, and when it was looked up it was not.
            return min(self.deletes.turns.oldest, *creation.overtaken.values(), math.inf)
        return math.inf

    def _hold(self, late: Sequence[Call[int]]) -> None:
        first = late[0]
        entry = Entry(first.lane, first.item, first.turn, first.asked, list(late), len(late))
        for call in late:
            call.entry = entry
        self._open(entry)
        self._held[entry.item] = entry

    def _release(self) -> None:
        """Let the held creates go whose deletes are answered."""
        for item, entry in list(self._held.items()):
            if entry.turn < self.deletes.turns.oldest:
                del self._held[item]
                self._put_first(entry)

    @staticmethod
    def _put_first(entry: Entry[Any]) -> None:
        entry.lane.waiting[entry.item] = entry
        entry.lane.waiting.move_to_end(entry.item, last=False)
