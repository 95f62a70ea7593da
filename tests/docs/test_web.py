"""The web services of the examples, served as a user would, and the tests that come with one."""

import asyncio
import contextlib
import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections import Counter

import attrs
import pytest
import uvicorn
from aiohttp import ClientError, ClientSession, TCPConnector, web
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from bcshopper import SessionClosedError
from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.docs.blocks import EXAMPLES, environment

SERVICES = ["service.py", "service_aiohttp.py"]


@pytest.fixture(autouse=True)
def no_threads(monkeypatch):
    """FastAPI calls what is not asynchronous here: time would run away from a thread."""

    async def run_sync(function, *args, **_):
        return function(*args)

    monkeypatch.setattr("anyio.to_thread.run_sync", run_sync)


def load(name, monkeypatch):
    """The module that an example is, made anew: aiohttp serves an application only once."""
    monkeypatch.syspath_prepend(EXAMPLES)
    for path in EXAMPLES.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    return importlib.import_module(name.removesuffix(".py"))


@attrs.frozen
class Served:
    """A service under way, its store, and a client that asks it."""

    sandbox: Sandbox
    http: ClientSession

    async def ask(self, method, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, path, headers=headers) as answer:
            text = await answer.text()
            assert self.sandbox.access_token not in text
            assert self.sandbox.url not in text
            return answer.status, text, answer.headers

    async def status(self, method, path, **headers):
        return (await self.ask(method, path, **headers))[0]


@contextlib.asynccontextmanager
async def serve_fastapi(app):
    """Serve it with uvicorn; yields its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def serve_aiohttp(app):
    """Serve it with aiohttp; yields its address."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1000).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def serving(name, monkeypatch, *, host=None, **settings):
    """Serve one of the two on a sandbox of its own; `host` makes another app of its module."""
    serve = serve_aiohttp if name == "service_aiohttp.py" else serve_fastapi
    async with Sandbox(**{"customers": 1000, "profiles": 60} | settings) as sandbox:
        for variable, value in environment(sandbox).items():
            monkeypatch.setenv(variable, value)
        module = load(name, monkeypatch)
        app = host(module) if host else module.app
        connector = TCPConnector(limit=0)
        async with serve(app) as url, ClientSession(url, connector=connector) as http:
            yield Served(sandbox, http)


@pytest.fixture
async def service(monkeypatch):
    async with serving("service.py", monkeypatch) as served:
        yield served


@pytest.fixture
async def service_aiohttp(monkeypatch):
    async with serving("service_aiohttp.py", monkeypatch) as served:
        yield served


async def test_pages(service):
    """A page has its profiles and the next page's number; one request to the API each."""
    _, text, _ = await service.ask("GET", "/profiles")
    page = json.loads(text)
    assert (len(page["profiles"]), page["total"], page["next"]) == (50, 60, 2)
    assert page["profiles"][0]["customer_id"] == 1
    _, text, _ = await service.ask("GET", "/profiles?page=2")
    assert (len(json.loads(text)["profiles"]), json.loads(text)["next"]) == (10, None)
    assert len(service.sandbox.record.requests) == 2


async def test_a_customer_gets_one_profile_and_loses_it(service):
    """201 for a new profile, 200 with the same id for a repeat, 204 for a delete and its repeat."""
    status, created, _ = await service.ask("PUT", "/customers/500/profile")
    assert status == 201
    assert json.loads(created)["id"] == str(service.sandbox.store.customers[500])
    assert (await service.ask("PUT", "/customers/500/profile"))[:2] == (200, created)
    path = f"/profiles/{json.loads(created)['id']}"
    assert await service.status("DELETE", path) == 204
    assert service.sandbox.store.customers[500] is None
    assert await service.status("DELETE", path) == 204


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/profiles?page=0"),
        ("GET", "/profiles?limit=251"),
        ("GET", "/profiles?page=x"),
        ("PUT", "/customers/0/profile"),
        ("PUT", f"/customers/{'9' * 30}/profile"),
        ("PUT", "/customers/x/profile"),
        ("DELETE", "/profiles/x"),
    ],
)
async def test_bad_input_is_a_422_and_goes_no_further(service, method, path):
    """The answer names it; the API is not asked."""
    status, text, _ = await service.ask(method, path)
    assert (status, bool(json.loads(text)["detail"])) == (422, True)
    assert not service.sandbox.record.requests


