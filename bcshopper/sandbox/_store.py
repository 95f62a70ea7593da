"""A store's customers and profiles: state without HTTP."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from uuid import UUID

import attrs

from bcshopper._models import ShopperProfile
from bcshopper.sandbox._past import Past


@attrs.frozen
class Look:
    """What a customer looks like."""

    profile_id: UUID | None


class Store:
    """Customers and their profiles.

    Attributes:
        customers: the profile id of each customer, or None, by customer id.
        profiles: every profile by its id, oldest first.
        wipes: how often all profiles were deleted at once.
    """

    def __init__(self, rng: random.Random, past: Past[Look | None]) -> None:
        self.customers: dict[int, UUID | None] = {}
        self.profiles: dict[UUID, ShopperProfile] = {}
        self.wipes = 0
        self._rng = rng
        self._past = past
        self._rows: dict[UUID, bytes] = {}
        self._order: list[bytes] | None = None
        self._pages: dict[tuple[int, int], bytes] = {}

    def add_customers(self, count: int) -> list[int]:
        """Register customers; their ids go on from the highest."""
        first = max(self.customers, default=0) + 1
        ids = list(range(first, first + count))
        self._note(ids)
        self.customers.update(dict.fromkeys(ids))
        return ids

    def create(self, customer_id: int, *, created_at: datetime | None = None) -> ShopperProfile:
        """Give a customer, who must have none, a profile; of now, if no other time is given."""
        now = (created_at or datetime.now(UTC)).replace(microsecond=0)
        profile = ShopperProfile(
            UUID(int=self._rng.getrandbits(128), version=4), customer_id, now, now
        )
        self._note([customer_id])
        self.customers[customer_id] = profile.id
        self.profiles[profile.id] = profile
        stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._rows[profile.id] = (
            f'{{"id":"{profile.id}","customer_id":{customer_id},'
            f'"created_at":"{stamp}","updated_at":"{stamp}"}}'
        ).encode()
        self._changed()
        return profile

    def add_profiles(self, count: int) -> list[ShopperProfile]:
        """Give a profile to customers who have none, registering more where there are too few."""
        without = [i for i, profile_id in self.customers.items() if profile_id is None][:count]
        without += self.add_customers(count - len(without))
        return [self.create(customer_id) for customer_id in without]

    def delete(self, profile_ids: Iterable[UUID]) -> None:
        """Delete profiles; those that do not exist are ignored."""
        for profile_id in profile_ids:
            profile = self.profiles.pop(profile_id, None)
            if profile is not None:
                del self._rows[profile_id]
                self._note([profile.customer_id])
                self.customers[profile.customer_id] = None
        self._changed()

    def delete_oldest(self, count: int) -> list[UUID]:
        """Delete the first profiles of the list."""
        oldest = list(self.profiles)[:count]
        self.delete(oldest)
        return oldest

    def wipe(self) -> None:
        """Delete every profile."""
        self.wipes += 1
        self.delete(list(self.profiles))

    def look(self, customer_id: int) -> Look | None:
        """What a look-up tells of a customer: what was so a while ago. None if there is none."""
        return self._past.seen(customer_id, self._look)

    def _look(self, customer_id: int) -> Look | None:
        if customer_id not in self.customers:
            return None
        return Look(self.customers[customer_id])

    def _note(self, customer_ids: Iterable[int]) -> None:
        for customer_id in customer_ids:
            self._past.note(customer_id, self._look)

    def row(self, profile_id: UUID) -> bytes:
        """A profile as JSON."""
        return self._rows[profile_id]

    def page(self, number: int, limit: int, *, links: bool, newest_first: bool = False) -> bytes:
        """One page of the list as the API answers it, made once for each state of the store."""
        body = self._pages.get((number, limit))
        if body is None:
            if self._order is None:
                self._order = list(self._rows.values())
                if newest_first:
                    self._order.reverse()
            rows = self._order[(number - 1) * limit : number * limit]
            total = len(self._order)
            body = b'{"data":[%b],"meta":{"pagination":%b}}' % (
                b",".join(rows),
                pagination(total, len(rows), number, limit, links=links),
            )
            self._pages[number, limit] = body
        return body

    def _changed(self) -> None:
        self._order = None
        self._pages.clear()


def pagination(total: int, count: int, number: int, limit: int, *, links: bool) -> bytes:
    """`meta.pagination` as JSON."""
    pages = -(-total // limit)
    text = (
        f'{{"total":{total},"count":{count},"per_page":{limit},'
        f'"current_page":{number},"total_pages":{pages}'
    )
    if links:
        found = [("previous", number - 1), ("current", number), ("next", number + 1)]
        text += ',"links":{%s}' % ",".join(  # noqa: UP031 - braces
            f'"{name}":"?page={n}&limit={limit}"' for name, n in found if 1 <= n <= max(pages, 1)
        )
    return (text + "}").encode()
