"""A network of a browser's own: Chromium in a namespace, and one cable to us, which can be pulled."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stack import Stack
from tests.browser.calls.console import TENANTS
from tests.conftest import CHROMIUM

IP = shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

HOST = "trunkline.localhost"
"""Browsers trust what ends so, and let it use a microphone without https."""


class Network:
    """`ours` is our end's address, `theirs` the browser's."""

    def __init__(self, name: str, subnet: int) -> None:
        self.name = name
        self.ours, self.theirs = f"10.213.{subnet}.1", f"10.213.{subnet}.2"

    @property
    def interface(self) -> str:
        """Of our end."""
        return f"{self.name}a"

    @contextlib.contextmanager
    def unplugged(self) -> Iterator[None]:
        """Nothing comes through while this lasts; both ends see that the cable is out."""
        ip("link", "set", self.interface, "down")
        try:
            yield
        finally:
            ip("link", "set", self.interface, "up")

    def chromium(self, folder: Path) -> Path:
        """A Chromium that lives there. It knows our end as `HOST`."""
        script = folder / "chromium"
        resolve = f"--host-resolver-rules='MAP {HOST} {self.ours}'"
        script.write_text(f'#!/bin/sh\nexec {IP} netns exec {self.name} {CHROMIUM} {resolve} "$@"\n', encoding="ascii")
        script.chmod(0o755)
        return script

    def stack(self, **settings: Any) -> Stack:
        """A deployment at our end, with one worker."""
        return Stack(workers=1, tenants=TENANTS, host=self.ours, rtc_addresses=self.ours, **settings)


def ip(*arguments: str) -> None:
    """Raises CalledProcessError."""
    assert IP is not None
    subprocess.run([IP, *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Skips the test where there can be none."""
    if IP is None or os.geteuid() != 0:
        pytest.skip("needs root, and `ip`: apt-get install iproute2")
    # An interface's name has room for 15 bytes; other test runs may be under way.
    here = Network(f"tl{secrets.token_hex(4)}", secrets.randbelow(250) + 1)
    try:
        ip("netns", "add", here.name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespace can be made here: {error.stderr.decode().strip()}")
    try:
        _connect(here)
        yield here
    finally:
        ip("netns", "del", here.name)  # and with it its end of the cable, and ours


def _connect(here: Network) -> None:
    theirs = f"{here.name}b"
    ip("link", "add", here.interface, "type", "veth", "peer", "name", theirs, "netns", here.name)
    ip("addr", "add", f"{here.ours}/24", "dev", here.interface)
    ip("-n", here.name, "addr", "add", f"{here.theirs}/24", "dev", theirs)
    for end in (
        ["link", "set", here.interface, "up"],
        *(["-n", here.name, "link", "set", each, "up"] for each in (theirs, "lo")),
    ):
        ip(*end)
    ip("-n", here.name, "route", "add", "default", "via", here.ours)
