"""Run in a process of its own: what `aclose` leaves open over TLS, to a server that fell silent.

Arguments: the server's certificate and key, and what it says before it falls silent.
"""

import asyncio
import contextlib
import ssl
import sys
from pathlib import Path

from bcshopper import RetryPolicy, Session, TransportError
from tests.virtual_time import VirtualTimeLoop


def sockets():
    """The file descriptors of all sockets of this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            if "socket:" in str(path.readlink()):
                found.add(int(path.name))
    return found


async def main(certificate, said):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    accepted = []
    end = asyncio.Event()

    async def handle(reader, writer):
        accepted.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.transport.pause_reading()
        await end.wait()
        writer.transport.abort()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    before = sockets()
    session = Session("a", "t", base_url=url, timeout=5.0, retry=RetryPolicy(attempts=2))
    pages = session.shopper_profiles
    results = await asyncio.gather(*map(pages.page, range(1, 5)), return_exceptions=True)
    assert all(isinstance(result, TransportError) and result.sent for result in results), results
    under_way = asyncio.create_task(pages.page())
    while len(accepted) <= 8:  # noqa: ASYNC110 - after so many failures, it waits for a while
        await asyncio.sleep(0.5)
    await session.aclose()
    ours = sockets() - before - {writer.get_extra_info("socket").fileno() for writer in accepted}
    sys.stdout.write(f"{len(ours)} of {len(accepted)} sockets left\n")
    end.set()
    await asyncio.gather(under_way, return_exceptions=True)
    server.close()
    await server.wait_closed()
    await asyncio.sleep(1.0)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2].encode()))
