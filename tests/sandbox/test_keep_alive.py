import asyncio

import aiohttp
import pytest

from tests.sandbox.store import PROFILES, create, existing, store


class Line:
    """One connection, kept for as long as the server lets it be."""

    def __init__(self, sandbox):
        self._sandbox = sandbox

    async def __aenter__(self):
        port = int(self._sandbox.url.rpartition(":")[2])
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def __aexit__(self, *error):
        self._writer.close()

    async def ask(self):
        """Send a request, and return the head of its answer; nothing if there is none."""
        self._writer.write(
            f"GET /stores/sandbox/v3/{PROFILES} HTTP/1.1\r\nHost: x\r\n"
            f"X-Auth-Token: {self._sandbox.access_token}\r\n\r\n".encode()
        )
        try:
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            return b""
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        await self._reader.readexactly(length)
        return head

    async def is_closed(self):
        """Whether the server has said, within a second, that nothing more comes."""
        try:
            async with asyncio.timeout(1):
                return not await self._reader.read(1)
        except TimeoutError:
            return False


@pytest.mark.parametrize(
    ("keep_alive", "closed", "second"),
    [("kept", False, True), ("closed", True, False), ("dead", False, False)],
)
async def test_a_connection_is_kept_or_dropped_without_a_word(keep_alive, closed, second):
    """No answer says that its connection is the last one's."""
    async with store(keep_alive=keep_alive) as (sandbox, _), Line(sandbox) as line:
        head = (await line.ask()).lower()
        assert head.startswith(b"http/1.1 200")
        assert b"connection:" not in head
        assert await line.is_closed() == closed
        assert bool(await line.ask()) == second


@pytest.mark.parametrize("keep_alive", ["closed", "dead"])
async def test_a_request_on_a_dropped_connection_is_not_even_read(keep_alive):
    """Nothing is done, nothing is on record; on a new connection it works."""
    async with store(customers=1, keep_alive=keep_alive) as (sandbox, call):
        await call("GET")
        failed = 0
        for _ in range(3):
            try:
                await call("POST", **create(1))
                break
            except aiohttp.ClientError:
                failed += 1
                assert not existing(sandbox)
        assert len(existing(sandbox)) == 1
        # whether a client sees in time that a connection is closed is up to the client
        assert failed == 1 or (keep_alive, failed) == ("closed", 0)
        assert sandbox.record.counts["POST", PROFILES] == 1
