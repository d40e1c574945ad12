"""Every setting, read once in main from `TRUNKLINE_*` variables. A wrong or misspelt one is refused by name.

Vendors' keys and addresses keep their SDKs' own names (`OPENAI_API_KEY`, `OPENAI_BASE_URL`, ...) and are read by the
providers.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from trunkline.errors import SettingsError

PREFIX = "TRUNKLINE_"
FOR_OTHERS = {"PIPER_VOICE", "CHAT_MODEL", "OPENAI_REALTIME_URL", "CARTESIA_WS_URL", "SMART_TURN_MODEL", "CRUMB"}
"""Variables with our prefix that a provider or turn-taking reads, or a worker's supervisor sets."""


class Settings(BaseModel):
    """What a deployment decides."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redis_url: str = Field(default="", description="redis://, rediss:// or unix://; empty: `up` starts its own")
    host: str = Field(default="127.0.0.1", description="address the gateway listens on")
    port: int = Field(default=8080, ge=0, le=65535, description="0: any free port")
    secret: str = Field(
        default_factory=lambda: secrets.token_hex(32),
        min_length=16,
        description="signs resume tokens: the same for all gateways; `trunkline up` makes one for its own",
    )
    tenants_dir: Path = Field(default=Path("deploy/tenants"), description="tenant files, loaded at start")
    default_tenant: str = Field(default="demo", description="for callers that name none")
    public_url: str = Field(
        default="", pattern=r"^(https?://[^/?#\s]+)?$", description="https://host[:port] by which the world reaches us"
    )
    twilio_signatures: bool = Field(
        default=True, description="refuse what Twilio has not signed; false: for tests only"
    )
    twilio_api_url: str = Field(default="https://api.twilio.com", description="Twilio's REST API")
    backends: str = Field(default="cascade,relay,echo", description="backends a worker serves, by comma")
    worker_sessions: int = Field(default=50, ge=1, description="sessions one worker takes at most")
    lease_ms: int = Field(default=1000, ge=200, le=60_000, description="a worker silent this long loses its sessions")
    resume_grace_s: float = Field(default=30.0, ge=1, le=600, description="a lost caller is waited for this long")
    drain_s: float = Field(default=30.0, ge=0, description="a stopping worker waits this long for others")
    attach_timeout_s: float = Field(default=15.0, ge=1, description="a caller whom no worker takes is told then")
    max_connections: int = Field(default=1000, ge=1, description="callers a gateway accepts, of all kinds together")
    max_connections_per_ip: int = Field(
        default=1000, ge=1, description="and from one address, telephone calls not counted"
    )
    allowed_origins: str = Field(
        default="", description="origins besides our own whose pages may call, by comma; *: any"
    )
    rtc_ports: str = Field(default="", description="UDP ports of WebRTC calls, e.g. 40000-40100; empty: any")
    rtc_addresses: str = Field(
        default="", description="local addresses of WebRTC calls, by comma; empty: all of this machine but loopback"
    )
    rtc_advertised: str = Field(
        default="", description="the address that browsers are told instead, where NAT maps it to us one to one"
    )
    rtc_private: bool = Field(
        default=False, description="send to browsers' private, loopback and mDNS addresses without being asked there"
    )
    stun_urls: str = Field(default="", description="STUN servers for browsers, by comma: stun:host:port")
    turn_urls: str = Field(
        default="", description="TURN servers for browsers, by comma: turn:host:port?transport=udp, turns:host"
    )
    turn_secret: str = Field(default="", repr=False, description="shared with them: coturn's static-auth-secret")
    turn_ttl_s: int = Field(default=3600, ge=60, le=86_400, description="a browser's TURN password is good this long")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_transcripts: bool = Field(default=False, description="log what callers and models say: personal data")
    log_json: bool = Field(default=False, description="logs as one JSON object a line")

    @property
    def backend_names(self) -> list[str]:
        return list(_listed(self.backends))

    @property
    def rtc_port_range(self) -> tuple[int, int]:
        """First and last, both included; (0, 0): the kernel's choice."""
        first, _, last = self.rtc_ports.partition("-")
        return (int(first), int(last)) if first else (0, 0)

    @property
    def rtc_bind_addresses(self) -> tuple[str, ...]:
        return _listed(self.rtc_addresses)

    @property
    def stun_server_urls(self) -> tuple[str, ...]:
        return _listed(self.stun_urls)

    @property
    def turn_server_urls(self) -> tuple[str, ...]:
        return _listed(self.turn_urls)

    @field_validator("rtc_ports")
    @classmethod
    def _two_ports(cls, ports: str) -> str:
        first, dash, last = ports.partition("-")
        right = dash and all(part.isascii() and part.isdigit() and len(part) <= 5 for part in (first, last))
        if ports and not (right and 1024 <= int(first) <= int(last) <= 65535):
            raise ValueError("first-last, two ports from 1024 to 65535, the first not above the last: 40000-40100")
        return ports

    @field_validator("rtc_addresses", "rtc_advertised")
    @classmethod
    def _addresses(cls, addresses: str) -> str:
        for address in _listed(addresses):
            try:
                nobodys = ipaddress.ip_address(address).is_unspecified
            except ValueError:
                nobodys = True
            if nobodys:
                raise ValueError(f"{address!r} is no address of a machine; right is one such as 192.0.2.7")
        return addresses

    @field_validator("rtc_advertised")
    @classmethod
    def _one_address(cls, address: str) -> str:
        if "," in address:
            raise ValueError("one address, the one that NAT maps to this machine")
        return address.strip()

    @field_validator("stun_urls", "turn_urls")
    @classmethod
    def _ice_urls(cls, urls: str, info: ValidationInfo) -> str:
        kind = str(info.field_name).removesuffix("_urls")
        for url in _listed(urls):
            if not re.fullmatch(rf"{kind}s?:{_HOST}{_TRANSPORT if kind == 'turn' else ''}", url):
                example = {"stun": "stun:stun.example.com:3478", "turn": "turn:turn.example.com:3478?transport=udp"}
                raise ValueError(f"{url!r} is no {kind.upper()} server; right is one such as {example[kind]}")
        return urls


_HOST = r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?"
_TRANSPORT = r"(\?transport=(udp|tcp))?"
"""RFC 7065, 3.1."""


def _listed(text: str) -> tuple[str, ...]:
    """What is in a list by comma."""
    return tuple(entry.strip() for entry in text.split(",") if entry.strip())


def load(environment: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings; `overrides` (from the command line) come first.

    Raises SettingsError naming every wrong one.
    """
    environment = os.environ if environment is None else environment
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {PREFIX + name for name in FOR_OTHERS}
    names = [name.removeprefix(PREFIX) for name in known]
    wrong = []
    for name in environment:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name.removeprefix(PREFIX), names, n=1)
            wrong.append(f"{name} is no setting" + (f", did you mean {PREFIX}{near[0]}?" if near else ""))
    values: dict[str, Any] = {
        field: environment[PREFIX + field.upper()]
        for field in Settings.model_fields
        if PREFIX + field.upper() in environment
    }
    values |= {name: value for name, value in overrides.items() if value is not None}
    settings = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        wrong += [f"{PREFIX}{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
    if wrong or settings is None:
        raise SettingsError("; ".join(wrong))
    return settings
