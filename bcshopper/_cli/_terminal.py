"""Standard error: what people and log collectors read while a command runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from bcshopper.events import Event, ResponseReceived

_log = logging.getLogger("bcshopper.cli")
_LEVELS = [logging.WARNING, logging.INFO, logging.DEBUG]


class Terminal:
    """How a command speaks, as the options say.

    Attributes:
        console: of standard error.
        shows_bars: whether somebody watches who likes bars; else there are lines.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.console = Console(stderr=True, no_color=options.get("no_color") or None)
        quiet, as_json = options.get("quiet", False), options.get("log_json", False)
        self.shows_bars = self.console.is_terminal and not quiet and not as_json
        logger = logging.getLogger("bcshopper")
        logger.handlers = [_Handler(self.console, as_json=as_json)]
        logger.propagate = False
        verbose = options.get("verbose", 0)
        level = logging.ERROR if quiet else _LEVELS[min(verbose, 2)]
        logger.setLevel(level)
        _log.setLevel(level if quiet else min(level, logging.INFO))
        # What is tried again may come right; what does not is told as a failure.
        logging.getLogger("bcshopper.transport").setLevel(0 if verbose else logging.ERROR)


def say(message: str, **fields: Any) -> None:
    """Tell people something; `fields` are the same for programs, with `--log-json`."""
    _log.info(message, extra={"fields": fields})


def warn(message: str) -> None:
    """Tell people of something that they should mend."""
    _log.warning(message)


def fail(message: str) -> None:
    """Tell why a command failed."""
    _log.error(message)


def log_response(event: Event) -> None:
    """With `-vv`, a line for each answer."""
    if isinstance(event, ResponseReceived):
        _log.debug(
            "%s %s: %d in %.3f s, %d bytes",
            event.method, event.url, event.status, event.seconds, event.size,
        )  # fmt: skip


def visible(text: str) -> str:
    """Text that moves no cursor and begins no line, whoever wrote it."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


class _Handler(logging.Handler):
    """Lines for people, which keep clear of the bars, or one JSON object a line."""

    def __init__(self, console: Console, *, as_json: bool) -> None:
        super().__init__()
        self._console = console
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self._json(record) if self._as_json else self._plain(record)
            text = "\n".join(map(visible, text.split("\n")))
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        except Exception:  # noqa: BLE001 - as every handler of the standard library
            self.handleError(record)

    def _plain(self, record: logging.LogRecord) -> str:
        # What the command itself says needs no label.
        is_ours = record.name == _log.name and record.levelno == logging.INFO
        return self.format(record) if is_ours else f"{record.levelname}: {self.format(record)}"

    def _json(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = logging.Formatter().formatException(record.exc_info)
        return json.dumps(line)
