import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise

import aiohttp
import pytest
from aiohttp import web

from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Rules, Sandbox

SECRET = "aGFyZCB0byBndWVzcw=="


class Receiver:
    """Takes webhooks; answers with the next of `fates`, and with 200 once these are used up."""

    def __init__(self):
        self.came = []
        self.fates = []

    async def handle(self, request):
        body = await request.read()
        self.came.append((asyncio.get_running_loop().time(), dict(request.headers), body))
        fate = self.fates.pop(0) if self.fates else 200
        if fate == "cut":
            request.transport.abort()
        return web.Response(status=fate if isinstance(fate, int) else 500)

    @property
    def events(self):
        """What they tell, in the order in which they came."""
        return [(json.loads(b)["scope"], json.loads(b)["data"]["id"]) for _, _, b in self.came]


@asynccontextmanager
async def sending(receiver, **settings):
    """A sandbox that sends to this receiver."""
    runner = web.ServerRunner(web.Server(receiver.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"
    try:
        async with Sandbox(webhooks=url, webhook_secret=SECRET, **settings) as sandbox:
            yield sandbox
    finally:
        await runner.cleanup()


async def test_customers_who_come_and_go_are_told_of():
    """In the documented body; those of the start are not news, and profiles are none."""
    receiver = Receiver()
    async with sending(receiver, customers=3, profiles=1) as sandbox:
        sandbox.seed(customers=1, profiles=2)
        await asyncio.sleep(1)
        del sandbox.store.customers[3]
        sandbox.store.delete_customers([1, 99])
        sandbox.store.wipe()
        await asyncio.sleep(1)
    created, *deleted = receiver.events
    assert created == ("store/customer/created", 4)
    assert sorted(deleted) == [("store/customer/deleted", 1), ("store/customer/deleted", 3)]
    event = json.loads(receiver.came[0][2])
    assert event.keys() == {"scope", "store_id", "data", "hash", "created_at", "producer"}
    assert event["data"] == {"type": "customer", "id": 4}
    assert event["producer"] == "stores/sandbox"


async def test_webhooks_are_signed_as_standard_webhooks_are():
    """The package that receivers use lets them in; with another key it does not."""
    from standardwebhooks import Webhook, WebhookVerificationError

    receiver = Receiver()
    async with sending(receiver) as sandbox:
        sandbox.seed(customers=2)
        await asyncio.sleep(1)
    for _, headers, body in receiver.came:
        assert Webhook(SECRET).verify(body, headers) == json.loads(body)
        with pytest.raises(WebhookVerificationError):
            Webhook("c29tZWJvZHkgZWxzZQ==").verify(body, headers)
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came}) == 2


@pytest.mark.parametrize("fate", [500, 404, 302, "cut"])
async def test_what_was_not_taken_comes_again(fate):
    """With the same id and body, later and later, until it is taken; then no more."""
    receiver = Receiver()
    receiver.fates = [fate] * 4
    async with sending(receiver) as sandbox:
        sandbox.seed(customers=1)
        await asyncio.sleep(1000)
    assert len({(headers["webhook-id"], body) for _, headers, body in receiver.came}) == 1
    times = [at for at, _, _ in receiver.came]
    assert [round(b - a) for a, b in pairwise(times)] == [1, 2, 4, 8]


async def test_one_that_is_never_taken_does_not_hold_up_the_others():
    """However many there are of them."""

    class Choosy(Receiver):
        async def handle(self, request):
            await super().handle(request)
            return web.Response(status=500 if self.events[-1][1] <= 30 else 200)

    receiver = Choosy()
    async with sending(receiver) as sandbox:
        sandbox.seed(customers=30)
        await asyncio.sleep(20)
        sandbox.seed(customers=1)
        await asyncio.sleep(0.5)
        assert ("store/customer/created", 31) in receiver.events
        state = await look(sandbox)
    assert (state["waiting"], state["taken"]) == (30, 1)
    assert state["failed"] == len(receiver.came) - 1


