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
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from cli import valkey as embedded

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

NOT_OURS = re.compile(
    r"TRUNKLINE_|OPENAI_|GROQ_|CARTESIA_|DEEPGRAM_|TWILIO_|(.*_)?PROXY$|(CLICOLOR_)?FORCE_|TTY_|COLUMNS$"
    r"|PYTHONDONTWRITEBYTECODE$",
    re.IGNORECASE,
)
"""What a machine says of vendors, proxies and its screen: neither our tests nor the processes they start see it. And
those processes keep what they compile: hundreds of them start, and would spend a sixth of that on it each time."""
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

IN_REAL_TIME = {"tests/browser/calls/": "calls", "tests/system/hostile/": "attacks", "tests/system/": "calls"}
"""Folders, and the share that each belongs to. These wait much, and use a third of a core."""
ON_WIRES = ("tests/browser/", "tests/contract/", "tests/system/", "tests/unit/benchmarks/", "tests/unit/gateway/")
"""Folders whose tests talk over real wires, with deadlines of the clock. One that fails in a whole run is run again."""
INTERFACES = ("tests/browser/calls/test_webrtc_network.py", "tests/browser/calls/test_webrtc_relay.py")
PAGES = "tests/browser/"
"""Chromium breaks off what it loads when an interface of the machine comes or goes. The tests that make some come
first, and are over long before another process comes to its pages, which are last."""
YIELDING = 10
"""How nice all other tests are to those in real time."""

VALKEY_START_S = 10.0
LAST_STEPS = 10
"""Turns of the event loop that a task which was told to end gets for it."""


class Shares(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """What one process of `pytest -n 3` has to itself: a file, and its fixtures with it; or a share in real time.

    Two calls at once, each through several processes and perhaps a browser, are more than two cores can do in real
    time. One and an attack are not: who attacks waits for most of the time.
    """

    def _split_scope(self, nodeid: str) -> str:
        return in_real_time(nodeid) or nodeid.partition("::")[0]


def in_real_time(nodeid: str) -> str:
    """The share in real time that a test belongs to; empty: none."""
    return next((share for folder, share in IN_REAL_TIME.items() if nodeid.startswith(folder)), "")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares:
    return Shares(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and not in_real_time(item.nodeid):
        # For good: what is in real time comes first, and its processes get here when they are done.
        os.setpriority(os.PRIO_PROCESS, 0, max(os.getpriority(os.PRIO_PROCESS, 0), YIELDING))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: place(item.nodeid))
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            if item.nodeid.startswith(ON_WIRES):
                item.add_marker(pytest.mark.flaky(reruns=1))
    if CHROMIUM.exists():
        return
    skip = pytest.mark.skip(reason=f"no Chromium at {CHROMIUM}: apt-get install chromium, or name one in CHROMIUM")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A test that passed the second time, beside others on a machine that others use too, is no secret."""
    for report in terminalreporter.stats.get("rerun", []):
        terminalreporter.section(f"run again: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)


def place(nodeid: str) -> int:
    """What takes longest begins first, so that the processes end together."""
    if nodeid.startswith(INTERFACES):
        return 0
    if share := in_real_time(nodeid):
        return {"calls": 1, "attacks": 2}[share]
    return 4 if nodeid.startswith(PAGES) else 3


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser to drive, for tests marked `browser`."""
    return CHROMIUM


@pytest.fixture(autouse=True)
def _no_leaked_tasks(request: pytest.FixtureRequest) -> None:
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        mark = request.node.get_closest_marker("asyncio")
        if mark is None or mark.kwargs.get("loop_scope") != "module":
            request.getfixturevalue("_task_census")
        elif request.node.get_closest_marker("system") is None:  # there, stand-ins and their calls outlive a test
            request.getfixturevalue("_task_census_of_module")


@pytest.fixture
async def _task_census(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails a test that leaves tasks running. Set up before all its other fixtures, so it looks when those are gone."""
    async with task_census(request.node.nodeid):
        yield


@pytest_asyncio.fixture(loop_scope="module")
async def _task_census_of_module(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The same of a test that shares its event loop with its module."""
    async with task_census(request.node.nodeid):
        yield


@asynccontextmanager
async def task_census(nodeid: str) -> AsyncIterator[None]:
    """Fails where the block leaves tasks running in this event loop."""
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
        pytest.fail(f"{nodeid} left {len(leaked)} task(s) running:\n{named}", pytrace=False)


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
