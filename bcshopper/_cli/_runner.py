"""Running a command to its end, and the exit code that says how it ended."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, NoReturn, TypeVar

import click

from bcshopper._cli._signals import INTERRUPTED, signals
from bcshopper._cli._terminal import fail
from bcshopper.errors import AuthenticationError, BCShopperError, PermissionDeniedError

T = TypeVar("T")


class Exit(IntEnum):
    """Exit codes."""

    SOME_FAILED = 1
    USAGE = 2
    CREDENTIALS = 3
    API = 4
    INTERRUPTED = INTERRUPTED
    UNREAD = 141


# A path that was given can't be used; other failures are of the machine.
_OF_THE_PATH = frozenset({
    errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG,
    errno.ELOOP, errno.EROFS,
})  # fmt: skip


class CommandError(Exception):
    """What ends a command, in words, with its exit code."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


def end_with(code: Exit) -> NoReturn:
    """End the command, all that there is to say being said."""
    raise click.exceptions.Exit(code)


def run(job: Coroutine[Any, Any, T]) -> T:
    """Run a job. An interrupt cancels it, so that it ends in its own way.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """

    async def main() -> T:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # noqa: S101 - asyncio.run has made one

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop is closed: the job has ended
                loop.call_soon_threadsafe(task.cancel)

        on_interrupt(cancel)
        return await job

    with signals.cancelling() as on_interrupt:
        try:
            return asyncio.run(main())
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


@contextmanager
def failures_in_words() -> Iterator[None]:
    """Say what stopped a command, and end it with the exit code for that."""
    try:
        yield
    except CommandError as error:
        code, reason = error.code, str(error)
    except (AuthenticationError, PermissionDeniedError) as error:
        code, reason = Exit.CREDENTIALS, str(error)
    except BCShopperError as error:
        code, reason = Exit.API, str(error)
    except BrokenPipeError:  # nobody reads any more, which is no fault
        # Python would complain of what is unwritten at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        end_with(Exit.UNREAD)
    except OSError as error:
        code = Exit.USAGE if error.filename and error.errno in _OF_THE_PATH else Exit.API
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except sqlite3.Error as error:
        code, reason = Exit.API, f"the journal can't be read or written: {error}"
    except (KeyboardInterrupt, click.Abort):
        end_with(Exit.INTERRUPTED)
    else:
        return
    fail(reason)
    end_with(code)
