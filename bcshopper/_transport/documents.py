"""The bodies of the API's answers, as far as bcshopper reads them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import attrs

from bcshopper._models import Pagination, ShopperProfile
from bcshopper._transport.convert import MalformedDocumentError, converter
from bcshopper._transport.messages import Reply


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
    errors: Any = None


def read_profile_list(reply: Reply) -> ProfileList:
    """Read a page of profiles."""
    return converter.loads(reply.body, ProfileList)


def read_customer_list(reply: Reply) -> CustomerList:
    """Read a page of customers.

    Raises:
        MalformedDocumentError: it is not the documented one, or it has errors beside its data.
    """
    document = converter.loads(reply.body, CustomerList)
    if document.errors:
        raise MalformedDocumentError("it has errors", "$.errors")
    return document


def read_deletion(reply: Reply) -> None:
    """Make sure that a success is one, and neither a proxy's page nor a failure in disguise.

    Raises:
        MalformedDocumentError: there is a body, where none is documented.
    """
    if reply.body.strip() not in {b"", b"{}"}:
        raise MalformedDocumentError("it should have no body")
