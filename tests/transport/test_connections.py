"""What connections do that a polite server never does, by raw sockets."""

import asyncio
import json
import re
from contextlib import asynccontextmanager
from uuid import UUID

import aiohttp
import pytest

from bcshopper import (
    BCShopperError,
    RequestTimeoutError,
    RetryPolicy,
    Session,
    Status,
    TransportError,
)

ONCE = RetryPolicy(attempts=1)
PAGES = 40


class Store:
    """Just enough of a store to create, look up and list, without any manners."""

    def __init__(self):
        self.profiles = {}
        self.posts = 0

    def answer(self, head, body):
        """The body of the answer to a request."""
        method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
        if method == "POST":
            self.posts += 1
            ids = [item["customer_id"] for item in json.loads(body)]
            assert not self.profiles.keys() & ids, "sent again blindly"
            self.profiles.update((i, str(UUID(int=i))) for i in ids)
            return {"data": [{"id": self.profiles[i], "customer_id": i} for i in ids]}
        if "/customers" in target:
            listed = re.search(r"id:in=([\d%2C,]+)", target)[1].replace("%2C", ",").split(",")
            rows = [{"id": int(i), "shopper_profile_id": self.profiles.get(int(i))} for i in listed]
            return listing(rows, 1, 1, len(rows))
        number = int(re.search(r"page=(\d+)", target)[1])
        return listing([{"id": str(UUID(int=number)), "customer_id": number}], number, PAGES, 1)


def listing(rows, number, pages, per_page):
    pagination = {
        "total": pages * per_page, "count": len(rows), "per_page": per_page,
        "current_page": number, "total_pages": pages,
    }  # fmt: skip
    return {"data": rows, "meta": {"pagination": pagination}}


def response(document, status=b"200 OK"):
    body = json.dumps(document).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return head, await reader.readexactly(int(length[1]) if length else 0)


@asynccontextmanager
async def serving(handle):
    """A server that does this with each connection; yields its URL."""
    tasks = set()

    async def guarded(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(guarded, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def drop(writer):
    writer.close()


async def reset(writer):
    writer.transport.abort()


async def fall_silent(writer):
    await asyncio.sleep(3600)


def one_answer_each(store, end):
    """A server that answers once per connection, and ends it as soon as it is used again."""

    async def handle(reader, writer):
        writer.write(response(store.answer(*await read_request(reader))))
        await reader.readexactly(1)
        await end(writer)

    return handle


@pytest.mark.parametrize("end", [drop, reset, fall_silent])
async def test_a_post_gets_through_a_server_that_drops_what_it_kept(end):
    """However often a connection turns out to be dead, within the attempts every id is created."""
    store = Store()
    async with (
        serving(one_answer_each(store, end)) as url,
        Session("a", "t", base_url=url) as session,
    ):
        for first in range(1, 3251, 650):
            report = await session.shopper_profiles.create(range(first, first + 650))
            assert {o.status for o in report} == {Status.CREATED}
    assert store.posts == 65


@pytest.mark.parametrize("end", [drop, reset, fall_silent])
async def test_a_listing_gets_through_a_server_that_drops_what_it_kept(end):
    """What may be repeated is repeated where it can't be lost in the same way."""
    async with (
        serving(one_answer_each(Store(), end)) as url,
        Session("a", "t", base_url=url, retry=RetryPolicy(attempts=2)) as session,
    ):
        assert len(await session.shopper_profiles.list(limit=1).all()) == PAGES