async def test_what_the_store_refuses_is_a_422_with_its_reason(service):
    """And costs those who shared its request nothing."""
    refused, *others = await asyncio.gather(
        service.ask("PUT", "/customers/424242/profile"),
        *(service.ask("PUT", f"/customers/{i}/profile") for i in range(500, 510)),
    )
    assert refused[:2] == (422, '{"detail":"Customer `424242` does not exist"}')
    assert [answer[0] for answer in others] == [201] * 10


def someones_app(module):
    """An application that had routes and a lifespan before it included the example's."""

    @contextlib.asynccontextmanager
    async def lifespan(_):
        opened.append(True)
        yield {"mine": "kept"}
        opened.append(False)

    opened = []
    app = FastAPI(lifespan=lifespan)
    handlers, middleware = dict(app.exception_handlers), list(app.user_middleware)
    app.include_router(module.router, prefix="/shop")
    assert (app.exception_handlers, app.user_middleware) == (handlers, middleware)

    @app.get("/slow")
    async def slow(request: Request, seconds: float):
        await asyncio.sleep(seconds)
        assert opened == [True]
        return request.state.mine

    @app.get("/fails")
    async def fails(kind: str):
        raise {"timeout": TimeoutError, "bcshopper": SessionClosedError}[kind]

    @app.exception_handler(TimeoutError)
    async def explain(*_):
        return JSONResponse("the app's own words", 418)

    return app


async def test_the_routes_leave_the_rest_of_an_application_alone(monkeypatch):
    """Deadline and error answers are theirs alone, whichever app includes them, at which prefix."""
    name = "profile_routes.py"
    async with serving(name, monkeypatch, host=someones_app) as service:
        assert await service.status("PUT", "/shop/customers/500/profile") == 201
        assert await service.status("GET", "/shop/profiles?page=0") == 422
        # no deadline, and nobody reads its header
        status, text, _ = await service.ask("GET", "/slow?seconds=90", X_Request_Timeout="0.1")
        assert (status, text) == (200, '"kept"')
        assert await service.status("GET", "/slow?seconds=0", X_Request_Timeout="soon") == 200
        assert (await service.ask("GET", "/fails?kind=timeout"))[:2] == (
            418,
            '"the app\'s own words"',
        )
        assert await service.status("GET", "/fails?kind=bcshopper") == 500
        # while theirs are as in an app of their own
        service.sandbox.faults.queue(Fault.stall(), Fault.error(401))
        late = await service.ask("GET", "/shop/profiles", X_Request_Timeout="0.2")
        assert late[:2] == (504, '{"detail":"no answer in time; asking again is safe"}')
        assert await service.status("GET", "/shop/profiles") == 502


BROKEN = [
    # the API fails, for as long as the attempts last
    pytest.param([Fault.error(500)] * 9, 502, id="500"),
    pytest.param([Fault.error(503, body="html")] * 9, 502, id="503"),
    pytest.param([Fault.cut(applied=False)] * 9, 502, id="cut"),
    pytest.param([Fault.garbage()] * 9, 502, id="garbage"),
    # our credentials
    pytest.param([Fault.error(401)], 502, id="401"),
    pytest.param([Fault.error(403)], 502, id="403"),
    pytest.param([Fault.error(404)], 502, id="404"),
    # no answer within the deadline
    pytest.param([Fault.stall()], 504, id="stall"),
]


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize(("faults", "expected"), BROKEN)
async def test_failures_of_the_api_have_their_status(name, faults, expected, monkeypatch):
    """502 for what the API or our account did, 504 for no answer in time; no word of the cause."""
    page = {"service.py": "/profiles", "service_aiohttp.py": "/profiles/1"}[name]
    for method, path in (("GET", page), ("PUT", "/customers/500/profile")):
        async with serving(name, monkeypatch) as service:
            service.sandbox.faults.queue(*faults)
            status, text, _ = await service.ask(method, path)
            assert (method, status) == (method, expected)
            assert "token" not in text


@pytest.mark.parametrize("name", SERVICES)
@pytest.mark.parametrize("headers", [{}, {"X-Retry-After": "7"}], ids=["silent", "asking"])
async def test_an_overloaded_api_is_a_429(name, headers, monkeypatch):
    """With Retry-After: what the API asked for, or else half a minute."""
    async with serving(name, monkeypatch) as service:
        service.sandbox.faults.rule(Fault.error(429, headers=headers))
        status, _, answered = await service.ask("PUT", "/customers/500/profile")
        assert (status, answered["Retry-After"]) == (429, headers.get("X-Retry-After", "30"))


