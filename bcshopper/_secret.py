"""Strings that are not to be seen."""

from __future__ import annotations

from typing import NoReturn


class Hidden(str):
    """A string that shows in no `repr`, and so in no traceback with locals."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secure]'"


class Secret(Hidden):
    """A hidden string that shows in no pickle either."""

    __slots__ = ()

    def __reduce__(self) -> NoReturn:
        raise TypeError("the access token can't be pickled")
