from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError
from trunkline.tenants import Directory, Tenant, parse, read_directory


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    connections = Redis(redis_url)
    yield connections
    await connections.close()


def test_a_tenant_needs_only_an_id() -> None:
    tenant = parse("id: acme", "acme.yaml")
    assert tenant.providers.stt.provider == "local"
    assert tenant.providers.stt.options == {}


def test_a_stage_keeps_its_providers_options() -> None:
    tenant = parse("id: acme\nproviders: {tts: {provider: cartesia, voice: anna, speed: 1.1}}", "acme.yaml")
    assert tenant.providers.tts.provider == "cartesia"
    assert tenant.providers.tts.options == {"voice": "anna", "speed": 1.1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id: [", "not YAML"),
        ("- id", "a tenant is a mapping of settings, this is list"),
        ("", "a tenant is a mapping of settings, this is NoneType"),
        ("backend: cascade", "id: Field required"),
        ("id: Not An Id", "id: "),
        ("id: acme\ncolour: red", "colour: Extra inputs"),
        ("id: acme\nturn: {stop_ms: 1}", "turn.stop_ms: "),
        ("id: acme\nidle: {prompts: ['  ']}", "idle.prompts.0: "),
        ("id: acme\nproviders: {ears: {}}", "providers.ears: Extra inputs"),
        ("id: acme\nproviders: {stt: {provider: '../evil'}}", "providers.stt.provider: "),
        ("id: acme\nbackend: os.path", "backend: "),
        ("id: acme\nturn: {barge_in_ms: 0}", "turn.barge_in_ms: "),
        ("id: acme\nturn: {preemptive: no, preemptive_tts: yes}", "turn: Value error, preemptive_tts needs preemptive"),
        ("id: acme\nfillers: {delay_s: 0}", "fillers.delay_s: "),
        ("id: acme\nfillers: {phrases: [' ']}", "fillers.phrases.0: "),
        ("id: acme\ntools: [{name: end_call, filler: ''}]", "tools.0.filler: "),
        ("id: acme\ngreetin: hi\nprompt: no", "greetin: Extra inputs"),
    ],
)
def test_every_wrong_key_is_named_with_its_file(text: str, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text, "acme.yaml")
    assert str(refused.value).startswith("acme.yaml: ")
    assert said in str(refused.value)


def test_what_is_right_is_said_too() -> None:
    with pytest.raises(SettingsError, match="a tenant has: id, phone_numbers, backend, fallback_backend"):
        parse("id: acme\ncolour: red", "acme.yaml")


def test_a_tenant_falls_back_on_another_backend_or_on_none() -> None:
    assert Tenant(id="acme").backends == ("cascade",)
    assert Tenant(id="acme", backend="relay", fallback_backend="cascade").backends == ("relay", "cascade")
    with pytest.raises(SettingsError, match="fallback_backend is relay, too: name another, or none"):
        parse("id: acme\nbackend: relay\nfallback_backend: relay", "acme.yaml")


def test_yaml_makes_no_objects() -> None:
    with pytest.raises(SettingsError, match="not YAML"):
        parse("id: !!python/object/apply:os.getcwd []", "evil.yaml")


def test_a_directory_of_tenants(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("id: b", encoding="utf-8")
    (tmp_path / "a.yaml").write_text("id: a\nprompt: Grüezi", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no tenant", encoding="utf-8")
    assert [tenant.id for tenant in read_directory(tmp_path)] == ["a", "b"]


def test_an_id_used_twice_is_refused(tmp_path: Path) -> None:
    for name in ("one.yaml", "two.yaml"):
        (tmp_path / name).write_text("id: same", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"two\.yaml: tenant id 'same' is used"):
        read_directory(tmp_path)


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_bytes(b"id: \xff\xfe")
    with pytest.raises(SettingsError, match=r"odd\.yaml"):
        read_directory(tmp_path)


def test_the_example_tenants_are_right() -> None:
    assert "demo" in {tenant.id for tenant in read_directory(Path("deploy/tenants"))}


async def test_what_one_process_puts_another_gets(redis: Redis) -> None:
    tenant = parse("id: acme\nproviders: {tts: {provider: cartesia, voice: anna}}", "acme.yaml")
    await Directory(redis).put([tenant])
    assert await Directory(redis).get("acme") == tenant
    assert await Directory(redis).get("nobody") is None


async def test_what_a_tenant_has_not_set_is_not_put_so_that_an_older_version_reads_it(redis: Redis) -> None:
    """While a deployment is updated there are workers of two versions, and each refuses a setting it does not know."""
    await Directory(redis).put([Tenant(id="acme", prompt="Answer.")])
    assert await redis.ask("HGET", keys.TENANTS, "acme") == b'{"id":"acme","prompt":"Answer."}'
    await redis.ask("DEL", keys.TENANTS)
    reading = Directory(redis)
    await reading.put([Tenant(id="acme", prompt="Answer.")])
    await redis.ask("DEL", keys.TENANTS)
    await reading.restore()
    assert await redis.ask("HGET", keys.TENANTS, "acme") == b'{"id":"acme","prompt":"Answer."}'


@pytest.mark.parametrize(
    "relay",
    [
        "{turn_detection: null, transcription: null}",
        "{turn_detection: {type: server_vad, idle_timeout_ms: 6000}}",
        "{turn_detection: {type: semantic_vad}}",
    ],
)
async def test_what_a_tenant_has_set_comes_back_as_it_was(redis: Redis, relay: str) -> None:
    stages = "{stt: {provider: groq, fallback: {provider: deepgram}}, tts: {provider: acme, deadline_s: null, x: null}}"
    tenant = parse(f"id: acme\nbackend: relay\nrelay: {relay}\nproviders: {stages}", "acme.yaml")
    await Directory(redis).put([tenant])
    assert await Directory(redis).get("acme") == tenant


async def test_an_empty_redis_is_given_back_what_was_read_but_nothing_newer_is_overwritten(redis: Redis) -> None:
    first, second = Directory(redis), Directory(redis)
    await first.put([Tenant(id="acme", prompt="Answer."), Tenant(id="other")])
    assert await second.get("acme") is not None
    await redis.ask("FLUSHALL")
    await first.put([Tenant(id="acme", prompt="Antworte.")])
    await second.restore()
    assert await first.get("acme") == Tenant(id="acme", prompt="Antworte.")
    assert await first.get("other") is None, "the second never knew of it"
    await first.restore()
    assert await first.get("other") == Tenant(id="other")


async def test_a_tenant_that_a_newer_version_wrote_is_refused_by_name(redis: Redis) -> None:
    await redis.ask("HSET", keys.TENANTS, "acme", '{"id": "acme", "to_come": true}')
    with pytest.raises(SettingsError, match="tenant acme in Redis: to_come"):
        await Directory(redis).get("acme")
    await Directory(redis).put([Tenant(id="other")])
    assert await Directory(redis).all() == [Tenant(id="other")]
