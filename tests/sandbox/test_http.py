import asyncio
import gzip
import io
import json

import aiohttp
import pytest

from bcshopper.sandbox import Fault
from tests.sandbox.store import PROFILES, create, existing, store


class Wire:
    """A connection on which one writes bytes and reads answers."""

    def __init__(self, sandbox):
        self._sandbox = sandbox

    async def __aenter__(self):
        port = int(self._sandbox.url.rpartition(":")[2])
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
        return self

    async def __aexit__(self, *error):
        self._writer.close()

    def write(self, method="GET", *headers, path=PROFILES, body=b""):
        """Write a request; its headers are whole lines."""
        token = f"X-Auth-Token: {self._sandbox.access_token}"
        url = f"/stores/sandbox/v3/{path}"
        lines = [f"{method} {url} HTTP/1.1", "Host: x", token, *headers, "", ""]
        self.write_bytes("\r\n".join(lines).encode() + body)

    def write_bytes(self, text):
        """Write exactly this."""
        self._writer.write(text)

    async def read(self):
        """The next answer's status, headers and body."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)
        }
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return int(first.split()[1]), headers, body


async def test_a_client_that_waits_for_100_continue_gets_it():
    """Before the body, which is then read; the answer follows as always."""
    async with store(customers=1) as (sandbox, _), Wire(sandbox) as wire:
        body = json.dumps(create(1)["json"]).encode()
        length, kind = f"Content-Length: {len(body)}", "Content-Type: application/json"
        wire.write("POST", "Expect: 100-continue", length, kind)
        async with asyncio.timeout(1):
            assert (await wire.read())[0] == 100
            assert not existing(sandbox)
            wire.write_bytes(body)
            assert (await wire.read())[0] == 201
        assert len(existing(sandbox)) == 1


async def test_any_other_expectation_is_417():
    """In the documented shape."""
    async with store() as (sandbox, _), Wire(sandbox) as wire:
        wire.write("GET", "Expect: a miracle")
        status, _, body = await wire.read()
        assert status == json.loads(body)["status"] == 417


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", 400),
    ],
)
async def test_what_is_no_http_is_refused_in_the_documented_shape(text, status):
    """The server's own errors are JSON with status, title and type, too."""
    async with store() as (sandbox, _), Wire(sandbox) as wire:
        wire.write_bytes(text)
        got, headers, body = await wire.read()
        assert got == json.loads(body)["status"] == status
        assert headers["content-type"].startswith("application/json")
        assert json.loads(body).keys() == {"status", "title", "type"}


async def test_a_body_that_is_too_large_is_413_in_the_documented_shape():
    """It is on record like any other request."""
    async with store() as (sandbox, call):
        answer = await call("POST", data=io.BytesIO(b" " * 2_000_000))
        assert answer.status == answer.json["status"] == 413
        assert sandbox.record.statuses == {413: 1}


async def test_a_body_that_is_not_packed_as_it_says_is_400():
    """And no failure of the sandbox."""
    async with store() as (_, call):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        answer = await call("POST", data=b"no gzip at all", headers=headers)
        assert answer.status == answer.json["status"] == 400


async def test_a_failure_of_the_sandbox_itself_is_a_500_in_the_documented_shape(caplog):
    """Such as of a change that a test asked for: its traceback is in the log."""
    async with store() as (sandbox, call):
        sandbox.faults.queue(Fault.changing(lambda its: its.no_such_method()))
        answer = await call("GET")
        assert answer.status == answer.json["status"] == 500
        assert answer.headers["Content-Type"].startswith("application/json")
        assert "no_such_method" in caplog.text
        assert sandbox.record.in_flight == 0
        assert (await call("GET")).status == 200


@pytest.mark.parametrize("rule", [True, False])
@pytest.mark.parametrize("accepted", ["gzip", "deflate, gzip", "identity"])
async def test_answers_are_compressed_when_rule_and_client_ask_for_it(rule, accepted):
    """Errors too; what has no body has nothing to compress."""
    async with store(profiles=100, gzip=rule) as (sandbox, call), Wire(sandbox) as wire:
        plain = (await call("GET", headers={"Accept-Encoding": "identity"})).body
        wire.write("GET", f"Accept-Encoding: {accepted}")
        status, headers, body = await wire.read()
        packed = rule and "gzip" in accepted
        assert status == 200
        assert headers.get("content-encoding") == ("gzip" if packed else None)
        assert (gzip.decompress(body) if packed else body) == plain
        wire.write("GET", f"Accept-Encoding: {accepted}", path="nowhere")
        status, headers, _ = await wire.read()
        assert (status, headers.get("content-encoding")) == (404, "gzip" if packed else None)
        wire.write("DELETE", f"Accept-Encoding: {accepted}")
        status, headers, body = await wire.read()
        assert (status, headers.get("content-encoding"), body) == (204, None, b"")


async def test_a_compressed_answer_can_break_off():
    """Faults meet what goes over the wire."""
    async with store(profiles=100, gzip=True) as (sandbox, call):
        sandbox.faults.queue(Fault.half())
        with pytest.raises(aiohttp.ClientError):
            await call("GET")
        assert len((await call("GET")).json["data"]) == 50