async def test_a_spent_quota_is_a_429_until_the_window_ends(monkeypatch):
    """With the seconds until then, and it goes on when they are over; the API is not bothered."""
    rules = Rules(quota=10, window=30)
    async with serving("service.py", monkeypatch, rules=rules) as service:
        assert await service.status("GET", "/profiles") == 200
        service.sandbox.spend(8)
        assert await service.status("GET", "/profiles") == 200
        status, _, headers = await service.ask("GET", "/profiles")
        assert status == 429
        assert 28 <= int(headers["Retry-After"]) <= 31
        await asyncio.sleep(int(headers["Retry-After"]))
        assert await service.status("GET", "/profiles") == 200
        assert service.sandbox.record.statuses[429] == 0


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_callers_deadline_is_kept(service, method):
    """To the second that it names, whichever the request; one that is none is refused."""
    profile_id = service.sandbox.store.customers[1]
    path = {
        "GET": "/profiles",
        "PUT": "/customers/500/profile",
        "DELETE": f"/profiles/{profile_id}",
    }[method]
    service.sandbox.faults.rule(Fault.slow(30))
    loop = asyncio.get_running_loop()
    for seconds in (1.5, 10):
        named = {"X_Request_Timeout": str(seconds)} if seconds != 10 else {}
        start = loop.time()
        assert await service.status(method, path, **named) == 504
        assert seconds <= loop.time() - start < seconds + 0.5
    for nonsense in ("0", "-1", "nan", "inf", "61", "soon"):
        assert await service.status(method, path, X_Request_Timeout=nonsense) == 422


async def test_it_is_ready_once_the_api_has_answered(service):
    """Not before, and without asking again afterwards."""
    service.sandbox.faults.queue(Fault.error(401), Fault.stall())
    assert await service.status("GET", "/ready") == 502
    assert await service.status("GET", "/ready") == 504
    assert await service.status("GET", "/ready") == 204
    asked = len(service.sandbox.record.requests)
    service.sandbox.faults.rule(Fault.error(500))
    assert await service.status("GET", "/ready") == 204
    assert len(service.sandbox.record.requests) == asked


@pytest.mark.parametrize("name", SERVICES)
async def test_200_callers_at_once_share_four_requests(name, monkeypatch):
    """Each gets an answer of its own."""
    async with serving(name, monkeypatch) as served:
        statuses = await asyncio.gather(
            *(served.status("PUT", f"/customers/{i}/profile") for i in range(101, 301))
        )
        assert Counter(statuses) == {201 if name == "service.py" else 200: 200}
        assert served.sandbox.record.counts["POST", "shopper-profiles"] in range(
            4, 9
        )  # a busy machine may send some later


async def test_the_aiohttp_service_does_the_same(service_aiohttp):
    """Pages, creates, deletes, and what it refuses."""
    served = service_aiohttp
    _, text, _ = await served.ask("GET", "/profiles/1")
    assert (len(json.loads(text)["customers"]), json.loads(text)["next"]) == (50, 2)
    for status in ("created", "exists"):
        _, text, _ = await served.ask("PUT", "/customers/500/profile")
        assert json.loads(text) == {"status": status}
    profile_id = served.sandbox.store.customers[500]
    _, text, _ = await served.ask("DELETE", f"/profiles/{profile_id}")
    assert json.loads(text) == {"status": "deleted"}
    for method, path in (
        ("GET", "/profiles/0"),
        ("PUT", "/customers/0/profile"),
        ("PUT", "/customers/424242/profile"),
        ("DELETE", "/profiles/x"),
    ):
        assert await served.status(method, path) == 422


async def test_the_aiohttp_service_can_be_a_part_of_another(monkeypatch):
    """Whose other routes keep their own time and their own errors."""

    async def slow(_):
        await asyncio.sleep(90)
        raise SessionClosedError

    def host(module):
        app = web.Application()
        app.router.add_get("/slow", slow)
        app.add_subapp("/shop", module.app)
        return app

    async with serving("service_aiohttp.py", monkeypatch, host=host) as served:
        assert await served.status("PUT", "/shop/customers/500/profile") == 200
        assert await served.status("GET", "/slow") == 500
        served.sandbox.faults.queue(Fault.error(401), Fault.stall())
        assert await served.status("GET", "/shop/profiles/1") == 502
        assert await served.status("GET", "/shop/profiles/1") == 504


COUNTED = {
    "service.py": """
        import sys, service

        accepted = 0

        async def app(scope, receive, send):
            global accepted
            accepted += scope["type"] == "http"
            await service.app(scope, receive, send)
            if scope["type"] == "lifespan":
                print(accepted, flush=True)

        import uvicorn
        uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
    """,
    "service_aiohttp.py": """
        import sys, service_aiohttp
        from aiohttp import web

        accepted = 0

        @web.middleware
        async def count(request, handler):
            global accepted
            accepted += 1
            return await handler(request)

        service_aiohttp.app.middlewares.insert(0, count)
        web.run_app(
            service_aiohttp.app, host="127.0.0.1", port=int(sys.argv[1]), print=None,
            access_log=None,
        )
        print(accepted, flush=True)
    """,
}


