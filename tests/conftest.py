"""What every test shares: no task outlives its test; a private Valkey; browser tests only where there is a browser."""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from cli import valkey as embedded

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

NOT_OURS = re.compile(
    r"TRUNKLINE_|OPENAI_|GROQ_|CARTESIA_|DEEPGRAM_|TWILIO_|(.*_)?PROXY$|(CLICOLOR_)?FORCE_|TTY_|COLUMNS$", re.IGNORECASE
)
"""What a machine says of vendors, proxies and its screen: neither our tests nor the processes they start see it."""
for variable in [name for name in os.environ if NOT_OURS.match(name)]:
    del os.environ[variable]

# An example takes as long as a busy machine needs. Nothing is written: what fails prints how to repeat it.
settings.register_profile(
    "trunkline",
    settings(),  # in CI, Hypothesis's own: the same examples each time
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("trunkline")

IN_REAL_TIME = ("tests/browser/", "tests/system/")
YIELDING = 10
"""How nice all other tests are to those."""

VALKEY_START_S = 10.0
LAST_STEPS = 10
"""Turns of the event loop that a task which was told to end gets for it."""


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """What one process of `pytest -n 2` has to itself: a file, and its fixtures with it; or all calls in real time.

    Two calls at once, each through several processes and perhaps a browser, are more than two cores can do in real
    time. And Chromium breaks off what it loads when an interface of the machine comes or goes, which some tests do.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "in real time" if file.startswith(IN_REAL_TIME) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    return Shares(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and not item.nodeid.startswith(IN_REAL_TIME):
        # For good: what is in real time comes first, in one process, and that one gets here when it is done.
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), YIELDING))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes longest begins first, so that the shares end together.
    items.sort(key=lambda item: not (item.get_closest_marker("browser") or item.get_closest_marker("system")))
    if CHROMIUM.exists():
        return
    skip = pytest.mark.skip(reason=f"no Chromium at {CHROMIUM}: apt-get install chromium, or name one in CHROMIUM")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser to drive, for tests marked `browser`."""
    return CHROMIUM


@pytest.fixture(autouse=True)
def _no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("_task_census")


@pytest.fixture
async def _task_census(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails a test that leaves tasks running. Set up before all its other fixtures, so it looks when those are gone."""
    before = asyncio.all_tasks()
    yield
    leaked = asyncio.all_tasks() - before - {asyncio.current_task()}
    for _ in range(LAST_STEPS):
        await asyncio.sleep(0)
        leaked = {task for task in leaked if not task.done()}
    if leaked:
        for task in leaked:
            task.cancel()
        named = "\n".join(sorted(f"  {where(task)}" for task in leaked))
        pytest.fail(f"{request.node.nodeid} left {len(leaked)} task(s) running:\n{named}", pytrace=False)


def where(task: asyncio.Task[object]) -> str:
    """A task's name, and the line it waits in."""
    name = f"{task.get_name()} ({getattr(task.get_coro(), '__qualname__', '?')})"
    stack = task.get_stack(limit=1)
    return f"{name} at {stack[0].f_code.co_filename}:{stack[0].f_lineno}" if stack else name


@pytest.fixture(scope="session")
def valkey() -> Iterator[Path]:
    """The Valkey of `trunkline up`; gives its Unix socket."""
    # Not pytest's tmp_path: a Unix socket's path has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="trunkline-test-") as directory:
        socket = embedded.socket_path(Path(directory))
        server = subprocess.Popen(
            embedded.command(Path(directory)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        try:
            wait_for_ping(server, socket)
            yield socket
        finally:
            server.terminate()
            server.communicate(timeout=VALKEY_START_S)


def wait_for_ping(server: subprocess.Popen[bytes], socket: Path) -> None:
    deadline = time.monotonic() + VALKEY_START_S
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if server.poll() is not None:
                    pytest.fail(f"Valkey ended with {server.returncode}: {server.communicate()[0].decode()}")
                if time.monotonic() > deadline:
                    pytest.fail(f"Valkey did not answer within {VALKEY_START_S} s")
                time.sleep(0.005)
            else:
                return


def die_with_parent() -> None:
    """Runs in the child: a killed test run leaves no server behind (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


@pytest.fixture
def redis_url(valkey: Path) -> str:
    """An empty database."""
    with redis.Redis(unix_socket_path=str(valkey)) as client:
        client.flushall()
    return f"unix://{valkey}?db=0"
