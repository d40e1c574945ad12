from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from trunkline.errors import SettingsError
from trunkline.settings import PREFIX, Settings, load


def test_nothing_needs_to_be_set() -> None:
    settings = load({})
    assert (settings.host, settings.port, settings.default_tenant) == ("127.0.0.1", 8080, "demo")
    assert len(settings.secret) >= 32
    assert settings.secret != load({}).secret, "a deployment that sets none has one of its own"


def test_variables_are_read_and_others_left_alone() -> None:
    settings = load(
        {
            "TRUNKLINE_PORT": "9000",
            "TRUNKLINE_TENANTS_DIR": "/etc/trunkline",
            "TRUNKLINE_LOG_JSON": "true",
            "TRUNKLINE_LEASE_MS": "500",
            "TRUNKLINE_CRUMB": "/run/crumb",
            "PATH": "/bin",
            "OPENAI_API_KEY": "x",
        }
    )
    assert (settings.port, settings.tenants_dir, settings.log_json) == (9000, Path("/etc/trunkline"), True)
    assert settings.lease_ms == 500


def test_the_command_line_comes_first() -> None:
    assert load({"TRUNKLINE_PORT": "9000"}, port=9001, host=None).port == 9001


def test_every_wrong_setting_is_named_at_once_with_the_right_one() -> None:
    with pytest.raises(SettingsError) as refused:
        load(
            {"TRUNKLINE_PROT": "1", "TRUNKLINE_PORT": "many", "TRUNKLINE_LEASE_MS": "1", "TRUNKLINE_LOG_LEVEL": "loud"}
        )
    said = str(refused.value)
    assert "TRUNKLINE_PROT is no setting, did you mean TRUNKLINE_PORT?" in said
    assert all(name in said for name in ("TRUNKLINE_PORT: ", "TRUNKLINE_LEASE_MS: ", "TRUNKLINE_LOG_LEVEL: "))


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(SettingsError, match=r"TRUNKLINE_QQQQQQQQ is no setting$"):
        load({"TRUNKLINE_QQQQQQQQ": "1"})


def test_a_short_secret_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError) as refused:
        load({"TRUNKLINE_SECRET": "hunter2"})
    assert "TRUNKLINE_SECRET" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536),
        ("port", -1),
        ("lease_ms", 199),
        ("resume_grace_s", 0.5),
        ("max_connections", 0),
        ("worker_sessions", 0),
    ],
)
def test_bounds(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=PREFIX + name.upper()):
        load({}, **{name: value})


@pytest.mark.parametrize(
    ("name", "wrong", "right"),
    [
        (
            "rtc_ports",
            ["40000", "80-90", "40100-40000", "40000-70000", "a-b", "-", "40000-", "٤٠٠٠٠-٤٠١٠٠"],
            "40000-40100",
        ),
        ("rtc_addresses", ["0.0.0.0", "::", "gw.example", "192.0.2.7,x"], "192.0.2.7, 2001:db8::7"),
        ("rtc_advertised", ["192.0.2.7,192.0.2.8", "gw.example", "0.0.0.0"], "192.0.2.7"),
        (
            "stun_urls",
            ["stun.example", "turn:s.example", "stun:s.example?transport=udp"],
            "stun:s.example:3478,stuns:t",
        ),
        (
            "turn_urls",
            ["stun:s.example", "turn:", "turn:t.example?transport=sctp", "turn://t.example", "turn:t.example:3478,x"],
            "turn:t.example:3478?transport=udp, turns:[2001:db8::7]:5349",
        ),
    ],
)
def test_what_webrtc_takes(name: str, wrong: list[str], right: str) -> None:
    load({}, **{name: right})
    for value in wrong:
        with pytest.raises(SettingsError, match=PREFIX + name.upper()):
            load({}, **{name: value})


def test_what_webrtc_makes_of_it() -> None:
    settings = load({}, rtc_ports="40000-40100", rtc_addresses="192.0.2.7, 2001:db8::7", stun_urls="stun:a,stun:b")
    assert settings.rtc_port_range == (40_000, 40_100)
    assert settings.rtc_bind_addresses == ("192.0.2.7", "2001:db8::7")
    assert settings.stun_server_urls == ("stun:a", "stun:b")
    assert (load({}).rtc_port_range, load({}).rtc_bind_addresses, load({}).turn_server_urls) == ((0, 0), (), ())


def test_a_turn_secret_is_not_shown() -> None:
    assert "hunter2" not in repr(load({}, turn_secret="hunter2"))


def test_backends_by_comma() -> None:
    assert load({"TRUNKLINE_BACKENDS": " cascade, ,echo,"}).backend_names == ["cascade", "echo"]


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_the_page_about_running_has_every_setting() -> None:
    page = (Path(__file__).parents[2] / "docs" / "running.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"| `TRUNKLINE_{name.upper()}` |" in page
