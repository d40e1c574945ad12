"""A tenant: whom a session belongs to, and how it is answered.

Tenants are YAML files (`deploy/tenants/*.yaml`, one a tenant, documented in `docs/tenants.md`), checked here and loaded
into Redis at start; gateways and workers read them from there. An unknown or misspelt key is refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trunkline.bus import keys
from trunkline.bus.connection import Redis
from trunkline.errors import SettingsError

log = logging.getLogger(__name__)


SORRY = "Sorry, something went wrong. Could you say that again?"
DEFAULT_RATE_HZ = 16_000
BACKEND_RATES_HZ = {"relay": 24_000}
"""The most that a backend can use."""
UNHURRIED_BACKENDS = frozenset({"cascade"})
"""Those that decide by chunks of some 30 ms when somebody speaks: their callers' audio may wait a little for company on
its way, so that fewer entries cross the bus."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Stage(BaseModel):
    """Which provider serves a stage of the cascade; every other key is that provider's own option."""

    model_config = ConfigDict(extra="allow", frozen=True)

    provider: str = Field(default="local", pattern=r"^[a-z][a-z0-9_]*$")
    fallback: Stage | None = Field(default=None, description="who serves it when this one fails; it may have its own")
    deadline_s: float | None = Field(default=None, gt=0, le=60, description="silence after which the fallback is asked")
    hedge_s: float | None = Field(default=None, gt=0, le=60, description="llm: one after which it is asked as well")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def chain(self) -> tuple[Stage, ...]:
        """This one, its fallback, the fallback's, and so on."""
        return (self, *(self.fallback.chain if self.fallback is not None else ()))


class Providers(_Model):
    """The three stages of the cascade."""

    stt: Stage = Stage()
    llm: Stage = Stage()
    tts: Stage = Stage()

    @model_validator(mode="after")
    def _hedges_are_of_language_models(self) -> Self:
        if any(stage.hedge_s is not None for first in (self.stt, self.tts) for stage in first.chain):
            raise ValueError("hedge_s is for llm only")
        return self


class TurnSettings(_Model):
    """When somebody's turn begins and ends. All in ms of media time."""

    vad_threshold: float = Field(default=0.5, gt=0, lt=1)
    start_ms: int = Field(default=96, ge=32, le=1000, description="speech this long begins an utterance")
    stop_ms: int = Field(default=480, ge=64, le=5000, description="silence this long ends an utterance")
    finished_ms: int = Field(
        default=256, ge=64, le=5000, description="less, where they are surely done; stop_ms at most"
    )
    unfinished_ms: int = Field(default=1600, ge=64, le=10_000, description="more, where they surely are not")
    smart_turn: bool = Field(default=True, description="ask the smart turn model, where one is installed")
    preemptive: bool = Field(default=True, description="ask the language model in a pause, for it may be the end")
    preemptive_tts: bool = Field(default=False, description="and have the first sentence of its answer spoken")
    longest_utterance_ms: int = Field(
        default=10_000, ge=1000, le=120_000, description="what is longer is transcribed in parts"
    )
    longest_turn_ms: int = Field(
        default=120_000, ge=2000, le=600_000, description="then even who speaks on is answered"
    )
    barge_in: bool = Field(default=True, description="may the caller interrupt")
    barge_in_ms: int = Field(default=256, ge=32, le=2000, description="speech this long over an answer ends it")
    ignore_backchannels: bool = Field(default=True, description="unless it is no more than mhm, yeah, okay")
    min_words: int = Field(default=0, ge=0, le=10, description="or fewer words than this; but stop, wait and no")
    mute: tuple[Literal["greeting", "tool"], ...] = Field(
        default=(), description="while the greeting is said, or a tool runs, the caller is not listened to"
    )

    @model_validator(mode="after")
    def _what_is_spoken_is_thought_of(self) -> Self:
        if self.preemptive_tts and not self.preemptive:
            raise ValueError("preemptive_tts needs preemptive: what is spoken ahead is the model's answer")
        return self


class KeySettings(_Model):
    """Which telephone keys belong together."""

    end: str | None = Field(default="#", pattern=r"^[0-9*#A-D]$", description="this key ends them")
    wait_s: float = Field(default=2.5, ge=0.2, le=20, description="so do so many seconds without one")
    longest: int = Field(default=20, ge=1, le=64, description="and this many")


