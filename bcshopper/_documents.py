"""The bodies of the API's answers, as far as bcshopper reads them."""

from __future__ import annotations

from uuid import UUID

import attrs

from bcshopper._models import Pagination, ShopperProfile


@attrs.frozen
class ListMeta:
    """What a list says of itself."""

    pagination: Pagination


@attrs.frozen
class ProfileList:
    """`GET /shopper-profiles`."""

    data: tuple[ShopperProfile, ...]
    meta: ListMeta


@attrs.frozen
class CreatedProfiles:
    """`POST /shopper-profiles`, also where it refused some."""

    data: tuple[ShopperProfile, ...]


@attrs.frozen
class Customer:
    """A customer, as far as it concerns profiles."""

    id: int
    shopper_profile_id: UUID | None = None


@attrs.frozen
class CustomerList:
    """`GET /customers`."""

    data: tuple[Customer, ...]
    meta: ListMeta
