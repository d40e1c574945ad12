"""Telephone keys become numbers."""

from __future__ import annotations

from tests.standins.session import Edge, StandInSession
from tests.standins.virtual_time import run
from trunkline.bus.messages import Dtmf
from trunkline.tenants import KeySettings, Tenant
from workers.backend import Snapshot
from workers.keys import Keys, pressed, told

TENANT = Tenant(id="test", keys=KeySettings(wait_s=2, longest=4))


class Caller:
    """Somebody who presses keys, and what was made of them."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.session = StandInSession(Edge([], 0), TENANT, snapshot)
        self.whole: list[str] = []
        self.keys = Keys(self.session, self.whole.append)
        self._seq = 0

    def press(self, keys: str, seq: int | None = None) -> None:
        self._seq = self._seq if seq is None else seq
        for key in keys:
            self.keys.press(Dtmf("s", self._seq, key))
            self._seq += 1

    @property
    def left(self) -> str:
        return pressed(self.session.snapshot)


def test_they_stay_in_the_snapshot_until_the_conversation_has_them() -> None:
    async def dial() -> None:
        caller = Caller()
        caller.press("12#3")
        assert (caller.whole, caller.left, caller.keys.entering) == (["12#"], "12#3", True)
        caller.keys.known("12#")
        assert (caller.left, caller.keys.entering) == ("3", True)
        caller.press("#")
        caller.keys.known("3#")
        assert (caller.whole, caller.left, caller.keys.entering) == (["12#", "3#"], "", False)
        caller.keys.stop()

    run(dial())


def test_as_many_as_there_may_be_are_whole() -> None:
    async def dial() -> None:
        caller = Caller()
        caller.press("123456")
        assert caller.whole == ["1234"]
        caller.keys.stop()

    run(dial())


def test_one_that_is_sent_again_is_known() -> None:
    async def dial() -> None:
        caller = Caller()
        caller.press("12", seq=10)
        assert not caller.keys.is_new(Dtmf("s", 11, "2"))
        caller.press("12", seq=10)
        caller.press("3")
        assert caller.left == "123"
        caller.keys.stop()

    run(dial())


def test_the_next_worker_divides_what_is_left_as_the_last_would_have() -> None:
    async def dial() -> None:
        caller = Caller()
        caller.press("1#22223")
        caller.keys.stop()
        successor = Caller(caller.session.snapshot)
        assert successor.keys.entering
        successor.keys.begin()
        assert successor.whole == ["1#", "2222"]
        assert successor.keys.entering
        successor.press("#", seq=7)
        assert successor.whole == ["1#", "2222", "3#"]
        successor.keys.stop()

    run(dial())


def test_what_a_model_reads() -> None:
    assert told("12#") == "(The caller pressed these telephone keys: 12#)"
