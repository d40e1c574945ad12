"""The `trunkline` command."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from cli import logs, sessions
from cli.call import call
from cli.doctor import doctor
from trunkline.errors import BusError, SettingsError
from trunkline.settings import Settings, load

app = typer.Typer(
    name="trunkline",
    help="A voice gateway: callers in, answers out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

EXIT_USAGE = 2


def _settings(process: str, **overrides: Any) -> Settings:
    try:
        settings = load(**overrides)
    except SettingsError as error:
        raise _wrong(error) from error
    logs.set_up(settings, process)
    return settings


def _wrong(error: Exception) -> typer.Exit:
    typer.secho(f"trunkline: {error}", fg="red", err=True)
    return typer.Exit(EXIT_USAGE)


@app.command()
def up(
    gateways: Annotated[int, typer.Option(min=0, help="gateway processes, all on one port")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="worker processes")] = 2,
    host: Annotated[str | None, typer.Option(help="address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; 0: any")] = None,
) -> None:
    """Start everything on this machine: Redis (unless TRUNKLINE_REDIS_URL is set), gateways and workers."""
    from cli.up import up as run_up

    settings = _settings("up", host=host, port=port)
    try:
        asyncio.run(run_up(settings, gateways, workers))
    except* (SettingsError, BusError) as group:
        raise _wrong(group.exceptions[0]) from group


@app.command()
def gateway(
    process_id: Annotated[str | None, typer.Option(help="its name on the bus, new at each start")] = None,
    listen_fd: Annotated[int | None, typer.Option(help="a listening socket that was handed over")] = None,
) -> None:
    """Be one gateway process."""
    from cli.processes import gateway as run_gateway

    settings = _needs_redis(_settings(process_id or "gateway"))
    try:
        run_gateway(settings, process_id, listen_fd)
    except* (SettingsError, BusError) as group:
        raise _wrong(group.exceptions[0]) from group


@app.command()
def worker(
    process_id: Annotated[str | None, typer.Option(help="its name on the bus, new at each start")] = None,
) -> None:
    """Be one worker process."""
    from cli.processes import worker as run_worker

    settings = _needs_redis(_settings(process_id or "worker"))
    try:
        run_worker(settings, process_id)
    except* (SettingsError, BusError) as group:
        raise _wrong(group.exceptions[0]) from group


app.command()(call)
app.command()(doctor)
app.add_typer(sessions.app, name="sessions")


def _needs_redis(settings: Settings) -> Settings:
    if not settings.redis_url:
        raise _wrong(SettingsError("TRUNKLINE_REDIS_URL is not set; `trunkline up` starts a Redis of its own"))
    return settings


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