@contextlib.asynccontextmanager
async def program(name, folder, sandbox, *options):
    """Run a service as a program; yields it, its client, and what it has printed.

    It prints how many requests it took, and has had one.
    """
    (folder / "counted.py").write_text(textwrap.dedent(COUNTED[name]))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    printed, complaints = folder / "printed", folder / "complaints"
    with printed.open("w") as stdout, complaints.open("w") as stderr:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *options, "counted.py", str(port),
            cwd=folder, env={**os.environ, **environment(sandbox), "PYTHONPATH": str(EXAMPLES)},
            stdout=stdout, stderr=stderr,
        )  # fmt: skip
    # a connection of its own for each request: none is closed while it waits for another one
    connector = TCPConnector(limit=0, force_close=True)
    async with ClientSession(f"http://127.0.0.1:{port}", connector=connector) as http:
        try:
            while True:
                with contextlib.suppress(OSError):
                    async with http.put("/customers/1/profile") as answer:
                        assert answer.ok
                    break
                assert process.returncode is None, complaints.read_text()
                await asyncio.sleep(0.05)
            yield process, http, printed.read_text, complaints.read_text
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


ENDED = {"service.py": -signal.SIGTERM, "service_aiohttp.py": 0}


@pytest.mark.real_time
@pytest.mark.parametrize("name", SERVICES)
async def test_a_shutdown_under_load_loses_no_request(name, tmp_path):
    """While ever more come in, and one of twenty of the API's answers gets lost.

    All that were accepted are answered well, each by one profile.
    """
    answers, failures = {}, []
    customers = iter(range(2, 100_001))

    async def ask_on():
        for customer_id in customers:
            try:
                async with http.put(f"/customers/{customer_id}/profile") as answer:
                    await answer.read()
                    answers[customer_id] = answer.status
            except ClientError as error:
                failures.append(error)
                return

    async def end():
        while len(answers) < 200 or not sandbox.record.in_flight:  # noqa: ASYNC110 - polled
            await asyncio.sleep(0.001)
        process.send_signal(signal.SIGTERM)
        return len(answers)

    with Sandbox(customers=100_000) as sandbox:
        async with program(name, tmp_path, sandbox) as (process, http, printed, _):
            sandbox.faults.rule(Fault(ending="cut", applied=True), probability=0.05)
            sandbox.faults.rule(Fault.slow(0.3))
            early, *_ = await asyncio.gather(end(), *(ask_on() for _ in range(200)))
            await process.wait()
        profiles = Counter(profile.customer_id for profile in sandbox.store.profiles.values())
    assert process.returncode == ENDED[name]
    assert early < len(answers) == int(printed()) - 1
    assert set(answers.values()) <= {200, 201}
    assert profiles == dict.fromkeys([1, *answers], 1)
    assert len(failures) == 200  # the load went on until nobody listened


@pytest.mark.real_time
@pytest.mark.parametrize("name", SERVICES)
async def test_a_shutdown_leaves_no_warning(name, tmp_path):
    """What is under way is answered, and nothing is printed under the strictest settings."""

    def under_way():
        return sum(len(json.loads(r.body)) for r in sandbox.record.requests if r.body)

    async def ask(customer_id):
        async with http.put(f"/customers/{customer_id}/profile") as answer:
            return answer.status

    with Sandbox(customers=100) as sandbox:
        strict = ("-X", "dev", "-W", "error")
        async with program(name, tmp_path, sandbox, *strict) as (process, http, _, complaints):
            sandbox.faults.rule(Fault.slow(0.5))
            asked = asyncio.gather(*(ask(customer_id) for customer_id in range(2, 101)))
            while under_way() < 100:  # noqa: ASYNC110 - polled
                await asyncio.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            assert set(await asked) <= {200, 201}
            await process.wait()
        assert None not in sandbox.store.customers.values()
    assert process.returncode == ENDED[name]
    slow = "Executing <"  # a busy machine is no warning
    assert not [line for line in complaints().splitlines() if not line.startswith(slow)]


@pytest.mark.real_time
def test_the_tests_of_the_web_service_pass(tmp_path):
    """In a project that has these files and nothing else."""
    for name in ("service.py", "profile_routes.py", "test_service.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:asyncio"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert "5 passed" in done.stdout, done.stdout
