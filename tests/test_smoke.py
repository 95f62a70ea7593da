from bcshopper.sandbox import Fault, Sandbox
import asyncio

async def test_virtual():
    async with Sandbox(customers=1000) as sandbox, sandbox.session() as session:
        sandbox.faults.rule(Fault.slow(5.0))
        loop = asyncio.get_running_loop()
        await session.shopper_profiles.create(range(1, 1001))
        assert 10 <= loop.time() <= 10.1
        assert sandbox.record.peak == 10
