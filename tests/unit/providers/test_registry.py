import asyncio

import pytest

from trunkline.errors import SettingsError
from trunkline.tenants import Stage
from workers.providers import faster_whisper, local, openai_compatible, piper, registry
from workers.providers.demo import DemoDialogue


def stage(provider: str, **options: object) -> Stage:
    return Stage.model_validate({"provider": provider, **options})


def test_a_provider_is_its_file() -> None:
    assert isinstance(registry.language_model(stage("demo")), DemoDialogue)
    assert {"demo", "local", "openai_compatible"} <= set(registry.offering("language_model"))
    assert {"espeak", "local", "piper"} <= set(registry.offering("text_to_speech"))
    assert {"faster_whisper", "local", "pocketsphinx"} <= set(registry.offering("speech_to_text"))


@pytest.mark.parametrize("name", ["nobody", "registry", "base", "espeak"])
def test_a_wrong_provider_is_named_with_those_that_exist(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"'{name}' for language model; there are: .*demo"):
        registry.language_model(stage(name))


def test_wrong_options_are_named_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"pitsh.*its options are: voice, rate_wpm, pitch"):
        registry.text_to_speech(stage("espeak", pitsh=3))


async def test_equal_settings_share_an_instance() -> None:
    providers = registry.Providers()
    first = providers.language_model(stage("demo"))
    assert providers.language_model(stage("demo")) is first
    assert providers.language_model(stage("demo", now="2026-11-21T16:05:00")) is not first
    await providers.close()
    assert providers.language_model(stage("demo")) is not first


async def test_every_instance_is_closed_even_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []

    async def close(self: DemoDialogue) -> None:
        closed.append(self)
        if len(closed) == 1:
            raise OSError("stuck")

    monkeypatch.setattr(DemoDialogue, "close", close)
    providers = registry.Providers()
    providers.language_model(stage("demo"))
    providers.language_model(stage("demo", now="2026-11-21T16:05:00"))
    with pytest.raises(ExceptionGroup, match="failed to close"):
        await providers.close()
    assert len(closed) == 2


def test_local_says_what_it_chose_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setattr(openai_compatible, "ollama_models", lambda: None)
    chosen = local.language_model({})
    assert "demo dialogue" in chosen.description
    assert "no Ollama answers" in chosen.description
    asyncio.run(chosen.close())


def test_local_tells_what_to_do_about_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piper, "installed", lambda: False)
    monkeypatch.setattr(faster_whisper, "installed", lambda: False)
    monkeypatch.setattr(openai_compatible, "ollama_models", lambda: [])
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    missing = {found.provider: found.remedy for found in local.candidates() if not found.available}
    assert missing == {
        "faster_whisper": faster_whisper.INSTALL,
        "openai_compatible": "ollama pull llama3.2",
        "piper": piper.INSTALL,
    }
    assert all(found.why for found in local.candidates())


def test_local_prefers_a_server_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("TRUNKLINE_CHAT_MODEL", "served")
    chosen = local.language_model({})
    assert chosen.description.startswith("served at 127.0.0.1")
    asyncio.run(chosen.close())
