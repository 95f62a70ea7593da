"""Shopper profiles as routes of any FastAPI application: `app.include_router(router)`.

The deadline and the error answers hold for these routes alone. The session lives as long as the
application; single ids go through a coalescer, which sends those of the same moment together.
Metrics and spans go wherever the application's own OpenTelemetry setup sends them.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from bcshopper import (
    APIError,
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
from bcshopper.otel import Telemetry

log = logging.getLogger(__name__)


@dataclass
class Store:
    """What the routes share."""

    session: Session
    one: Coalescer
    reached: bool = False


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[dict[str, Store]]:
    # someone waits for every answer: rather have them come back than wait for long
    retry, quota = RetryPolicy(attempts=3), QuotaPolicy(max_wait=2)
    async with (
        Session.from_env(retry=retry, quota=quota, on_event=Telemetry()) as session,
        session.shopper_profiles.coalesce() as one,
    ):
        yield {"store": Store(session, one)}


class ProfileRoute(APIRoute):
    """Ends requests at their deadline, and answers for what bcshopper raises."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_time(request: Request) -> Response:
            try:
                async with asyncio.timeout(None) as request.state.deadline:
                    return await handle(request)
            except (BCShopperError, TimeoutError) as error:
                log.warning("%s %s: %r", request.method, request.url.path, error)
                return explain(error)

        return handle_in_time


def explain(error: BCShopperError | TimeoutError) -> Response:
    match error:
        case InvalidInputError():
            return JSONResponse({"detail": str(error)}, 422)
        case RateLimitError(retry_after=seconds):
            headers = {"Retry-After": str(math.ceil(seconds or 30))}
            return JSONResponse({"detail": "try again later"}, 429, headers)
        case TimeoutError():  # the deadline, or the session's timeout
            return JSONResponse({"detail": "no answer in time; asking again is safe"}, 504)
        case _:  # the API, the network, or our own token
            return JSONResponse({"detail": "the store can't be reached; asking again is safe"}, 502)


Seconds = Annotated[float, Header(alias="X-Request-Timeout", gt=0, le=60)]


async def set_deadline(request: Request, seconds: Seconds = 10) -> None:
    request.state.deadline.reschedule(asyncio.get_running_loop().time() + seconds)


def get_store(request: Request) -> Store:
    store: Store = request.state.store
    return store


TheStore = Annotated[Store, Depends(get_store)]
router = APIRouter(
    lifespan=lifespan, route_class=ProfileRoute, dependencies=[Depends(set_deadline)]
)


@router.get("/profiles")
async def profiles(store: TheStore, page: int = 1, limit: int = 50) -> dict[str, Any]:
    found = await store.session.shopper_profiles.page(page, limit=limit)
    items = [{"id": profile.id, "customer_id": profile.customer_id} for profile in found]
    return {"profiles": items, "total": found.pagination.total, "next": found.next_number}


@router.put("/customers/{customer_id}/profile")
async def create(customer_id: int, store: TheStore, response: Response) -> dict[str, Any]:
    outcome = await store.one.create(customer_id)
    check(outcome)
    response.status_code = 201 if outcome.status is Status.CREATED else 200
    return {"id": outcome.profile_id}


@router.delete("/profiles/{profile_id}", status_code=204)
async def delete(profile_id: UUID, store: TheStore) -> None:
    check(await store.one.delete(profile_id))


@router.get("/ready", status_code=204)
async def ready(store: TheStore) -> None:
    if not store.reached:  # each probe would cost a request of quota
        once = store.session.with_options(retry=RetryPolicy(attempts=1), timeout=2)
        await once.shopper_profiles.page(limit=1)  # the probe comes again by itself
        store.reached = True


def check(outcome: Outcome[Any]) -> None:
    match outcome:
        case Outcome(status=Status.REJECTED, error=APIError(errors=errors, title=title)):
            raise HTTPException(422, "; ".join(errors.values()) or title)
        case Outcome(error=BCShopperError() as error):
            raise error
