"""Resume tokens: `session.link.signature`. Each return gives a new one; which are good, `sessions.py` says."""

from __future__ import annotations

import hashlib
import hmac


def issue(secret: str, session: str, link: int) -> str:
    """The token that lets the client of this link come back."""
    return f"{session}.{link}.{_signature(secret, session, link)}"


def check(secret: str, token: str) -> tuple[str, int] | None:
    """(session, link) of a token that we gave; None for any other text. Whether it was used is the record's to say."""
    session, _, rest = token.partition(".")
    number, _, signature = rest.partition(".")
    if not (session and number.isascii() and number.isdigit() and len(number) < 10):
        return None
    expected = _signature(secret, session, int(number))
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        return None
    return session, int(number)


def _signature(secret: str, session: str, link: int) -> str:
    return hmac.new(secret.encode(), f"resume {session} {link}".encode(), hashlib.sha256).hexdigest()[:32]
