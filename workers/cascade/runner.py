"""The cascade backend: speech-to-text, a language model and text-to-speech, chosen by the tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from operator import setitem

from trunkline.tenants import Tenant
from workers.backend import Session
from workers.cascade.conversation import Conversation
from workers.cascade.hearing import VoiceActivity
from workers.cascade.stages import LLM, STT, TTS, Stages
from workers.failover import chains
from workers.providers.registry import Providers
from workers.turns.patience import Judge


class Cascade:
    """Serves sessions of one tenant, one at a time. Its providers are shared with other backends: whoever made them
    closes them."""

    def __init__(
        self, stages: Stages, voice_activity: Callable[[int], VoiceActivity], judge: Judge | None = None
    ) -> None:
        """`judge`, if there is one, hears whether somebody who fell silent is done."""
        self._stages = stages
        self._voice_activity = voice_activity
        self._judge = judge

    @property
    def providers(self) -> dict[str, str]:
        return {
            "stt": self._stages.speech_to_text.description,
            "llm": self._stages.language_model.description,
            "tts": self._stages.text_to_speech.description,
        }

    async def run(self, session: Session) -> None:
        """Serve `session` until its inbox ends. Raises SessionLost when another worker owns it."""
        await Conversation(session, self._stages, self._voice_activity, self._judge).run()

    async def close(self) -> None:
        """Nothing of its own to close."""


def backend(tenant: Tenant, providers: Providers) -> Cascade:
    """The cascade for `tenant`. May load models, and so block. Raises SettingsError for a wrong provider."""
    # Here, for they bring onnxruntime, and `Cascade` does without.
    from workers.turns.company import SharedVoiceActivity
    from workers.turns.smart_turn import smart_turn

    last = tenant.fallback_backend is None
    served: dict[str, str] = {}
    stages = Stages(
        chains.speech_to_text(tenant.providers.stt, providers, last=last, served=partial(setitem, served, STT)),
        chains.language_model(tenant.providers.llm, providers, last=last, served=partial(setitem, served, LLM)),
        chains.text_to_speech(tenant.providers.tts, providers, last=last, served=partial(setitem, served, TTS)),
        served,
    )
    SharedVoiceActivity(16_000)  # loads the model now, not with the first call
    return Cascade(stages, SharedVoiceActivity, smart_turn() if tenant.turn.smart_turn else None)
