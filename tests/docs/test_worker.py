"""The event-driven worker of the examples: its files, run as programs against each broker."""

import asyncio
import inspect
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import aio_pika
import nats
import nats.js.errors
import pytest
import redis.asyncio
from aiohttp import ClientSession
from standardwebhooks import Webhook

from bcshopper.sandbox import Fault, Rules, Sandbox
from tests.docs.blocks import EXAMPLES, environment

pytestmark = pytest.mark.real_time

SECRET = "aGFyZCB0byBndWVzcw=="
READY = {"receiver.py": "Running on", "worker.py": "started successfully"}
PER_REQUEST = 50


class Broker:
    """One of those on this machine, and a queue of its own there."""

    def __init__(self, name):
        self.name = name

    async def is_empty(self):
        """Whether every event that came is acknowledged."""
        return await self.left() == 0


class Nats(Broker):
    """JetStream, with one stream and its consumer."""

    url = "nats://127.0.0.1:4222"

    async def __aenter__(self):
        self.client = await nats.connect(self.url, max_reconnect_attempts=0)
        return self

    async def left(self):
        """Events that are not acknowledged."""
        with suppress(nats.js.errors.NotFoundError):
            return (await self.client.jetstream().stream_info(self.name)).state.messages
        return 0

    async def __aexit__(self, *error):
        with suppress(nats.js.errors.NotFoundError):
            await self.client.jetstream().delete_stream(self.name)
        await self.client.close()


class Rabbit(Broker):
    """RabbitMQ, with one queue; it tells of what is unacknowledged once nobody consumes."""

    url = "amqp://guest:guest@127.0.0.1:5672/"

    async def __aenter__(self):
        self.connection = await aio_pika.connect(self.url)
        return self

    async def left(self):
        """Events that nobody has in hand and that are not acknowledged."""
        async with self.connection.channel() as channel:
            queue = await channel.declare_queue(self.name, passive=True)
            return queue.declaration_result.message_count

    async def __aexit__(self, *error):
        async with self.connection.channel() as channel:
            await channel.queue_delete(self.name)
        await self.connection.close()


class Redis(Broker):
    """A Redis stream, with one group."""

    url = "redis://127.0.0.1:6379"

    async def __aenter__(self):
        self.client = redis.asyncio.from_url(self.url)
        return self

    async def left(self):
        """Events that are not delivered, or not acknowledged."""
        (group,) = await self.client.xinfo_groups(self.name)
        return group["lag"] + group["pending"]

    async def __aexit__(self, *error):
        await self.client.delete(self.name)
        await self.client.aclose()


@pytest.fixture(params=[Nats, Rabbit, Redis], ids=lambda kind: kind.__name__)
async def broker(request):
    async with AsyncExitStack() as stack:
        port = int(request.param.url.rstrip("/").rpartition(":")[2])
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError as error:
            pytest.skip(f"no {request.param.__name__} on 127.0.0.1:{port}: {error}")
        yield await stack.enter_async_context(request.param(f"test_{uuid4().hex}"))


class Example:
    """The example's programs, as one deploys them; they share `queue_setting.py`."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.environment = {**os.environ, **settings, "PYTHONUNBUFFERED": "1"}
        self.running = []

    async def start(self, program):
        """Start a program and wait until it is ready."""
        log = self.folder / f"{uuid4().hex}.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable, program,
                cwd=EXAMPLES, env=self.environment, stdout=output, stderr=output,
            )  # fmt: skip
        process.log = log
        self.running.append(process)
        ready = READY[program]
        await eventually(lambda: ready in log.read_text() or process.returncode is not None)
        assert process.returncode is None, log.read_text()
        return process

    async def stop(self, process):
        """End a program as a supervisor does, and expect it to end well."""
        process.terminate()
        async with asyncio.timeout(10):
            assert await process.wait() == 0, process.log.read_text()

    async def clean_up(self):
        for process in self.running:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def eventually(condition, seconds=240):
    """Wait until it holds; it may be a coroutine function."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if inspect.isawaitable(holds):
            holds = await holds
        if holds:
            return
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def deployed(broker, sandbox, folder, **settings):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    defaults = {
        "BROKER_URL": broker.url,
        "QUEUE": broker.name,
        "REDELIVER_AFTER": "4",
        "WEBHOOK_SECRET": SECRET,
        "PORT": str(port),
    }
    example = Example(folder, {**defaults, **environment(sandbox), **settings})
    example.url = f"http://127.0.0.1:{port}/webhooks"
    try:
        yield example
    finally:
        await example.clean_up()


