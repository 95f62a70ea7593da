"""Faults and rules as JSON has them, and as words on a command line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from functools import reduce
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
    """Read a document of a kind; if not strict, numbers and the like may stand there as text.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return msgspec.convert(document, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"{error}: {shown(document)}") from None


def _struct(
    name: str, function: Callable[..., Any], *, leave: int = 0, tag: str | None = None
) -> type[msgspec.Struct]:
    """What a function's parameters, after the first few, are in JSON."""
    kinds = get_type_hints(function)
    fields: list[Any] = []
    for parameter in list(signature(function).parameters.values())[leave:]:
        kind = str if kinds[parameter.name] is bytes else kinds[parameter.name]
        if parameter.kind is Parameter.VAR_POSITIONAL:
            fields.append((parameter.name, list[kind], []))  # type: ignore[valid-type]
        elif parameter.default is Parameter.empty:
            fields.append((parameter.name, kind))
        else:
            fields.append((parameter.name, kind, parameter.default))
    return msgspec.defstruct(
        name,
        fields,
        kw_only=True,
        forbid_unknown_fields=True,
        module=__name__,
        tag=tag,
        tag_field=tag and "kind",
    )


# All but `changing`, which is about a function.
_KINDS = ("slow", "error", "answer", "cut", "partial", "half", "stall", "garbage")
_FAULTS = {kind: _struct(f"Fault.{kind}", getattr(Fault, kind), tag=kind) for kind in _KINDS}
_WHEN = _struct("When", Faults.rule, leave=2)

FaultDocument: Any = msgspec.defstruct(
    "Fault",
    [
        ("fault", reduce(or_, _FAULTS.values())),
        ("when", _WHEN | msgspec.UnsetType, msgspec.UNSET),
    ],
    forbid_unknown_fields=True,
    module=__name__,
)
"""A fault, and for which requests: if that is not there, for the next one."""


def add_fault(faults: Faults, document: object, *, strict: bool = True) -> None:
    """Queue a fault, or make it a rule, as a `FaultDocument` says.

    Raises:
        InvalidInputError: there is no such fault, or no request could meet it.
    """
    wish = convert(document, FaultDocument, strict=strict)
    kind = next(kind for kind, struct in _FAULTS.items() if type(wish.fault) is struct)
    arguments = msgspec.structs.asdict(wish.fault)
    if kind == "answer":
        arguments["body"] = arguments["body"].encode()
    positions = arguments.pop("positions", ())
    status = [arguments.pop("status")] if positions else []
    fault = getattr(Fault, kind)(*status, *positions, **arguments)
    if wish.when is msgspec.UNSET:
        faults.queue(fault)
    else:
        faults.rule(fault, **msgspec.structs.asdict(wish.when))


def add_fault_in_words(faults: Faults, text: str) -> None:
    """Make a rule of a fault such as `error status=503 method=POST probability=0.1`.

    Raises:
        InvalidInputError: there is no such fault, or no request could meet it.
    """
    kind, _, rest = text.strip().partition(" ")
    fault: dict[str, Any] = {"kind": kind}
    when: dict[str, Any] = {}
    for name, value in _words(rest).items():
        (when if name in _WHEN.__struct_fields__ else fault)[name] = value
    add_fault(faults, {"fault": fault, "when": when}, strict=False)


def read_rules(document: object) -> Rules:
    """The rules that a document has; those that it has not are as ever.

    Raises:
        InvalidInputError: there is no such rule or value.
    """
    if not isinstance(document, dict):
        raise InvalidInputError(f"rules are an object with a field for each, not {shown(document)}")
    for name in document:
        if name not in kinds():
            raise InvalidInputError(f"there is no rule {name}; there are {', '.join(kinds())}")
    return Rules(**document)


def read_rules_in_words(text: str, **others: object) -> Rules:
    """The rules that words such as `lag=2 bad_items=207` have, and others by name.

    Raises:
        InvalidInputError: there is no such rule or value.
    """
    said = {
        name: convert(value, kinds().get(name, object), strict=False)
        for name, value in _words(text).items()
    }
    return read_rules(said | others)


def _words(text: str) -> Mapping[str, Any]:
    """The values of `name=value name=value`; only lists and objects are JSON."""
    found: dict[str, Any] = {}
    try:
        for word in shlex.split(text):
            name, equals, value = word.partition("=")
            if not equals:
                raise InvalidInputError(f"write NAME=VALUE, not {shown(word)}")
            found[name] = json.loads(value) if value[:1] in {"[", "{"} else value
    except ValueError as error:
        raise InvalidInputError(f"{shown(text)} can't be read: {error}") from None
    return found
