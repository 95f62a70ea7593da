"""Which store, with which token and which limits: from options, a config file, the environment."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tomllib
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, Unpack

import attrs
import click
from yarl import URL

from bcshopper._cli._runner import CommandError, Exit, run
from bcshopper._cli._terminal import log_response, warn
from bcshopper._quota import QuotaPolicy
from bcshopper._secret import Secret
from bcshopper._session import DEFAULT_BASE_URL, Session, SessionSettings
from bcshopper._transport import RetryPolicy
from bcshopper.errors import InvalidInputError
from bcshopper.sandbox import Sandbox

T = TypeVar("T")

CONFIG_FILE = Path(click.get_app_dir("bcshopper")) / "config.toml"
SANDBOX = {"customers": 1000, "profiles": 100}

# What options and the config file may say: which store, and what `Session` takes besides.
ACCOUNT = ("store_hash", "base_url")
QUOTA = ("share", "pacing", "max_wait", "shared")
LIMITS = ("concurrency", "timeout", "retries", *QUOTA)
MAX_CONCURRENT = QuotaPolicy().max_concurrent
TOKEN_KEYS = ("token_env", "token_file", "token_command")

_READABLE_BY_OTHERS = stat.S_IRGRP | stat.S_IROTH


@attrs.frozen
class Settings:
    """What a command runs with: a store, its token, the API's address, and limits of `Session`."""

    store_hash: str
    access_token: Secret
    base_url: str
    limits: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @property
    def root(self) -> URL:
        """Of the store's part of the API."""
        return URL(self.base_url) / "stores" / self.store_hash / "v3"

    @property
    def quota(self) -> QuotaPolicy:
        """What part of the store's quota to use, and how fast."""
        policy: QuotaPolicy = self.limits.get("quota", QuotaPolicy())
        return policy

    def session(self, **lent: Unpack[SessionSettings]) -> Session:
        """A session with these settings, and with what it is lent.

        Raises:
            CommandError: the store hash or the token can't be one.
        """
        settings: dict[str, Any] = {"base_url": self.base_url, **self.limits, **lent}
        try:
            return Session(self.store_hash, self.access_token, **settings)
        except InvalidInputError as error:
            raise CommandError(str(error), Exit.CREDENTIALS) from None

    def ask(self, call: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        """Run a call in a session of its own."""

        async def job() -> T:
            async with self.session(on_event=log_response) as session:
                return await call(session)

        return run(job())


@contextmanager
def choose_settings(options: Mapping[str, Any]) -> Iterator[Settings]:
    """What the options say, with a throw-away store in the block if they ask for one.

    Raises:
        click.UsageError: the config file, a name in it, a limit, the address or a combination of
            options is wrong.
        CommandError: something is missing, or can't be what it should be.
    """
    for option, name in ("store", "store_hash"), ("base-url", "base_url"), ("profile", "profile"):
        if options.get(name) == "":  # of a shell variable that is not set
            raise click.UsageError(f"--{option} is empty")
        if options.get("sandbox") and name in options:
            raise click.UsageError(f"--sandbox is a store of its own: leave out --{option}")
    if options.get("sandbox"):
        with Sandbox(customers=SANDBOX["customers"], profiles=SANDBOX["profiles"]) as store:
            limits = _limits(options, {}, store.url)
            yield Settings(store.store_hash, Secret(store.access_token), store.url, limits)
    else:
        settings = _find_settings(options)
        settings.session()  # refuses what can't be, before anything else is read
        yield settings


def _find_settings(options: Mapping[str, Any]) -> Settings:
    """Options first, then the named profile, then the environment, then the profile `default`."""
    name = options.get("profile") or os.environ.get("BCSHOPPER_PROFILE")
    profile: Mapping[str, Any] = {}
    if name is not None:
        profile = _read_profile(name)
    elif "BIGCOMMERCE_STORE_HASH" not in os.environ and "store_hash" not in options:
        profile = _read_profile("default") if os.path.exists(CONFIG_FILE) else {}  # noqa: PTH110 - never raises

    def find(key: str) -> Any:
        by_env = None if name is not None else os.environ.get(f"BIGCOMMERCE_{key.upper()}")
        return options.get(key) or profile.get(key) or by_env

    store_hash, base_url = find("store_hash"), str(find("base_url") or DEFAULT_BASE_URL)
    if not store_hash:
        raise CommandError(
            f"which store? Set BIGCOMMERCE_STORE_HASH, or give --store, "
            f"or --profile with a section of {CONFIG_FILE}",
            Exit.CREDENTIALS,
        )
    return Settings(store_hash, _token(profile), base_url, _limits(options, profile, base_url))


def _limits(options: Mapping[str, Any], profile: Mapping[str, Any], url: str) -> dict[str, Any]:
    """What `Session` takes, checked by making one: its address, too."""
    given = {n: value for n, value in {**profile, **options}.items() if n in LIMITS}
    try:
        if (retries := given.pop("retries", None)) is not None:
            if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
                raise InvalidInputError(f"retries must be a whole number from 0, not {retries!r}")
            given["retry"] = RetryPolicy(attempts=retries + 1)
        quota = {name: given.pop(name) for name in QUOTA if name in given}
        if isinstance(wanted := given.get("concurrency"), int) and wanted > MAX_CONCURRENT:
            quota["max_concurrent"] = wanted
        given["quota"] = QuotaPolicy(**quota)
        Session("x", "x", base_url=url, **given)
    except InvalidInputError as error:
        words = str(error).replace("QuotaPolicy(shared=...)", "shared")
        name, _, rest = words.partition(" ")
        if name in options:
            raise click.UsageError(f"--{name.replace('_', '-')} {rest}") from None
        where = f"{CONFIG_FILE}: " if name in profile else ""
        raise click.UsageError(f"{where}{words}") from None
    return given


def read_profiles() -> Mapping[str, Any]:
    """The sections of the config file, by name; none without a file.

    Raises:
        click.UsageError: it can't be read.
    """
    try:
        profiles = tomllib.loads(CONFIG_FILE.read_text(encoding="utf-8")).get("profiles", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{CONFIG_FILE} can't be read: {error}") from None
    return profiles if isinstance(profiles, dict) else {}


def _read_profile(name: str) -> Mapping[str, Any]:
    profiles = read_profiles()
    if not profiles and not os.path.exists(CONFIG_FILE):  # noqa: PTH110 - never raises
        raise click.UsageError(
            f"profile {name!r} would be a section of {CONFIG_FILE}, which does not exist"
        )
    profile = profiles.get(name)
    if not isinstance(profile, dict):
        known = ", ".join(profiles) or "none"
        raise click.UsageError(f"{CONFIG_FILE} has no section [profiles.{name}]; there is: {known}")
    keys, tokens = sorted({*ACCOUNT, *LIMITS, *TOKEN_KEYS}), ", ".join(TOKEN_KEYS)
    unknown = next((key for key in profile if key not in keys), None)
    wrong = unknown and f"{unknown!r} is not known; there are {', '.join(keys)}"
    if unknown in {"token", "access_token"}:
        wrong = f"the token itself does not belong in this file; give one of {tokens}"
    elif sum(key in profile for key in TOKEN_KEYS) > 1:
        wrong = f"give only one of {tokens}"
    if wrong:
        raise click.UsageError(f"{CONFIG_FILE}, profile {name}: {wrong}")
    return profile


def _token(profile: Mapping[str, Any]) -> Secret:
    if "token_file" in profile:
        return _read_token(Path(str(profile["token_file"])).expanduser())
    if "token_command" in profile:
        return _ask(profile["token_command"])
    name = str(profile.get("token_env", "BIGCOMMERCE_ACCESS_TOKEN"))
    if token := os.environ.get(name):
        return Secret(token)
    raise CommandError(
        f"set the environment variable {name} to the store's access token", Exit.CREDENTIALS
    )


def _read_token(path: Path) -> Secret:
    try:
        with path.open(encoding="utf-8") as file:
            mode = os.fstat(file.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & _READABLE_BY_OTHERS:
                warn(f"token_file {path} can be read by others: chmod 600 it, if it is yours")
            return Secret(file.read().strip())
    except (OSError, ValueError) as error:
        raise CommandError(f"token_file can't be read: {error}", Exit.CREDENTIALS) from None


def _ask(command: object) -> Secret:
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # an open quote
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise click.UsageError(f"{CONFIG_FILE}: token_command is no command: {command!r}")
    what = f"token_command {words[0]!r}"
    try:
        # Standard input may hold the ids.
        done = subprocess.run(  # noqa: S603 - the user's own
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
    except (OSError, ValueError) as error:
        raise CommandError(f"{what} can't be run: {error}", Exit.CREDENTIALS) from None
    if done.returncode:
        raise CommandError(f"{what} failed with code {done.returncode}", Exit.CREDENTIALS)
    return Secret(done.stdout.decode(errors="replace").strip())
