"""A tenant: whom a session belongs to, and how it is answered.

Tenants are YAML files (`deploy/tenants/*.yaml`, one a tenant, documented in `docs/tenants.md`), checked here and loaded
into Redis at start; gateways and workers read them from there. An unknown or misspelt key is refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError

log = logging.getLogger(__name__)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(BaseModel):
    """Which provider serves a stage of the cascade; every other key is that provider's own option."""

    model_config = ConfigDict(extra="allow", frozen=True)

    provider: str = Field(default="local", pattern=r"^[a-z][a-z0-9_]*$")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Providers(_Model):
    """The three stages of the cascade."""

    stt: Stage = Stage()
    llm: Stage = Stage()
    tts: Stage = Stage()


class TurnSettings(_Model):
    """When somebody's turn begins and ends. All in ms of media time."""

    vad_threshold: float = Field(default=0.5, gt=0, lt=1)
    start_ms: int = Field(default=96, ge=32, le=1000, description="speech this long begins an utterance")
    stop_ms: int = Field(default=480, ge=64, le=5000, description="silence this long ends an utterance")
    longest_utterance_ms: int = Field(default=30_000, ge=1000, le=120_000)
    barge_in: bool = Field(default=True, description="may the caller interrupt")
    barge_in_ms: int = Field(default=256, ge=32, le=2000, description="speech this long over an answer ends it")


class Tenant(_Model):
    """One tenant's settings."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    backend: str = Field(default="cascade", pattern=r"^[a-z][a-z0-9_]*$")
    prompt: str = Field(
        default="You are a friendly voice assistant. Answer in one or two short sentences.", max_length=32_768
    )
    greeting: str | None = Field(default=None, max_length=1000, description="said first; none: the caller begins")
    providers: Providers = Providers()
    turn: TurnSettings = TurnSettings()


def parse(text: str, source: str) -> Tenant:
    """Read one tenant from YAML (or JSON). `source` names it in errors.

    Raises SettingsError naming every wrong key.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{source}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"{source}: a tenant is a mapping of settings, this is {type(data).__name__}")
    try:
        return Tenant.model_validate(data)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(Tenant.model_fields)
        raise SettingsError(f"{source}: {wrong} (a tenant has: {known})") from error


def read_directory(directory: Path) -> list[Tenant]:
    """Every tenant of a directory of YAML files. Raises SettingsError for a wrong file, or an id used twice."""
    tenants: dict[str, Tenant] = {}
    for path in sorted(directory.glob("*.yaml")):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise SettingsError(f"{path}: not UTF-8 text: {error}") from error
        tenant = parse(text, str(path))
        if tenant.id in tenants:
            raise SettingsError(f"{path}: tenant id {tenant.id!r} is used by another file of {directory}")
        tenants[tenant.id] = tenant
    return list(tenants.values())


class Directory:
    """The tenants in Redis, as every process reads them. What was read is remembered, and written again when Redis
    comes back empty."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._known: dict[str, Tenant] = {}

    async def put(self, tenants: Iterable[Tenant]) -> None:
        """Store tenants. Raises BusError."""
        for tenant in tenants:
            await self._redis.ask("HSET", keys.TENANTS, tenant.id, tenant.model_dump_json())
            self._known[tenant.id] = tenant

    async def get(self, tenant_id: str) -> Tenant | None:
        """A tenant's settings as they are now; None when there is no such tenant. Raises BusError."""
        raw = await self._redis.ask("HGET", keys.TENANTS, tenant_id)
        if raw is None:
            return None
        tenant = parse(raw.decode(), f"tenant {tenant_id} in Redis")
        self._known[tenant_id] = tenant
        return tenant

    async def all(self) -> list[Tenant]:
        """Every tenant, as they are now; without those that only another version can read. Raises BusError."""
        raw = await self._redis.ask("HVALS", keys.TENANTS)
        tenants = []
        for value in raw:
            try:
                tenants.append(parse(value.decode(), "a tenant in Redis"))
            except SettingsError as error:
                log.error("%s", error)
        self._known |= {tenant.id: tenant for tenant in tenants}
        return tenants

    async def restore(self) -> None:
        """Write what this process knows and Redis does not. Raises BusError."""
        for tenant in self._known.values():
            await self._redis.ask("HSETNX", keys.TENANTS, tenant.id, tenant.model_dump_json())
