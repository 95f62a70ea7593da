"""A PostgreSQL server of the tests' own, to be started, stopped and killed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Postgres:
    """One cluster in a temporary folder, on a free port of this machine."""

    def __init__(self):
        self.bin = _programs()
        self.folder = Path(tempfile.mkdtemp(prefix="bcshopper-fleet-"))
        self.port = free_port()
        self._as = _as_nobody_special(self.folder)
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        self.start()

    def _run(self, program, *arguments):
        # pg_ctl's child would keep a pipe open for as long as it lives
        with (self.folder / f"{program}.log").open("ab") as log:
            subprocess.run(
                [*self._as, f"{self.bin}/{program}", "-D", f"{self.folder}/data", *arguments],
                cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True,
            )  # fmt: skip

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self.folder}"
        options += " -c max_connections=300"
        self._run("pg_ctl", "-w", "-l", f"{self.folder}/server.log", "-o", options, "start")

    def stop(self):
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def close(self):
        self.stop()
        shutil.rmtree(self.folder)

    def new_database(self, name):
        """An empty database, by its URL."""
        url = f"postgresql://postgres@127.0.0.1:{self.port}"
        with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"{url}/{name}"


def _programs():
    for initdb in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True):
        return initdb.parent
    found = shutil.which("initdb")
    if found is None or shutil.which("pg_ctl") is None:
        pytest.skip("no PostgreSQL server on this machine: there is no initdb and pg_ctl")
    return Path(found).parent


def _as_nobody_special(folder):
    """What runs a command as somebody whom PostgreSQL takes: it refuses root."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    pytest.skip("PostgreSQL refuses root, and there is no user postgres or nobody")
