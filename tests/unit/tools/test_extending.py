"""docs/extending.md: its tool is one file, and does what the page says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trunkline.errors import SettingsError
from workers import tools as package
from workers.backend import ToolCall
from workers.tools.toolbox import Toolbox

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text(encoding="utf-8")
SECTION = PAGE.split("\n## A tool in one file\n")[1]


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What the page's tenant has, with the page's file in the package."""
    (tmp_path / "opening_hours.py").write_text(block("python"), encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield yaml.safe_load(block("yaml"))
    sys.modules.pop("workers.tools.opening_hours", None)


async def test_the_pages_tool_works(toolbox: Callable[..., Toolbox], settings: dict[str, Any]) -> None:
    box = toolbox(**settings)

    async def told(arguments: str) -> Any:
        return json.loads(await box.run(ToolCall("c1", "opening_hours", arguments)))

    assert await told('{"day": "Monday"}') == {"open": "9 to 17"}
    assert (await told('{"day": "Sunday"}'))["error"].endswith("ask about one of: monday, saturday")
    assert "'day' is a required property" in (await told("{}"))["error"]


def test_a_wrong_option_of_it_is_refused(toolbox: Callable[..., Toolbox], settings: dict[str, Any]) -> None:
    settings["tools"][0]["ours"] = settings["tools"][0].pop("hours")
    with pytest.raises(SettingsError, match=r"tool opening_hours: hours: .*; ours: .*its options are: hours"):
        toolbox(**settings)
