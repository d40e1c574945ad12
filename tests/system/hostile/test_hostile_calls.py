"""What is said of calls that are over, or never were, and callers who come and go: nothing is left of them.

Against real processes; see `innocent.py` for what must hold around every test.
"""

from __future__ import annotations

import asyncio

import pytest

from tests.standins.twilio import twiml
from tests.system.hostile.target import GRACE_S, MB, Target, closed, message
from tests.unit.gateway.phone import PUBLIC, new_sid, ringing, start
from tests.waiting import until
from trunkline.bus import keys

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("innocent_by_phone")]


async def test_nobody_ends_a_call_that_is_not_theirs_to_end(target: Target) -> None:
    form = ringing()
    over = {**form, "CallStatus": "completed"}
    stranger = {**over, "CallSid": new_sid()}
    async with target.begun(CallSid=form["CallSid"]) as stream:
        forged = await target.post("/twiml/status", over, url=f"{PUBLIC}/twiml")
        assert forged.status_code == 403
        assert (await target.post("/twiml/status", stranger)).status_code == 204
        for strange in ("COMPLETED", "gone", "", "x" * 5000):
            answer = await target.post("/twiml/status", {**over, "CallStatus": strange})
            assert answer.status_code == 204
        event = {**over, "StreamEvent": "stream-error", "StreamError": "3\n1" * 2000, "StreamSid": "M\nZ"}
        assert (await target.post("/twiml/status", event)).status_code == 204
        await target.logged(f"call {form['CallSid']}, stream 'M\\nZ': Twilio reports an error: '3\\n13\\n1")
        assert await target.sessions() == 2
        assert (await target.post("/twiml/status", over)).status_code == 204
        assert await closed(stream) == 1000
    await target.logged(f"call {form['CallSid']}, session ", "Twilio says completed")
    assert await target.keys(keys.call(stranger["CallSid"])) == set()
    for path in ("/twiml/return", "/twiml"):
        answer = await target.post(path, stranger)
        assert twiml.parse(answer.text) == ()
    assert twiml.parse((await target.post("/twiml/return", ringing())).text) == (twiml.Hangup(),)
    await target.logged("hung up: nothing is known of it")


async def test_a_caller_who_redials_has_a_session_of_their_own_each_time(target: Target) -> None:
    for _ in range(3):
        async with target.call() as call:
            await call.connected()
            await call.hang_up()
        await target.logged(f"call {call.sid}, stream {call.streams[0].sid} is session")
    await until(lambda: target.has_sessions(1), "only the innocent caller's session")


async def test_two_hundred_calls_dropped_leave_nothing(target: Target) -> None:
    """Each in another way: without a stream, without a start, in the middle, without a goodbye, with one."""
    before = target.rss

    async def drop(number: int) -> None:
        form = ringing()
        token = await target.token(form)
        if number % 5 == 0:
            return
        stream = await target.stream()
        if number % 5 > 1:
            await stream.send(start(form["CallSid"], token))
        if number % 5 == 3:
            await stream.send(message("stop", {}))
        if number % 5 == 4:
            stream.transport.abort()
        await stream.close()

    for first in range(0, 200, 20):
        await asyncio.gather(*(drop(number) for number in range(first, first + 20)))
    await until(lambda: target.has_sessions(1), "only the innocent caller's session", GRACE_S + 20)
    assert target.rss - before < 10 * MB
