"""Gives every customer of a PostgreSQL table a profile, and writes down what became of each.

Killed or failed, it goes on where it was when it is started again. Needs: psycopg[binary].
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from psycopg import AsyncConnection

from bcshopper import BadRequestError, InvalidInputError, Outcome, Session, UnprocessableError

REFUSALS = (BadRequestError, InvalidInputError, UnprocessableError)  # of this one customer
AT_ONCE = 1000  # rows in a fetch and in a transaction

Connection = AsyncConnection[Any]

TODO = """SELECT id FROM customers WHERE NOT EXISTS
          (SELECT FROM profile_outcomes WHERE customer_id = customers.id)"""
TABLE = """CREATE TABLE IF NOT EXISTS profile_outcomes
           (customer_id bigint PRIMARY KEY, status text, profile_id uuid, error text)"""


async def todo(reader: Connection) -> AsyncIterator[int]:
    async with reader.cursor("todo") as cursor:  # a name makes it a cursor on the server
        cursor.itersize = AT_ONCE
        await cursor.execute(TODO)
        async for (customer_id,) in cursor:
            yield customer_id


def is_final(outcome: Outcome[int]) -> bool:  # all else is for the next run
    return outcome.ok or isinstance(outcome.error, REFUSALS)


async def write(writer: Connection, outcomes: list[Outcome[int]]) -> None:
    async with (
        writer.transaction(),
        writer.cursor() as cursor,
        cursor.copy("COPY profile_outcomes FROM STDIN") as copy,
    ):
        for o in filter(is_final, outcomes):
            await copy.write_row((o.item, o.status.value, o.profile_id, o.error and str(o.error)))
    outcomes.clear()


async def run(reader: Connection, writer: Connection, session: Session) -> None:
    done: list[Outcome[int]] = []
    try:
        async with aclosing(session.shopper_profiles.create_stream(todo(reader))) as outcomes:
            async for outcome in outcomes:
                done.append(outcome)
                if len(done) == AT_ONCE:
                    await write(writer, done)
    finally:  # also what was done before an error
        await write(writer, done)


async def main(url: str) -> None:
    async with (
        await AsyncConnection.connect(url, autocommit=True) as writer,
        await AsyncConnection.connect(url) as reader,
        Session.from_env() as session,
    ):
        await writer.execute(TABLE)
        await run(reader, writer, session)


if __name__ == "__main__":
    asyncio.run(main(os.environ["DATABASE_URL"]))
