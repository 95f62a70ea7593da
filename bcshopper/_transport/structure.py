"""JSON that the strict decoder refuses, structured into attrs classes with cattrs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar, get_args, get_origin
from uuid import UUID

import cattrs
import msgspec
from cattrs.v import format_exception

from bcshopper._transport.messages import MalformedDocumentError

T = TypeVar("T")


def structure(body: bytes, cls: type[T]) -> T:
    """Parse a JSON document, and structure it into `cls`.

    Raises:
        MalformedDocumentError: it is not JSON, or not that class; of what is wrong, the first.
    """
    field = "$"
    try:
        document = msgspec.json.decode(body)
        if isinstance(document, dict):
            return cattrs_converter.structure(document, cls)
        # cattrs would take anything for a class whose fields all have defaults
        reason = "it is no JSON object"
    except RecursionError:
        reason = "it is nested too deep"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = f"it is not JSON ({error})"
    except Exception as error:  # noqa: BLE001 - cattrs raises whatever a hook raises
        # "reason @ $.path", the first of a few
        reason, _, field = cattrs.transform_error(error, "$", _describe)[0].rpartition(" @ ")
    raise MalformedDocumentError(reason, field)  # here, so that no document hangs on it


def _describe(error: BaseException, cls: type[Any] | None) -> str:
    return str(error) if isinstance(error, ValueError) else format_exception(error, cls)


def _structure_int(value: Any, _: type[int]) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise ValueError(f"expected an integer, got {value!r:.50}")
    return int(value)


def _bounded_hook(cls: Any) -> Callable[[Any, Any], int]:
    (bounds,) = cls.__metadata__

    def structure_bounded(value: Any, _: Any) -> int:
        number = _structure_int(value, int)
        if not bounds.ge <= number <= bounds.le:
            raise ValueError(f"expected {bounds.ge} to {bounds.le}, got {value!r:.50}")
        return number

    return structure_bounded


def _is_bounded(cls: Any) -> bool:
    """Whether it is an integer with both bounds, which the decoder minds and cattrs does not."""
    return get_origin(cls) is Annotated and get_args(cls)[0] is int


def _structure_raw(value: Any, _: type[msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _structure_uuid(value: Any, _: type[UUID]) -> UUID:
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"expected a UUID, got {value!r:.50}") from None


def _structure_datetime(value: Any, _: type[datetime]) -> datetime:
    try:
        moment = datetime.fromisoformat(value.upper())  # RFC 3339 allows a small t and z
    except (ValueError, TypeError, AttributeError):
        raise ValueError(f"expected a date and time, got {value!r:.50}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _tuple_hook(cls: Any) -> Callable[[Any, Any], Any]:
    of = get_args(cls)[0]
    structure = cattrs_converter.get_structure_hook(of)

    def structure_tuple(value: Any, _: Any) -> Any:
        if not isinstance(value, list):  # cattrs would take an object's keys
            raise ValueError(f"expected an array, got {value!r:.50}")  # noqa: TRY004 - bad data, not a bad call
        items: list[Any] = []
        for item in value:
            try:
                items.append(structure(item, of))
            except Exception as error:  # noqa: BLE001 - as above
                # One is enough; cattrs itself would go on, and keep an error for each.
                error.add_note(cattrs.IterableValidationNote("", len(items), of))
                raise cattrs.IterableValidationError("", [error], cls) from None  # pyright: ignore[reportCallIssue]
        return tuple(items)

    return structure_tuple


def _is_tuple(cls: Any) -> bool:
    return get_origin(cls) is tuple


cattrs_converter = cattrs.Converter()
cattrs_converter.register_structure_hook_factory(_is_tuple, _tuple_hook)
cattrs_converter.register_structure_hook_factory(_is_bounded, _bounded_hook)
cattrs_converter.register_structure_hook(msgspec.Raw, _structure_raw)
cattrs_converter.register_structure_hook(int, _structure_int)
cattrs_converter.register_structure_hook(UUID, _structure_uuid)
cattrs_converter.register_structure_hook(datetime, _structure_datetime)
