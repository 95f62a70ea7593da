"""Keeps a segment equal to the answer of a SQL query, and prints first what that changes.

Killed or failed, it does the rest when it is started again. Needs: psycopg[binary].
"""

import asyncio
import os
import sys

from psycopg import AsyncConnection

from bcshopper import SegmentMembers, Session, Status, TooManyRemovalsError

SEGMENT = "Loyal customers"
QUERY = """SELECT customer_id FROM orders
           GROUP BY customer_id HAVING sum(total) >= 1000 ORDER BY customer_id"""
MAX_REMOVED = 0.2  # of the members: a query whose table got lost must not empty the segment


async def loyal_customers(url: str) -> list[int]:
    async with await AsyncConnection.connect(url) as connection:
        return [customer_id async for (customer_id,) in await connection.execute(QUERY)]


async def keep(members: SegmentMembers, wanted: list[int]) -> bool:
    print(await members.plan(wanted), flush=True)
    report = await members.sync(wanted, max_removed=MAX_REMOVED, check=False)
    print(report)
    for outcome in report.failed:
        print(outcome.item, outcome.status.value, outcome.error, file=sys.stderr)
    return {outcome.status for outcome in report.failed} <= {Status.REJECTED}


async def main(url: str) -> bool:
    wanted = await loyal_customers(url)
    async with Session.from_env() as session:
        segment = await session.segments.ensure(SEGMENT)
        try:
            return await keep(session.segments.members(segment.id), wanted)
        except TooManyRemovalsError as error:
            print(error, file=sys.stderr)
            return False


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(main(os.environ["DATABASE_URL"])) else 1)
