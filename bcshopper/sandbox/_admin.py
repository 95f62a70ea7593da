"""The admin API and the page, for other programs and people on this machine: `/_sandbox/`."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import attrs
import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from yarl import URL

from bcshopper._session import is_loopback
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._answers import Answer, problem
from bcshopper.sandbox._documents import FaultDocument, add_fault, convert, read_rules
from bcshopper.sandbox._http import read_body, send
from bcshopper.sandbox._openapi import Operation, describe
from bcshopper.sandbox._paths import ADMIN, fits
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._seed import Seed, plant

if TYPE_CHECKING:
    from bcshopper.sandbox import Sandbox
    from bcshopper.sandbox._server import Server
    from bcshopper.sandbox._webhooks import Webhooks

_PAGE = Path(__file__).with_name("_page.html")


class Filter(Struct, forbid_unknown_fields=True):
    """Which requests."""

    since: Annotated[int, Meta(ge=0, description="only those with a higher number")] = 0
    method: str | None = None
    path: Annotated[str | None, Meta(description="below /v3/; `*` is any one part")] = None
    status: int | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 1000


class Spending(Struct, forbid_unknown_fields=True):
    """Requests of the store's other apps."""

    count: Annotated[int, Meta(ge=1, le=2**31)]


class Admin:
    """Looks at a sandbox and changes it."""

    def __init__(self, sandbox: Sandbox, server: Server, webhooks: Webhooks | None) -> None:
        self._sandbox, self._server, self._webhooks = sandbox, server, webhooks
        operations = (
            Operation("GET", "state", "The store's counts, faults, quotas, rules", self._state),
            Operation("GET", "requests", "What came, oldest first", self._requests, query=Filter),
            Operation(
                "POST", "faults", "One fault: for the next request, or by rule",
                lambda said: add_fault(sandbox.faults, said), body=FaultDocument,
            ),
            Operation("DELETE", "faults", "Forget all faults", lambda _: sandbox.faults.clear()),
            Operation(
                "POST", "seed", "Add customers, profiles, segments",
                lambda said: plant(sandbox.store, convert(said, Seed)), body=Seed,
            ),
            Operation("POST", "reset", "All is as at the start", lambda _: sandbox.reset()),
            Operation("POST", "spend", "Use up quota", self._spend, body=Spending),
            Operation("PUT", "rules", "Behave so from now on", self._rules, body=Rules),
        )  # fmt: skip
        itself = Operation("GET", "openapi.json", "All of this", lambda _: describe(operations))
        self._operations = {(o.path, o.method): o for o in (*operations, itself)}
        html = _PAGE.read_bytes()
        self._fixed = {
            ADMIN.rstrip("/"): Answer(308, headers={"Location": ADMIN}),
            "": Answer(200, html, {"Content-Type": "text/html; charset=utf-8"}),
        }
        own = [_digest(html, tag) for tag in (b"script", b"style")]
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": f"default-src 'none'; script-src {own[0]}; "
            f"style-src {own[1]}; img-src data:; connect-src 'self'; base-uri 'none'; "
            "frame-ancestors 'none'",
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to a path below `/_sandbox/`."""
        body, path = await read_body(request), request.path.removeprefix(ADMIN)
        answer = _refusal(request) or (
            body if isinstance(body, Answer)
            else self._answer(request.method, path, request.query, body)
        )  # fmt: skip
        answer = Answer(answer.status, answer.body, self._headers | dict(answer.headers))
        return await send(request, answer, "whole", packed=False, closed=False)

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        methods = ["GET"] * (path in self._fixed) + [m for p, m in self._operations if p == path]
        if not methods:
            known = ", ".join(sorted({p for p, _ in self._operations}))
            return problem(404, f"below {ADMIN} there are {known}, not {path:.50}")
        if method not in methods:
            refusal = problem(405, f"{path or 'the page'} takes {', '.join(methods)}, not {method}")
            return attrs.evolve(refusal, headers={"Allow": ", ".join(methods)})
        if path in self._fixed:
            return self._fixed[path]
        operation = self._operations[path, method]
        try:
            said = dict(query) if operation.body is None else msgspec.json.decode(body)
            told = operation.handler(said)
        except (msgspec.DecodeError, RecursionError) as error:
            return problem(400, f"the body is not JSON: {error}")
        except InvalidInputError as error:
            return problem(422, str(error))
        return Answer(204) if told is None else Answer(200, msgspec.json.encode(told))

    def _state(self, _: object) -> dict[str, Any]:
        sandbox, record, store = self._sandbox, self._server.record, self._sandbox.store
        quota = self._server.quota
        return {
            "store_hash": sandbox.store_hash,
            "access_token": sandbox.access_token,
            "customers": len(store.customers),
            "profiles": len(store.profiles),
            "segments": len(store.segments),
            "wipes": store.wipes,
            "first": record.first,
            "last": record.last,
            "in_flight": record.in_flight,
            "statuses": record.statuses,
            "queued_faults": len(sandbox.faults.unused),
            "quotas": {} if quota is None else quota.windows(self._server.now()),
            "rules": sandbox.rules,
            "webhooks": self._webhooks and self._webhooks.counts,
        }

    def _requests(self, said: object) -> dict[str, Any]:
        wanted = convert(said, Filter, strict=False)
        found: list[dict[str, Any]] = []
        last, now = wanted.since, self._server.now()
        for number, logged in self._server.record.since(wanted.since):
            if len(found) == wanted.limit:
                break
            last, path = number, logged.path.removeprefix(self._server.prefix)
            if (
                wanted.method in {None, logged.method}
                and wanted.status in {None, logged.status}
                and (wanted.path is None or fits(wanted.path, path))
            ):
                at = datetime.fromtimestamp(time.time() - now + logged.at, UTC)
                body = logged.body.decode(errors="replace")
                named = {"number": number, "path": path, "body": body, "at": at}
                found.append(attrs.asdict(logged, recurse=False) | named)
        under_way = [request["number"] for request in found if request["took"] is None]
        return {"requests": found, "next": min([last, *(number - 1 for number in under_way)])}

    def _spend(self, said: object) -> None:
        count = convert(said, Spending).count
        if self._server.quota is None:
            raise InvalidInputError("there is no quota to spend: set the rule quota")
        self._sandbox.spend(count)

    def _rules(self, said: object) -> None:
        self._sandbox.rules = read_rules(said)


def _digest(html: bytes, tag: bytes) -> str:
    text = html.partition(b"<%b>" % tag)[2].partition(b"</%b>" % tag)[0]
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def _refusal(request: web.BaseRequest) -> Answer | None:
    """Refuses a web page of another origin, also one that has its own name lead here."""
    host = ", ".join(request.headers.getall("Host", []))
    try:
        is_ours = is_loopback(URL(f"http://{host}").host or "")
    except ValueError:
        is_ours = False
    if not is_ours:
        return problem(403, f"the Host must be a loopback address, not {host:.100}")
    is_ours = request.headers.get("Origin", f"http://{host}") == f"http://{host}"
    if not is_ours or request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return problem(403, "a page of another origin may not ask here")
    return None
