"""How a public address leads to a gateway on this machine, and how a request to it is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from tests.standins.twilio.faults import Signature
from tests.standins.twilio.twiml import TwimlError, is_loopback
from twilio.request_validator import RequestValidator

_SECURE = {"https": "https", "wss": "https", "http": "http", "ws": "http"}


def sign(auth_token: str, url: str, form: Mapping[str, str], signature: Signature = "good") -> dict[str, str]:
    """The signature header for a request to `url` as the gateway's owner wrote it; none for a missing one."""
    if signature == "missing":
        return {}
    token = auth_token if signature == "good" else auth_token + "-of-somebody-else"
    return {"X-Twilio-Signature": str(RequestValidator(token).compute_signature(url, dict(form)))}


class Edge:
    """The public origin of the gateways, and the loopback ones behind it, as a load balancer knows them.

    Requests go to the first of `behind` that takes the connection. Change `behind` when a gateway goes or comes.
    """

    def __init__(self, public_origin: str, behind: Sequence[str]) -> None:
        self.public_origin = public_origin.rstrip("/")
        self.behind = [origin.rstrip("/") for origin in behind]
        for origin in self.behind:
            if not is_loopback(urlsplit(origin).hostname):
                raise ValueError(f"a stand-in only connects to this machine, not to {origin}")

    def ways(self, url: str) -> list[str]:
        """The loopback URLs (http or ws) that a public one may be reached at, in order.

        TwimlError if it leads anywhere else.
        """
        wanted, ours = urlsplit(url), urlsplit(self.public_origin)
        if (wanted.netloc, _SECURE.get(wanted.scheme)) == (ours.netloc, _SECURE[ours.scheme]):
            origins = self.behind
        elif is_loopback(wanted.hostname):
            origins = [f"http://{wanted.netloc}"]
        else:
            raise TwimlError(f"{url} leads neither to {self.public_origin} nor to this machine")
        scheme = "ws" if wanted.scheme in ("ws", "wss") else "http"
        path = wanted._replace(scheme="", netloc="").geturl() or "/"
        return [f"{scheme}://{urlsplit(origin).netloc}{path}" for origin in origins]
