"""The admin API and the page, for those who are not in this process: `/_sandbox/`."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from aiohttp import web
from msgspec import Meta, Struct
from yarl import URL

from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._answers import Answer, Refused, problem
from bcshopper.sandbox._documents import FaultDocument, add_fault, convert, read_rules
from bcshopper.sandbox._http import read_body, send
from bcshopper.sandbox._openapi import Operation, describe
from bcshopper.sandbox._paths import ADMIN, fits
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._seed import Seed, plant
from bcshopper.sandbox._server import Server
from bcshopper.sandbox._webhooks import Webhooks

if TYPE_CHECKING:
    from bcshopper.sandbox import Sandbox

_NEWEST = 20  # profiles and segments that the state tells of
_MOST = 1000  # requests in one answer
_PAGE = Path(__file__).with_name("_page.html")


class ProfileState(Struct):
    """A shopper profile."""

    id: str
    customer_id: int


class SegmentState(Struct):
    """A segment, and how many profiles are in it."""

    id: str
    name: str
    members: int


class QuotaState(Struct):
    """A quota: of the `store`, or of one resource."""

    per: str
    limit: int
    used: int
    seconds_left: float


class WebhookState(Struct):
    """What became of the webhooks; `waiting` ones have not arrived yet."""

    waiting: int
    delivered: int
    failed: int
    lost: int


class State(Struct):
    """The store and what it is asked.

    `requests` are by status, and `first` and `last` are the numbers of the oldest and the newest
    request since the last reset. The newest profiles and segments come first.
    """

    base_url: str
    store_hash: str
    access_token: str
    read_only_token: str
    customers: int
    profiles: int
    segments: int
    wipes: int
    newest_profiles: list[ProfileState]
    newest_segments: list[SegmentState]
    first: int
    last: int
    in_flight: int
    requests: dict[str, int]
    queued_faults: int
    fault_rules: int
    quotas: list[QuotaState]
    rules: Rules
    webhooks: WebhookState | None


class RequestState(Struct):
    """A request; without a `status` there was no answer, without `took` it is under way."""

    number: int
    method: str
    path: Annotated[str, Meta(description="below /v3/, or the whole of another path")]
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: str
    at: datetime
    status: int | None
    took: Annotated[float | None, Meta(description="seconds")]


class Requests(Struct):
    """Requests, oldest first; with `next` as `since`, those follow that are new or under way."""

    requests: list[RequestState]
    next: int


class Filter(Struct, forbid_unknown_fields=True):
    """Which requests."""

    since: Annotated[int, Meta(ge=0, description="only those with a higher number")] = 0
    method: str | None = None
    path: Annotated[str | None, Meta(description="below /v3/; `*` is any one part")] = None
    status: int | None = None
    limit: Annotated[int, Meta(ge=1, le=_MOST)] = _MOST


class Spending(Struct, forbid_unknown_fields=True):
    """Requests of the store's other apps."""

    count: Annotated[int, Meta(ge=1, le=2**31)]


