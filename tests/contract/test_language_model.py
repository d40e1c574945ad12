"""What every language model provider must do, run over the demo, chat completions (a stand-in), and `local`."""

import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.standins.chat import Chat, serve
from trunkline.tenants import Stage
from workers.providers import openai_compatible, registry
from workers.providers.base import ChatMessage, LanguageModel

QUESTION = [ChatMessage("system", "Be brief."), ChatMessage("user", "tell me a story")]


@pytest.fixture(params=["demo", "openai_compatible", "local"])
async def model(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LanguageModel]:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(openai_compatible, "ollama_models", lambda: None)  # whatever runs on this machine
    async with serve(Chat(answer="Once upon a time there was a lighthouse.")) as chat:
        settings = {"provider": request.param}
        if request.param == "openai_compatible":
            settings |= {"base_url": f"{chat.url}/v1", "model": "m", "api_key": "key"}
        made = registry.language_model(Stage.model_validate(settings))
        yield made
        await made.close()


async def test_streams_text(model: LanguageModel) -> None:
    deltas = [delta async for delta in model.reply(QUESTION)]
    assert len(deltas) > 3
    assert all(deltas)
    assert "".join(map(str, deltas)).startswith("Once upon a time")
    assert model.description


async def test_continues_an_answer(model: LanguageModel) -> None:
    begun = ChatMessage("assistant", "Once upon a")
    assert [delta async for delta in model.reply([*QUESTION, begun])]


async def test_closing_early_leaves_it_usable(model: LanguageModel) -> None:
    async with contextlib.aclosing(model.reply(QUESTION)) as deltas:
        await anext(deltas)
    assert [delta async for delta in model.reply(QUESTION)]
