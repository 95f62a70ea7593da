"""What connections do that a polite server never does, by raw sockets."""

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import aiohttp
import pytest
import trustme

from bcshopper import RequestTimeoutError, RetryPolicy, Session, Status

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


STRAY = response(listing([{"id": str(UUID(int=999)), "customer_id": 999}], 2, PAGES, 1))
UNASKED = {
    "an answer": STRAY,
    "two answers": STRAY + STRAY,
    "the head of one": STRAY.partition(b"\r\n\r\n")[0] + b"\r\n\r\n",
    "half a head": STRAY[:20],
    "a refusal": response({"status": 408, "title": "too slow"}, b"408 Request Timeout"),
    "no HTTP": b"bye\r\n",
}


@pytest.mark.parametrize("said", UNASKED)
@pytest.mark.parametrize("when", ["at once", "while idle", "just before the next request"])
async def test_what_comes_unasked_is_no_answer(said, when):
    """Whatever a server says after an answer, the next request gets its own."""
    store, writers = Store(), []

    async def handle(reader, writer):
        writers.append(writer)
        answer = response(store.answer(*await read_request(reader)))
        is_first = len(writers) == 1
        writer.write(answer + (UNASKED[said] if is_first and when == "at once" else b""))
        if is_first and when == "while idle":
            await asyncio.sleep(1.0)
            writer.write(UNASKED[said])
        while True:
            writer.write(response(store.answer(*await read_request(reader))))

    async with serving(handle) as url, Session("a", "t", base_url=url) as session:
        await session.shopper_profiles.page(1, limit=1)
        if when == "while idle":
            await asyncio.sleep(2.0)
        if when == "just before the next request":
            writers[0].write(UNASKED[said])  # and asyncio has no turn to read it
        page = await session.shopper_profiles.page(2, limit=1)
        assert [p.customer_id for p in page] == [2]
        report = await session.shopper_profiles.create([7])
        assert report[0].status is Status.CREATED
    assert len(writers) <= 3


async def test_a_polite_server_keeps_its_connection():
    """What is checked before a connection is used again costs no new ones."""
    store, connections = Store(), []

    async def handle(reader, writer):
        connections.append(writer)
        while True:
            writer.write(response(store.answer(*await read_request(reader))))

    async with serving(handle) as url, Session("a", "t", base_url=url) as session:
        for number in range(1, PAGES + 1):
            await session.shopper_profiles.page(number, limit=1)
            await session.shopper_profiles.create([number])
    assert len(connections) == 1


@asynccontextmanager
async def nobody_accepts():
    """An address where connecting takes for ever."""
    with socket.socket() as server, contextlib.ExitStack() as queue:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):  # the kernel accepts one or two, and drops what comes after
            waiting = queue.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@asynccontextmanager
async def nobody_shakes_hands():
    """An address where TLS begins and never goes on."""

    async def handle(reader, writer):
        await asyncio.sleep(3600)

    async with serving(handle) as url:
        yield url.replace("http:", "https:")


@pytest.mark.parametrize("lent", [False, True])
@pytest.mark.parametrize("timeout", [0.5, 7.7, 30.0])
@pytest.mark.parametrize("server", [nobody_accepts, nobody_shakes_hands])
async def test_a_request_whose_connection_was_never_made_was_not_sent(server, timeout, lent):
    """A timeout while connecting, by TCP or TLS, is no doubt about what became of the ids."""
    retry = RetryPolicy(attempts=2)
    async with server() as url, aiohttp.ClientSession() as http:
        async with Session(
            "a", "t", base_url=url, timeout=timeout, retry=retry, http=http if lent else None
        ) as session:
            began = asyncio.get_running_loop().time()
            report = await session.shopper_profiles.create([1, 2], check=False)
            took = asyncio.get_running_loop().time() - began
        assert {o.status for o in report} == {Status.NOT_SENT}
        error = report[0].error
        assert isinstance(error, RequestTimeoutError)
        assert not error.sent
        assert f"could not connect within {timeout:g} s" in str(error)
        assert timeout < took < 2 * timeout + 2


async def test_a_request_whose_answer_did_not_come_in_time_was_sent():
    """The timeout after connecting leaves a doubt."""

    async def handle(reader, writer):
        await asyncio.sleep(3600)

    async with (
        serving(handle) as url,
        Session("a", "t", base_url=url, timeout=2.0, retry=ONCE) as session,
    ):
        with pytest.raises(RequestTimeoutError, match="no whole answer within 2 s") as caught:
            await session.shopper_profiles.page()
    assert caught.value.sent


@pytest.mark.real_time
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
@pytest.mark.parametrize("said", ["", "no HTTP\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
def test_closing_leaves_no_socket_open_to_a_server_that_fell_silent(said, tmp_path):
    """Over TLS, asyncio would wait 30 s for the server's goodbye; no warning at exit either."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certificate = tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    script = Path(__file__).with_name("silent_tls.py")
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(script), str(certificate), said],
        env={**os.environ, "SSL_CERT_FILE": str(tmp_path / "authority.pem"), "PYTHONPATH": "."},
        cwd=script.parents[2], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert re.fullmatch(r"0 of (9|1\d) sockets left\n", done.stdout), done.stderr
    assert done.stderr == ""
