"""Receives BigCommerce's webhooks, and answers once the broker has the event.

It lets in what is signed as Standard Webhooks has it and at most five minutes old.
Needs: queue_setting.py, standardwebhooks, cachetools.
"""

import asyncio
import os
from collections.abc import AsyncIterator

from aiohttp import web
from cachetools import TTLCache
from queue_setting import address, broker, declare
from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["WEBHOOK_SECRET"])  # base64 of the app's client secret
# When each was sent, while verify() takes it: 5 minutes either way. Each process has its own: what
# comes by another one is handled twice, which is harmless.
accepted: TTLCache[str, int] = TTLCache(maxsize=100_000, ttl=600)


async def receive(request: web.Request) -> web.Response:
    try:
        event = webhook.verify(await request.read(), dict(request.headers))
    except (WebhookVerificationError, ValueError) as error:
        raise web.HTTPUnauthorized(text=str(error)) from error
    key, sent = request.headers["webhook-id"], int(float(request.headers["webhook-timestamp"]))
    if key in accepted:  # replayed; or signed anew, because our answer got lost
        return web.Response(status=409 if accepted[key] == sent else 200)
    match event:
        case {
            "scope": "store/customer/created" | "store/customer/deleted",
            "data": {"id": int(customer_id)},
        } if customer_id > 0:
            async with asyncio.timeout(5):
                await broker.publish(event, **address)
            accepted[key] = sent
    return web.Response()


async def lifespan(_app: web.Application) -> AsyncIterator[None]:
    async with broker:
        await declare()
        yield


app = web.Application()
app.cleanup_ctx.append(lifespan)
app.router.add_post("/webhooks", receive)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
