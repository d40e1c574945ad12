"""A session's tools: what its model is offered, and every call of one, from the model's JSON to JSON for the model.

Nothing that a model or a client gets wrong is raised: the model is told, and may do better.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

from jsonschema.exceptions import best_match

from trunkline.bus import codec
from trunkline.bus.messages import Event
from trunkline.tenants import Tenant
from workers.backend import Session, ToolCall
from workers.tools.base import ToolError
from workers.tools.registry import Offer, offers

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Calls of one session that may run at the same time; the model is told of any more that they failed."""
MAX_CHARACTERS = 32 * 1024
"""Of a call's arguments, and of what the model is told."""
MAX_FILLER = 200
"""Characters that a tool may have said while the caller waits for it."""
MAX_DEPTH = 32
"""Of what a client is told."""
_ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Ending:
    """How the call ends once what the assistant says next was heard."""

    reason: str
    transfer_to: str = ""


class Toolbox:
    """The tools of one session. Implements `workers.tools.base.Caller` for them.

    The backend runs each call the model makes, and asks for `ending` whenever an answer was heard to its end.
    """

    def __init__(self, tenant: Tenant, session: Session) -> None:
        """Raises SettingsError for a tool that does not exist, wrong options, or a schema that is none."""
        self._tenant_id = tenant.id
        self._session = session
        self._offers = offers(tenant)
        self._running = 0
        self._asked: dict[str, asyncio.Future[str]] = {}

    def definitions(self) -> list[dict[str, Any]]:
        """What the model may use: OpenAI's function tool objects."""
        return [offer.definition for offer in self._offers.values()]

    # --- how the call ends

    @property
    def ending(self) -> Ending | None:
        """Set by a tool. It is kept in the session's snapshot: a worker that takes over, once that was committed, ends
        the call as this one would have."""
        kept = self._session.snapshot.flow.get(_ENDING)
        return None if kept is None else Ending(**kept)

    def go_on(self) -> None:
        """The caller spoke up instead: the call does not end, unless a tool says so again."""
        self._session.snapshot.flow.pop(_ENDING, None)

    # --- workers.tools.base.Caller

    @property
    def session_id(self) -> str:
        return self._session.id

    @property
    def tenant_id(self) -> str:
        return self._tenant_id

    def end(self, reason: str) -> None:
        if self.ending is not None and self.ending.transfer_to:
            return  # a caller who is to be put through is: models like to say that the call ends, too
        self._session.snapshot.flow[_ENDING] = asdict(Ending(reason))

    def transfer(self, number: str) -> None:
        self._session.snapshot.flow[_ENDING] = asdict(Ending("transferred", number))

    def event(self, name: str, /, **data: Any) -> None:
        # What the bus or a client cannot carry (an integer of 70 bits, a depth of 900) fails here, where it is one
        # call's fault, and not there.
        if _is_deeper(data, MAX_DEPTH):
            raise ValueError(f"event {name} is nested too deeply")
        codec.encode([Event(self.session_id, 0, 0, name, data)])
        self._session.event(name, **data)

    # --- calls

    async def run(self, call: ToolCall) -> str:
        """Do what the model asked. Gives JSON for the model: the result, or `{"error": ...}`.

        Takes at most the tool's time (30 s; a client's tool, its `timeout_s`). May be cancelled.
        """
        began_s = time.monotonic()
        offer = self._offers.get(call.name)
        output, ok, outcome = "", False, "cancelled"
        self._running += 1
        try:
            output = await self._result(offer, call)
            ok, outcome = True, "ok"
        except ToolError as error:
            output, outcome = _failure(str(error)), "refused"
        except TimeoutError:
            output, outcome = _failure(f"{call.name} did not answer in time"), "timed out"
        except Exception:
            log.exception("session %s: tool %.64r failed", self.session_id, call.name)
            output, outcome = _failure(f"{call.name} failed"), "failed"
        finally:
            self._running -= 1
            ms = round((time.monotonic() - began_s) * 1000)
            log.info("session %s: tool %.64r %s after %d ms", self.session_id, call.name, outcome, ms)
            if offer is not None:
                self._session.event("tool_result", call_id=call.id, tool=offer.name, ok=ok, ms=ms)
        return output

    def filler(self, call: ToolCall) -> str:
        """What to say to a caller who waits for it; empty when the tool has no phrase of its own."""
        offer = self._offers.get(call.name)
        if offer is None or isinstance(offer.filler, str):
            return "" if offer is None else str(offer.filler)
        try:
            return str(offer.filler(_arguments(offer, call.arguments)))[:MAX_FILLER]
        except ToolError:
            return ""  # its arguments are wrong: it will not take long
        except Exception:
            log.exception("session %s: the filler of tool %.64r failed", self.session_id, call.name)
            return ""

    def answered(self, call_id: str, output: str) -> None:
        """The client answered a call of its tool; the model is told `output` as it is."""
        waiting = self._asked.get(call_id)
        if waiting is None or waiting.done():
            self._session.event(
                "error",
                code="unknown_call",
                message=f"no tool call {call_id!r:.140} waits for an answer",
                hint="the call_id of a tool_call, once, before its tool's timeout",
                fatal=False,
            )
            return
        waiting.set_result(output)

    async def _result(self, offer: Offer | None, call: ToolCall) -> str:
        if self._running > AT_ONCE:
            raise ToolError(f"{AT_ONCE} calls are running: ask again when they are done")
        if offer is None:
            raise ToolError(f"no tool {call.name!r:.64}; there are: {', '.join(self._offers) or 'none'}")
        arguments = _arguments(offer, call.arguments)
        async with asyncio.timeout(offer.timeout_s):
            if offer.tool is None:
                return await self._ask_client(call, arguments)
            result = _json(await offer.tool.call(arguments, self))
        if len(result) > MAX_CHARACTERS:
            raise ToolError(f"the result is too long: {len(result)} characters")
        return result

    async def _ask_client(self, call: ToolCall, arguments: dict[str, Any]) -> str:
        if call.id in self._asked:
            raise ToolError(f"call {call.id!r:.64} is running")
        waiting: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._asked[call.id] = waiting
        try:
            self.event("tool_call", call_id=call.id, tool=call.name, arguments=arguments)
            return await waiting
        finally:
            del self._asked[call.id]


def _arguments(offer: Offer, text: str) -> dict[str, Any]:
    """A model's arguments, read and checked. Raises ToolError saying what is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise ToolError(f"arguments of {len(text)} characters: at most {MAX_CHARACTERS}")
    try:
        arguments = json.loads(text or "{}")  # a model that has none to give may write nothing
        _json(arguments)  # Python reads more than JSON: NaN, 1e999, half a surrogate pair
    except (ValueError, RecursionError) as error:
        raise ToolError(f"the arguments are not JSON: {error}") from error
    wrong = best_match(offer.arguments.iter_errors(arguments))
    if wrong is not None:
        raise ToolError(f"wrong arguments: {wrong.json_path}: {wrong.message:.500}")
    if not isinstance(arguments, dict):
        raise ToolError("wrong arguments: not an object")
    return arguments


def _json(value: Any) -> str:
    """Raises TypeError or ValueError for what neither JSON nor UTF-8 can say."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    text.encode()
    return text


def _is_deeper(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth == 0 or any(_is_deeper(each, depth - 1) for each in inner)


def _failure(why: str) -> str:
    return json.dumps({"error": why})
