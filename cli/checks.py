"""What `trunkline doctor` looks at. Each check gives findings and changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.metadata
import importlib.util
import json
import os
import posixpath
import re
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL
from collections.abc import Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal, NamedTuple

from cli import valkey
from trunkline import settings as settings_module
from trunkline.bus.connection import Redis
from trunkline.errors import BusError, SettingsError, TrunklineError
from trunkline.settings import PREFIX, Settings
from trunkline.tenants import Tenant, parse

Level = Literal["ok", "warning", "problem"]

OLDEST_REDIS = (7, 0)
REDIS_START_S = 3.0
HEALTH_TIMEOUT_S = 1.0
OPTIONAL = {
    "espeakng-loader": "speech without keys",
    "pocketsphinx": "recognition without keys",
    "faster-whisper": "better recognition without keys",
    "piper-tts": "a better voice without keys",
}
"""Packages that are only needed for something: for what. Each is added by its name: to install Trunkline's extra anew
brings what silero-vad asks for too, torch with 3 GB of CUDA, of which we need nothing (CONTRIBUTING.md)."""


class Finding(NamedTuple):
    """One line of the report: how it is, what was looked at, what was found, and what to do about it."""

    level: Level
    what: str
    found: str
    advice: str = ""


def settings(environment: Mapping[str, str]) -> tuple[Settings, list[Finding]]:
    """The settings as far as they are right, and a finding for each that is wrong."""
    ours = {name: value for name, value in environment.items() if name.startswith(PREFIX)}
    findings, right = [], {}
    for name, value in sorted(ours.items()):
        try:
            settings_module.load({name: value})
            right[name] = value
        except SettingsError as error:
            advice = f"correct or unset {name}; the settings are listed in docs/running.md"
            findings.append(Finding("problem", "settings", str(error), advice))
    names = ", ".join(name.removeprefix(PREFIX) for name in right)
    if not findings:
        findings.append(Finding("ok", "settings", f"{PREFIX}* set: {names}" if names else "all at their defaults"))
    return settings_module.load(right), findings


def python() -> Iterator[Finding]:
    """The interpreter, and whether all of Trunkline's requirements are in it."""
    version = ".".join(map(str, sys.version_info[:3]))
    found = f"{version}, {sys.executable}"
    if sys.version_info >= (3, 14):
        advice = "PocketSphinx has no wheels beyond 3.13: use 3.11 to 3.13, or Whisper, or a vendor"
        yield Finding("warning", "python", f"{found}: no local speech recognition", advice)
    else:
        yield Finding("ok", "python", found)
    try:
        wanted = [line for line in importlib.metadata.requires("trunkline") or [] if ";" not in line]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("warning", "packages", "Trunkline runs from its source and is not installed here", "make run")
        return
    missing = [name for name in map(_distribution, wanted) if _version(name) is None]
    if missing:
        yield Finding("problem", "packages", f"not installed: {', '.join(missing)}", "make run installs all of them")
    else:
        yield Finding("ok", "packages", f"all {len(wanted)} required ones are installed")


def optional_packages() -> Iterator[Finding]:
    """What more could be installed."""
    here = [f"{name} {version}" for name in OPTIONAL if (version := _version(name))]
    more = "; ".join(f"pip install {name} ({use})" for name, use in OPTIONAL.items() if not _version(name))
    yield Finding("ok", "optional", ", ".join(here) or "none is installed", more and f"for more: {more}")


