"""A server on loopback whose answers are what a test says."""

import json
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def serving(answer):
    """Serve what `answer` makes of each request, as JSON; yield the base URL."""

    async def handle(request):
        return web.Response(text=json.dumps(answer(request)), content_type="application/json")

    runner = web.ServerRunner(web.Server(handle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
