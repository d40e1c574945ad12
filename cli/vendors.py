"""What `trunkline doctor` looks at beyond this machine: the accounts of the relay and the telephone. Asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from cli.checks import Finding
from trunkline.errors import SettingsError
from trunkline.settings import PREFIX, Settings
from trunkline.tenants import Tenant

KEY = "OPENAI_API_KEY"


def relay(all_tenants: list[Tenant], environment: Mapping[str, str]) -> Finding:
    """Whether tenants that name the relay have a model to talk to."""
    tenants = [tenant.id for tenant in all_tenants if "relay" in tenant.backends]
    used = f"tenants: {', '.join(tenants)}" if tenants else "no tenant's backend is `relay`"
    if not tenants and not environment.get(KEY):
        return Finding("ok", "relay", f"{KEY} is not set; {used}", "docs/relay.md says what a relay needs")
    from workers.relay.websocket import OPENAI_URL, URL_VARIABLE, make_client  # here, for the SDK takes a second

    try:
        make_client(environment)
    except SettingsError as error:
        advice = f"set it, or choose another backend; until then callers hear an apology ({used})"
        return Finding("problem" if tenants else "warning", "relay", str(error), advice)
    where = environment.get(URL_VARIABLE) or environment.get("OPENAI_BASE_URL") or OPENAI_URL
    by_udp = [tenant.id for tenant in all_tenants if "relay" in tenant.backends and tenant.relay.link == "webrtc"]
    advice = f"by `link: webrtc`: {', '.join(by_udp)}: let UDP to any port out, and its answers in" if by_udp else ""
    return Finding("ok", "relay", f"{KEY} is set, not tried; models at {where}; {used}", advice)


def phone(all_tenants: list[Tenant], found: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whether Twilio can reach us, and be believed."""
    owners = Counter(number for tenant in all_tenants for number in tenant.phone_numbers)
    if twice := [number for number, count in owners.items() if count > 1]:
        yield Finding("problem", "telephone", f"more than one tenant's: {', '.join(twice)}", "a number has one tenant")
        return
    numbers = [f"{number} ({tenant.id})" for tenant in all_tenants for number in tenant.phone_numbers]
    if not found.twilio_signatures:
        text = f"{PREFIX}TWILIO_SIGNATURES is false: anybody may pose as Twilio"
        yield Finding("warning", "telephone", text, "unset it, for anything but tests on one machine")
    elif numbers and (missing := _missing(found, environment)):
        text = f"{', '.join(numbers)} cannot be called: {' and '.join(missing)} not set"
        yield Finding("problem", "telephone", text, "docs/phone.md; until then every webhook is refused")
        return
    if not numbers:
        yield Finding("ok", "telephone", "no tenant has `phone_numbers`", "docs/phone.md says what a telephone needs")
        return
    if found.public_url and not found.public_url.startswith("https://"):
        text = f"{PREFIX}PUBLIC_URL is {found.public_url}: Twilio opens streams by TLS only"
        yield Finding(
            "problem", "telephone", text, "put a TLS proxy before the gateways, and name its https:// address"
        )
        return
    advice = "" if environment.get("TWILIO_ACCOUNT_SID") else "better: set TWILIO_ACCOUNT_SID, too (docs/phone.md)"
    url = f"{found.public_url or 'http://<this machine>'}/twiml"
    yield Finding("ok", "telephone", f"{', '.join(numbers)}; Twilio's webhook is {url}", advice)


def _missing(found: Settings, environment: Mapping[str, str]) -> list[str]:
    given = {f"{PREFIX}PUBLIC_URL": found.public_url, "TWILIO_AUTH_TOKEN": environment.get("TWILIO_AUTH_TOKEN")}
    return [name for name, value in given.items() if not value]
