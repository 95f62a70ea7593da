"""Error answers, in each documented shape and in none, to exceptions."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs
import msgspec

from bcshopper import errors
from bcshopper._quota import read_retry_after
from bcshopper._transport.convert import MAX_PLAIN
from bcshopper._transport.messages import Reply, Request
from bcshopper.errors import ResponseFormatError

_CLASSES: Mapping[int, type[errors.APIError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.PayloadTooLargeError,
    422: errors.UnprocessableError,
    429: errors.RateLimitError,
}
_HINTS: Mapping[int, str] = {
    401: "check the access token",
    403: "the token needs the scope store_v2_customers, and the store an Enterprise plan",
    404: "check the store hash",
}
# Characters; an error is to fit on a screen.
_BODY_KEPT = 2000
_EXCERPT_KEPT = 200
_WORDS_KEPT = 500
_MOST_SAID = 1000
_MOST_PROBLEMS = 1000  # problems, and messages in each, that are read; a request has 50 items
NO_ERRORS = msgspec.Raw(b"null")
"""Errors beside data are noticed, and built only where they are read: they can be of any size."""
_NOTHING = frozenset({b"null", b"[]", b"{}", b'""', b"false", b"0"})
_POSITION = re.compile(r"\[?(\d{1,9})\]?(?:\.|$)", re.ASCII)


@attrs.frozen
class Problem:
    """What an error body says; each part may be missing.

    Attributes:
        title: the one-line description.
        type: the URI of the problem type.
        errors: messages by field or position.
        status: the status of this problem, inside an answer that has several.
    """

    title: str | None = None
    type: str | None = None
    errors: Mapping[str, str] = attrs.field(factory=dict[str, str])
    status: int | None = None

    def words_by_position(self, count: int) -> dict[int, str]:
        """The messages that name a position in a request of `count` items."""
        words: dict[int, str] = {}
        for key, text in self.errors.items():
            match = _POSITION.match(key)
            if match and int(match[1]) < count:
                words[int(match[1])] = text
        return words


def says_something(errors: msgspec.Raw) -> bool:
    """Whether the errors beside data are any."""
    return bytes(errors) not in _NOTHING


def read_problems(body: bytes) -> list[Problem]:
    """Every problem in a body: none, one (the documented error) or several (a conflict)."""
    if len(body) > MAX_PLAIN:
        return []
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    if not isinstance(document, dict):
        return []
    inner = document.get("errors")
    items = inner[:_MOST_PROBLEMS] if isinstance(inner, list) else []
    several = [item for item in items if isinstance(item, dict)]
    if several:
        return [_problem(item) for item in several]
    problem = attrs.evolve(_problem(document), status=None)  # the answer's own status counts
    return [problem] if problem != Problem() else []


def _problem(document: dict[str, Any]) -> Problem:
    title, kind = document.get("title"), document.get("type")
    inner, status = document.get("errors"), document.get("status")
    if not isinstance(title, str):
        title = next(
            (v for k in ("detail", "message") if isinstance(v := document.get(k), str)), None
        )
    return Problem(
        title=None if title is None else title[:_WORDS_KEPT],
        type=kind if isinstance(kind, str) else None,
        errors={str(k): str(v)[:_WORDS_KEPT] for k, v in islice(inner.items(), _MOST_PROBLEMS)}
        if isinstance(inner, dict)
        else {},
        status=status if isinstance(status, int) else None,
    )


def api_error(request: Request, reply: Reply, problem: Problem | None = None) -> errors.APIError:
    """The exception for an error answer, or for one `problem` of several in it."""
    status = reply.status
    if problem is None:
        problems = read_problems(reply.body)
        problem = problems[0] if problems else Problem()
        if status < 300 and problem.status is not None:  # noqa: PLR2004 - HTTP
            status = problem.status  # an answer that is a success for others
    elif problem.status is not None and 400 <= problem.status < 600:  # noqa: PLR2004
        status = problem.status
    mask = reply.mask
    request_id = reply.headers.get("X-Request-ID")
    title = mask(problem.title or reply.reason[:_WORDS_KEPT]) or "no reason given"
    message = f"{request.label} answered {status}: {title}"
    said = {mask(key): mask(words) for key, words in problem.errors.items()}
    if said:
        words = "; ".join(f"{key}: {words}" for key, words in said.items())
        message += f" ({words[:_MOST_SAID]})"
    hint = request.hints.get(status, _HINTS.get(status))
    if hint is not None:
        message += f"; {hint}"
    return error_class(status)(
        message,
        status=status,
        title=title,
        type=problem.type and mask(problem.type),
        errors=said,
        method=request.method,
        url=str(request.url),
        request_id=request_id and mask(request_id),
        retry_after=read_retry_after(reply.headers, status=reply.status, now=time.time()),
        body=mask(_beginning(reply.body, _BODY_KEPT)),
    )


def malformed(request: Request, reply: Reply, reason: str, field: str) -> ResponseFormatError:
    """The exception for an answer that is not the documented one."""
    excerpt = reply.mask(_beginning(reply.body, _EXCERPT_KEPT))
    where = reply.mask(field[:_WORDS_KEPT])
    return ResponseFormatError(
        f"{request.label} answered {reply.status} with a body that the API does not document: "
        f"{reply.mask(reason[:_WORDS_KEPT])} at {where}. It begins: {excerpt!r}",
        method=request.method,
        url=str(request.url),
        status=reply.status,
        field=where,
        excerpt=excerpt,
    )


def _beginning(body: bytes, characters: int) -> str:
    # no character has more than 4 bytes
    return body[: 4 * characters].decode(errors="replace")[:characters]


def error_class(status: int) -> type[errors.APIError]:
    """The class for an HTTP status."""
    if status >= 500:  # noqa: PLR2004 - HTTP
        return errors.ServerError
    return _CLASSES.get(status, errors.APIError)
