"""The JSON pages that all contenders read, the same in every run."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

LIMIT = 250
PATH = "/stores/x/v3/shopper-profiles"

_BEGINNING = datetime(2024, 1, 1, tzinfo=UTC)


def page_body(number: int, pages: int) -> bytes:
    """One full page of a list, oldest first, as the API writes it."""
    rng = random.Random(number)
    rows = ",".join(_row(i, rng) for i in range((number - 1) * LIMIT, number * LIMIT))
    numbers = (("previous", number - 1), ("current", number), ("next", number + 1))
    links = ",".join(
        f'"{name}":"?page={n}&limit={LIMIT}"' for name, n in numbers if 1 <= n <= pages
    )
    return (
        f'{{"data":[{rows}],"meta":{{"pagination":{{"total":{pages * LIMIT},"count":{LIMIT},'
        f'"per_page":{LIMIT},"current_page":{number},"total_pages":{pages},'
        f'"links":{{{links}}}}}}}}}'
    ).encode()


def _row(index: int, rng: random.Random) -> str:
    stamp = f"{_BEGINNING + timedelta(seconds=index):%Y-%m-%dT%H:%M:%SZ}"
    profile_id = UUID(int=rng.getrandbits(128), version=4)
    return (
        f'{{"id":"{profile_id}","customer_id":{index + 1},'
        f'"created_at":"{stamp}","updated_at":"{stamp}"}}'
    )
