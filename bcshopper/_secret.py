"""Strings that are not to be seen."""

from __future__ import annotations

import re
from itertools import groupby
from typing import NoReturn

_MASK = "[secure]"
# What a server can make of a character: JSON's and Python's escapes, a URL's, HTML's.
_ESCAPE = r"\\+(?:u00|x)([0-9a-f]{2})|%(?:25)*([0-9a-f]{2})|(&#?\w{2,6};)|\\+(.?)"
_ESCAPED = re.compile(_ESCAPE, re.IGNORECASE | re.DOTALL)
_PIECE = re.compile(f"(?:{_ESCAPE})|.", re.IGNORECASE | re.DOTALL)
_BEHIND_ITS_NAME = re.compile(
    r"""(x-auth-token["'\\]*\s*[:=,]\s*(?:b?["'\\]*["'])?)"""
    r"""((?:[^\s"'<,;}\\]|\\+(?:u00|x)[0-9a-f]{2}|\\+/)+)""",
    re.IGNORECASE,
)
# A token of BigCommerce has 31 letters and digits. Where one has fewer characters than this, an
# answer can hold it by chance.
_LEAST = 8
_LEAST_OF_A_WORD = 20  # without a digit
_FRAGMENT = 12  # as many characters of it in a row are not shown either: excerpts cut it


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


class Mask:
    """Masks a token in text for people, however it is written there.

    A token that may be an ordinary word, or is too short to be told from one, is masked only where
    it stands behind the name of its header.
    """

    def __init__(self, token: str) -> None:
        plain = _read(token)
        has_both = any(map(str.isdigit, plain)) and any(map(str.isalpha, plain))
        is_plain_to_see = len(plain) >= (_LEAST if has_both else _LEAST_OF_A_WORD)
        size = min(_FRAGMENT, len(plain))
        self._plain = Hidden(plain)
        self._fragments = [
            Hidden(plain[start : start + size])
            for start in range(len(plain) - size + 1)
            if is_plain_to_see
        ]

    def __call__(self, text: str) -> str:
        """The same text, with the token masked."""
        # aiohttp makes surrogates of what is no UTF-8, which no terminal can print
        text = text.encode(errors="replace").decode()
        text = _BEHIND_ITS_NAME.sub(self._mask_value, text)
        plain = _read(text)
        if not any(fragment in plain for fragment in self._fragments):
            return text
        return self._mask(text)

    def _mask_value(self, found: re.Match[str]) -> str:
        return found[1] + _MASK if _read(found[2]) == self._plain else found[0]

    def _mask(self, text: str) -> str:
        pieces = [found[0] for found in _PIECE.finditer(text)]
        read = [(character, at) for at, piece in enumerate(pieces) if (character := _read(piece))]
        plain = "".join(character for character, _ in read)
        secret: set[int] = set()
        for fragment in self._fragments:
            for found in re.finditer(f"(?={re.escape(fragment)})", plain):
                _, first = read[found.start()]
                _, last = read[found.start() + len(fragment) - 1]
                secret.update(range(first, last + 1))
        runs = groupby(enumerate(pieces), key=lambda numbered: numbered[0] in secret)
        return "".join(
            _MASK if is_secret else "".join(piece for _, piece in run) for is_secret, run in runs
        )


def _read(text: str) -> str:
    """What a text says, without escapes and any backslash, in small letters."""
    if "\\" in text or "%" in text or "&" in text:
        text = _ESCAPED.sub(_character, text)
    return text.translate(_SMALL)


def _character(escape: re.Match[str]) -> str:
    if escape[3]:
        from html import unescape  # noqa: PLC0415 - a table of all entities, which few texts need

        character = unescape(escape[3])[:1]
    else:
        code = escape[1] or escape[2]
        character = chr(int(code, 16)) if code else escape[4]
    return "" if character == "\\" else character  # nobody can tell how often it was escaped


_SMALL = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
