"""The smallest gateway: it echoes, checks every signature, and remembers. The stand-in's own tests answer with it."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.standins.twilio.caller import AUTH_TOKEN
from tests.standins.twilio.faults import HUGE_BYTES
from tests.standins.twilio.serving import serving
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, VoiceResponse

PUBLIC = "https://gw.example.com"
MEDIA = "wss://gw.example.com/media"

Message = dict[str, Any]


class Gateway:
    """Answers webhooks with what `pages` has for their path, and each media message with `reply`."""

    def __init__(self) -> None:
        self.origin = ""
        self.pages: dict[str, str] = {"/twiml": answer(), "/return": answer(), "/bye": "<Response><Hangup/></Response>"}
        self.reply: Callable[[Socket, Message], Awaitable[None]] = echo
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.sockets: list[Socket] = []
        self.forged: list[str] = []

    def at(self, path: str) -> list[dict[str, str]]:
        """The forms that came to `path`."""
        return [form for place, form in self.forms if place == path]

    async def webhook(self, request: Request) -> Response:
        form = dict(await request.form()) if request.method == "POST" else {}
        url = PUBLIC + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        signature = request.headers.get("x-twilio-signature")
        if not signature or not RequestValidator(AUTH_TOKEN).validate(url, form, signature):
            self.forged.append(request.url.path)
            return Response(status_code=403)
        self.forms.append(
            (request.url.path, {key: str(value) for key, value in (form or request.query_params).items()})
        )
        return Response(self.pages.get(request.url.path, ""), media_type="text/xml")

    async def media(self, websocket: WebSocket) -> None:
        signature = websocket.headers.get("x-twilio-signature")
        if not signature or not RequestValidator(AUTH_TOKEN).validate(MEDIA, {}, signature):
            self.forged.append("/media")
            await websocket.close()
            return
        await websocket.accept()
        socket = Socket(websocket)
        self.sockets.append(socket)
        await socket.serve(self.reply)


class Socket:
    """One media stream as the gateway sees it."""

    def __init__(self, websocket: WebSocket) -> None:
        self.websocket = websocket
        self.texts: list[str] = []
        self.messages: list[Message] = []
        self.binary: list[bytes] = []
        self.sid = ""
        self.close_code: int | None = None

    def of(self, event: str) -> list[Message]:
        return [message for message in self.messages if message.get("event") == event]

    async def serve(self, reply: Callable[[Socket, Message], Awaitable[None]]) -> None:
        while True:
            received = await self.websocket.receive()
            if received["type"] == "websocket.disconnect":
                self.close_code = received["code"]
                return
            if (text := received.get("text")) is None:
                self.binary.append(received["bytes"])
                continue
            message = json.loads(text)
            self.texts.append(text)
            self.messages.append(message)
            if message["event"] == "start" and not self.sid:
                self.sid = message["streamSid"]
            await reply(self, message)

    async def send(self, **message: Any) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await self.websocket.send_text(json.dumps({"streamSid": self.sid, **message}))

    async def play(self, ulaw: bytes) -> None:
        await self.send(event="media", media={"payload": base64.b64encode(ulaw).decode()})

    async def mark(self, name: str) -> None:
        await self.send(event="mark", mark={"name": name})

    async def clear(self) -> None:
        await self.send(event="clear")


async def echo(socket: Socket, message: Message) -> None:
    if message["event"] == "media" and message["streamSid"] == socket.sid:
        await socket.play(base64.b64decode(message["media"]["payload"]))


async def silent(socket: Socket, message: Message) -> None:
    """A gateway with nothing to say: the test says it."""


def answer(action: str | None = None, status_callback: str | None = None, **parameters: str) -> str:
    """TwiML that puts a call on the gateway, by the package's builder."""
    connect = Connect(action=action, method="POST") if action else Connect()
    more = {"status_callback": status_callback, "status_callback_method": "POST"} if status_callback else {}
    stream = connect.stream(url=MEDIA, name="s1", track="inbound_track", **more)
    for name, value in parameters.items():
        stream.parameter(name=name, value=value)
    response = VoiceResponse()
    response.append(connect)
    return str(response)


@contextlib.asynccontextmanager
async def running(gateway: Gateway) -> AsyncIterator[Gateway]:
    routes = [
        WebSocketRoute("/media", gateway.media),
        Route("/{path:path}", gateway.webhook, methods=["GET", "POST"]),
    ]
    async with serving(Starlette(routes=routes), ws="websockets-sansio", ws_max_size=2 * HUGE_BYTES) as gateway.origin:
        yield gateway
