"""Running a command to its end, and the exit code that says how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any

import click

from bcshopper._cli._journal import JournalError
from bcshopper._cli._settings import CredentialsError
from bcshopper._cli._terminal import fail
from bcshopper.errors import AuthenticationError, BCShopperError, PermissionDeniedError


class Exit(IntEnum):
    """Exit codes."""

    SOME_FAILED = 1
    USAGE = 2
    CREDENTIALS = 3
    API = 4
    INTERRUPTED = 130
    UNREAD = 141


def run(job: Coroutine[Any, Any, None]) -> None:
    """Run a job. An interrupt cancels it, so that it ends in its own way; a second one ends it.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run has made one
        with suppress(NotImplementedError):  # there are no such handlers on Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await job

    try:
        asyncio.run(main())
    except asyncio.CancelledError:  # SIGTERM
        raise KeyboardInterrupt from None


@contextmanager
def exit_codes() -> Iterator[None]:
    """Say what stopped a command, and exit with the code for it."""
    try:
        yield
    except (AuthenticationError, PermissionDeniedError, CredentialsError) as error:
        code, reason = Exit.CREDENTIALS, str(error)
    except JournalError as error:
        code, reason = Exit.USAGE, str(error)
    except BCShopperError as error:
        code, reason = Exit.API, str(error)
    except BrokenPipeError:  # nobody reads any more, which is no fault
        _drop_what_is_unwritten()
        sys.exit(Exit.UNREAD)
    except OSError as error:
        code, reason = Exit.API, _in_words(error)
    except sqlite3.Error as error:
        code, reason = Exit.API, f"the journal can't be read or written: {error}"
    except (KeyboardInterrupt, click.Abort):
        sys.exit(Exit.INTERRUPTED)
    else:
        return
    fail(reason)
    sys.exit(code)


def _drop_what_is_unwritten() -> None:
    """Python would complain of it at the end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
