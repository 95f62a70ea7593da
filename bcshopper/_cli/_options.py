"""Every option, once: those that all commands take, and those that several do, as decorators."""

from __future__ import annotations

import functools
import os
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from bcshopper._cli._formats import FORMATS, Format
from bcshopper._cli._output import Output
from bcshopper._cli._runner import failures_in_words
from bcshopper._cli._settings import SANDBOX, read_profiles
from bcshopper._cli._source import Source, choose_source
from bcshopper._cli._terminal import Terminal

FILE = click.Path(allow_dash=True)
PATH = click.Path(dir_okay=False, path_type=Path)
COUNT = click.IntRange(min=0)


class Context:
    """What the global options say: those that were given, by name."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    @functools.cached_property
    def terminal(self) -> Terminal:
        """How to speak."""
        return Terminal(self.options)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    assert parameter.name is not None  # noqa: S101 - options have names
    if context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
        context.ensure_object(Context).options[parameter.name] = value


def _profile_names(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    with suppress(OSError, click.UsageError):
        return [CompletionItem(name) for name in read_profiles() if name.startswith(begun)]
    return []


def _global_options() -> list[click.Parameter]:
    def option(*names: str, **settings: Any) -> click.Parameter:
        return click.Option(names, expose_value=False, callback=_remember, **settings)

    return [
        option(
            "--store", "store_hash", metavar="HASH",
            help="The store, instead of BIGCOMMERCE_STORE_HASH.",
        ),
        option("--base-url", metavar="URL", help="Where the API is."),
        option(
            "--profile", metavar="NAME", shell_complete=_profile_names,
            help="The account of that name in the config file, instead of BCSHOPPER_PROFILE.",
        ),
        option(
            "--sandbox", is_flag=True,
            help="A throw-away store with customers 1 to {customers}, of whom {profiles} "
            "have a profile.".format(**SANDBOX),
        ),
        option("--concurrency", type=int, help="Requests in flight.  [default: 10]"),
        option("--share", type=float, help="The part of the quota to use.  [default: 1]"),
        option(
            "--pacing", type=click.Choice(["burst", "smooth"]),
            help="As fast as the quota lasts, or spread over its window.  [default: burst]",
        ),
        option(
            "--max-wait", type=float, metavar="SECONDS",
            help="Give up on a request that would wait longer for quota.  [default: wait]",
        ),
        option(
            "--shared", metavar="URL",
            help="Share the quota with other processes through this Redis, as redis://host.",
        ),
        option("--timeout", type=float, metavar="SECONDS", help="For one try.  [default: 30]"),
        option("--retries", type=int, help="Further tries of what may pass.  [default: 4]"),
        option("-v", "--verbose", count=True, help="Say more; -vv logs every answer."),
        option("--log-json", is_flag=True, help="Standard error as JSON lines."),
        option("--no-color", is_flag=True, help="No colours; NO_COLOR does the same."),
        option("--quiet", is_flag=True, help="Nothing on standard error but errors."),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the global options, too, and names them after its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._global = _global_options()
        self.params = [*self.params, *self._global]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, to the right exit code."""
        _ = ctx.ensure_object(Context).terminal  # whatever is said from now on is said as asked
        with failures_in_words():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own in full."""
        own = [
            p for p in self.get_params(ctx) if isinstance(p, click.Option) and p not in self._global
        ]
        with formatter.section("Options"):
            formatter.write_dl([record for p in own if (record := p.get_help_record(ctx))])
        with formatter.section("Global options, as bcshopper --help explains them"):
            names = ", ".join(p.opts[-1] for p in self._global)
            for line in textwrap.wrap(names, formatter.width - 4, break_on_hyphens=False):
                formatter.write_text(line)


class Group(click.Group):
    """A group whose commands take the global options, as it does itself."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += _global_options()


def examples(*lines: str) -> dict[str, str]:
    """The end of a command's help."""
    return {"epilog": "\b\nExamples:\n" + "\n".join(f"  $ {line}" for line in lines)}


def prints(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of its output, as `output`."""

    @click.option(
        "--format", "fmt", type=click.Choice(FORMATS),
        help="How to print; a table on a terminal and JSON lines elsewhere if not given.",
    )  # fmt: skip
    @click.option(
        "--output", "output_path", metavar="FILE", type=FILE,
        help="Write there, whole or not at all; the suffix tells the format.",
    )  # fmt: skip
    @click.option("--fields", metavar="NAMES", help="Only these columns, as id,customer_id.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, fmt: Format | None, output_path: str | None, fields: str | None, **kwargs: Any
    ) -> None:
        names = [] if fields is None else [name.strip() for name in fields.split(",")]
        command(*args, output=Output.choose(fmt, output_path, names), **kwargs)

    return wrapped


@attrs.frozen
class Ids:
    """The ids of a command.

    Attributes:
        source: where they come from.
        skip_bad: whether bad lines are left out.
        allow_empty: whether it is well that there are none.
    """

    source: Source
    skip_bad: bool
    allow_empty: bool


def takes_ids(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the arguments and options of its ids, as `ids`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @click.argument("arguments", nargs=-1, metavar=f"[{name}]...")
        @click.option(
            "--from", "source_path", metavar="FILE", type=FILE,
            help="Read ids from a file, - for standard input: lines, or by its suffix CSV, TSV, "
            "JSON lines or JSON; packed with gzip or not.",
        )  # fmt: skip
        @click.option("--column", metavar="NAME", help="Read CSV, with the ids in this column.")
        @click.option("--field", metavar="NAME", help="Read JSON, with the ids in this field.")
        @click.option(
            "--skip-bad", is_flag=True,
            help="Write bad lines to a file of rejects, and go on without them.",
        )  # fmt: skip
        @click.option("--allow-empty", is_flag=True, help="Take no ids at all for success.")
        @functools.wraps(command)
        def wrapped(
            *args: Any,
            arguments: tuple[str, ...],
            source_path: str | None,
            column: str | None,
            field: str | None,
            skip_bad: bool,
            allow_empty: bool,
            **kwargs: Any,
        ) -> None:
            if kwargs.get("all_customers"):
                if arguments or source_path or column or field:
                    raise click.UsageError("--all-customers is everyone: give no ids with it")
                source = Source((), None)
            else:
                source = choose_source(arguments, source_path, column=column, field=field)
            command(*args, ids=Ids(source, skip_bad, allow_empty), **kwargs)

        return wrapped

    return decorate


def _in_a_folder(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
    """It is written last: too late to learn that it can't be."""
    if path is None:
        return None
    if not os.path.isdir(path.parent):  # noqa: PTH112 - never raises
        raise click.BadParameter(f"there is no folder {path.parent}")
    try:
        path.lstat()
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise click.BadParameter(f"cannot write {path}: {error.strerror}") from None
    return path


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time such as 2026-01-31T12:00+01:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


modified_since = click.option(
    "--modified-since", metavar="TIME", callback=_moment,
    help="Only customers modified since then; UTC if it has no offset.",
)  # fmt: skip
yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option(
    "--dry-run", is_flag=True, help="Print the requests that would go, and send none."
)
summary = click.option(
    "--summary-json", metavar="FILE", type=PATH, callback=_in_a_folder,
    help="Write the summary there as JSON, too.",
)  # fmt: skip
journal = click.option(
    "--journal", metavar="FILE", type=PATH,
    help="Keep every outcome there: the same command again goes on where it was stopped.",
)  # fmt: skip


def writes(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of a job that writes to the store."""
    return prints(journal(dry_run(summary(command))))
