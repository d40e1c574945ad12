"""The one error tree.

TrunklineError
├── SettingsError        a setting, tenant file or command line is wrong (ours to say which and what would be right)
├── ClientError          a caller's or client's message is wrong: `code` for machines, `hint` says what would be right
├── BusError             Redis cannot be reached, refused a command, or carried something unreadable
│   └── MalformedEntry   an entry on the bus that no version of Trunkline wrote
├── NoPortLeft           no UDP port, or no open file, is left for a call: this gateway is full, another may not be
├── AudioError           audio of a shape or rate that cannot be what it says
├── SessionLost          this process no longer owns the session it works for (fenced, taken over)
└── ProviderError        a vendor failed: `provider`, `retryable`, `retry_after_s`, `locked_out`
    └── ProvidersExhausted  a stage's provider and all of its fallbacks failed: `failures`
"""

from __future__ import annotations

from collections.abc import Sequence


class TrunklineError(Exception):
    """Whatever Trunkline raises on purpose."""

    code = "internal"
    retryable = False


class SettingsError(TrunklineError):
    code = "settings"


class NoPortLeft(TrunklineError):
    code = "no_port_left"
    retryable = True


class AudioError(TrunklineError, ValueError):
    code = "audio"


class ClientError(TrunklineError):
    """A peer sent something wrong. `fatal` ones end its connection."""

    def __init__(self, code: str, message: str, hint: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.fatal = fatal


class BusError(TrunklineError):
    code = "bus"
    retryable = True


class MalformedEntry(BusError):
    code = "malformed_entry"
    retryable = False


class SessionLost(TrunklineError):
    code = "session_lost"


class ProviderError(TrunklineError):
    code = "provider"

    def __init__(
        self,
        provider: str,
        message: str,
        *,
        retryable: bool = True,
        retry_after_s: float | None = None,
        locked_out: bool = False,
    ) -> None:
        """`retryable`: the same may succeed later. `retry_after_s`: the vendor says that it will not succeed sooner.
        `locked_out`: nor will anything else that we ask, until somebody sees to the key, the account or the model."""
        super().__init__(f"{provider}: {message}")
        self.provider = provider
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.locked_out = locked_out


class ProvidersExhausted(ProviderError):
    def __init__(self, stage: str, failures: Sequence[ProviderError]) -> None:
        """`stage` in words; `failures`: of each provider that was asked or left alone, in order."""
        reasons = "; ".join(str(failure) for failure in failures)
        super().__init__(stage, f"nobody is left: {reasons}", retryable=any(each.retryable for each in failures))
        self.failures = tuple(failures)


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What a group is about: its first error that is no group itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
