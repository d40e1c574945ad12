"""What is measured, each in processes of its own: Trunkline with two kinds of ears (`ours`, `batch`), and `lean`."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from benchmarks.calls import Start
from benchmarks.cascade.settings import BATCH, STREAMING, tenant
from benchmarks.cascade.speeches import Speaker
from benchmarks.phone.caller import Caller, Ears
from benchmarks.phone.dialling import Begin
from benchmarks.phone.systems import System, telephony, yardstick
from benchmarks.processes import python

KEYS = {name: "key-of-the-benchmark" for name in ("DEEPGRAM_API_KEY", "GROQ_API_KEY", "CARTESIA_API_KEY")}


def _speaking(number: int, _: Ears) -> Begin:
    return lambda head, parameters, sid: Caller(number, Ears(), head, parameters, sid, Speaker(number))


def ours(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    return telephony("phone", tenant(STREAMING, port), KEYS, calls, _speaking, backends="cascade")


def batch(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    return telephony("phone", tenant(BATCH, port), KEYS, calls, _speaking, backends="cascade")


def lean(port: int, calls: int) -> AbstractAsyncContextManager[System]:
    command = python("benchmarks.cascade.lean", "--vendors", str(port))
    return yardstick(command, KEYS, "/media-stream", _speaking)


SYSTEMS: dict[str, Start[System]] = {"ours": ours, "batch": batch, "lean": lean}
