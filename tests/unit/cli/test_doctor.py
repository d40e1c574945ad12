"""`trunkline doctor`: what it finds right and wrong, and what it says to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from cli import checks, limits, vendors
from cli.checks import Finding
from cli.doctor import doctor
from trunkline.settings import Settings, load
from trunkline.tenants import Tenant
from workers.providers import espeak, faster_whisper, local, piper, pocketsphinx

ROOT = Path(__file__).resolve().parents[3]

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(doctor)


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


@pytest.fixture(autouse=True)
def _at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


# --- settings


def test_every_wrong_setting_is_named_and_the_rest_is_used() -> None:
    environment = {"TRUNKLINE_PROT": "1", "TRUNKLINE_WORKER_SESSIONS": "x", "TRUNKLINE_PORT": "9000", "HOME": "/root"}
    found, findings = checks.settings(environment)
    assert found.port == 9000
    assert levels(findings) == ["problem", "problem"]
    assert "did you mean TRUNKLINE_PORT" in findings[0].found
    assert "TRUNKLINE_WORKER_SESSIONS" in findings[1].found


def test_right_settings_are_listed() -> None:
    _, findings = checks.settings({"TRUNKLINE_PORT": "9000"})
    assert findings == [Finding("ok", "settings", "TRUNKLINE_* set: PORT")]
    assert "defaults" in checks.settings({})[1][0].found


# --- packages


def test_what_is_missing_is_added_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """`pip install 'trunkline[whisper]'` would bring torch, which silero-vad asks for and nobody needs."""
    monkeypatch.setattr(checks, "_version", lambda name: None)
    (finding,) = checks.optional_packages()
    assert "pip install faster-whisper (" in finding.advice
    advice = [finding.advice, *(candidate.remedy for candidate in local.candidates())]
    advice += [espeak.INSTALL, faster_whisper.INSTALL, piper.INSTALL, pocketsphinx.INSTALL]
    assert [told for told in advice if "trunkline[" in told] == []


# --- Redis


async def test_our_own_redis_can_start() -> None:
    (finding,) = await checks.redis(Settings())
    assert finding.level == "ok"
    assert "Valkey" in finding.found


async def test_a_redis_that_answers(redis_url: str) -> None:
    (finding,) = await checks.redis(Settings(redis_url=redis_url))
    assert finding.level == "ok"


@pytest.mark.parametrize("url", ["redis://:hunter2@127.0.0.1:1/0", "nonsense://x"])
async def test_a_redis_that_does_not(url: str) -> None:
    (finding,) = await checks.redis(Settings(redis_url=url))
    assert finding.level == "problem"
    assert "TRUNKLINE_REDIS_URL" in finding.advice
    assert "hunter2" not in finding.found


# --- the port


@pytest.fixture
def taken() -> Iterator[int]:
    """A port where somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def trunkline_there() -> Iterator[int]:
    """A port where a Trunkline is."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok", "sessions": 3, "process": "gateway-1"}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        yield server.server_port
        thread.join(5)


def test_a_free_port() -> None:
    assert levels([*checks.port(Settings(port=0))]) == ["ok"]


def test_a_port_taken_by_a_stranger(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "HEALTH_TIMEOUT_S", 0.1)
    (finding,) = checks.port(Settings(port=taken))
    assert finding.level == "problem"
    assert "another program" in finding.found
    assert "TRUNKLINE_PORT" in finding.advice


def test_a_port_taken_by_a_trunkline(trunkline_there: int) -> None:
    (finding,) = checks.port(Settings(port=trunkline_there))
    assert finding.level == "ok"
    assert "3 session(s)" in finding.found


def test_an_address_that_is_not_ours() -> None:
    (finding,) = checks.port(Settings(host="192.0.2.1", port=8080))
    assert finding.level == "problem"
    assert "TRUNKLINE_HOST" in finding.advice


def test_an_open_gateway_is_warned_about() -> None:
    assert levels([*checks.host_is_public(Settings(host="0.0.0.0"))]) == ["warning"]
    assert levels([*checks.host_is_public(Settings(host="localhost"))]) == []


# --- tenants


def test_the_tenants_that_come_with_it_are_right() -> None:
    tenants, findings = checks.tenants(Settings())
    assert levels(findings) == ["ok"]
    assert list(checks.providers(tenants)) == []


def test_each_wrong_tenant_file_is_a_problem_of_its_own(tmp_path: Path) -> None:
    files = {
        "a.yaml": "id: demo",
        "b.yaml": "id: demo",
        "c.yaml": "id: [",
        "d.yaml": "id: d\nprompts: x",
        "e.yaml": "id: e\nbackend: psychic",
        "f.yaml": "id: f\nproviders: {tts: {provider: nobody}}",
        "g.yaml": "id: g\nproviders: {llm: {provider: demo, fallback: {provider: nowhere}}}",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    tenants, findings = checks.tenants(Settings(tenants_dir=tmp_path))
    findings += checks.providers(tenants)
    text = "\n".join(finding.found for finding in findings)
    assert levels(findings) == ["problem"] * 6
    for wrong in ("b.yaml", "c.yaml", "prompts", "psychic", "nobody", "nowhere"):
        assert wrong in text


def test_a_backend_to_fall_back_on_is_looked_at_too(tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_text("id: demo\nfallback_backend: relay")
    tenants, (finding,) = checks.tenants(Settings(tenants_dir=tmp_path, backends="cascade"))
    assert "demo: no worker serves its backend 'relay'" in finding.found
    assert vendors.relay(tenants, {}).level == "problem"


def test_no_tenants_and_no_default_tenant(tmp_path: Path) -> None:
    assert levels(checks.tenants(Settings(tenants_dir=tmp_path))[1]) == ["problem"]
    (finding,) = checks.tenants(Settings(default_tenant="nobody"))[1]
    assert "demo" in finding.advice


# --- the rest


def test_the_page_has_all_its_files() -> None:
    assert checks.console().level == "ok"


def test_too_few_open_files_are_warned_about() -> None:
    found = limits.open_files(Settings(max_connections=10**9))
    assert found.level == "warning"
    assert "ulimit -n" in found.advice


def test_a_webrtc_call_needs_a_file_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    assert limits.open_files(load({}, max_connections=800, rtc_addresses="192.0.2.1")).level == "ok"
    two = limits.open_files(load({}, max_connections=800, rtc_addresses="192.0.2.1,192.0.2.2"))
    assert (two.level, "2 UDP sockets each" in two.found) == ("warning", True)
    assert "ulimit -n 1728, or lower" in two.advice
    assert "TRUNKLINE_RTC_ADDRESSES" in two.advice
    other = load({}, max_connections=800, rtc_addresses="192.0.2.1,2001:db8::1", rtc_advertised="198.51.100.1")
    assert limits.open_files(other).level == "ok", "no call has a socket where no candidate is"


def test_a_stage_that_nothing_serves_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.providers import local

    candidates = [
        local.Candidate("stt", "ear", False, "not installed", "install it"),
        local.Candidate("llm", "brain", False, "no key", "get one"),
        local.Candidate("llm", "rules", True, "built in", ""),
        local.Candidate("tts", "voice", True, "installed", ""),
    ]
    monkeypatch.setattr(local, "candidates", lambda: candidates)
    assert list(checks.local_providers()) == [
        Finding("problem", "stt", "nothing here does speech to text without a key", "ear (not installed): install it"),
        Finding("ok", "llm", "rules: built in", "better: brain (no key): get one"),
        Finding("ok", "tts", "voice: installed"),
    ]


def test_the_report_is_plain_in_a_pipe_and_its_end_says_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUNKLINE_PORT", "0")
    healthy = CliRunner().invoke(app)
    assert healthy.exit_code == 0, healthy.output
    assert "Ready" in healthy.stdout
    assert "\x1b" not in healthy.stdout
    assert not any(line != line.rstrip() for line in healthy.stdout.splitlines())
    monkeypatch.setenv("TRUNKLINE_PORT", "x")
    ill = CliRunner().invoke(app)
    assert ill.exit_code == 1
    assert "TRUNKLINE_PORT" in ill.stdout


# --- accounts


def clinic(**more: object) -> Tenant:
    return Tenant.model_validate({"id": "clinic", "backend": "relay", **more})


def test_a_relay_needs_a_key() -> None:
    lacking = vendors.relay([clinic()], {})
    assert lacking.level == "problem"
    assert "OPENAI_API_KEY" in lacking.found
    assert "clinic" in lacking.advice
    assert vendors.relay([Tenant(id="demo")], {}).level == "ok"
    assert vendors.relay([Tenant(id="demo")], {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "x"}).level == "warning"


def test_a_relay_by_webrtc_needs_udp() -> None:
    key = {"OPENAI_API_KEY": "k"}
    by_udp = clinic(relay={"link": "webrtc"})
    assert vendors.relay([clinic()], key).advice == ""
    assert "clinic: let UDP" in vendors.relay([by_udp], key).advice


def test_a_key_is_never_shown() -> None:
    given = {"OPENAI_API_KEY": "sk-secret", "TRUNKLINE_OPENAI_REALTIME_URL": "wss://models.example.com/v1"}
    finding = vendors.relay([clinic()], given)
    assert finding.level == "ok"
    assert "wss://models.example.com/v1; tenants: clinic" in finding.found
    assert "secret" not in str(finding)


def test_a_telephone_needs_an_account_and_an_address() -> None:
    callable_ = [clinic(phone_numbers=["+15550100"])]
    token = {"TWILIO_AUTH_TOKEN": "secret"}
    (bare,) = vendors.phone(callable_, Settings(), {})
    assert bare.level == "problem"
    assert "TRUNKLINE_PUBLIC_URL and TWILIO_AUTH_TOKEN not set" in bare.found
    assert levels([*vendors.phone(callable_, Settings(public_url="http://voice.example.com"), token)]) == ["problem"]
    (right,) = vendors.phone(callable_, Settings(public_url="https://voice.example.com"), token)
    assert right.level == "ok"
    assert right.found == "+15550100 (clinic); Twilio's webhook is https://voice.example.com/twiml"
    assert "TWILIO_ACCOUNT_SID" in right.advice
    assert levels([*vendors.phone([clinic()], Settings(), {})]) == ["ok"]


def test_a_number_has_one_tenant() -> None:
    number = ["+15550100"]
    both = [clinic(phone_numbers=number), Tenant.model_validate({"id": "bakery", "phone_numbers": number})]
    (finding,) = vendors.phone(both, Settings(), {})
    assert finding == Finding("problem", "telephone", "more than one tenant's: +15550100", "a number has one tenant")


def test_unsigned_webhooks_are_warned_about() -> None:
    assert levels([*vendors.phone([], Settings(twilio_signatures=False), {})]) == ["warning", "ok"]


def test_a_tool_that_does_not_exist_is_a_problem() -> None:
    assert list(checks.tools([clinic(tools=[{"name": "end_call"}])])) == []
    (finding,) = checks.tools([clinic(tools=[{"name": "teleport"}])])
    assert finding.level == "problem"
    assert "clinic: no tool 'teleport'" in finding.found


def test_tools_of_a_backend_without_any_are_warned_of() -> None:
    (finding,) = checks.tools([clinic(backend="echo", tools=[{"name": "end_call"}])])
    assert finding.level == "warning"
    assert "its tools are not used: the backend echo has none" in finding.found


@pytest.mark.parametrize(("backend", "instead"), [("echo", "cascade does"), ("relay", "relay.turn_detection.idle")])
def test_idle_settings_of_a_backend_that_asks_nobody_are_warned_of(backend: str, instead: str) -> None:
    (finding,) = checks.tools([clinic(backend=backend, idle={})])
    assert finding.level == "warning"
    assert f"its idle is not used: the backend {backend} asks nobody" in finding.found
    assert instead in finding.found
    assert list(checks.tools([clinic(backend=backend), clinic(backend="cascade", idle={})])) == []
