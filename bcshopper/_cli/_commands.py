"""Running a command line, and the commands that are not about a store's profiles or segments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class

from bcshopper._cli import _fleet, _profiles, _segments  # noqa: F401 - they add their commands
from bcshopper._cli import _options as options
from bcshopper._cli._config import add_profile, list_accounts
from bcshopper._cli._doctor import examine
from bcshopper._cli._journal import Journal
from bcshopper._cli._options import Context, command, examples
from bcshopper._cli._pace import clock
from bcshopper._cli._reading import bcshopper
from bcshopper._cli._runner import Exit, end_with, run
from bcshopper._cli._sandbox import run_demo, serve
from bcshopper._cli._settings import CONFIG_FILE, SANDBOX
from bcshopper._cli._terminal import fail, say
from bcshopper._outcomes import GOOD, Status


def run_command(arguments: Sequence[str]) -> int:
    """Run a command line, say what stopped it, and give its exit code."""
    try:
        return bcshopper.main(list(arguments), "bcshopper", standalone_mode=False) or 0
    except click.Abort:
        return Exit.INTERRUPTED
    except click.ClickException as error:
        of = error.ctx if isinstance(error, click.UsageError) else None
        given = of.find_object(Context) if of else None
        if given and "log_json" in given.options:
            _ = given.terminal
            fail(error.format_message())
        else:
            error.show()  # with a hint beside it
        return error.exit_code


@bcshopper.group(**examples("bcshopper journal show night.journal"))
def journal() -> None:
    """Look into the journals of jobs."""


@journal.command(
    **examples(
        "bcshopper journal show night.journal",
        "bcshopper journal show --failed night.journal > again.txt",
    )
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--failed", is_flag=True, help="Print the ids that failed, one a line, as input.")
def show(file: Path, *, failed: bool) -> None:
    """Tell what became of a job's ids, though it may be running."""
    with Journal(file, reads_only=True) as book:
        job = book.job
        if job is None:
            raise click.UsageError(f"{file} is no journal of a job")
        if failed:
            for outcome in book.outcomes(set(Status) - GOOD):
                click.echo(outcome.item)
            return
        total, counts = book.total, book.counts()
        click.echo(f"{job.verb} in store {job.store_hash} at {job.base_url}")
        click.echo(f"{total:,} ids, {total - counts.total():,} of them without an outcome")
        for status in Status:
            if counts[status]:
                click.echo(f"  {counts[status]:,} {status.value}")
        if (pace := book.pace_now()) is not None:
            rate, left = pace
            click.echo(f"running: {rate:,.0f} a second, {clock(left)} left")


@command(bcshopper, "bcshopper doctor", "bcshopper --profile staging doctor --json")
@click.option("--json", "as_json", is_flag=True, help="As JSON lines, for programs.")
def doctor(context: Context, *, as_json: bool) -> None:
    """Check token, scope, plan, quota, clock, speed and Redis, and say what to do."""
    context.options.setdefault("retries", 0)
    if code := run(examine(context.settings, as_json=as_json)):
        end_with(Exit(code))


@bcshopper.group(**examples("bcshopper config init", "bcshopper config list"))
def config() -> None:
    """Make and look into the config file."""


@config.command(**examples("bcshopper config path", '"$EDITOR" "$(bcshopper config path)"'))
def path() -> None:
    """Print where the config file is."""
    click.echo(CONFIG_FILE)


config.command("list", **examples("bcshopper config list"))(list_accounts)


@command(config, "bcshopper config init", "bcshopper --profile staging config init")
def init(context: Context) -> None:
    """Ask for an account, write it to the config file, and check it."""
    name = add_profile(context.options)
    say(f"profile {name!r} is in {CONFIG_FILE}")
    context.options = {"profile": name}
    click.get_current_context().invoke(doctor, as_json=False)


@command(bcshopper, "bcshopper demo --customers 20000")
@click.option("--customers", default=5000, show_default=True, type=click.IntRange(min=1))
def demo(context: Context, *, customers: int) -> None:
    """Create, list and delete profiles on an embedded store, and say what it took."""
    run(run_demo(customers, context.terminal))


@bcshopper.command(
    **examples(
        "bcshopper sandbox --port 0 --customers 100000",
        'bcshopper sandbox --quota 150 --fault \'{"fault": {"kind": "cut"}}\'',
        "bcshopper sandbox --state store.json --webhooks http://127.0.0.1:8081/webhooks",
    )
)
@click.option(
    "--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
    help="0 picks a free one.",
)  # fmt: skip
@click.option("--customers", default=SANDBOX["customers"], show_default=True, type=options.COUNT)
@click.option("--profiles", default=SANDBOX["profiles"], show_default=True, type=options.COUNT)
@click.option("--quota", type=int, help="Requests per window.")
@click.option("--window", type=float, help="Seconds that a window of the quota lasts.")
@click.option("--latency", type=float, help="Seconds that every answer takes longer.")
@click.option("--fault", "faults", multiple=True, metavar="JSON", help="What is to go wrong.")
@click.option("--rules", metavar="JSON", help="How the store behaves otherwise.")
@click.option("--seed-file", type=options.PATH, help="What the store holds besides, as JSON.")
@click.option(
    "--state", type=options.PATH,
    help="Keep the store there when it ends, and go on with it if it is there.",
)  # fmt: skip
@click.option("--webhooks", metavar="URL", help="Send webhooks of customers there.")
@click.option("--secret", envvar="WEBHOOK_SECRET", metavar="BASE64", help="What signs them.")
@click.option("--no-admin", is_flag=True, help="Without the page and its API.")
def sandbox(**given: Any) -> None:
    """Serve an embedded store until interrupted; see its page at /_sandbox/."""
    run(serve(**given))


@bcshopper.command(
    **examples(
        'eval "$(bcshopper completion bash)"',
        "bcshopper completion fish > ~/.config/fish/completions/bcshopper.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, files and profiles."""
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    click.echo(kind(bcshopper, {}, "bcshopper", "_BCSHOPPER_COMPLETE").source())
