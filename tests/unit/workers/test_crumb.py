from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workers import crumb

PROLOGUE = """
import asyncio, contextvars, os, pathlib, sys, threading
from workers import crumb

async def nothing(): pass

def start(session, coro):
    context = contextvars.copy_context()
    context.run(crumb.current.set, session)
    return asyncio.get_running_loop().create_task(coro, context=context)

async def neighbour():
    while True:
        await asyncio.sleep(0)

async def main():
    crumb.Crumb(pathlib.Path(sys.argv[1])).install(asyncio.get_running_loop())
    neighbours = [start(f"neighbour-{n}", neighbour()) for n in range(3)]
    await asyncio.sleep(0.001)
    await {work}

{functions}
asyncio.run(main())
"""

STOP = "asyncio.wait([n for n in neighbours if n.cancel()])"


def blamed(tmp_path: Path, work: str, functions: str = "") -> str | None:
    path = tmp_path / "crumb"
    code = PROLOGUE.replace("{work}", work).replace("{functions}", functions)
    died = subprocess.run([sys.executable, "-c", code, str(path)], timeout=20, check=False, cwd=Path.cwd())
    assert died.returncode == 7
    return crumb.read(path)


def test_a_crash_in_the_loop_names_its_session(tmp_path: Path) -> None:
    session = "0123456789abcdef0123456789abcdef"
    functions = "async def crash():\n    await asyncio.sleep(0)\n    os._exit(7)\n"
    assert blamed(tmp_path, f"start({session!r}, crash())", functions) == session


def test_a_task_of_a_sessions_task_is_its_own(tmp_path: Path) -> None:
    functions = """
async def inner():
    await asyncio.sleep(0)
    os._exit(7)
async def crash():
    async with asyncio.TaskGroup() as group:
        group.create_task(inner())
"""
    assert blamed(tmp_path, "start('guilty', crash())", functions) == "guilty"


def test_a_crash_in_a_thread_names_its_session(tmp_path: Path) -> None:
    functions = """
def work():
    threading.Event().wait(0.02)
    os._exit(7)
async def crash():
    await asyncio.to_thread(work)
"""
    assert blamed(tmp_path, f"{STOP}\n    await start('guilty', crash())", functions) == "guilty"


@pytest.mark.parametrize("work", ["crash()", "asyncio.to_thread(os._exit, 7)"])
def test_nobody_is_blamed_for_what_is_nobodys(tmp_path: Path, work: str) -> None:
    functions = "async def crash():\n    await asyncio.sleep(0)\n    os._exit(7)\n"
    assert blamed(tmp_path, f"{STOP}\n    await {work}", functions) is None


def test_nobody_is_blamed_between_steps(tmp_path: Path) -> None:
    functions = """
async def waits():
    await asyncio.sleep(60)
async def crash():
    waiting = start('innocent', waits())
    await asyncio.sleep(0.01)
    os._exit(7)
"""
    assert blamed(tmp_path, f"{STOP}\n    await crash()", functions) is None


def test_errors_and_cancellation_pass_through(tmp_path: Path) -> None:
    functions = """
async def fails():
    try:
        await asyncio.sleep(60)
    finally:
        raise ValueError("as usual")
async def crash():
    task = start('s', fails())
    await asyncio.sleep(0.001)
    task.cancel()
    try:
        await task
    except ValueError:
        os._exit(7)
"""
    assert blamed(tmp_path, f"{STOP}\n    await crash()", functions) is None


def test_no_crumb_blames_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert crumb.read(tmp_path / "none") is None
    monkeypatch.delenv("TRUNKLINE_CRUMB", raising=False)
    assert crumb.from_environment() is None
    monkeypatch.setenv("TRUNKLINE_CRUMB", str(tmp_path / "crumb"))
    made = crumb.from_environment()
    assert made is not None
    made.write(0, b"a-session".ljust(32, b"\0"))
    assert crumb.read(tmp_path / "crumb") == "a-session"


def test_a_call_for_a_session_names_it(tmp_path: Path) -> None:
    functions = """
async def crash():
    crumb.run(crumb.name_of("guilty"), os._exit, 7)
"""
    assert blamed(tmp_path, f"{STOP}\n    await crash()", functions) == "guilty"


def test_a_call_within_a_sessions_step_leaves_the_rest_of_that_its_own(tmp_path: Path) -> None:
    functions = """
async def crash():
    crumb.run(crumb.name_of("guilty"), str, 7)
    os._exit(7)
"""
    assert blamed(tmp_path, "start('guilty', crash())", functions) == "guilty"
