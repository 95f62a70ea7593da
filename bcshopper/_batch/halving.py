"""Finding the few ids that a server refuses without naming them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import attrs

from bcshopper.errors import APIError

ItemT = TypeVar("ItemT")


@attrs.frozen
class Refusal(Generic[ItemT]):
    """The server refused these ids together, and did not say because of which."""

    items: Sequence[ItemT]
    error: APIError


@attrs.define
class Halving(Generic[ItemT]):
    """Sends ids together, and halves what is refused until each culprit stands alone.

    One culprit among n costs at most log2(n) + 2 further requests, rounded up: what is set aside on
    the way to it goes out in one. Where there are more, the rest is halved plainly, so that even n
    culprits cost only some 2n.

    Attributes:
        attempt: sends a group; answers with a refusal, or None once it has settled all of it.
        reject: settles one id that was refused alone.
    """

    attempt: Callable[[Sequence[ItemT]], Awaitable[Refusal[ItemT] | None]]
    reject: Callable[[ItemT, APIError], None]
    _gathers: bool = attrs.field(default=True, init=False)
    _aside: list[ItemT] = attrs.field(factory=list, init=False)

    async def run(self, items: Sequence[ItemT]) -> None:
        """Settle all of these ids."""
        await self._settle(items)
        self._gathers = False
        await self._settle(self._aside)

    async def _settle(self, items: Sequence[ItemT]) -> None:
        if items:
            refusal = await self.attempt(items)
            if refusal is not None:
                await self._narrow(refusal.items, refusal.error)

    async def _narrow(self, items: Sequence[ItemT], error: APIError) -> None:
        if len(items) == 1:
            self.reject(items[0], error)
            return
        head, tail = items[: len(items) // 2], items[len(items) // 2 :]
        refusal = await self.attempt(head)
        if refusal is not None:
            await self._narrow(refusal.items, refusal.error)
            if self._gathers:
                self._aside.extend(tail)
            else:
                await self._settle(tail)
        elif len(tail) == 1:
            await self._settle(tail)  # it must be this one, but let the server say so
        else:
            await self._narrow(tail, error)  # the culprit is in here: no need to ask for all of it
