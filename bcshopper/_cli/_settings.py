"""Which store, with which token and which limits: from options, a config file, the environment."""

from __future__ import annotations

import os
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import click
from yarl import URL

from bcshopper._inputs import check_count
from bcshopper._quota import QuotaPolicy
from bcshopper._secret import Secret
from bcshopper._session import DEFAULT_BASE_URL, Session
from bcshopper.errors import InvalidInputError
from bcshopper.events import Event
from bcshopper.sandbox import Sandbox

CONFIG_FILE = Path(click.get_app_dir("bcshopper")) / "config.toml"
SANDBOX_CUSTOMERS = 1000
SANDBOX_PROFILES = 100

_TOKEN_KEYS = ("token_env", "token_file", "token_command")
_LIMIT_KEYS = ("concurrency", "share", "pacing")
_KEYS = {"store_hash", "base_url", *_TOKEN_KEYS, *_LIMIT_KEYS}


class CredentialsError(Exception):
    """The account is not known, or its token can't be had; the text says what to do."""


@attrs.frozen
class Settings:
    """What a command runs with.

    Attributes:
        store_hash: the store.
        access_token: its token.
        base_url: the API's address.
        concurrency: requests in flight at most.
        quota: what part of the store's quota to use, and how fast.
    """

    store_hash: str
    access_token: Secret
    base_url: str
    concurrency: int
    quota: QuotaPolicy

    @property
    def root(self) -> URL:
        """Of the store's part of the API."""
        return URL(self.base_url) / "stores" / self.store_hash / "v3"

    def session(self, on_event: Callable[[Event], None] | None = None) -> Session:
        """A session with these settings.

        Raises:
            CredentialsError: the store hash, the token or the address can't be one.
        """
        try:
            return Session(
                self.store_hash,
                self.access_token,
                base_url=self.base_url,
                concurrency=self.concurrency,
                quota=self.quota,
                on_event=on_event,
            )
        except InvalidInputError as error:
            raise CredentialsError(str(error)) from None


@contextmanager
def choose_settings(options: Mapping[str, Any]) -> Iterator[Settings]:
    """What the options say, with a throw-away store in the block if they ask for one.

    Raises:
        click.UsageError: the config file, a name in it or a combination of options is wrong.
        CredentialsError: something is missing, or can't be what it should be.
    """
    for name in ("store", "base_url", "profile"):
        if options.get(name) == "":  # of a shell variable that is not set
            raise click.UsageError(f"--{name.replace('_', '-')} is empty")
    if not options.get("sandbox"):
        settings = _find_settings(options)
        settings.session()  # refuses what can't be, before anything else is read
        yield settings
        return
    for name in ("store", "base_url", "profile"):
        if name in options:
            raise click.UsageError(
                f"--sandbox is a store of its own: leave out --{name.replace('_', '-')}"
            )
    with Sandbox(customers=SANDBOX_CUSTOMERS, profiles=SANDBOX_PROFILES) as store:
        yield Settings(
            store.store_hash, Secret(store.access_token), store.url, **_limits(options, {})
        )


def _find_settings(options: Mapping[str, Any]) -> Settings:
    """Options first, then the named profile, then the environment, then the profile `default`."""
    name = options.get("profile") or os.environ.get("BCSHOPPER_PROFILE")
    if name is not None:
        profile = _read_profile(name)
    elif "BIGCOMMERCE_STORE_HASH" in os.environ or "store" in options:
        profile = {}
    else:
        profile = _read_profile("default") if CONFIG_FILE.exists() else {}
    from_env = {} if name is not None else os.environ
    store_hash = (
        options.get("store") or profile.get("store_hash") or from_env.get("BIGCOMMERCE_STORE_HASH")
    )
    if not store_hash:
        raise CredentialsError(
            f"which store? Set BIGCOMMERCE_STORE_HASH, or give --store, "
            f"or --profile with a section of {CONFIG_FILE}"
        )
    base_url = (
        options.get("base_url")
        or profile.get("base_url")
        or from_env.get("BIGCOMMERCE_BASE_URL")
        or DEFAULT_BASE_URL
    )
    return Settings(store_hash, _token(profile), str(base_url), **_limits(options, profile))


def _limits(options: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    given = {n: value for n, value in {**profile, **options}.items() if n in _LIMIT_KEYS}
    concurrency = given.pop("concurrency", 10)
    try:
        check_count("concurrency", concurrency)
        return {"concurrency": concurrency, "quota": QuotaPolicy(**given)}
    except InvalidInputError as error:
        is_option = str(error).split()[0] in options
        raise click.UsageError(f"--{error}" if is_option else f"{CONFIG_FILE}: {error}") from None


def _read_profile(name: str) -> Mapping[str, Any]:
    try:
        config = tomllib.loads(CONFIG_FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise click.UsageError(
            f"profile {name!r} would be a section of {CONFIG_FILE}, which does not exist"
        ) from None
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{CONFIG_FILE} can't be read: {error}") from None
    profiles = config.get("profiles", {})
    if not isinstance(profiles, dict) or not isinstance(profiles.get(name), dict):
        known = ", ".join(profiles) if isinstance(profiles, dict) and profiles else "none"
        raise click.UsageError(f"{CONFIG_FILE} has no section [profiles.{name}]; there is: {known}")
    profile: dict[str, Any] = profiles[name]
    for key in profile:
        if key in {"token", "access_token"}:
            raise click.UsageError(
                f"{CONFIG_FILE}, profile {name}: the token itself does not belong in this file; "
                f"give one of {', '.join(_TOKEN_KEYS)}"
            )
        if key not in _KEYS:
            raise click.UsageError(
                f"{CONFIG_FILE}, profile {name}: {key!r} is not known; "
                f"there are {', '.join(sorted(_KEYS))}"
            )
    if sum(key in profile for key in _TOKEN_KEYS) > 1:
        raise click.UsageError(
            f"{CONFIG_FILE}, profile {name}: give only one of {', '.join(_TOKEN_KEYS)}"
        )
    return profile


def _token(profile: Mapping[str, Any]) -> Secret:
    if "token_file" in profile:
        path = Path(str(profile["token_file"])).expanduser()
        try:
            return Secret(path.read_text(encoding="utf-8").strip())
        except (OSError, ValueError) as error:
            raise CredentialsError(f"token_file can't be read: {error}") from None
    if "token_command" in profile:
        return _ask(profile["token_command"])
    name = str(profile.get("token_env", "BIGCOMMERCE_ACCESS_TOKEN"))
    token = os.environ.get(name)
    if not token:
        raise CredentialsError(f"set the environment variable {name} to the store's access token")
    return Secret(token)


def _ask(command: object) -> Secret:
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError:  # an open quote
        words = None
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise click.UsageError(f"{CONFIG_FILE}: token_command is no command: {command!r}")
    try:
        # Standard input may hold the ids.
        done = subprocess.run(  # noqa: S603 - the user's own
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
        )
    except (OSError, ValueError) as error:
        raise CredentialsError(f"token_command {words[0]!r} can't be run: {error}") from None
    if done.returncode:
        raise CredentialsError(f"token_command {words[0]!r} failed with code {done.returncode}")
    return Secret(done.stdout.decode(errors="replace").strip())
