"""Reading a provider's options: every wrong key is reported at once, with the right ones."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from trunkline.errors import SettingsError

OptionsModel = TypeVar("OptionsModel", bound=BaseModel)


def read_options(model: type[OptionsModel], options: dict[str, Any], whose: str) -> OptionsModel:
    """Check a tenant's `options` against `model`; `whose` names the provider in errors.

    Raises SettingsError naming every wrong option and listing those that exist.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        known = ", ".join(model.model_fields) or "none"
        raise SettingsError(f"{whose}: {wrong} (its options are: {known})") from error
