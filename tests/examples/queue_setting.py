"""The broker of receiver.py and worker.py: NATS JetStream, RabbitMQ or Redis, by BROKER_URL.

Only this file knows them apart. Needs: faststream[nats], faststream[rabbit] or faststream[redis].
"""

import os
from contextlib import suppress
from socket import gethostname
from typing import Any
from urllib.parse import urlsplit

URL = os.environ["BROKER_URL"]  # nats://…, amqp://… or redis://…
NAME = os.environ.get("QUEUE", "customer_events")
REDELIVER_AFTER = float(os.environ.get("REDELIVER_AFTER", "120"))  # s; longer than handling takes
AT_ONCE = 250  # events that a worker has in hand
KEPT = 1_000_000  # events that a Redis stream keeps, handled or not

broker: Any
address: dict[str, Any]  # where the receiver publishes
sources: list[dict[str, Any]]  # what a worker subscribes to

match urlsplit(URL).scheme:
    case "nats":
        from faststream.nats import JStream, NatsBroker, PullSub
        from nats.js.api import ConsumerConfig, RetentionPolicy

        broker = NatsBroker(URL)
        stream = JStream(NAME, subjects=[NAME], retention=RetentionPolicy.WORK_QUEUE)
        address = {"subject": NAME, "stream": NAME}  # with the stream, JetStream confirms
        sub = {
            "subject": NAME,
            "stream": stream,
            "durable": "workers",
            "config": ConsumerConfig(ack_wait=REDELIVER_AFTER, max_ack_pending=20 * AT_ONCE),
            "pull_sub": PullSub(batch_size=AT_ONCE),
            "max_workers": AT_ONCE,
        }
        sources = [sub]

        async def declare() -> None:
            await (await broker.connect()).jetstream().add_stream(stream.config)

    case "amqp" | "amqps":
        from faststream.rabbit import Channel, RabbitBroker, RabbitQueue

        broker = RabbitBroker(URL, default_channel=Channel(AT_ONCE, on_return_raises=True))
        queue = RabbitQueue(NAME, durable=True)
        address = {"queue": NAME, "persist": True}
        sources = [{"queue": queue}]

        async def declare() -> None:
            await broker.connect()
            await broker.declare_queue(queue)

    case "redis" | "rediss":
        from faststream.redis import RedisBroker, StreamSub
        from redis.exceptions import ResponseError

        broker = RedisBroker(URL)
        address = {"stream": NAME, "maxlen": KEPT}
        me = gethostname()
        idle = int(1000 * REDELIVER_AFTER)  # ms
        subs = (
            StreamSub(NAME, group="workers", consumer=me, max_records=AT_ONCE),
            StreamSub(
                NAME, group="workers", consumer=me, min_idle_time=idle, polling_interval=1000
            ),
        )
        sources = [{"stream": sub, "max_workers": AT_ONCE} for sub in subs]

        async def declare() -> None:
            with suppress(ResponseError):  # it is there
                await (await broker.connect()).xgroup_create(NAME, "workers", id="0", mkstream=True)

    case scheme:
        raise SystemExit(f"BROKER_URL must begin with nats, amqp or redis, not {scheme!r}")
