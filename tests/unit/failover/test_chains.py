"""From a tenant's settings to chains."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.failover.linked import linked
from trunkline.errors import ProviderError, SettingsError
from trunkline.tenants import Stage, Tenant
from workers.failover import chains
from workers.failover.chain import Link, described
from workers.providers.registry import Providers


def stage(**settings: Any) -> Stage:
    return Stage.model_validate(settings)


def deadlines(chain: Any) -> list[float]:
    return [link.deadline_s for link in chain._links]


async def test_who_has_no_fallback_is_waited_for_longer() -> None:
    providers = Providers()
    alone, both = stage(provider="demo"), stage(provider="demo", fallback={"provider": "demo"})
    assert deadlines(chains.language_model(alone, providers)) == [8]
    assert deadlines(chains.language_model(both, providers)) == [4, 8]
    chosen = stage(provider="demo", deadline_s=2, hedge_s=0.7, fallback={"provider": "demo", "deadline_s": 3})
    chain = chains.language_model(chosen, providers)
    assert deadlines(chain) == [2, 3]
    assert chain._links[0].patience_s == 0.7
    espeak = stage(provider="espeak", fallback={"provider": "espeak", "voice": "de"})
    assert deadlines(chains.text_to_speech(espeak, providers)) == [1.5, 5]
    assert deadlines(chains.text_to_speech(espeak, providers, last=False)) == [1.5, 1.5], "another backend goes on"
    await providers.close()


async def test_all_sessions_of_a_process_share_breakers() -> None:
    providers = Providers()
    shared = stage(provider="demo")
    first = chains.language_model(stage(provider="demo", now="2026-11-21T16:05:00", fallback=shared), providers)
    second = chains.language_model(stage(provider="demo", deadline_s=1), providers)
    assert first._links[1].breaker is second._links[0].breaker
    assert first._links[1].provider is second._links[0].provider
    assert first._links[0].breaker is not second._links[0].breaker
    second._links[0].breaker.permit(0).failed(ProviderError("demo", "gone", locked_out=True), 0)
    assert not first._links[1].breaker.closed
    await providers.close()


@pytest.mark.parametrize(
    ("options", "label"),
    [
        ({}, "demo"),
        ({"model": "openai/gpt-oss-120b"}, "demo openai/gpt-oss-120b"),
        ({"model": "/srv/models/small.en/"}, "demo small.en"),
        ({"model": r"C:\models\small.en"}, "demo small.en"),
        ({"model": "~/small"}, "demo small"),
        ({"model": "https://user:secret@example.org/v1/tiny"}, "demo tiny"),
        ({"model": "https://example.org/v1/tiny?key=secret/1#2"}, "demo tiny"),
        ({"model": "https://user:secret@example.org"}, "demo"),
        ({"model": "file:///srv/models/tiny"}, "demo tiny"),
        ({"model": "m" * 200, "api_key_env": "SECRET"}, "demo " + "m" * 75),
        ({"model": 3, "base_url": "https://example.org"}, "demo 3"),
    ],
)
def test_figures_are_kept_by_vendor_and_model_and_by_nothing_that_tells_of_this_machine(
    options: dict[str, Any], label: str
) -> None:
    breaker = Providers().breaker("language_model", stage(provider="demo", **options))
    assert Link(Named(""), breaker, 1.0).label == label


class Named:
    def __init__(self, description: str) -> None:
        self.description = description


@pytest.mark.parametrize(
    ("descriptions", "whole"),
    [
        (["Acme: model 1"], "Acme: model 1"),
        (["demo"], "demo"),
        (["demo [chosen: built in]"], "demo [chosen: built in]"),
        (["Acme: model 1", "Other: model 2"], "Acme: model 1; else Other: model 2"),
        (["demo", "Other: model 2"], "demo: else Other: model 2"),
        (
            ["demo [built in]", "Other: model 2 [cheap]", "third"],
            "demo: else Other: model 2; else third [built in; cheap]",
        ),
    ],
)
def test_a_chain_is_described_as_its_parts_are(descriptions: list[str], whole: str) -> None:
    assert described(linked(*map(Named, descriptions))) == whole


def test_a_fallback_that_cannot_be_is_refused_at_start() -> None:
    with pytest.raises(SettingsError, match="language model 'demo': tune: "):
        chains.language_model(stage(provider="demo", fallback={"provider": "demo", "tune": "waltz"}), Providers())


def test_a_provider_s_options_are_not_its_chain_s() -> None:
    chosen = stage(provider="groq", model="x", deadline_s=2, hedge_s=1, fallback={"provider": "demo"})
    assert chosen.options == {"model": "x"}
    assert [each.provider for each in chosen.chain] == ["groq", "demo"]


def test_only_language_models_are_hedged() -> None:
    llm = {"provider": "demo", "fallback": {"provider": "demo", "hedge_s": 1}}
    assert Tenant.model_validate({"id": "a", "providers": {"llm": llm}}).providers.llm.chain[1].hedge_s == 1
    with pytest.raises(ValueError, match="hedge_s is for llm only"):
        Tenant.model_validate({"id": "a", "providers": {"tts": llm}})