class IdleSettings(_Model):
    """What becomes of a caller who says nothing."""

    after_s: float = Field(default=10.0, ge=2, le=600, description="of silence since the last answer was heard")
    prompts: tuple[Annotated[str, Field(max_length=1000, pattern=r"\S")], ...] = Field(
        default=("Are you still there?",),
        max_length=10,
        description="said one after another, each after such a silence",
    )
    hang_up: bool = Field(default=True, description="after one more the call ends")
    goodbye: str = Field(default="I will hang up now. Goodbye.", max_length=1000, description="said before")


class ServerVad(_Model):
    """The model's own turn detection, by sound. Names and units are OpenAI's."""

    type: Literal["server_vad"]
    threshold: float = Field(default=0.5, gt=0, lt=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=2000)
    silence_duration_ms: int = Field(default=500, ge=100, le=5000)
    idle_timeout_ms: int | None = Field(default=None, ge=5000, le=30_000, description="the model speaks up by itself")


class SemanticVad(_Model):
    """The model's own turn detection, by what was said."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"


class Transcription(_Model):
    """How the model writes down what the caller says."""

    model: str = "gpt-transcribe"
    language: str | None = None
    prompt: str | None = None


Updatable = Literal["instructions", "voice", "speed", "turn_detection", "transcription", "max_output_tokens"]


class RelaySettings(_Model):
    """How a Realtime speech-to-speech model serves a tenant."""

    model: str = Field(default="gpt-realtime-2.1", min_length=1)
    link: Literal["websocket", "webrtc"] = Field(default="websocket", description="the wire to the model")
    voice: str = Field(default="marin", min_length=1)
    speed: float = Field(default=1.0, ge=0.25, le=1.5)
    turn_detection: Annotated[ServerVad | SemanticVad, Field(discriminator="type")] | None = ServerVad(
        type="server_vad"
    )
    transcription: Transcription | None = Transcription()
    noise_reduction: Literal["near_field", "far_field"] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] = "inf"
    reasoning_effort: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None
    barge_in: Literal["model", "local"] = Field(
        default="model", description="who notices an interruption first: the model, or a VAD of ours, which then pauses"
    )
    answer_timeout_s: float | None = Field(
        default=None,
        ge=1,
        le=60,
        description="a model silent this long is called again; none: 8, or 1.8 where it owes an answer, and there is a "
        "fallback_backend to give it",
    )
    renew_after_s: float = Field(default=3300.0, ge=1, le=3540, description="a session with the model ends at 3600 s")
    client_may_update: tuple[Updatable, ...] = Field(
        default=(), description="what a client's session.update may change"
    )


Phrase = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]


class Fillers(_Model):
    """What the cascade says while the caller waits, and has nothing left to hear."""

    delay_s: float = Field(default=1.5, ge=0.3, le=30, description="after the end of the caller's turn")
    interval_s: float = Field(default=3.5, ge=1, le=60, description="from one to the next")
    phrases: tuple[Phrase, ...] = Field(
        default=("One moment, please.", "I am still on it.", "Thank you for waiting.", "Just a little longer."),
        max_length=50,
        description="said in turn; none: the caller waits in silence, unless a tool has a phrase of its own",
    )


class ToolUse(BaseModel):
    """A tool of ours, `workers/tools/<name>.py`; every other key is that tool's own option."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    filler: Phrase | None = Field(default=None, description="said while it takes long; none: what the tool itself says")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ClientTool(_Model):
    """A tool that lives in the client, which is asked by a `tool_call` event."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str = Field(min_length=1, max_length=1024)
    parameters: dict[str, Any] = Field(
        default_factory=lambda: {"type": "object", "properties": {}}, description="JSON Schema of its arguments"
    )
    timeout_s: float = Field(default=20.0, gt=0, le=120)
    filler: Phrase | None = Field(default=None, description="said while it takes long")


class Speech(_Model):
    """How the cascade's voice is given what is to be said."""

    normalise: bool = Field(
        default=True, description="without markup and emoji, with words for signs; false: as the model writes it"
    )
    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$",
        description="of those words; none: the voice's, or a guess",
    )