def event(customer_id, verb="created"):
    return json.dumps({
        "scope": f"store/customer/{verb}",
        "store_id": "1025646",
        "data": {"type": "customer", "id": customer_id},
        "hash": f"{verb}-{customer_id}",
        "created_at": 1561481571,
        "producer": "stores/sandbox",
    })  # fmt: skip


def signed(body, key, *, age=0.0, secret=SECRET):
    """The headers of Standard Webhooks."""
    sent = datetime.now(UTC) - timedelta(seconds=age)
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(sent.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, sent, body),
    }


async def post(http, url, body, headers):
    """Deliver a webhook and give back the answer's status."""
    async with http.post(url, data=body.encode(), headers=headers) as answer:
        return answer.status


class Proxy:
    """Stands between the receiver and its broker, and takes the broker away."""

    def __init__(self, url):
        self.host, _, port = url.rstrip("/").rpartition(":")
        self.target = int(port)
        self.open = set()

    async def up(self, port=0):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", port)
        self.port = self.server.sockets[0].getsockname()[1]
        return f"{self.host}:{self.port}"

    async def down(self):
        self.server.close()
        for writer in list(self.open):
            writer.transport.abort()

    async def serve(self, reader, writer):
        upstream = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self.copy(reader, upstream[1]), self.copy(upstream[0], writer))

    async def copy(self, reader, writer):
        self.open.add(writer)
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self.open.discard(writer)


@pytest.mark.parametrize("events", [1500, pytest.param(5000, marks=pytest.mark.long)])
async def test_no_event_is_lost_when_a_worker_is_killed(broker, tmp_path, events):
    """A tenth of them comes twice; there are two workers, one of them killed in the middle.

    Every customer has a profile, every event is acknowledged, and there are at most 1.5 times the
    requests that there must be; of few events, which come slowly where others keep the machine
    busy, four times.
    """
    asyncio.get_running_loop().set_debug(False)  # it would be most of the work
    deliveries = [*range(1, events + 1), *range(1, events + 1, 10)]
    random.Random(0).shuffle(deliveries)
    with Sandbox(customers=events) as sandbox:
        async with deployed(broker, sandbox, tmp_path) as example, ClientSession() as http:
            sandbox.faults.rule(Fault.slow(0.1), method="POST")  # so that the kill hits some
            _, *workers = await asyncio.gather(
                *map(example.start, ("receiver.py", "worker.py", "worker.py"))
            )
            seen = set()

            async def send(source):
                for customer_id in source:
                    body, key = event(customer_id), f"msg_{customer_id}"
                    age = 0.0 if key in seen else 1.0  # a repetition is signed anew, later
                    seen.add(key)
                    assert await post(http, example.url, body, signed(body, key, age=age)) == 200

            source = iter(deliveries)
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(send(source))
                await eventually(
                    lambda: len(sandbox.store.profiles) > events // 3 and sandbox.record.in_flight
                )
                workers[0].kill()
            await eventually(lambda: None not in sandbox.store.customers.values())
            await eventually(broker.is_empty)
            await example.stop(workers[1])
            assert workers[0].returncode == -signal.SIGKILL
            log = workers[0].log.read_text()
            assert log.count("- Received") > log.count("- Processed") > 0  # it had some in hand
            assert await broker.is_empty()
        assert len(sandbox.store.profiles) == events
        most = 4 if events < 5000 else 1.5
        assert sandbox.record.counts.total() <= most * events / PER_REQUEST


