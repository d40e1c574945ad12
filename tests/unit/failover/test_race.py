"""Who is asked when, and who is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.standins.virtual_time import run
from tests.unit.failover.linked import linked
from trunkline.errors import ProviderError
from workers.failover.chain import Course
from workers.failover.race import Entry, race


class Runner:
    """Says its name after `takes_s`, or fails."""

    description = "runner"

    def __init__(self, name: str, takes_s: float, error: Exception | None = None) -> None:
        self.name = name
        self.takes_s = takes_s
        self.error = error
        self.begun_s: float | None = None
        self.given_up = 0

    async def first(self) -> str:
        self.begun_s = asyncio.get_running_loop().time()
        await asyncio.sleep(self.takes_s)
        if self.error is not None:
            raise self.error
        return self.name

    async def give_up(self) -> None:
        self.given_up += 1


def entries(course: Course[Runner]) -> Iterator[Entry[str]]:
    for link, permit in course.left():
        yield Entry(link, permit, link.provider.first, link.provider.give_up)


async def won(*runners: Runner, deadline_s: float = 2.0) -> str:
    """Who is first, where the next is asked after 1 s."""
    course = Course("race", linked(*runners, deadline_s=deadline_s, hedge_s=1.0))
    _, first = await race(entries(course), course)
    return first


def test_the_next_is_asked_when_patience_is_over_and_at_once_after_a_failure() -> None:
    runners = [
        Runner("slow", 9),
        Runner("failing", 0.2, ProviderError("failing", "no")),
        Runner("third", 0.1),
    ]
    assert run(won(*runners)) == "third"
    assert [runner.begun_s for runner in runners] == pytest.approx([0, 1, 1.2])
    assert [runner.given_up for runner in runners] == [1, 1, 0]


def test_of_two_who_come_at_once_the_first_that_was_asked_wins() -> None:
    runners = [Runner("first", 2), Runner("second", 1)]
    assert run(won(*runners)) == "first"
    assert runners[1].given_up == 1


def test_a_fault_of_ours_is_raised_and_everybody_given_up() -> None:
    runners = [Runner("slow", 9), Runner("faulty", 0.1, ZeroDivisionError())]
    with pytest.raises(ZeroDivisionError):
        run(won(*runners))
    assert [runner.given_up for runner in runners] == [1, 1]


def test_who_is_cancelled_gives_everybody_up() -> None:
    runners = [Runner("slow", 9), Runner("slower", 9)]

    async def conversation() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.5):
                await won(*runners)

    run(conversation())
    assert [runner.given_up for runner in runners] == [1, 1]


def test_who_is_cancelled_while_losers_are_given_up_gives_all_of_them_up_and_the_winner() -> None:
    class Slow(Runner):
        async def give_up(self) -> None:
            await asyncio.sleep(1)
            await super().give_up()

    runners = [Slow("slow", 9), Slow("slower", 9), Runner("first", 0.1)]

    async def conversation() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):  # the race is over at 2.1
                await won(*runners)

    run(conversation())
    assert all(runner.given_up for runner in runners)


@pytest.mark.parametrize("again_s", [0.0, 0.1, 1.5])
@pytest.mark.parametrize("cancelled_s", [0.1, 0.5, 1.2])
def test_who_is_cancelled_twice_gives_everybody_up_and_leaves_nobody_running(
    cancelled_s: float, again_s: float
) -> None:
    """As an answer that is interrupted is: by who stops it, and by the group of its parts. Once, somebody has come
    first at that very moment; everybody takes a while to stop."""

    class Tidy(Runner):
        running = 0

        async def first(self) -> str:
            self.running += 1
            try:
                return await super().first()
            except asyncio.CancelledError:
                await asyncio.sleep(0.3)
                raise
            finally:
                self.running -= 1

    runners = [Tidy("slow", 9), Tidy("slower", 1)]
    if cancelled_s == 0.5:
        runners[0].takes_s = cancelled_s

    async def conversation() -> None:
        racing = asyncio.create_task(won(*runners))
        await asyncio.sleep(cancelled_s)
        racing.cancel()
        await asyncio.sleep(again_s)
        racing.cancel()
        await asyncio.wait([racing])
        assert racing.cancelled()
        assert [runner.running for runner in runners] == [0, 0]

    run(conversation())
    assert all(runner.given_up for runner in runners if runner.begun_s is not None)


def test_no_time_is_such_that_a_deadline_is_never_reached() -> None:
    """An event loop's timers ring up to its clock's resolution too soon, and what is left to wait is no time at all."""

    async def conversation() -> None:
        loop = asyncio.get_running_loop()
        for _ in range(300):
            await asyncio.sleep(0.02)
            begun_s = loop.time()
            with pytest.raises(ProviderError):
                await won(Runner("mute", 99), deadline_s=1.5)
            assert loop.time() - begun_s == pytest.approx(1.5)

    run(conversation())