def _distribution(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


# --- Redis


async def redis(found: Settings) -> list[Finding]:
    """The Redis that is named, or the one that `trunkline up` would start."""
    if found.redis_url:
        return await _named_redis(found.redis_url)
    with tempfile.TemporaryDirectory(prefix="trunkline-doctor-") as folder:
        try:
            version = await _start_and_ask(Path(folder))
        except (SettingsError, BusError, OSError) as error:
            advice = f"run a Redis 7 or Valkey and set {PREFIX}REDIS_URL, e.g. redis://127.0.0.1:6379/0"
            return [Finding("problem", "redis", f"none is named, and none of ours starts: {error}", advice)]
    return [Finding("ok", "redis", f"{PREFIX}REDIS_URL is not set; `trunkline up` starts its own ({version})")]


async def _named_redis(url: str) -> list[Finding]:
    try:
        about = await _ask_about(url)
    except (SettingsError, BusError) as error:
        advice = f"start it, correct {PREFIX}REDIS_URL, or unset it: `trunkline up` then starts its own"
        return [Finding("problem", "redis", f"{_without_password(url)}: {error}", advice)]
    findings = []
    version = tuple(int(part) for part in about["redis_version"].split(".")[:2])
    if version < OLDEST_REDIS:
        advice = "run Redis 7.0 or newer, or Valkey"
        findings.append(Finding("problem", "redis", f"{_product(about)} is too old", advice))
    if about.get("maxmemory", "0") != "0" and about.get("maxmemory_policy") != "noeviction":
        found = f"maxmemory-policy is {about.get('maxmemory_policy')}: a full Redis would lose sessions unnoticed"
        findings.append(Finding("warning", "redis", found, "CONFIG SET maxmemory-policy noeviction"))
    return findings or [Finding("ok", "redis", f"{_without_password(url)} answers: {_product(about)}")]


async def _start_and_ask(folder: Path) -> str:
    server = await asyncio.create_subprocess_exec(*valkey.command(folder), stdout=DEVNULL, stderr=DEVNULL)
    try:
        deadline_s = time.monotonic() + REDIS_START_S
        while True:
            try:
                return _product(await _ask_about(valkey.url(folder)))
            except BusError as error:
                if server.returncode is not None:
                    raise BusError(f"it ended at once, with {server.returncode}") from error
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(0.02)
    finally:
        if server.returncode is None:
            server.terminate()
        await server.wait()


async def _ask_about(url: str) -> dict[str, str]:
    client = Redis(url)
    try:
        answers = [await client.ask("INFO", section) for section in ("server", "memory")]
    finally:
        await client.close()
    lines = b"\r\n".join(answers).decode().splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _product(about: Mapping[str, str]) -> str:
    return f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {about['redis_version']}"


def _without_password(url: str) -> str:
    return re.sub(r"//[^/@]*@", "//…@", url)


# --- the port


def port(found: Settings) -> Iterator[Finding]:
    """Whether the gateway can listen, and else who does."""
    from gateway.server import listen

    where = f"{found.host}:{found.port}"
    try:
        listen(found.host, found.port).close()
    except SettingsError as error:
        yield _who_listens(found, str(error))
    except OSError as error:  # a host that is none
        yield Finding("problem", "port", f"cannot listen on {where}: {error.strerror}", f"correct {PREFIX}HOST")
    else:
        yield Finding("ok", "port", f"{where} is free" if found.port else "0: any free one will be taken")


def _who_listens(found: Settings, error: str) -> Finding:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(found.host, found.host)
    health = _health(host, found.port)
    process = _process_listening(found.port)
    if health is not None and "process" in health:
        sessions = f"a Trunkline is running here, with {health.get('sessions', '?')} session(s)"
        advice = f"nothing to do, unless you want another: set {PREFIX}PORT to another port"
        return Finding("ok", "port", f"{found.host}:{found.port}: {sessions}{process}", advice)
    if health is None and not process and "in use" not in error:
        return Finding("problem", "port", error, f"choose another {PREFIX}HOST or {PREFIX}PORT")
    what = f"{found.host}:{found.port} is taken by another program{process}"
    return Finding("problem", "port", what, f"end it, or set {PREFIX}PORT to another port")


def _health(host: str, port: int) -> dict[str, object] | None:
    """What /healthz says; {} when something else answers, None when nothing does."""
    connection = http.client.HTTPConnection(host, port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = json.loads(connection.getresponse().read(4096))
    except OSError:
        return None
    except (http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def _process_listening(port: int) -> str:
    """` (process 123: name)`, where Linux lets us see it; else nothing."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with contextlib.suppress(OSError):
            if os.readlink(link) in inodes:
                command = (link.parents[1] / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f" (process {link.parents[1].name}: {command.strip()[:60]})"
    return ""


# --- tenants and providers


def tenants(found: Settings) -> tuple[list[Tenant], list[Finding]]:
    """Every tenant file, each on its own."""
    folder = found.tenants_dir
    files = sorted(folder.glob("*.yaml"))
    if not files:
        advice = f"start in Trunkline's folder, or set {PREFIX}TENANTS_DIR to one with tenant files (docs/tenants.md)"
        return [], [Finding("problem", "tenants", f"no *.yaml in {folder.absolute()}", advice)]
    right: dict[str, Tenant] = {}
    findings = []
    for path in files:
        try:
            tenant = parse(path.read_text(encoding="utf-8"), str(path))
        except (SettingsError, OSError, UnicodeDecodeError) as error:
            findings.append(Finding("problem", "tenants", str(error), "docs/tenants.md has every key"))
            continue
        if tenant.id in right:
            twice = f"{path}: the id {tenant.id!r} is another file's too"
            findings.append(Finding("problem", "tenants", twice, "give it one of its own"))
        right[tenant.id] = tenant
    if found.default_tenant not in right:
        advice = f"set {PREFIX}DEFAULT_TENANT to one of: {', '.join(right)}"
        findings.append(Finding("problem", "tenants", f"there is no default tenant {found.default_tenant!r}", advice))
    for tenant in right.values():
        findings += _backend(tenant, found)
    summary = f"{len(right)} in {folder}: {', '.join(right)}"
    return list(right.values()), findings or [Finding("ok", "tenants", summary)]


def _backend(tenant: Tenant, found: Settings) -> Iterator[Finding]:
    for backend in tenant.backends:
        if backend not in found.backend_names:
            advice = f"add it to {PREFIX}BACKENDS, or choose one of: {', '.join(found.backend_names)}"
            yield Finding("problem", "tenants", f"{tenant.id}: no worker serves its backend {backend!r}", advice)


def providers(all_tenants: list[Tenant]) -> Iterator[Finding]:
    """Whether every stage that a tenant asks for has the provider it names, and its fallbacks."""
    from workers.providers import registry

    stages: tuple[tuple[str, registry.Kind], ...] = (
        ("stt", "speech_to_text"),
        ("llm", "language_model"),
        ("tts", "text_to_speech"),
    )
    for stage, kind in stages:
        known = registry.offering(kind)
        for tenant in all_tenants:
            chain = getattr(tenant.providers, stage).chain if "cascade" in tenant.backends else ()
            for name in (link.provider for link in chain if link.provider not in known):
                here = importlib.util.find_spec(f"workers.providers.{name}") is not None
                why = "its packages are not installed, or it does not do this" if here else "there is none of this name"
                found = f"{tenant.id}: the {stage} provider {name!r} cannot be used: {why}"
                yield Finding("problem", "tenants", found, f"there are: {', '.join(known)}")


def tools(all_tenants: list[Tenant]) -> Iterator[Finding]:
    """Whether every tool that a tenant names exists, with these options; and whether all that is set is used."""
    from workers.tools import registry
    from workers.unused import unused

    for tenant in all_tenants:
        for why in unused(tenant):
            yield Finding("warning", "tenants", f"{tenant.id}: {why}", "say another backend, or remove the setting")
        try:
            registry.offers(tenant)
        except SettingsError as error:
            yield Finding(
                "problem", "tenants", f"{tenant.id}: {error}", "docs/tenants.md lists them, and their options"
            )


# --- models, pages


def voice_activity() -> Finding:
    """The model that hears when somebody speaks."""
    try:
        from workers.turns.vad import VoiceActivity, model_path

        VoiceActivity(16_000)
    except (TrunklineError, ImportError, OSError) as error:
        return Finding("problem", "VAD model", str(error), "make run installs it")
    return Finding("ok", "VAD model", f"loads: {model_path()}")


def console() -> Finding:
    """The page and the client's example, and every file they ask for."""
    folder = resources.files("gateway")
    todo, seen, missing = ["console/index.html", "client/example.html"], set[str](), []
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        file = folder / name
        if file.is_file():
            todo += _asked_for(file, name)
        else:
            missing.append(name)
    if missing:
        return Finding("problem", "console", f"missing: {', '.join(sorted(missing))}", "install Trunkline again")
    return Finding("ok", "console", f"{len(seen)} files in {folder}")


def _asked_for(file: Traversable, name: str) -> list[str]:
    if not name.endswith((".html", ".js", ".css")):
        return []
    asked = re.findall(r"""["'(]((?:/|\.{1,2}/)[\w./-]+\.\w+)["')]""", file.read_text(encoding="utf-8"))
    return [posixpath.normpath(posixpath.join("/", posixpath.dirname(name), path)).lstrip("/") for path in asked]


def host_is_public(found: Settings) -> Iterator[Finding]:
    """A gateway that others can reach serves no microphone to pages that came without TLS."""
    with contextlib.suppress(OSError):
        addresses = {entry[4][0] for entry in socket.getaddrinfo(found.host, found.port, type=socket.SOCK_STREAM)}
        if not all(str(address).startswith("127.") or address == "::1" for address in addresses):
            advice = "put a TLS proxy before it: browsers give the microphone to https:// and localhost only"
            yield Finding("warning", "host", f"{found.host}: others can reach this gateway, without TLS", advice)


STAGES = {"stt": "speech to text", "llm": "language model", "tts": "text to speech"}


def local_providers() -> Iterator[Finding]:
    """What `provider: local` takes for each stage on this machine, and what would come before it."""
    from workers.providers import local

    candidates = local.candidates()
    for stage, words in STAGES.items():
        better: list[str] = []
        for candidate in (candidate for candidate in candidates if candidate.stage == stage):
            if candidate.available:
                advice = "better: " + "; or ".join(better) if better else ""
                yield Finding("ok", stage, f"{candidate.provider}: {candidate.why}", advice)
                break
            better.append(f"{candidate.provider} ({candidate.why}): {candidate.remedy}")
        else:
            yield Finding("problem", stage, f"nothing here does {words} without a key", "; or ".join(better))
