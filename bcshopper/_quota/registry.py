"""One gate per store and event loop, whichever sessions use it."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from bcshopper._quota.gate import QuotaGate
from bcshopper._quota.local import LocalQuota
from bcshopper._quota.policy import QuotaPolicy
from bcshopper.errors import InvalidInputError

_Key: TypeAlias = tuple[str, str, str | None, tuple[float, int] | None]
_gates: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[_Key, QuotaGate]] = (
    WeakKeyDictionary()
)


def shared_gate(base_url: str, store_hash: str, policy: QuotaPolicy) -> QuotaGate:
    """The gate of a store in the running event loop; the same for all sessions on that store.

    Where quota is leased, sessions that may use another part of it lease on their own.
    """
    gates = _gates.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    part = None if policy.shared is None else (policy.share, policy.max_concurrent)
    key = (base_url, store_hash, policy.shared, part)
    gate = gates.get(key)
    if gate is None:
        gate = gates[key] = _new_gate((base_url, store_hash), policy)
    return gate


def check_shared(url: str) -> None:
    """Refuse a `QuotaPolicy.shared` that can't work, or can't work here.

    Raises:
        InvalidInputError: it is no URL of a Redis server, or the extra is missing.
    """
    try:
        from bcshopper._quota.redis import is_usable  # noqa: PLC0415 - only who shares needs the extra
    except ImportError as error:
        raise InvalidInputError(
            "QuotaPolicy(shared=...) needs redis 5.0.1 or newer: pip install 'bcshopper[redis]'"
        ) from error
    if not is_usable(url):
        raise InvalidInputError(
            "QuotaPolicy(shared=...) must be a URL like redis://host:6379/0, rediss://... or "
            "unix://..., with no options that redis does not know; it is not shown here, as it "
            "may hold a password"
        )


def _new_gate(store: tuple[str, str], policy: QuotaPolicy) -> QuotaGate:
    if policy.shared is None:
        return QuotaGate(LocalQuota())
    from bcshopper._quota.leased import LeasedQuota  # noqa: PLC0415 - most processes share with nobody
    from bcshopper._quota.leasing_gate import LeasingGate  # noqa: PLC0415 - as above
    from bcshopper._quota.redis import QuotaStore  # noqa: PLC0415 - only who shares needs the extra

    member = secrets.token_hex(8)
    leased = LeasedQuota(policy.share, policy.max_concurrent)
    return LeasingGate(leased, partial(QuotaStore, policy.shared, store, member))
