"""A process that may open no file any more: who calls is told to come again, and nothing is left of the try."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.unit.rtc.calls import RATE_HZ, Owner
from tests.unit.rtc.descriptions import CHROME
from trunkline.errors import NoPortLeft
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Peer


@contextmanager
def no_more_than(more: int) -> Iterator[None]:
    """This process may open so many files more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = [os.dup(0) for _ in range(more)]
    lowest = os.dup(0)
    for file in (*held, lowest):
        os.close(file)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("network", [Network(addresses=("127.0.0.1", "::1")), Network()], ids=["named", "all"])
@pytest.mark.parametrize("more", [0, 1])
async def test_no_file_is_left(network: Network, more: int) -> None:
    first = Peer(Owner(), RATE_HZ, network)  # which loads what all share: libopus, and what its end imports
    await first.answer(CHROME)
    await first.close()
    before = len(os.listdir("/proc/self/fd"))
    with no_more_than(more), pytest.raises(NoPortLeft, match="open files"):
        await Peer(Owner(), RATE_HZ, network).answer(CHROME)
    assert len(os.listdir("/proc/self/fd")) == before
