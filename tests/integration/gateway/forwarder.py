"""Forwards connections from one address to another: `python forwarder.py FROM TO`.

An address is a port of this machine, or the path of a socket. So a container reaches a process that listens on loopback
alone: through a socket in a folder that both see.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable

type Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def forward(source: str, target: str) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await open_connection(target)
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await listen(source, connect)
    async with server:
        await server.serve_forever()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies until the sender is done; then the receiver learns it, and its answer still comes back."""
    with contextlib.suppress(OSError):
        while part := await reader.read(1 << 16):
            writer.write(part)
            await writer.drain()
    writer.close()


async def listen(address: str, connect: Callable[..., Awaitable[None]]) -> asyncio.Server:
    if address.isdigit():
        return await asyncio.start_server(connect, "", int(address), backlog=512)
    return await asyncio.start_unix_server(connect, address, backlog=512)


async def open_connection(address: str) -> Stream:
    if address.isdigit():
        return await asyncio.open_connection("127.0.0.1", int(address))
    return await asyncio.open_unix_connection(address)


if __name__ == "__main__":
    asyncio.run(forward(sys.argv[1], sys.argv[2]))
