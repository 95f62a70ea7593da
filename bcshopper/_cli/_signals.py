"""Ctrl-C and SIGTERM: the first ends a command in order, the second at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""The exit code, as a shell has it for a program that SIGINT ends."""
_OURS = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """What interrupts of this process do, whatever it is at.

    Attributes:
        last_words: what the terminal needs before the process ends at once.
    """

    def __init__(self) -> None:
        self.last_words = b""
        self._count = 0
        self._cancel: Callable[[], None] | None = None

    def own(self) -> None:
        """From now on they come here; those that the process was told to ignore do not."""
        for number in _OURS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._arrived)

    @staticmethod
    def disown() -> None:
        """All is done: the exit code is to be that of the work."""
        for number in _OURS:
            signal.signal(number, signal.SIG_IGN)

    @contextmanager
    def cancelling(self) -> Iterator[Callable[[Callable[[], None]], None]]:
        """In the block, the first interrupt raises nothing but makes the block's work end.

        Yields what takes the way to end it. Raises `KeyboardInterrupt` at the block's end.
        """

        def set_cancel(cancel: Callable[[], None]) -> None:
            self._cancel = cancel
            if self._count:
                cancel()

        self._cancel = lambda: None
        try:
            yield set_cancel
        finally:
            self._cancel = None
            if self._count:
                raise KeyboardInterrupt

    def _arrived(self, *_: object) -> None:
        self._count += 1
        if self._count > 1:
            os.write(2, self.last_words)
            os._exit(INTERRUPTED)
        if self._cancel is None:
            raise KeyboardInterrupt
        self._cancel()


signals = Signals()
"""There is one process, and it has one of them."""
