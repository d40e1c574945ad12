from __future__ import annotations

from typing import Any

import pytest

from trunkline.errors import SettingsError
from trunkline.tenants import Tenant, ToolUse
from workers.tools import registry
from workers.tools.end_call import EndCall


def offers(**settings: Any) -> dict[str, registry.Offer]:
    return registry.offers(Tenant.model_validate({"id": "acme", **settings}))


def test_a_tool_is_its_file() -> None:
    assert {"end_call", "transfer_call"} <= set(registry.names())
    assert isinstance(registry.make(ToolUse(name="end_call")), EndCall)


@pytest.mark.parametrize("name", registry.names())
def test_every_tool_has_the_name_of_its_file(name: str) -> None:
    options = {"transfer_call": {"numbers": {"desk": "+15550123"}}}
    offer = offers(tools=[{"name": name, **options.get(name, {})}])[name]
    assert offer.definition["name"] == name
    assert offer.description


@pytest.mark.parametrize("name", ["nothing", "base", "registry", "toolbox"])
def test_a_wrong_tool_is_named_with_those_that_exist(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"no tool '{name}'; there are: .*end_call"):
        offers(tools=[{"name": name}])


@pytest.mark.parametrize(
    ("use", "wrong"),
    [
        ({"name": "end_call", "politely": True}, "politely: .*its options are: none"),
        ({"name": "transfer_call"}, "numbers: .*required.*its options are: numbers"),
        ({"name": "transfer_call", "numbers": {}}, "numbers: .*at least 1"),
        ({"name": "transfer_call", "numbers": {"desk": "0555 0123"}}, "numbers.desk: "),
        ({"name": "transfer_call", "numbers": {"desk": "+15550123\n"}}, "numbers.desk: "),
        ({"name": "transfer_call", "numbers": {" ": "+15550123"}}, "numbers"),
    ],
)
def test_wrong_options_are_named_with_those_that_exist(use: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong):
        offers(tools=[use])


@pytest.mark.parametrize(
    ("parameters", "wrong"),
    [
        ({"type": "object", "properties": {"page": {"type": "text"}}}, r"\$\.properties\.page\.type"),
        ({"type": "object", "required": "page"}, r"\$\.required"),
        ({"type": "string"}, "parameters.type is 'object'"),
        ({}, "parameters.type is 'object'"),
    ],
)
def test_a_client_tool_with_a_wrong_schema_is_refused(parameters: dict[str, Any], wrong: str) -> None:
    with pytest.raises(SettingsError, match=f"'show_page': .*{wrong}"):
        offers(client_tools=[{"name": "show_page", "description": "Show it.", "parameters": parameters}])
