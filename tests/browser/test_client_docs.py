"""What docs/client.md says of the client is so."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs/client.md").read_text(encoding="utf-8")
CLIENT = ROOT / "gateway/client"


def test_the_example_is_the_one_that_is_served_and_has_twenty_lines() -> None:
    html, js = ((CLIENT / name).read_text(encoding="utf-8") for name in ("example.html", "example.js"))
    assert f"```html\n{html}```" in DOCS
    assert f"```js\n{js}```" in DOCS
    assert len((html + js).splitlines()) <= 20


def test_every_option_and_every_problem_is_there() -> None:
    client = (CLIENT / "trunkline-client.js").read_text(encoding="utf-8")
    options = re.search(r"@typedef \{object\} ClientOptions\n(.*?)\*/", client, re.DOTALL)
    assert options is not None
    problems = (CLIENT / "problems.js").read_text(encoding="utf-8")
    known = re.search(r"const PROBLEMS = \{\n(.*?)\n\};", problems, re.DOTALL)
    assert known is not None
    words = set(re.findall(r"`(\w+)`", DOCS))
    served = {
        "audio_gap",
        "bad_input",
        "silent",
        "too_large",
        "busy",
        "server_failed",
    }  # close codes of docs/websocket.md
    assert set(re.findall(r"@property \{[^\n]*?\} \[(\w+)\]", options[1])) <= words
    assert set(re.findall(r"^  (\w+): \[", known[1], re.MULTILINE)) - served <= words
