from __future__ import annotations

import pytest

from gateway.turn import IceServer, check, ice_servers
from trunkline.errors import SettingsError
from trunkline.settings import load


def test_passwords_are_as_coturn_makes_them() -> None:
    """Its documentation: usercombo is "timestamp:userid", usercred is base64(hmac(secret, usercombo))."""
    settings = load({}, turn_urls="turn:t.example:3478, turns:t.example", turn_secret="north", turn_ttl_s=600)
    (server,) = ice_servers(settings, "ab12", now_s=1_795_240_000.9)
    assert server.urls == ("turn:t.example:3478", "turns:t.example")
    assert server.username == "1795240600:ab12"
    # printf %s 1795240600:ab12 | openssl dgst -sha1 -hmac north -binary | base64
    assert server.credential == "vWX/03t1D1iERybWu/SEt7/3/+k="


def test_stun_needs_no_password_and_comes_first() -> None:
    settings = load({}, stun_urls="stun:s.example", turn_urls="turn:t.example?transport=tcp", turn_secret="x")
    stun, turn = ice_servers(settings, "u", 0)
    assert stun.as_json() == {"urls": ["stun:s.example"]}
    assert stun.as_links() == ['<stun:s.example>; rel="ice-server"']
    assert set(turn.as_json()) == {"urls", "username", "credential"}
    assert turn.as_links() == [
        f'<turn:t.example?transport=tcp>; rel="ice-server"; username="3600:u"; credential="{turn.credential}"; '
        'credential-type="password"'
    ]


def test_without_any_there_are_none() -> None:
    assert ice_servers(load({}), "u", 0) == []
    assert IceServer(("stun:a", "stun:b")).as_json() == {"urls": ["stun:a", "stun:b"]}


def test_turn_without_a_secret_is_refused() -> None:
    with pytest.raises(SettingsError, match="TRUNKLINE_TURN_SECRET"):
        check(load({}, turn_urls="turn:t.example"))
    check(load({}))
    check(load({}, turn_urls="turn:t.example", turn_secret="x"))
