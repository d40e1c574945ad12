"""The tenants that come with Trunkline, and the page that documents them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from trunkline.tenants import (
    Fillers,
    IdleSettings,
    KeySettings,
    RelaySettings,
    Speech,
    Tenant,
    TurnSettings,
    parse,
    read_directory,
)
from workers.tools.registry import offers

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tenants.md").read_text(encoding="utf-8")
TENANTS = read_directory(ROOT / "deploy" / "tenants")


@pytest.mark.parametrize("tenant", TENANTS, ids=lambda tenant: tenant.id)
def test_each_has_a_backend_that_exists(tenant: Tenant) -> None:
    assert importlib.util.find_spec(f"workers.{tenant.backend}.runner") is not None


def test_there_is_one_to_talk_to_and_one_for_the_line() -> None:
    assert {"demo", "echo"} <= {tenant.id for tenant in TENANTS}


def test_the_examples_can_be_copied_beside_them() -> None:
    examples = read_directory(ROOT / "deploy" / "tenants" / "examples")
    assert [tenant.id for tenant in examples] == ["phone"]
    assert set(offers(examples[0])) == {"end_call", "transfer_call"}
    assert not {tenant.id for tenant in examples} & {tenant.id for tenant in TENANTS}, "they need keys"


def test_the_page_lists_every_key_and_no_other() -> None:
    parts: dict[str, type[BaseModel]] = {
        "": Tenant,
        "fillers": Fillers,
        "speech": Speech,
        "turn": TurnSettings,
        "keys": KeySettings,
        "idle": IdleSettings,
        "relay": RelaySettings,
    }
    for part, model in parts.items():
        assert [name for name, _ in rows(part)] == list(model.model_fields), part


def test_the_page_states_the_true_defaults() -> None:
    values = TurnSettings().model_dump()
    defaults = {name: "none" if value == () else str(value) for name, value in values.items()}
    defaults |= {name: str(value).lower() for name, value in values.items() if isinstance(value, bool)}
    assert dict(rows("turn")) == defaults
    relay = RelaySettings().model_dump()
    relay |= {"turn_detection": relay["turn_detection"]["type"], "transcription": relay["transcription"]["model"]}
    assert dict(rows("relay")) == {name: str(value or "none") for name, value in relay.items()}


def rows(part: str) -> list[tuple[str, str]]:
    """The keys and defaults of a part's table."""
    text = PAGE.split(f"\n## `{part}`\n")[1] if part else PAGE
    found = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text.split("\n## ")[0], re.MULTILINE)
    return [(name, default.strip("`")) for name, default in found]


def test_the_page_s_examples_are_valid() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert [parse(example, "docs/tenants.md").id for example in examples] == ["bakery", "praxis", "clinic", "clinic"]
