"""The tenants that come with Trunkline, and the page that documents them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from trunkline.tenants import Tenant, TurnSettings, parse, read_directory

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tenants.md").read_text(encoding="utf-8")
TENANTS = read_directory(ROOT / "deploy" / "tenants")


@pytest.mark.parametrize("tenant", TENANTS, ids=lambda tenant: tenant.id)
def test_each_has_a_backend_that_exists(tenant: Tenant) -> None:
    assert importlib.util.find_spec(f"workers.{tenant.backend}.runner") is not None


def test_there_is_one_to_talk_to_and_one_for_the_line() -> None:
    assert {"demo", "echo"} <= {tenant.id for tenant in TENANTS}


def test_the_page_lists_every_key_and_no_other() -> None:
    first, turn = PAGE.split("## `turn`")
    assert re.findall(r"^\| `(\w+)` \|", first, re.MULTILINE) == list(Tenant.model_fields)
    assert re.findall(r"^\| `(\w+)` \|", turn, re.MULTILINE) == list(TurnSettings.model_fields)


def test_the_page_states_the_true_defaults() -> None:
    stated = dict(re.findall(r"^\| `(\w+)` \| `?([\w.]+)`? \|", PAGE.split("## `turn`")[1], re.MULTILINE))
    assert stated == {name: str(value).replace("True", "true") for name, value in TurnSettings().model_dump().items()}


def test_the_page_s_example_is_valid() -> None:
    [example] = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert parse(example, "docs/tenants.md").id == "bakery"
