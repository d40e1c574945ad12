"""`trunkline sessions`: the calls that there are just now, and moving one to another backend."""

from __future__ import annotations

import asyncio
import importlib.util
import pkgutil
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer
from rich.text import Text

import workers
from cli.lines import plain_or_rich, show
from trunkline.bus.connection import Redis
from trunkline.bus.dispatch import Dispatch
from trunkline.bus.lanes import tell
from trunkline.bus.messages import Control
from trunkline.errors import BusError, SettingsError
from trunkline.sessions import Record, Records
from trunkline.settings import load
from trunkline.tenants import Directory, Tenant
from workers.moving import has_left

EXIT_NOT_MOVED = 1
EXIT_USAGE = 2
LOOK_S = 0.05
STAYS_S = 0.5
"""A backend that cannot be made, for a key that is missing or wrong, gives the session back within this."""

T = TypeVar("T")

app = typer.Typer(help="The calls that there are, and moving one to another backend.", no_args_is_help=True)


class CannotMoveError(Exception):
    """Why not, and what to do about it, in words for people."""


@app.command("list")
def list_them() -> None:
    """Show every session that is not over: its tenant, what answers it, how its caller came, and its worker."""
    found = _asking(_look)
    console = plain_or_rich()
    for record, worker in sorted(found, key=lambda each: (each[0].tenant, each[0].session)):
        heads = [(record.session, 34, "bold"), (record.tenant, 16, ""), (record.backend, 9, "cyan")]
        show(console, [*heads, (record.transport, 11, "")], Text(worker))
    if not found:
        console.print("no sessions")


@app.command()
def move(
    session: Annotated[str, typer.Argument(help="its id: `trunkline sessions list`, or any line of the log about it")],
    backend: Annotated[str, typer.Argument(help="what is to answer it from now on")],
    wait: Annotated[float, typer.Option(min=0, help="seconds to wait until it has moved")] = 10.0,
) -> None:
    """Have another of its tenant's backends go on with a session, at its next moment of rest.

    Ends with 0 when it has moved, 1 when it has not yet, 2 when it cannot.
    """
    try:
        moved = _asking(lambda redis: move_to(redis, session, backend, wait))
    except CannotMoveError as error:
        raise _wrong(error) from error
    if not moved:
        typer.echo(f"session {session} was told, and moves when nobody speaks and nothing is pending")
        raise typer.Exit(EXIT_NOT_MOVED)
    typer.echo(f"session {session} is answered by {backend}")


def _asking(ask: Callable[[Redis], Awaitable[T]]) -> T:
    """What `ask` finds out of the deployment's Redis."""

    async def run(url: str) -> T:
        redis = Redis(url)
        try:
            return await ask(redis)
        finally:
            await redis.close()

    try:
        url = load().redis_url
        if not url:
            hint = "say in it which Redis; `trunkline up` says at its start where its own is"
            raise SettingsError(f"TRUNKLINE_REDIS_URL is not set: {hint}")
        return asyncio.run(run(url))
    except (SettingsError, BusError) as error:
        raise _wrong(error) from error


def _wrong(error: Exception) -> typer.Exit:
    typer.secho(f"trunkline sessions: {error}", fg="red", err=True)
    return typer.Exit(EXIT_USAGE)


async def _look(redis: Redis) -> list[tuple[Record, str]]:
    """Every session that is not over, and in words who has it."""
    records = await Records(redis).open_ones()
    alive = await redis.ask_all([("EXISTS", record.worker or "-") for record in records])
    return [(record, _who(record, bool(is_alive))) for record, is_alive in zip(records, alive, strict=True)]


def _who(record: Record, is_alive: bool) -> str:
    if not record.worker:
        return "waits for a worker"
    name = record.worker.removeprefix("lane:")
    return name if is_alive else f"{name}, which is gone"


async def move_to(redis: Redis, session: str, backend: str, wait_s: float) -> bool:
    """Tell the session's worker, and wait for at most `wait_s` until it has moved. Says whether it has, and stays.

    Raises CannotMoveError, BusError.
    """
    records = Records(redis)
    before = await _open(records, session)
    await _check(redis, before, backend)
    if before.backend == backend:
        return True
    if not before.worker:
        raise CannotMoveError(f"no worker has session {session} yet: try again in a moment")
    if not await tell(redis, before.worker, Control(session, "move", {"backend": backend})):
        raise CannotMoveError(f"the worker of session {session} is gone, another has it soon: try again in a moment")
    until_s, arrived = time.monotonic() + wait_s, False
    while True:
        now = await _open(records, session)
        if now.backend == backend and now.epoch > before.epoch:
            if arrived:
                return True
            arrived = True
        elif has_left(now, backend) > has_left(before, backend):
            why = f"{backend!r} could not go on with session {session}, which is back with {now.backend!r}"
            raise CannotMoveError(f"{why}: the workers' log says why")
        elif time.monotonic() > until_s:
            return False
        await asyncio.sleep(STAYS_S if arrived else LOOK_S)


async def _open(records: Records, session: str) -> Record:
    try:
        record = await records.read(session)
    except ValueError as error:
        raise CannotMoveError(f"the record of session {session} cannot be read: {error}") from error
    if record is None:
        raise CannotMoveError(f"there is no session {session!r}: `trunkline sessions list` shows all there are")
    if record.closed:
        raise CannotMoveError(f"session {session} is over: {record.closed}")
    return record


async def _check(redis: Redis, record: Record, backend: str) -> None:
    if backend not in (known := backends()):
        raise CannotMoveError(f"there is no backend {backend!r}, but {', '.join(known)}")
    tenant = await Directory(redis).get(record.tenant) or Tenant(id=record.tenant, backend=record.backend)
    if backend not in tenant.backends:
        has = " and ".join(tenant.backends)
        raise CannotMoveError(f"tenant {tenant.id} has no backend {backend!r}, but {has}: see its fallback_backend")
    if record.backend != backend and not await Dispatch(redis).is_served(backend):
        raise CannotMoveError(f"no worker serves {backend!r}, or has room for another session")


def backends() -> list[str]:
    """Every backend that there is, in alphabetical order."""
    packages = [module.name for module in pkgutil.iter_modules(workers.__path__) if module.ispkg]
    return sorted(name for name in packages if importlib.util.find_spec(f"workers.{name}.runner") is not None)
