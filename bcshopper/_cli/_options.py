"""Every option, once: those that all commands take, and those that several do, as decorators."""

from __future__ import annotations

import functools
import inspect
import os
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from bcshopper._cli._files import FORMATS
from bcshopper._cli._input import Ids
from bcshopper._cli._output import Output
from bcshopper._cli._runner import failures_in_words
from bcshopper._cli._settings import SANDBOX, Settings, choose_settings, read_profiles
from bcshopper._cli._terminal import Terminal

Function: TypeAlias = Callable[..., None]
Decorator: TypeAlias = Callable[[Function], Function]

FILE = click.Path(allow_dash=True)
COUNT = click.IntRange(min=0)
PATH = click.Path(dir_okay=False, path_type=Path)


class Context:
    """What a command runs with, by the global options: those that were given, by name."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}

    @functools.cached_property
    def terminal(self) -> Terminal:
        """How to speak."""
        return Terminal(self.options)

    @functools.cached_property
    def settings(self) -> Settings:
        """Which store, with which token and limits, until the command ends."""
        return click.get_current_context().with_resource(choose_settings(self.options))


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    name = str(parameter.name)
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        context.ensure_object(Context).options[name] = value


def _profile_names(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    with suppress(click.UsageError):
        return [CompletionItem(name) for name in read_profiles() if name.startswith(begun)]
    return []


def _global_options() -> list[click.Parameter]:
    option = functools.partial(_option, expose_value=False, callback=_remember)
    return [
        option("The store, instead of BIGCOMMERCE_STORE_HASH.", "--store", "store_hash",
               metavar="HASH"),
        option("Where the API is.", "--base-url", metavar="URL"),
        option("The account of that name in the config file, instead of BCSHOPPER_PROFILE.",
               "--profile", metavar="NAME", shell_complete=_profile_names),
        option("A throw-away store with customers 1 to {customers}, of whom {profiles} have a "
               "profile.".format(**SANDBOX), "--sandbox", is_flag=True),
        option("Requests in flight.  [default: 10]", "--concurrency", type=int),
        option("The part of the quota to use.  [default: 1]", "--share", type=float),
        option("As fast as the quota lasts, or spread over its window.  [default: burst]",
               "--pacing", type=click.Choice(["burst", "smooth"])),
        option("Give up on a request that would wait longer for quota.  [default: wait]",
               "--max-wait", type=float, metavar="SECONDS"),
        option("Share the quota with other processes through this Redis, as redis://host.",
               "--shared", metavar="URL"),
        option("For one try.  [default: 30]", "--timeout", type=float, metavar="SECONDS"),
        option("Further tries of what may pass.  [default: 4]", "--retries", type=int),
        option("Say more; -vv logs every answer.", "-v", "--verbose", count=True),
        option("Standard error as JSON lines.", "--log-json", is_flag=True),
        option("No colours; NO_COLOR does the same.", "--no-color", is_flag=True),
        option("Nothing on standard error but errors.", "--quiet", is_flag=True),
    ]  # fmt: skip


def _option(text: str, *names: str, **settings: Any) -> click.Parameter:
    return click.Option(names, help=text, **settings)


class Command(click.Command):
    """A command that takes the global options, too, and names them after its own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own, self._global = self.params, _global_options()
        self.params = [*self._own, *self._global]

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, to the right exit code."""
        _ = ctx.ensure_object(Context).terminal  # whatever is said from now on is said as asked
        with failures_in_words():
            return super().invoke(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own in full."""
        own = [p for p in [*self._own, self.get_help_option(ctx)] if isinstance(p, click.Option)]
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


def command(
    group: click.Group, *lines: str, **settings: Any
) -> Callable[[Function], click.Command]:
    """Make a function a command of a group: it is given the `Context`, its help these examples."""

    def decorate(function: Function) -> click.Command:
        return group.command(**examples(*lines), **settings)(click.pass_obj(function))

    return decorate


def examples(*lines: str) -> dict[str, str]:
    """The end of a command's help."""
    return {"epilog": "\b\nExamples:\n" + "\n".join(f"  $ {line}" for line in lines)}


def _gathers(name: str, make: Callable[..., Any], *options: Decorator) -> Decorator:
    """Give a command options, and what `make` makes of their values as the argument `name`."""
    theirs = inspect.signature(make).parameters

    def decorate(command: Function) -> Function:
        def wrapped(*args: Any, **given: Any) -> None:
            made = make(**{key: given.pop(key) for key in theirs})
            command(*args, **{name: made}, **given)

        done: Function = functools.update_wrapper(wrapped, command)
        for option in reversed(options):
            done = option(done)
        return done

    return decorate


prints = _gathers(
    "output", Output.choose,
    click.option(
        "--format", "fmt", type=click.Choice(FORMATS),
        help="How to print; a table on a terminal and JSON lines elsewhere if not given.",
    ),
    click.option(
        "--output", "path", metavar="FILE", type=FILE,
        help="Write there, whole or not at all; the suffix tells the format.",
    ),
    click.option("--fields", metavar="NAMES", help="Only these columns, as id,customer_id."),
)  # fmt: skip
"""Gives a command the options of its output, as `output`."""


def takes_ids(name: str) -> Decorator:
    """Give a command the arguments and options of its ids, as `ids`."""
    return _gathers(
        "ids", Ids,
        click.argument("arguments", nargs=-1, metavar=f"[{name}]..."),
        click.option(
            "--from", "source_path", metavar="FILE", type=FILE,
            help="Read ids from a file, - for standard input: lines, or by its suffix CSV, TSV, "
            "JSON lines or JSON; packed with gzip or not.",
        ),
        click.option("--column", metavar="NAME", help="Read CSV, with the ids in this column."),
        click.option("--field", metavar="NAME", help="Read JSON, with the ids in this field."),
        click.option(
            "--skip-bad", is_flag=True,
            help="Write bad lines to a file of rejects, and go on without them.",
        ),
        click.option("--allow-empty", is_flag=True, help="Take no ids at all for success."),
    )  # fmt: skip


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


def writes(command: Function) -> Function:
    """Give a command the options of a job that writes to the store."""
    return prints(journal(dry_run(summary(command))))
