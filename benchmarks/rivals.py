"""What bcshopper is measured against: the least code that does the same work."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
import msgspec

from bcshopper._batch import Created
from bcshopper._listing import ListDocument
from bcshopper._models import ShopperProfile

T = TypeVar("T")

CONCURRENCY = 10
LIMIT = 250
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class Raw:
    """aiohttp, a bare msgspec decoder into bcshopper's classes, and no care at all.

    No status is looked at, nothing is retried, nobody can cancel or close it halfway.
    """

    def __init__(self, http: aiohttp.ClientSession, root: str) -> None:
        self._http = http
        self._root = root
        self._url = f"{root}/shopper-profiles"
        self._decode_list = msgspec.json.Decoder(ListDocument[ShopperProfile]).decode
        self._decode_created = msgspec.json.Decoder(Created[ShopperProfile]).decode

    async def page(self, number: int, below: str = "") -> ListDocument[ShopperProfile]:
        url = f"{self._root}/{below}shopper-profiles?page={number}&limit={LIMIT}"
        async with self._http.get(url) as response:
            return self._decode_list(await response.read())

    async def careful_page(self, number: int) -> ListDocument[ShopperProfile]:
        """One page, as somebody reads it who sets a timeout and looks at the status."""
        url = f"{self._url}?page={number}&limit={LIMIT}"
        async with self._http.get(url, timeout=_TIMEOUT) as response:
            response.raise_for_status()
            return self._decode_list(await response.read())

    async def all_by_workers(
        self, pages: int, check: Callable[[Sequence[Any]], object] = len
    ) -> None:
        """Read a known number of pages, check the rows of each, and look at each profile."""
        numbers = iter(range(1, pages + 1))

        async def work() -> None:
            for number in numbers:
                rows = (await self.page(number)).data
                check(rows)
                for _ in rows:
                    pass

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))

    async def all_known(
        self, pages: int, below: str = ""
    ) -> Sequence[ListDocument[ShopperProfile]]:
        """Read a number of pages that is known beforehand."""
        return await self._gather(self.page(n, below) for n in range(1, pages + 1))

    async def all_learnt(self) -> Sequence[ListDocument[ShopperProfile]]:
        """Read page 1, which tells how many there are, then the others."""
        first = await self.page(1)
        last = first.meta.pagination.total_pages
        return [first, *await self._gather(self.page(n) for n in range(2, last + 1))]

    async def collect(self) -> list[ShopperProfile]:
        """Keep every profile of the list."""
        return [profile for page in await self.all_learnt() for profile in page.data]

    async def create(self, customer_ids: Sequence[int], *, size: int) -> list[UUID]:
        async def post(ids: Sequence[int]) -> Created[ShopperProfile]:
            body = json.dumps([{"customer_id": i} for i in ids])
            headers = {"Content-Type": "application/json"}
            async with self._http.post(self._url, data=body, headers=headers) as response:
                return self._decode_created(await response.read())

        answers = await self._gather(map(post, _chunks(customer_ids, size)))
        return [profile.id for answer in answers for profile in answer.data]

    async def add(self, segment: UUID, profile_ids: Sequence[UUID], *, size: int) -> None:
        url = f"{self._root}/segments/{segment}/shopper-profiles"
        headers = {"Content-Type": "application/json"}

        async def post(ids: Sequence[UUID]) -> None:
            body = json.dumps(list(map(str, ids)))
            async with self._http.post(url, data=body, headers=headers) as response:
                self._decode_created(await response.read())

        await self._gather(map(post, _chunks(profile_ids, size)))

    async def look_up(self, chunks: Iterable[Sequence[int]]) -> None:
        async def get(ids: Sequence[int]) -> None:
            query = {
                "id:in": ",".join(map(str, ids)),
                "include": "shopper_profile_id",
                "limit": str(LIMIT),
            }
            async with self._http.get(f"{self._root}/customers", params=query) as response:
                json.loads(await response.read())

        await self._gather(map(get, chunks))

    async def delete(self, profile_ids: Sequence[UUID], *, size: int, below: str = "") -> None:
        url = f"{self._root}/{below}shopper-profiles"

        async def delete(ids: Sequence[UUID]) -> None:
            query = {"id:in": ",".join(map(str, ids))}
            async with self._http.delete(url, params=query) as response:
                await response.read()

        await self._gather(map(delete, _chunks(profile_ids, size)))

    async def _gather(self, calls: Iterable[Any]) -> list[Any]:
        slots = asyncio.Semaphore(CONCURRENCY)

        async def in_turn(call: Any) -> Any:
            async with slots:
                return await call

        return await asyncio.gather(*map(in_turn, calls))


@asynccontextmanager
async def raw(url: str, *, store: str = "x", token: str = "t"):  # noqa: ANN201
    """Open the raw rival on a server."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONCURRENCY), headers={"X-Auth-Token": token}
    ) as http:
        yield Raw(http, f"{url}/stores/{store}/v3")


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def page_with_pyreqwest(url: str, pages: int) -> None:
    """The raw loop over a Rust client: how far one could get with another one than aiohttp."""
    from pyreqwest.client import ClientBuilder  # noqa: PLC0415 - may not be installed

    decode = msgspec.json.Decoder(ListDocument[ShopperProfile]).decode
    numbers = iter(range(1, pages + 1))
    async with ClientBuilder().build() as client:

        async def work() -> None:
            for number in numbers:
                address = f"{url}/stores/x/v3/shopper-profiles?page={number}&limit={LIMIT}"
                response = await client.get(address).build().send()
                for _ in decode(await response.bytes()).data:
                    pass

        await asyncio.gather(*(work() for _ in range(CONCURRENCY)))


def list_with_bigc(url: str) -> int:
    """List with the PyPI client `bigc`, and count."""
    from bigc.api_client import BigCommerceV3APIClient  # noqa: PLC0415 - may not be installed

    class Client(BigCommerceV3APIClient):
        # The address is written into it; all else is its own.
        def _prepare_url(self, path: str) -> str:
            return f"{url}/stores/{self.store_hash}/v3{path}"

    return sum(1 for _ in Client("x", "t").get_many("/shopper-profiles"))


def list_with_bigcommerce(url: str) -> int:
    """List with the PyPI client `bigcommerce`, which knows no v3 lists: page by page, and count."""
    from bigcommerce.connection import OAuthConnection  # noqa: PLC0415 - may not be installed

    connection = OAuthConnection("client", "x", "t")
    listed = 0
    for number in itertools.count(1):
        page = connection.get(f"{url}/stores/x/v3/shopper-profiles", page=number, limit=LIMIT)
        listed += len(page["data"])
        if number >= page["meta"]["pagination"]["total_pages"]:
            return listed
    raise AssertionError