async def look(sandbox):
    """What the state tells of webhooks."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{sandbox.url}/_sandbox/state") as answer,
    ):
        return (await answer.json())["webhooks"]


async def test_some_come_twice_by_a_rule():
    """Though they were taken: the same event, signed anew; the fraction is the rule's."""
    receiver = Receiver()
    async with sending(receiver, rules=Rules(webhooks_twice=0.5)) as sandbox:
        sandbox.seed(customers=200)
        await asyncio.sleep(10)
    ids = [headers["webhook-id"] for _, headers, _ in receiver.came]
    times = [ids.count(i) for i in set(ids)]
    assert (len(times), set(times)) == (200, {1, 2})
    assert 60 <= times.count(2) <= 140


async def test_what_had_not_arrived_goes_out_after_a_restart():
    """At least once means: also when the sandbox was stopped in between."""
    receiver = Receiver()
    receiver.fates = [500] * 2
    async with sending(receiver) as sandbox:
        sandbox.seed(customers=2)
        await asyncio.sleep(0.5)
        await sandbox.stop()
        sandbox.seed(customers=1)
        assert len(receiver.came) == 2
        await sandbox.start()
        await asyncio.sleep(1)
    assert sorted(customer for _, customer in receiver.events) == [1, 1, 2, 2, 3]


async def test_a_reset_tells_nobody():
    """Neither that all are gone, nor that they are back, nor what was waiting."""
    receiver = Receiver()
    receiver.fates = [500]
    async with sending(receiver, customers=5) as sandbox:
        sandbox.seed(customers=1)
        await asyncio.sleep(0.5)
        sandbox.reset()
        await asyncio.sleep(100)
        assert len(receiver.came) == 1
        sandbox.seed(customers=1)
        await asyncio.sleep(1)
    assert receiver.events[1:] == [("store/customer/created", 6)]


@pytest.mark.real_time
async def test_a_sandbox_in_a_thread_sends_what_another_thread_changes():
    """As in tests with the fixture."""
    receiver = Receiver()
    runner = web.ServerRunner(web.Server(receiver.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        with Sandbox(webhooks=url) as sandbox:
            sandbox.store.add_customers(50)
            async with asyncio.timeout(30):
                while len(receiver.came) < 50:  # noqa: ASYNC110 - another thread's doing
                    await asyncio.sleep(0.01)
    finally:
        await runner.cleanup()
    assert sorted(customer for _, customer in receiver.events) == list(range(1, 51))


async def test_nothing_is_left_when_a_sandbox_ends():
    """No task and no connection, also while a receiver is silent."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    class Silent(Receiver):
        async def handle(self, request):
            await super().handle(request)
            await over.wait()

    receiver = Silent()
    runner = web.ServerRunner(web.Server(receiver.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    tasks = asyncio.all_tasks()
    async with Sandbox(webhooks=f"http://127.0.0.1:{runner.addresses[0][1]}") as sandbox:
        sandbox.seed(customers=3)
        await asyncio.sleep(2)
        assert len(receiver.came) == 3
        stopping = loop.time()
    assert loop.time() - stopping < 0.5
    assert {t for t in asyncio.all_tasks() - tasks if "RequestHandler" not in repr(t)} == set()
    over.set()
    await runner.cleanup()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"webhooks": "ftp://127.0.0.1/"}, "ftp"),
        ({"webhooks": "receiver"}, "receiver"),
        ({"webhooks": "http://127.0.0.1/", "webhook_secret": "not base64!"}, "base64"),
        ({"webhooks": "http://127.0.0.1/", "webhook_secret": ""}, "secret"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(settings, words):
    """By the constructor; a key is not repeated."""
    with pytest.raises(InvalidInputError, match=words) as caught:
        Sandbox(**settings)
    assert "not base64!" not in str(caught.value)