class Tenant(_Model):
    """One tenant's settings."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    phone_numbers: tuple[Annotated[str, Field(pattern=r"^\+[1-9][0-9]{4,14}$")], ...] = Field(
        default=(), description="E.164; who calls one of them is this tenant's"
    )
    backend: str = Field(default="cascade", pattern=r"^[a-z][a-z0-9_]*$")
    fallback_backend: str | None = Field(
        default=None, pattern=r"^[a-z][a-z0-9_]*$", description="goes on with a call when `backend` has failed"
    )
    prompt: str = Field(
        default="You are a friendly voice assistant. Answer in one or two short sentences.", max_length=32_768
    )
    greeting: str | None = Field(default=None, max_length=1000, description="said first; none: the caller begins")
    apology: str = Field(
        default=SORRY, max_length=1000, description="said by the cascade when a provider failed; empty: nothing"
    )
    fillers: Fillers = Fillers()
    providers: Providers = Providers()
    speech: Speech = Speech()
    turn: TurnSettings = TurnSettings()
    keys: KeySettings = KeySettings()
    idle: IdleSettings | None = None
    longest_call_s: float = Field(default=14_400, ge=60, le=86_400, description="of its caller's audio; it ends then")
    relay: RelaySettings = RelaySettings()
    tools: tuple[ToolUse, ...] = ()
    client_tools: tuple[ClientTool, ...] = ()

    @model_validator(mode="after")
    def _tools_differ(self) -> Self:
        names = [tool.name for tool in self.tools] + [tool.name for tool in self.client_tools]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"tools named twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _falls_back_on_another(self) -> Self:
        if self.fallback_backend == self.backend:
            raise ValueError(f"fallback_backend is {self.backend}, too: name another, or none")
        return self

    @property
    def backends(self) -> tuple[str, ...]:
        """All that may answer its calls."""
        return (self.backend,) if self.fallback_backend is None else (self.backend, self.fallback_backend)

    def session_rate_hz(self, wire_hz: int) -> int:
        """The rate of a session's audio: the lower of what its wire has and what its backend needs."""
        return min(wire_hz, BACKEND_RATES_HZ.get(self.backend, DEFAULT_RATE_HZ))


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
        raise _refusal(error, source) from error


def _from_json(raw: bytes, source: str) -> Tenant:
    """As `parse`, of what `Directory.put` wrote. Every call asks: this takes 0.01 ms, YAML takes 2."""
    try:
        return Tenant.model_validate_json(raw)
    except ValidationError as error:
        raise _refusal(error, source) from error


def _to_json(tenant: Tenant) -> str:
    """Without what it has not set: workers of an older version read it, too, and know no setting that came later. What
    is not set is each version's own."""
    return tenant.model_dump_json(exclude_defaults=True)


def _refusal(error: ValidationError, source: str) -> SettingsError:
    wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    known = ", ".join(Tenant.model_fields)
    return SettingsError(f"{source}: {wrong} (a tenant has: {known})")


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
        for other in tenants.values():
            for number in set(tenant.phone_numbers) & set(other.phone_numbers):
                raise SettingsError(f"{path}: telephone number {number} is also tenant {other.id!r}'s")
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
            await self._redis.ask("HSET", keys.TENANTS, tenant.id, _to_json(tenant))
            for number in tenant.phone_numbers:
                await self._redis.ask("HSET", keys.NUMBERS, number, tenant.id)
            self._known[tenant.id] = tenant

    async def by_number(self, number: str) -> Tenant | None:
        """Whose telephone number (E.164) this is; None when it is nobody's. Raises BusError."""
        tenant_id = await self._redis.ask("HGET", keys.NUMBERS, number)
        tenant = await self.get(tenant_id.decode()) if tenant_id is not None else None
        return tenant if tenant is not None and number in tenant.phone_numbers else None

    async def get(self, tenant_id: str) -> Tenant | None:
        """A tenant's settings as they are now; None when there is no such tenant. Raises BusError."""
        raw = await self._redis.ask("HGET", keys.TENANTS, tenant_id)
        if raw is None:
            return None
        tenant = _from_json(raw, f"tenant {tenant_id} in Redis")
        self._known[tenant_id] = tenant
        return tenant

    async def all(self) -> list[Tenant]:
        """Every tenant, as they are now; without those that only another version can read. Raises BusError."""
        raw = await self._redis.ask("HVALS", keys.TENANTS)
        tenants = []
        for value in raw:
            try:
                tenants.append(_from_json(value, "a tenant in Redis"))
            except SettingsError as error:
                log.error("%s", error)
        self._known |= {tenant.id: tenant for tenant in tenants}
        return tenants

    async def restore(self) -> None:
        """Write what this process knows and Redis does not. Raises BusError."""
        for tenant in self._known.values():
            await self._redis.ask("HSETNX", keys.TENANTS, tenant.id, _to_json(tenant))
            for number in tenant.phone_numbers:
                await self._redis.ask("HSETNX", keys.NUMBERS, number, tenant.id)
