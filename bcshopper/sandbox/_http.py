"""Requests and answers on a real connection, with what can become of them there."""

from __future__ import annotations

import asyncio
import gzip
from http import HTTPStatus
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from bcshopper.sandbox._answers import Answer, problem
from bcshopper.sandbox._faults import Ending

_GLANCE = 1.0  # seconds between two looks whether a client is still there


class _Connection(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, message)
        if isinstance(response, web.Response):
            words = (message or HTTPStatus(status).phrase).splitlines()
            response.body = problem(status, words[0]).body
            response.content_type = "application/json"
        return response


class Listener(web.Server):
    """A server whose own errors, such as for what is no HTTP, are in the API's shape too."""

    def __call__(self) -> web.RequestHandler:
        no_log: Any = None
        return _Connection(self, loop=asyncio.get_running_loop(), access_log=no_log)


async def read_body(request: web.BaseRequest) -> bytes | Answer:
    """A request's whole body, or what is answered where there is none to be had."""
    expected = request.headers.get("Expect")
    if expected is not None and expected.lower() != "100-continue":
        return problem(417, f"the sandbox can't do what is expected: {expected:.50}")
    if expected is not None:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # this was not yet the answer
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        return problem(413, "the body is too large")
    except web.RequestPayloadError as error:
        return problem(400, f"the body can't be read: {error}")


async def send(
    request: web.BaseRequest, answer: Answer, ending: Ending, *, packed: bool, closed: bool
) -> web.StreamResponse:
    """Send an answer, or a part of it.

    Args:
        request: what it answers.
        answer: all of it.
        ending: how much of it is sent, and how that ends.
        packed: whether it is compressed for clients that take it.
        closed: whether the connection is closed after it without a word.
    """
    headers = CIMultiDict({"Content-Type": "application/json"})
    headers.update(answer.headers)
    body = answer.body
    if packed and body and "gzip" in request.headers.get("Accept-Encoding", ""):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    if ending == "whole":
        return await _send_whole(
            request, web.Response(status=answer.status, body=body, headers=headers), closed=closed
        )
    response = web.StreamResponse(status=answer.status, headers=headers)
    if ending != "cut" and body:
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
    while ending == "stall" and not _is_gone(request):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_GLANCE)
    return abort(request, response)


async def _send_whole(
    request: web.BaseRequest, response: web.Response, *, closed: bool
) -> web.StreamResponse:
    if closed:
        await response.prepare(request)
        await response.write_eof()
        if request.transport is not None:
            request.transport.close()
    return response


def abort(
    request: web.BaseRequest, response: web.StreamResponse | None = None
) -> web.StreamResponse:
    """Cut the connection."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


def _is_gone(request: web.BaseRequest) -> bool:
    return request.transport is None or request.transport.is_closing()
