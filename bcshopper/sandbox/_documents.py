"""Faults and rules as JSON has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from inspect import Parameter, signature
from operator import or_
from typing import Any, TypeVar, get_type_hints

import msgspec

from bcshopper._inputs import shown
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox._faults import Fault, Faults
from bcshopper.sandbox._rules import Rules, kinds

T = TypeVar("T")


def convert(document: object, kind: type[T], *, strict: bool = True) -> T:
    """Read a document of a kind; if not strict, numbers and the like may stand there as text."""
    try:
        return msgspec.convert(document, kind, strict=strict, str_keys=True)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"{error}: {shown(document)}") from None


_struct = partial(msgspec.defstruct, kw_only=True, forbid_unknown_fields=True, module=__name__)


def _fields(function: Callable[..., Any], leave: int = 0) -> list[Any]:
    """What a function's parameters, after the first few, are in JSON."""
    found: list[Any] = []
    kinds = get_type_hints(function)
    for p in list(signature(function).parameters.values())[leave:]:
        kind = str if kinds[p.name] is bytes else kinds[p.name]
        if p.kind is Parameter.VAR_POSITIONAL:
            found.append((p.name, list[kind], []))  # type: ignore[valid-type]
        else:
            found.append((p.name, kind) + (() if p.default is p.empty else (p.default,)))
    return found


# All but `changing`, which is about a function.
_KINDS = ("slow", "error", "answer", "cut", "partial", "half", "stall", "garbage")
_FAULTS = {
    name: _struct(f"Fault.{name}", _fields(getattr(Fault, name)), tag=name, tag_field="kind")
    for name in _KINDS
}
_WHEN = _struct("When", _fields(Faults.rule, leave=2))

_FAULT = ("fault", reduce(or_, _FAULTS.values()))
FaultDocument: Any = _struct("Fault", [_FAULT, ("when", _WHEN | msgspec.UnsetType, msgspec.UNSET)])
"""A fault, and for which requests: if that is not there, for the next one."""


def add_fault(faults: Faults, document: object) -> None:
    """Queue a fault, or make it a rule, as a `FaultDocument` says."""
    wish = convert(document, FaultDocument)
    kind = next(kind for kind, struct in _FAULTS.items() if type(wish.fault) is struct)
    said = msgspec.structs.asdict(wish.fault)
    if kind == "answer":
        said["body"] = said["body"].encode()
    ordered = (said.pop("status"), *said.pop("positions")) if kind == "partial" else ()
    fault = getattr(Fault, kind)(*ordered, **said)
    if wish.when is msgspec.UNSET:
        faults.queue(fault)
    else:
        faults.rule(fault, **msgspec.structs.asdict(wish.when))


def read_rules(document: object) -> Rules:
    """The rules that a document has; those that it has not are as ever."""
    if not isinstance(document, dict):
        raise InvalidInputError(f"rules are an object with a field for each, not {shown(document)}")
    for name in document:
        if name not in kinds():
            raise InvalidInputError(f"there is no rule {name}; there are {', '.join(kinds())}")
    return Rules(**document)
