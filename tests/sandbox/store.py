"""A sandbox, and ways to speak to it that are not our client."""

import json
from contextlib import asynccontextmanager

import aiohttp
import attrs

from bcshopper.sandbox import Rules, Sandbox

PROFILES, CUSTOMERS = "shopper-profiles", "customers"
WINDOW_MS, RESET_MS, QUOTA, LEFT = (
    f"X-Rate-Limit-{name}"
    for name in ("Time-Window-Ms", "Time-Reset-Ms", "Requests-Quota", "Requests-Left")
)


@attrs.frozen
class Answer:
    status: int
    headers: object
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def pagination(self):
        return self.json["meta"]["pagination"]


@asynccontextmanager
async def store(customers=0, *, profiles=0, seed=0, **rules):
    """A sandbox, and a way to speak to it that is not our client."""
    sandbox = Sandbox(customers, profiles=profiles, seed=seed, rules=Rules(**rules))
    async with sandbox, aiohttp.ClientSession() as http:

        async def call(method, path=PROFILES, *, token=sandbox.access_token, headers=(), **more):
            url = path if path.startswith("/") else f"/stores/{sandbox.store_hash}/v3/{path}"
            sent = dict(headers)
            if token is not None:
                sent["X-Auth-Token"] = token
            async with http.request(method, sandbox.url + url, headers=sent, **more) as response:
                return Answer(response.status, response.headers, await response.read())

        yield sandbox, call


def create(*customer_ids):
    """What a POST for these customers is called with."""
    return {"json": [{"customer_id": customer_id} for customer_id in customer_ids]}


def naming(*profile_ids):
    """What a DELETE of these profiles is called with."""
    return {"params": {"id:in": ",".join(map(str, profile_ids))}}


def existing(sandbox):
    """The ids of all profiles, oldest first."""
    return list(sandbox.store.profiles)


async def fates(call, *requests):
    """The statuses that these requests meet, one after the other."""
    return [(await call(method, path)).status for method, path in requests]


GET, DELETE, FIND = ("GET", PROFILES), ("DELETE", PROFILES), ("GET", CUSTOMERS)
