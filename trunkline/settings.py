"""Every setting, read once in main from `TRUNKLINE_*` variables. A wrong or misspelt one is refused by name.

Vendors' keys and addresses keep their SDKs' own names (`OPENAI_API_KEY`, `OPENAI_BASE_URL`, ...) and are read by the
providers.
"""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.errors import SettingsError

PREFIX = "TRUNKLINE_"
FOR_OTHERS = {"PIPER_VOICE", "CHAT_MODEL", "OPENAI_REALTIME_URL", "CRUMB"}
"""Variables with our prefix that a provider, or a worker's supervisor, sets."""


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
    max_connections: int = Field(default=1000, ge=1, description="sockets a gateway accepts")
    max_connections_per_ip: int = Field(default=1000, ge=1, description="and from one address")
    allowed_origins: str = Field(default="", description="origins besides our own that may open /ws, by comma; *: any")
    log_level: str = Field(default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")
    log_transcripts: bool = Field(default=False, description="log what callers and models say: personal data")
    log_json: bool = Field(default=False, description="logs as one JSON object a line")

    @property
    def backend_names(self) -> list[str]:
        return [name.strip() for name in self.backends.split(",") if name.strip()]


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
