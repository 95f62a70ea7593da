"""A job over a link that loses, resets, falls silent or is slow: `... -m ....bad_link KIND`.

Run in a network namespace of its own, where it makes `lo` such a link. Client and store talk over
it in real time. It prints, as JSON, what it was told that is not so, and how long each call took.
"""

import asyncio
import json
import subprocess
import sys
import time

from bcshopper import RetryPolicy, Status
from bcshopper.sandbox import Rules, Sandbox

TABLE = """table inet link { chain input { type filter hook input priority 0; policy accept;
%s
}
}
"""
RULES = {
    "loss": "meta l4proto tcp numgen random mod 100 < 10 drop",
    "resets": "meta l4proto tcp numgen random mod 100 < 3 reject with tcp reset",
    "silence": "",
    "slow": "",
}
TIMEOUT = {"loss": 4.0, "resets": 4.0, "silence": 1.0, "slow": 20.0}  # seconds for an attempt
ATTEMPTS = 4
# Seconds that one call may take: a POST and its look-up, with their attempts and pauses.
BOUND = 60.0


def run(*command, stdin=None):
    subprocess.run(command, input=stdin, check=True, text=True, capture_output=True)


def make_link(kind):
    """Packets of an ordinary size, so that many can get lost, and what is wrong with them."""
    run("ip", "link", "set", "lo", "mtu", "1500", "up")
    run("nft", "-f", "-", stdin=TABLE % RULES[kind])
    if kind == "slow":
        run("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "64kbit", "burst", "3000",
            "latency", "10s")  # fmt: skip


async def fall_silent(sandbox, seconds):
    """Once the job is under way: no packet comes through, and nobody says so."""
    if not seconds:
        return
    while len(sandbox.store.profiles) < 250:  # noqa: ASYNC110 - polled
        await asyncio.sleep(0.001)
    run("nft", "add", "rule", "inet", "link", "input", "drop")
    await asyncio.sleep(seconds)
    run("nft", "flush", "chain", "inet", "link", "input")


async def job(kind):
    """Create, list and delete over the link; then again, until all is well."""
    took = {}
    customers = range(1, 151 if kind == "slow" else 601)
    sandbox = Sandbox(customers=len(customers), profiles=100, rules=Rules(latency=0.01))
    retry = RetryPolicy(attempts=ATTEMPTS, base_delay=0.1, max_delay=1.0)
    async with sandbox, sandbox.session(timeout=TIMEOUT[kind], retry=retry) as session:
        store, profiles = sandbox.store, session.shopper_profiles
        silence = asyncio.create_task(fall_silent(sandbox, 12 if kind == "silence" else 0))

        async def timed(name, call):
            began = time.monotonic()
            async with asyncio.timeout(BOUND):
                result = await call
            took[name] = time.monotonic() - began
            await settled(sandbox)
            return result

        before = dict(store.customers)
        created = await timed("create", profiles.create(customers, check=False))
        complaints = list(untrue_creations(created, before, store))
        gone = list(store.profiles)[:60]
        deleted = await timed("delete", profiles.delete(gone, check=False))
        complaints += untrue_deletions(deleted, store)
        await silence
        for _ in range(3):  # what was left is done by calling again
            created = await timed("create again", profiles.create(customers, check=False))
            if created.ok:
                break
        listed = await timed("list", profiles.list(consistent=True).all())
        ends_well = {
            "all have a profile": created.ok and None not in store.customers.values(),
            "the list is the store's": [profile.id for profile in listed] == list(store.profiles),
            "nothing was wiped": not store.wipes,
        }
    complaints += [f"not so: {what}" for what, is_so in ends_well.items() if not is_so]
    return {"complaints": complaints[:10], "took": took}


def untrue_creations(report, before, store):
    """What a report says that is not so; it has an outcome for each customer, in order."""
    if [outcome.item for outcome in report] != list(before):
        yield "not one outcome for each, in order"
    for outcome in report:
        held = store.customers[outcome.item]
        match outcome.status:
            case Status.CREATED | Status.EXISTS:
                known = outcome.profile_id or (outcome.error and held)  # None: by words alone
                is_so = held is not None and held == known
            case Status.UNKNOWN:
                is_so = outcome.error is not None
            case _:
                is_so = held == before[outcome.item]
        if not is_so:
            yield f"{outcome}, but the store has {held}"


def untrue_deletions(report, store):
    """The same of one that deleted."""
    for outcome in report:
        there = outcome.item in store.profiles
        if {Status.DELETED: there, Status.NOT_SENT: not there}.get(outcome.status, False):
            yield f"{outcome}, but it is there: {there}"


async def settled(sandbox):
    """The link has handed on what it still had."""
    for _ in range(400):
        if not sandbox.record.in_flight:
            return
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    make_link(sys.argv[1])
    sys.stdout.write(json.dumps(asyncio.run(job(sys.argv[1]))))
