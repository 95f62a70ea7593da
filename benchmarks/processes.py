"""Starting and ending the servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages import PATH, page_body

_SLOWEST_START = 10.0

_NGINX_CONF = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=4096;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/pages;
        location = {path} {{ default_type application/json; try_files /$arg_page =404; }}
    }}
}}
"""


@contextlib.contextmanager
def server(kind: str, **settings: float) -> Iterator[str]:
    """Run `benchmarks.server` and give its URL."""
    options = [f"--{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.server", kind, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


def nginx_program() -> str | None:
    """Where nginx is; system folders are not on everybody's PATH."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(program: str, *, pages: int) -> Iterator[str]:
    """Run nginx on static files, one for each page, and give its URL."""
    with tempfile.TemporaryDirectory() as name, socket.socket() as probe:
        folder = Path(name)
        (folder / "pages").mkdir()
        for number in range(1, pages + 1):
            (folder / "pages" / str(number)).write_bytes(page_body(number, pages))
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        conf = folder / "nginx.conf"
        conf.write_text(_NGINX_CONF.format(folder=folder, port=port, path=PATH))
        process = subprocess.Popen(
            [program, "-e", "stderr", "-p", name, "-c", str(conf)], stdin=subprocess.DEVNULL
        )
        with process:
            try:
                _wait_for(port)
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _SLOWEST_START
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
