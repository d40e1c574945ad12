"""The control page, for tests and demos in other processes: plain GETs on the stand-in's own port.

`/control/sessions`: what each session got and holds; with `heard=yes` also the words of its uplink.
`/control/fault?kind=drop&after_audio_ms=300`: the newest live session goes wrong; with `session=ID` that one, with
`session=next` (and `connections=3`) those to come.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, get_args

from .faults import Fault, SessionFault, parse
from .session import Session

if TYPE_CHECKING:
    from .server import Realtime

Answer = tuple[HTTPStatus, object]


class Control:
    def __init__(self, standin: Realtime) -> None:
        self._standin = standin

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """The status and the JSON body of a GET."""
        if path == "/control/sessions":
            heard = query.get("heard") == "yes"
            described = [_described(session, heard=heard) for session in self._standin.sessions]
            return HTTPStatus.OK, {"sessions": described, "refused": self._standin.refused}
        if path == "/control/fault":
            return self._fault(query)
        return HTTPStatus.NOT_FOUND, {"error": "there are /control/sessions and /control/fault"}

    def _fault(self, query: dict[str, str]) -> Answer:
        where, connections = query.pop("session", ""), query.pop("connections", "1")
        try:
            fault = parse(query)
            count = int(connections)
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        return self._inject(fault, where, count)

    def _inject(self, fault: Fault, where: str, connections: int) -> Answer:
        if where == "next" or not isinstance(fault, get_args(SessionFault)):
            self._standin.inject(fault, connections)
            return HTTPStatus.OK, {"injected": repr(fault), "session": "next"}
        live = [each for each in self._standin.sessions if each.closed is None and where in ("", each.id)]
        if not live:
            return HTTPStatus.NOT_FOUND, {"error": f"no live session {where}".rstrip()}
        assert isinstance(fault, SessionFault)
        live[-1].inject(fault)
        return HTTPStatus.OK, {"injected": repr(fault), "session": live[-1].id}


def _described(session: Session, *, heard: bool) -> dict[str, Any]:
    described = {
        "id": session.id,
        "config": session.config,
        "items": session.items,
        "received": session.received,
        "sent": session.sent,
        "appends": session.appends,
        "appended_ms": session.appended_ms,
        "truncations": session.truncations,
        "responses": [response.wire() for response in session.responses],
        "closed": session.closed,
    }
    if heard:  # takes a while for minutes of audio
        described["heard"] = session.heard
    return described
