"""`ctl`: act on one part of the running stack through a Unix socket that only its owner may open.

One JSON object in, one out, then the connection ends: {"command": "stop", "name": "nats"} -> {"ok": true, "text": ...}.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from flotilla_stack.keeper import Keeper
from flotilla_stack.supervisor import Supervisor

COMMANDS = ("status", "stop", "start", "pause", "resume", "kill")
ANSWER_SECONDS = 60.0
REQUEST_SECONDS = 5.0
MAX_ADDRESS_BYTES = 100


class ControlError(Exception):
    """The command was refused, or nobody runs; the message says which."""


@contextlib.asynccontextmanager
async def listen(path: Path, supervisor: Supervisor) -> AsyncIterator[None]:
    """Serve commands while the context is open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = json.loads(await reader.readline())
            answer = await answer_to(supervisor, request.get("command"), request.get("name"))
        except (ControlError, TimeoutError, ValueError, AttributeError, ProcessLookupError) as error:
            answer = {"ok": False, "text": str(error) or type(error).__name__}
        writer.write(json.dumps(answer).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    with private_socket(path) as listening:
        server = await asyncio.start_unix_server(serve, sock=listening)
        try:
            yield
        finally:
            server.close()


@contextlib.contextmanager
def private_socket(path: Path) -> Iterator[socket.socket]:
    """Bind a Unix socket with mode 0600 and remove it at the end."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        mask = os.umask(0o177)
        try:
            with address_of(path) as address:
                listening.bind(address)
        finally:
            os.umask(mask)
        yield listening
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def address_of(path: Path) -> Iterator[str]:
    """Give a name for the socket that fits the kernel's 108 bytes even in a deep directory (Linux)."""
    if len(os.fsencode(path)) < MAX_ADDRESS_BYTES:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


async def answer_to(supervisor: Supervisor, command: object, name: object) -> dict[str, object]:
    """Carry out one command and describe the outcome."""
    if command not in COMMANDS:
        raise ControlError(f"no such command: {command}; there are {', '.join(COMMANDS)}")
    if name is None and command == "status":
        return {"ok": True, "text": "\n".join(describe(keeper) for keeper in supervisor.keepers.values())}
    if name is None:
        raise ControlError(f"{command} which part? There are {', '.join(supervisor.keepers)}")
    keeper = supervisor.keepers.get(str(name))
    if keeper is None or (keeper.part.once and command != "status"):
        raise ControlError(f"no such part: {name}; there are {', '.join(supervisor.keepers)}")
    await act(keeper, str(command))
    return {"ok": True, "text": describe(keeper), "state": keeper.state, "pid": keeper.pid}


async def act(keeper: Keeper, command: str) -> None:
    """Do it and wait until it is done.

    Raises:
        ControlError: it did not become ready in time, or there is nothing to pause or kill.

    """
    if command in {"pause", "resume", "kill"} and keeper.pid is None:
        raise ControlError(f"{keeper.part.name} is not running ({keeper.state})")
    try:
        async with asyncio.timeout(ANSWER_SECONDS - 5):
            match command:
                case "stop":
                    await keeper.stop()
                case "start":
                    if keeper.state == "paused":
                        keeper.resume()
                    await keeper.start()
                case "kill":
                    await keeper.kill()
                case "pause":
                    keeper.pause()
                case "resume":
                    keeper.resume()
    except TimeoutError as error:
        raise ControlError(f"{keeper.part.name} is still {keeper.state}") from error


def describe(keeper: Keeper) -> str:
    """Return one line about a part."""
    pid = f"pid {keeper.pid}" if keeper.pid else "-"
    return f"{keeper.part.name:<20} {keeper.state:<9} {pid:<12} restarts {keeper.restarts}"


def ask(path: Path, command: str, name: str | None) -> dict[str, object]:
    """Send one command to the running supervisor and return its answer.

    Raises:
        ControlError: nobody runs, or it refused.

    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            with address_of(path) as address:
                connection.connect(address)
        except OSError as error:
            raise ControlError(
                f"nothing runs in {path.parent}: start it with `make run`, or name its folder with --home DIR"
            ) from error
        connection.sendall(json.dumps({"command": command, "name": name}).encode() + b"\n")
        answer: dict[str, object] = json.loads(connection.makefile("rb").readline())
    if not answer.get("ok"):
        raise ControlError(str(answer.get("text")))
    return answer
