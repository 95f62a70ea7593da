"""Shopper profiles in aiohttp.web, alone or in another application: `add_subapp("/shop", app)`."""

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bcshopper import (
    BCShopperError,
    Coalescer,
    InvalidInputError,
    Outcome,
    QuotaPolicy,
    RateLimitError,
    RetryPolicy,
    Session,
    Status,
)

SESSION, ONE = web.AppKey("session", Session), web.AppKey("one", Coalescer)


async def lifespan(app: web.Application) -> AsyncIterator[None]:
    async with (
        Session.from_env(retry=RetryPolicy(attempts=3), quota=QuotaPolicy(max_wait=2)) as session,
        session.shopper_profiles.coalesce() as one,
    ):
        app[SESSION], app[ONE] = session, one
        yield


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        async with asyncio.timeout(10):
            return await handler(request)
    except (BCShopperError, TimeoutError) as error:
        request.app.logger.warning("%s %s: %r", request.method, request.rel_url, error)
        match error:
            case InvalidInputError():
                raise web.HTTPUnprocessableEntity(text=str(error)) from error
            case RateLimitError(retry_after=seconds):
                headers = {"Retry-After": str(math.ceil(seconds or 30))}
                raise web.HTTPTooManyRequests(headers=headers) from error
            case TimeoutError():
                raise web.HTTPGatewayTimeout from error
            case _:
                raise web.HTTPBadGateway from error


async def profiles(request: web.Request) -> web.Response:
    page = await request.app[SESSION].shopper_profiles.page(int(request.match_info["page"]))
    return web.json_response({"customers": [p.customer_id for p in page], "next": page.next_number})


async def create(request: web.Request) -> web.Response:
    return settled(await request.app[ONE].create(int(request.match_info["customer_id"])))


async def delete(request: web.Request) -> web.Response:
    return settled(await request.app[ONE].delete(request.match_info["profile_id"]))


def settled(outcome: Outcome[Any]) -> web.Response:
    if outcome.status is Status.REJECTED:
        raise web.HTTPUnprocessableEntity(text="the store refused it")
    if outcome.error is not None:
        raise outcome.error
    return web.json_response({"status": outcome.status.value})


app = web.Application(middlewares=[explain])
app.cleanup_ctx.append(lifespan)
app.router.add_get(r"/profiles/{page:\d{1,9}}", profiles)
app.router.add_put(r"/customers/{customer_id:\d{1,18}}/profile", create)
app.router.add_delete("/profiles/{profile_id}", delete)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1")
