"""Gives new customers their profile, up to 50 in a request; run as many workers as you like.

An event is acknowledged when `handle` returns; if it raises or the process dies, the event is
delivered again, to any worker. Needs: queue_setting.py.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from faststream import AckPolicy, Context, ContextRepo, FastStream
from queue_setting import broker, declare, sources

from bcshopper import (
    BadRequestError,
    BCShopperError,
    Coalescer,
    Outcome,
    Session,
    UnprocessableError,
)

PAUSE = 5  # s before an event goes back: the broker may send it again at once
log = logging.getLogger("worker")


async def handle(event: dict[str, Any], one: Annotated[Coalescer, Context()]) -> None:
    try:
        await settle(one, event["scope"], event["data"]["id"])
    except BCShopperError:
        await asyncio.sleep(PAUSE)
        raise


async def settle(one: Coalescer, scope: str, customer_id: int) -> None:
    outcome: Outcome[Any]
    if scope == "store/customer/created":
        outcome = await one.create(customer_id)
    elif profile_id := await one.lookup(customer_id):  # deleted, and the profile is still there
        outcome = await one.delete(profile_id)
    else:
        return
    if isinstance(outcome.error, BadRequestError | UnprocessableError):  # of this one customer
        log.warning("customer %s: %s", customer_id, outcome.error)
    elif outcome.error is not None:
        raise outcome.error


@asynccontextmanager
async def lifespan(context: ContextRepo) -> AsyncIterator[None]:
    async with Session.from_env() as session, session.shopper_profiles.coalesce(max_delay=1) as one:
        context.set_global("one", one)
        await declare()
        yield


for source in sources:
    broker.subscriber(**source, ack_policy=AckPolicy.NACK_ON_ERROR)(handle)

if __name__ == "__main__":
    asyncio.run(FastStream(broker, lifespan=lifespan).run())
