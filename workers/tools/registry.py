"""From a tenant's settings to what its model may use: imports the file named after each tool, checks every schema.

A tool exists because its file does; there is no list to add it to.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from referencing import Registry

from trunkline.errors import SettingsError
from trunkline.tenants import ClientTool, Tenant, ToolUse
from workers import tools as package
from workers.tools.base import Tool

OURS_TIMEOUT_S = 30.0
_NO_TOOLS = {"base", "registry", "toolbox"}

Filler = str | Callable[[dict[str, Any]], str]
"""What is said to a caller who waits for a tool, or how it follows from the call's arguments."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool as a model is offered it."""

    name: str
    description: str
    parameters: dict[str, Any]
    timeout_s: float
    arguments: Draft202012Validator
    tool: Tool | None
    """None: it lives in the client."""
    filler: Filler = ""

    @property
    def definition(self) -> dict[str, Any]:
        """The function tool object of OpenAI's APIs that take one flat: Realtime, Responses."""
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
        }


def names() -> list[str]:
    """Every tool of ours, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in _NO_TOOLS)


def make(use: ToolUse) -> Tool:
    """A tool with a tenant's options. Raises SettingsError for one that does not exist, or options it does not have."""
    if use.name not in names():
        raise SettingsError(f"no tool {use.name!r}; there are: {', '.join(names())}")
    try:
        module: ModuleType = importlib.import_module(f"{package.__name__}.{use.name}")
    except ImportError as error:
        raise SettingsError(f"tool {use.name!r} lacks a package: {error}") from error
    return cast(Tool, module.tool(use.options))


def offers(tenant: Tenant) -> dict[str, Offer]:
    """All that `tenant`'s model may use, by name. May import packages, and so block. Raises SettingsError."""
    ours = [_ours(make(use), use) for use in tenant.tools]
    return {offer.name: offer for offer in [*ours, *map(_clients, tenant.client_tools)]}


def _ours(tool: Tool, use: ToolUse) -> Offer:
    parameters, validator = tool.parameters, _validator(tool.name, tool.parameters)
    own: Filler = getattr(tool, "filler", "")
    return Offer(tool.name, tool.description, parameters, OURS_TIMEOUT_S, validator, tool, use.filler or own)


def _clients(tool: ClientTool) -> Offer:
    validator = _validator(tool.name, tool.parameters)
    return Offer(tool.name, tool.description, tool.parameters, tool.timeout_s, validator, None, tool.filler or "")


def _validator(name: str, parameters: dict[str, Any]) -> Draft202012Validator:
    if parameters.get("type") != "object":
        raise SettingsError(f"tool {name!r}: parameters.type is 'object': arguments are given by name")
    try:
        Draft202012Validator.check_schema(parameters)
    except SchemaError as error:
        raise SettingsError(
            f"tool {name!r}: parameters are no JSON Schema: {error.json_path}: {error.message}"
        ) from error
    # A registry of its own: the default one would fetch a `$ref` from wherever it points to.
    return Draft202012Validator(parameters, registry=Registry())
