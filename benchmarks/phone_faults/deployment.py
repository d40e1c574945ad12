"""What the calls run on: gateways, workers and Redis as `benchmarks.stack` has them, and the model as a process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

from benchmarks.processes import free_port, python, running, until_it_listens
from benchmarks.stack import Stack
from tests.standins.twilio import AUTH_TOKEN, Call

GATEWAYS, WORKERS = 2, 2
ORIGIN = "https://phone.example"
"""Under which Twilio knows us; it is signed, and never looked up."""
SPEED = 2.0
"""How many times faster than it is heard the model sends its audio."""
FIRST_AUDIO_MS = 300.0
"""What a real one takes to begin an answer is more than this, and differs."""
SILENCE_MS = 500
"""After so much silence the model takes an utterance to be over: the tenant's default."""
ANSWER_TIMEOUT_S = 2.0
TENANT = f"""\
id: phone
backend: relay
phone_numbers: ["+15550100"]
relay:
  answer_timeout_s: {ANSWER_TIMEOUT_S:g}
"""


@dataclass
class Deployment:
    """A running one. `return_ms` is how long Twilio takes to come back when a stream has ended."""

    stack: Stack
    model_port: int
    return_ms: float

    def dial(self) -> Call:
        return Call(
            f"http://127.0.0.1:{self.stack.port}/twiml",
            public_origin=ORIGIN,
            status_url=f"{ORIGIN}/twiml/status",
            return_ms=self.return_ms,
        )

    async def whole(self) -> None:
        """Wait until nothing is missing."""
        await self.stack.until(lambda counts: counts[0] >= GATEWAYS and counts[1] >= WORKERS)

    async def session_of(self, call: Call) -> str:
        raw: bytes = await self.stack.redis.ask("HGET", f"call:{call.sid}", "session")
        return raw.decode()

    async def harm_model(self, **fault: str) -> None:
        """Let the newest session with the model go wrong, see tests/standins/realtime/faults.py."""
        await self._control("fault", fault)

    async def _control(self, page: str, query: dict[str, str]) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://127.0.0.1:{self.model_port}/control/{page}", params=query)
            answer.raise_for_status()


@contextlib.asynccontextmanager
async def deployed(*, supervised: bool, lifetime_s: float, return_ms: float) -> AsyncIterator[Deployment]:
    """`supervised`: deaths are announced. `lifetime_s` is that of a session with the model."""
    port = free_port()
    options = {"port": port, "speed": SPEED, "first-audio-ms": FIRST_AUDIO_MS, "lifetime-s": lifetime_s}
    arguments = [f"--{name}={value}" for name, value in options.items()]
    command = python(
        "tests.standins.realtime", "--forget-audio", "--script=benchmarks.phone_faults.model:answer", *arguments
    )
    # Without an account, nothing here can reach Twilio's API.
    vendors = {"OPENAI_API_KEY": "of the stand-in", "TWILIO_AUTH_TOKEN": AUTH_TOKEN, "TWILIO_ACCOUNT_SID": ""}
    with running(command):
        await until_it_listens(port)
        async with Stack(
            gateways=GATEWAYS,
            workers=WORKERS,
            supervised=supervised,
            tenants={"phone.yaml": TENANT},
            vendors=vendors,
            public_url=ORIGIN,
            openai_realtime_url=f"ws://127.0.0.1:{port}/v1",
        ) as stack:
            try:
                yield Deployment(stack, port, return_ms)
            except Exception as error:
                error.add_note(f"The log ends with:\n{stack.log_text()[-6000:]}")
                raise
