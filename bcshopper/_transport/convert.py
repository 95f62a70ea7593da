"""JSON bytes to attrs classes: straight where the decoder can, through cattrs where it can't."""

from __future__ import annotations

from typing import Any, TypeVar, cast

import msgspec

from bcshopper._transport.messages import MalformedDocumentError

T = TypeVar("T")

MAX_PLAIN = 512 * 1024
"""Bytes of JSON that are parsed without a model: it may make an object of every other byte, and the
event loop stands still meanwhile. The largest documented answer has some 50,000 bytes.
"""


class JSONConverter:
    """Decodes straight into the classes where it can, and structures with cattrs where it can't.

    msgspec is about six times as fast as parsing and structuring in turn, but strict; what it
    refuses (`1.0` for an integer, a time without an offset) goes through cattrs' hooks.
    """

    def __init__(self) -> None:
        self._decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}

    def loads(self, body: bytes, cls: type[T]) -> T:
        """Decode a JSON document into `cls`.

        Raises:
            MalformedDocumentError: it is not JSON, or not that class; of what is wrong, the first.
        """
        try:
            return cast("T", self._decoder(cls).decode(body))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            strictly = str(error)
        if len(body) > MAX_PLAIN:
            reason, _, where = strictly.partition(" - at ")
            raise MalformedDocumentError(
                f"in {len(body):,} bytes, {reason}", where.strip("`") or "$"
            )
        from bcshopper._transport.structure import structure  # noqa: PLC0415 - few answers need cattrs

        return structure(body, cls)

    def _decoder(self, cls: type[Any]) -> msgspec.json.Decoder[Any]:
        if cls not in self._decoders:
            self._decoders[cls] = msgspec.json.Decoder(cls)
        return self._decoders[cls]


converter = JSONConverter()
