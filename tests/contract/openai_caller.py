"""What the tests of OpenAI's speech share: our providers on a stand-in."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

from tests.contract.recorded import closing
from tests.standins.openai import KEY, Speech
from workers.providers.batch import BatchSpeech
from workers.providers.openai import Speaking, speech_to_text, text_to_speech


def hearing(standin: Speech, **options: Any) -> AbstractAsyncContextManager[BatchSpeech]:
    return closing(speech_to_text({"base_url": standin.url, "api_key": KEY, **options}))


def speaking(standin: Speech, **options: Any) -> AbstractAsyncContextManager[Speaking]:
    return closing(text_to_speech({"base_url": standin.url, "api_key": KEY, **options}))