class Admin:
    """Looks at a sandbox and changes it, for its own machine."""

    def __init__(self, sandbox: Sandbox, server: Server, webhooks: Webhooks | None) -> None:
        self._sandbox = sandbox
        self._server = server
        self._webhooks = webhooks
        operations = (
            Operation("GET", "state", "What the store holds and does", self._state, State),
            Operation("GET", "requests", "What came", self._requests, Requests, query=Filter),
            Operation(
                "POST", "faults", "One fault: for the next request, or by rule", self._fault,
                body=FaultDocument,
            ),
            Operation("DELETE", "faults", "Forget all faults", self._clear),
            Operation("POST", "seed", "Add customers, profiles, segments", self._seed, body=Seed),
            Operation("POST", "reset", "Make all as it was at the start", self._reset),
            Operation("POST", "spend", "Use up quota", self._spend, body=Spending),
            Operation("PUT", "rules", "Behave so from now on", self._rules, body=Rules),
        )  # fmt: skip
        self._operations = {(o.path, o.method): o for o in operations}
        self._description = msgspec.json.encode(describe(operations))
        self._html, self._policy = _read_page()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request to a path below `/_sandbox/`."""
        body = await read_body(request)
        if isinstance(body, bytes):
            refusal = _refusal(request)
            body = refusal or self._answer(
                request.method, request.path.removeprefix(ADMIN), request.query, body
            )
        headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": self._policy,
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            **body.headers,
        }
        answer = Answer(body.status, body.body, headers)
        return await send(request, answer, "whole", packed=False, closed=False)

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> Answer:
        fixed = {
            ADMIN.rstrip("/"): Answer(308, headers={"Location": ADMIN}),
            "": Answer(200, self._html, {"Content-Type": "text/html; charset=utf-8"}),
            "openapi.json": Answer(200, self._description),
        }
        methods = ["GET"] * (path in fixed) + [m for p, m in self._operations if p == path]
        if not methods:
            known = ", ".join(sorted({p for p, _ in self._operations} | {"openapi.json"}))
            return problem(404, f"below {ADMIN} there are {known}, not {path:.50}")
        if method not in methods:
            refusal = problem(405, f"{path or 'the page'} takes {', '.join(methods)}, not {method}")
            return Answer(405, refusal.body, {"Allow": ", ".join(methods)})
        if path in fixed:
            return fixed[path]
        operation = self._operations[path, method]
        try:
            told = operation.handler(_said(operation, query, body))
        except InvalidInputError as error:
            return problem(422, str(error))
        except Refused as refused:
            return refused.answer
        return Answer(204) if told is None else Answer(200, msgspec.json.encode(told))

    def _state(self, _: object) -> State:
        sandbox, record, store = self._sandbox, self._server.record, self._sandbox.store
        quota, hooks = self._server.quota, self._webhooks
        return State(
            base_url=sandbox.url,
            store_hash=sandbox.store_hash,
            access_token=sandbox.access_token,
            read_only_token=sandbox.read_only_token,
            customers=len(store.customers),
            profiles=len(store.profiles),
            segments=len(store.segments),
            wipes=store.wipes,
            newest_profiles=[
                ProfileState(str(p.id), p.customer_id) for p in store.profiles.newest(_NEWEST)
            ],
            newest_segments=[
                SegmentState(str(segment.id), segment.name, len(segment.members))
                for segment in store.segments.newest(_NEWEST)
            ],
            first=record.first,
            last=record.last,
            in_flight=record.in_flight,
            requests={str(status): count for status, count in sorted(record.statuses.items())},
            queued_faults=len(sandbox.faults.unused),
            fault_rules=sandbox.faults.rule_count,
            quotas=[]
            if quota is None
            else [
                QuotaState(per, quota.limit, used, seconds)
                for per, (used, seconds) in quota.windows(self._server.now()).items()
            ],
            rules=sandbox.rules,
            webhooks=None
            if hooks is None
            else WebhookState(hooks.waiting, hooks.delivered, hooks.failed, hooks.lost),
        )

    def _requests(self, said: object) -> Requests:
        wanted = convert(said, Filter, strict=False)
        found: list[RequestState] = []
        last, open_ = wanted.since, None
        for number, request in self._server.record.since(wanted.since):
            if len(found) == wanted.limit:
                break
            last = number
            path = request.path.removeprefix(self._server.prefix)
            if wanted.method not in {None, request.method}:
                continue
            if wanted.status not in {None, request.status}:
                continue
            if wanted.path is not None and not fits(wanted.path, path):
                continue
            if request.took is None and open_ is None:
                open_ = number
            age = self._server.now() - request.at
            found.append(
                RequestState(
                    number=number,
                    method=request.method,
                    path=path,
                    query=list(request.query),
                    headers=dict(request.headers),
                    body=request.body.decode(errors="replace"),
                    at=datetime.fromtimestamp(time.time() - age, UTC),
                    status=request.status,
                    took=request.took,
                )
            )
        return Requests(found, last if open_ is None else open_ - 1)

    def _fault(self, said: object) -> None:
        add_fault(self._sandbox.faults, said)

    def _clear(self, _: object) -> None:
        self._sandbox.faults.clear()

    def _seed(self, said: object) -> None:
        plant(self._sandbox.store, convert(said, Seed))

    def _reset(self, _: object) -> None:
        self._sandbox.reset()

    def _spend(self, said: object) -> None:
        if self._server.quota is None:
            raise InvalidInputError("the store has no quota to spend: set the rule quota")
        self._sandbox.spend(convert(said, Spending).count)

    def _rules(self, said: object) -> None:
        self._sandbox.rules = read_rules(said)


def _said(operation: Operation, query: Mapping[str, str], body: bytes) -> object:
    """What an operation is told: the body of those that have one, the query of others."""
    if operation.body is None:
        return dict(query)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON: {error}") from None


def _refusal(request: web.BaseRequest) -> Answer | None:
    """Refuses a web page of another origin, also one that has its own name lead here."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        return problem(403, f"the Host must be a loopback address, not {', '.join(hosts):.100}")
    origin = request.headers.get("Origin", f"http://{hosts[0]}")
    if origin != f"http://{hosts[0]}":
        return problem(403, f"a page of {origin:.100} may not ask here")
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        return problem(403, "a page of another origin may not ask here")
    return None


def _is_loopback(host: str) -> bool:
    try:
        name = URL(f"http://{host}").host or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _read_page() -> tuple[bytes, str]:
    """The page, and the policy that lets it run its own script and style, and nothing else."""
    html = _PAGE.read_bytes()
    hashes = {}
    for tag in (b"script", b"style"):
        (text,) = re.findall(rb"<%b>(.*?)</%b>" % (tag, tag), html, flags=re.DOTALL)
        hashes[tag] = "'sha256-" + base64.b64encode(hashlib.sha256(text).digest()).decode() + "'"
    return html, (
        f"default-src 'none'; script-src {hashes[b'script']}; style-src {hashes[b'style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
