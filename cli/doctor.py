"""`trunkline doctor`: whether this machine and these settings can run Trunkline, and what to do where not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text

from cli import checks, vendors, webrtc
from cli.checks import Finding, Level
from cli.limits import limits
from cli.lines import plain_or_rich, show

EXIT_PROBLEM = 1
MARKS: dict[Level, tuple[str, str]] = {
    "ok": ("✓ ok", "green"),
    "warning": ("! warning", "yellow"),
    "problem": ("✗ problem", "bold red"),
}


def doctor() -> None:
    """Look whether everything is in place, and say what to do where it is not.

    Ends with 1 when there is a problem. Changes nothing.
    """
    console = plain_or_rich()
    worst: list[Level] = []
    for title, findings in examine():
        console.print(Text(title, "bold"))
        for finding in findings:
            worst.append(finding.level)
            _show(console, finding)
    console.print(_verdict(worst))
    raise typer.Exit(EXIT_PROBLEM if "problem" in worst else 0)


def examine() -> Iterator[tuple[str, list[Finding]]]:
    """All findings, a heading at a time, as they are made."""
    settings, findings = checks.settings(os.environ)
    yield "Settings", findings
    yield "This machine", [*checks.python(), *checks.optional_packages(), *limits(settings)]
    yield "Redis", asyncio.run(checks.redis(settings))
    yield "Gateway", [*checks.port(settings), *checks.host_is_public(settings), checks.console()]
    yield "WebRTC", [*webrtc.udp_ports(settings), *webrtc.ice_servers(settings)]
    tenants, findings = checks.tenants(settings)
    yield "Tenants", [*findings, *checks.providers(tenants), *checks.tools(tenants)]
    yield "Accounts", [vendors.relay(tenants, os.environ), *vendors.phone(tenants, settings, os.environ)]
    yield "Speech", [checks.voice_activity(), *checks.local_providers()]


def _show(console: Console, finding: Finding) -> None:
    mark, style = MARKS[finding.level]
    text = Text(finding.found)
    if finding.advice:
        text.append(f"\n→ {finding.advice}", "" if finding.level == "problem" else "dim")
    show(console, [(f"  {mark}", 13, style), (finding.what, 13, "")], text)


def _verdict(levels: list[Level]) -> Text:
    problems, warnings = levels.count("problem"), levels.count("warning")
    if problems:
        return Text(f"\n{problems} problem(s), {warnings} warning(s)", "bold red")
    if warnings:
        return Text(f"\nReady, with {warnings} warning(s): `trunkline up`", "bold yellow")
    return Text("\nReady: `trunkline up`", "bold green")
