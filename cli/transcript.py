"""What `trunkline call` shows of a call while it runs, and its summary."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.text import Text

from cli.account import Answer, Event
from cli.client import Caller
from cli.lines import show

WHO = {"user": ("you", "cyan"), "assistant": ("answer", "green")}
WORDS = {"speech_started": "speech begins", "speech_stopped": "speech ends"}


class Screen:
    """Prints events as lines; on a terminal, the last line shows the state and the words as they come."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = None
        self._state = "calling"
        self._partial: dict[str, str] = {}

    def began(self, caller: Caller) -> None:
        """The call stands."""
        self.note("connected", f"{caller.url}, session {caller.session_id}", style="bold")
        if self._console.is_terminal:
            self._status = self._console.status("", spinner="dots")
            self._status.start()
            self._show_status()

    def close(self) -> None:
        """No more live line; printing goes on."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def note(self, what: str, text: str, *, style: str = "dim", at_s: float | None = None) -> None:
        """One line of one's own."""
        self._line(at_s, what, text, style, "")

    def take(self, event: Event) -> None:
        """Show an event."""
        data = event.data
        match event.type:
            case "transcript":
                self._partial.pop(data["role"], None)
                name, colour = WHO.get(data["role"], (data["role"], "white"))
                cut = " [yellow](interrupted)[/]" if data.get("interrupted") else ""
                self._line(event.at_s, name, escape(data["text"]) + cut, f"bold {colour}", "")
            case "transcript_delta":
                self._partial[data["role"]] = self._partial.get(data["role"], "") + data["delta"]
            case "state":
                self._state = data["state"]
                self._line(event.at_s, "", data["state"], "", "dim")
            case "speech_started" | "speech_stopped":
                self._line(event.at_s, "", f"{WORDS[event.type]} at {data['media_ms'] / 1000:.2f} s", "", "dim")
            case "backend":
                self._line(event.at_s, "answered by", escape(data["backend"]), "bold", "")
                for stage, provider in (data.get("providers") or {}).items():
                    # why it was chosen stands in brackets, and is the doctor's to tell
                    self._line(None, stage, escape(re.sub(r" \[.*\]$", "", provider)), "", "dim")
            case "tool_call":
                self._line(event.at_s, "", f"asks for {escape(data['tool'])}, which lives in a client", "", "yellow")
            case "tool_result":
                how = "took" if data["ok"] else "[red]failed[/] after"
                self._line(event.at_s, "tool", f"{escape(data['tool'])} {how} {data['ms']} ms", "bold", "")
            case "latency":
                what = "filler" if data.get("filler") else "latency"
                self._line(event.at_s, what, _sum(data["total_ms"], data["parts"]), "magenta", "")
            case _:
                self._take_trouble(event)
        self._show_status()

    def _take_trouble(self, event: Event) -> None:
        data = event.data
        match event.type:
            case "link_lost":
                self._state = "coming back"
                self._line(event.at_s, "lost", f"the link broke ({data['code']})", "bold red", "")
            case "link_back":
                how = "the session goes on" if data["resumed"] else "a NEW session: the old one could not be resumed"
                text = f"after {data['ms']:.0f} ms and {data['attempts']} attempt(s); {how}"
                self._line(event.at_s, "back", text, "bold green" if data["resumed"] else "bold red", "")
            case "error":
                self._line(event.at_s, "error", escape(f"{data['message']} ({data['hint']})"), "bold red", "")
            case "clear":
                self._line(event.at_s, "", f"answer cleared (turn {data['turn']})", "", "yellow")
            case "barge_in":
                text = f"spoken over: silent after {data['silent_ms']} ms, given up after {data['clear_ms']} ms"
                self._line(event.at_s, "", text, "", "yellow")
            case "pause" | "resume":
                self._line(event.at_s, "", f"answer {event.type}d (turn {data['turn']})", "", "yellow")
            case "closing" if data["reason"] != "stop":  # which is our own
                self._line(event.at_s, "closing", escape(str(data["reason"])), "bold", "")

    def summary(self, caller: Caller) -> None:
        """What the call came to."""
        spoken = [answer for answer in caller.answers.values() if answer.heard_s is not None]
        gaps, missing = caller.gaps, sum(caller.speaker.missing_ms.values())
        facts = [f"{len(spoken)} answer(s) in {caller.last_sign_s:.1f} s"]
        if gaps:
            facts.append(f"[yellow]{len(gaps)} gap(s), the longest {max(gap.ms for gap in gaps):.0f} ms[/]")
        if missing >= 1:
            facts.append(f"[yellow]{missing:.0f} ms of audio never came[/]")
        if caller.reconnects:
            longest = max(back.ms for back in caller.reconnects)
            facts.append(f"[yellow]{len(caller.reconnects)} reconnect(s), the longest {longest:.0f} ms[/]")
        if caller.sent.lost_ms >= 1:
            facts.append(f"[yellow]{caller.sent.lost_ms:.0f} ms of speech were lost on the way up[/]")
        self._console.print()
        for answer in sorted(spoken, key=lambda answer: answer.turn):
            self.note(f"turn {answer.turn}", _felt(answer), style="magenta")
        self.note("call", ", ".join(facts), style="bold")

    # --- lines

    def _line(self, at_s: float | None, who: str, markup: str, who_style: str, style: str) -> None:
        when = f"{at_s:7.2f} s" if at_s is not None else ""
        heads = [(when, 11, "dim"), (who, 12, who_style)]
        show(self._console, heads, Text.from_markup(markup, style=style))

    def _show_status(self) -> None:
        if self._status is not None:
            role, words = next(iter(self._partial.items()), ("", ""))
            name = WHO.get(role, (role, ""))[0]
            room = max(10, self._console.width - 30)
            said = f"  {name}: …{words[-room:]}" if len(words) > room else f"  {name}: {words}" if words else ""
            self._status.update(f"[bold]{escape(self._state)}[/][dim]{escape(said)}[/]")


def _sum(total_ms: float, parts: list[Any]) -> str:
    terms = " + ".join(f"{escape(str(name)).replace('_', ' ')} {ms:.0f}" for name, ms in parts)
    return f"{total_ms:.0f} ms" + (f" = {terms}" if terms else "")


def _felt(answer: Answer) -> str:
    felt = "spoke first" if answer.felt_ms is None else f"heard {answer.felt_ms:.0f} ms after you"
    server = "" if answer.total_ms is None else f"; the server's share {answer.total_ms:.0f} ms"
    return felt + server + (" [yellow](interrupted)[/]" if answer.interrupted else "")