async def test_what_is_not_signed_is_refused(broker, tmp_path):
    """Bad, old and replayed ones: only the one good event comes to the broker, and it once."""
    body = event(1)
    good = signed(body, "msg_1")
    with Sandbox() as sandbox:
        async with deployed(broker, sandbox, tmp_path) as example, ClientSession() as http:
            receiver = await example.start("receiver.py")

            async def answer(headers, body=body):
                return await post(http, example.url, body, headers)

            for bad in (
                {},
                signed(body, "msg_1", secret="c29tZWJvZHkgZWxzZQ=="),
                good | {"webhook-id": "msg_2"},
                good | {"webhook-signature": "nonsense"},
                good | {"webhook-signature": "v1,nonsense"},
                good | {"webhook-timestamp": "yesterday"},
                signed(body, "msg_1", age=301),
                signed(body, "msg_1", age=-900),
            ):
                assert await answer(bad) == 401, bad
            assert await answer(good, event(2)) == 401
            assert await broker.is_empty()
            assert await answer(good) == 200
            assert await answer(good) == 409
            replayed = good | {"webhook-timestamp": good["webhook-timestamp"] + ".5"}
            assert await answer(replayed) == 409
            # a sender whose answer got lost sends it again, and is not to go on for ever
            assert await answer(signed(body, "msg_1", age=-5)) == 200
            # what the worker has no use for is not to come again either
            other = event(1, "updated")
            assert await answer(signed(other, "msg_3"), other) == 200
            await example.stop(receiver)
        assert await broker.left() == 1


async def test_what_the_broker_does_not_have_is_sent_again(broker, tmp_path):
    """While the broker is away, the answer is 5xx; a repetition is taken once it is back."""
    body = event(1)
    proxy = Proxy(broker.url)
    url = await proxy.up()
    with Sandbox() as sandbox:
        async with deployed(broker, sandbox, tmp_path, BROKER_URL=url) as example:
            await example.start("receiver.py")
            async with ClientSession() as http:
                await proxy.down()
                assert await post(http, example.url, body, signed(body, "msg_1")) >= 500
                await proxy.up(proxy.port)
                status = 500
                for _ in range(10):  # the receiver's connection comes back when it will
                    if status >= 500:
                        await asyncio.sleep(0.5)
                        status = await post(http, example.url, body, signed(body, "msg_1"))
                assert status == 200
    await proxy.down()
    assert await broker.left() >= 1


async def test_the_sandboxs_webhooks_go_all_the_way(broker, tmp_path):
    """Customers who come get a profile, some told of twice, some while the receiver was down."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/webhooks"
    rules = Rules(webhooks_twice=0.5)
    with Sandbox(3, profiles=3, rules=rules, webhooks=url, webhook_secret=SECRET) as sandbox:
        async with deployed(broker, sandbox, tmp_path, PORT=str(port)) as example:
            sandbox.seed(customers=5)
            await asyncio.gather(*map(example.start, ("receiver.py", "worker.py")))
            sandbox.seed(customers=20)
            await eventually(lambda: None not in sandbox.store.customers.values())
            assert len(sandbox.store.profiles) == 28


async def test_only_what_has_an_outcome_is_acknowledged(broker, tmp_path):
    """What the API refuses for good is done with; what fails otherwise is delivered again."""
    with Sandbox(customers=3, profiles=2) as sandbox:
        async with deployed(broker, sandbox, tmp_path) as example, ClientSession() as http:
            await example.start("receiver.py")
            for body in (event(424242), event(1, "deleted"), event(424243, "deleted"), event(3)):
                assert await post(http, example.url, body, signed(body, body)) == 200
            sandbox.faults.queue(Fault.error(401))  # everyone in the request fails
            worker = await example.start("worker.py")
            log = worker.log.read_text
            await eventually(
                lambda: [bool(p) for p in sandbox.store.customers.values()] == [False, True, True]
            )
            await eventually(lambda: "customer 424242" in log())
            await eventually(broker.is_empty)
            await eventually(lambda: "AuthenticationError" in log())
            await example.stop(worker)
        assert await broker.is_empty()


@pytest.mark.parametrize("program", READY)
def test_a_broker_that_is_none_of_these_is_refused(program):
    """The setting in "queue_setting.py" names what it takes, and nothing is started."""
    done = subprocess.run(
        [sys.executable, program],
        cwd=EXAMPLES, env={**os.environ, "BROKER_URL": "kafka://host", "WEBHOOK_SECRET": SECRET},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nats, amqp or redis, not 'kafka'" in done.stderr
