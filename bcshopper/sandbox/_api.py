"""The API as the sandbox plays it: a request in, an answer out, no sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import attrs

from bcshopper.sandbox import _customers, _members, _profiles, _segments
from bcshopper.sandbox._answers import Answer, Call, Refused, problem
from bcshopper.sandbox._paths import fits
from bcshopper.sandbox._rules import Rules
from bcshopper.sandbox._store import Store

_ROUTES: Mapping[str, Mapping[str, Callable[[Store, Rules, Call], Answer]]] = {
    "shopper-profiles": {
        "GET": _profiles.list_profiles,
        "POST": _profiles.create_profiles,
        "DELETE": _profiles.delete_profiles,
    },
    "shopper-profiles/*/segments": {"GET": _segments.list_segments_of_profile},
    "segments": {
        "GET": _segments.list_segments,
        "POST": _segments.create_segments,
        "PUT": _segments.update_segments,
        "DELETE": _segments.delete_segments,
    },
    "segments/*/shopper-profiles": {
        "GET": _members.list_members,
        "POST": _members.add_members,
        "DELETE": _members.remove_members,
    },
    "customers": {"GET": _customers.list_customers},
}
_READS_WITH_MODIFY = {"segments/*/shopper-profiles"}

RESOURCES = frozenset(pattern.partition("/")[0] for pattern in _ROUTES)
"""What a quota per resource is for."""


class API:
    """Answers the calls that the sandbox knows."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self.store = store
        self.rules = rules

    def answer(self, path: str, call: Call) -> Answer:
        """Answer a call to a path below `/v3/`."""
        pattern = pattern_of(path)
        methods = _ROUTES.get(pattern)
        if methods is None:
            known = ", ".join(f"{m} {p}" for p, ms in _ROUTES.items() for m in ms)
            return problem(404, f"the sandbox has no {call.method} {path}; it has {known}")
        if pattern != "customers" and not self.rules.feature:
            return problem(403, "this store's plan has no shopper profiles")
        if call.method not in methods:
            refusal = problem(405, f"{path} takes {', '.join(methods)}, not {call.method}")
            return attrs.evolve(refusal, headers={"Allow": ", ".join(methods)})
        if pattern != path:
            call = attrs.evolve(call, within=path.split("/")[1])
        try:
            return methods[call.method](self.store, self.rules, call)
        except Refused as refused:
            return refused.answer


@lru_cache(maxsize=1024)
def pattern_of(path: str) -> str:
    """A path with `*` for the id in its middle, if the sandbox knows such paths; else itself."""
    return next((pattern for pattern in _ROUTES if fits(pattern, path)), path)


def needs_modify(method: str, path: str) -> bool:
    """Whether a read-only token is not enough."""
    return method != "GET" or pattern_of(path) in _READS_WITH_MODIFY
