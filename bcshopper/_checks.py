"""What the numbers that callers give may be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from bcshopper.errors import InvalidInputError


def check_count(name: str, value: object, most: int | None = None) -> None:
    """Refuse what is not a whole number from 1.

    Raises:
        InvalidInputError: by name, with the value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidInputError(f"{name} must be a whole number from 1, not {value!r}")
    if most is not None and value > most:
        raise InvalidInputError(f"{name} must be at most {most}, not {value}")


def check_number(
    name: str, value: object, *, above: float = -math.inf, least: float = -math.inf,
    most: float = math.inf,
) -> None:  # fmt: skip
    """Refuse what is not a number within these bounds.

    Raises:
        InvalidInputError: by name, with the value.
    """
    number = value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if number > above and least <= number <= most:
        return
    bounds = [f"above {above:g}"] if above > -math.inf else []
    bounds += [f"at least {least:g}"] if least > -math.inf else []
    bounds += [f"at most {most:g}"] if most < math.inf else []
    raise InvalidInputError(f"{name} must be a number {' and '.join(bounds)}, not {value!r}")


def a_count(_: object, field: attrs.Attribute[Any], value: object) -> None:
    """`check_count` for a field."""
    check_count(field.name, value)


def a_number(**bounds: float) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """`check_number` for a field."""

    def validate(_: object, field: attrs.Attribute[Any], value: object) -> None:
        check_number(field.name, value, **bounds)

    return validate
