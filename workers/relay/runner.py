"""The relay backend: a Realtime speech-to-speech model hears the caller and answers."""

from __future__ import annotations

import functools
import importlib
import os

from openai import AsyncOpenAI

from trunkline.tenants import Tenant
from workers.backend import Session
from workers.providers.registry import Providers
from workers.relay import protocol, websocket
from workers.relay.conversation import Conversation
from workers.relay.interrupting import Detector
from workers.relay.link import ModelLink
from workers.relay.websocket import KEY_VARIABLE, URL_VARIABLE

DIAL_S = 4.0
"""A model that cannot be reached within this is called again."""


class Relay:
    """Serves sessions of one tenant."""

    def __init__(self, tenant: Tenant, client: AsyncOpenAI, voice_activity: Detector | None) -> None:
        self._tenant = tenant
        self._client = client
        self._voice_activity = voice_activity

    @property
    def providers(self) -> dict[str, str]:
        relay = self._tenant.relay
        over = " over WebRTC" if relay.link == "webrtc" else ""
        return {"model": f"{relay.model}: OpenAI Realtime{over}, speech to speech (voice {relay.voice})"}

    async def run(self, session: Session) -> None:
        """Serve `session` until its inbox ends. Raises SessionLost when another worker owns it."""
        dial = functools.partial(self._dial, session.rate_hz)
        await Conversation(session, dial, self._voice_activity).run()

    async def _dial(self, rate_hz: int) -> ModelLink:
        model, client = self._tenant.relay.model, self._client
        if self._tenant.relay.link == "webrtc":
            from workers.relay import webrtc  # `backend` had it loaded

            return await webrtc.connect(client, model, rate_hz, timeout_s=DIAL_S)
        return await websocket.connect(client, model, protocol.format_for(rate_hz), timeout_s=DIAL_S)

    async def close(self) -> None:
        """Nothing of its own to close: each session hung up its own links."""


@functools.cache
def _client(*settings: tuple[str, str]) -> AsyncOpenAI:
    """The process's client: it takes long to make. Of its own it keeps HTTP connections, for some seconds."""
    return websocket.make_client(dict(settings))


def backend(tenant: Tenant, providers: Providers) -> Relay:
    """The relay for `tenant`. May load a model of ours, and so block. Raises SettingsError for a missing key."""
    names = (KEY_VARIABLE, URL_VARIABLE, "OPENAI_BASE_URL")
    client = _client(*((name, os.environ[name]) for name in names if name in os.environ))
    if tenant.relay.link == "webrtc":  # not in the first call, which its half second would stop, and all others with it
        importlib.import_module("workers.relay.webrtc")
        _ = client.realtime.calls
    return Relay(tenant, client, _detector(tenant))


def _detector(tenant: Tenant) -> Detector | None:
    """For tenants who want interruptions noticed here; loads the model."""
    if not tenant.turn.barge_in or tenant.relay.barge_in != "local":
        return None
    from workers.turns.vad import VoiceActivity  # here, for it brings onnxruntime, and most relays do without

    VoiceActivity(16_000)
    return VoiceActivity
