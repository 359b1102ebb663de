"""The whole error tree.

Every error says what happened, why, and what to do next; surfaces render those three, never a
traceback (unless the user asked for one with ``--debug``).

::

    HermesError                     exit 1
    ├── UsageError                  exit 2   the command line or a slash command is wrong
    ├── ConfigError                 exit 3
    │   ├── ConfigFileError                  a file cannot be read or parsed (path, line, column)
    │   ├── SettingError                     a key is unknown or its value is of the wrong kind
    │   ├── ManagedError        exit 7       the installation is managed from outside (NixOS, Homebrew)
    │   └── MissingExtraError                an optional dependency is not installed
    ├── ModelError                  exit 4   a model request failed
    │   ├── ProviderSetupError               no provider, no key, unknown provider or model name
    │   ├── ModelAuthError                   401, 403
    │   ├── ModelQuotaError                  402, credit exhausted
    │   ├── ModelNotFoundError               404
    │   ├── ModelRequestError                other 4xx: the request itself is refused
    │   │   └── ContextOverflowError         the conversation does not fit the model's window
    │   ├── ModelRateLimitError              429
    │   ├── ModelServerError                 5xx
    │   ├── ModelConnectionError             the endpoint cannot be reached
    │   ├── ModelTimeoutError                no answer, or no further bytes, in time
    │   ├── StreamCutError                   the stream ended before the answer did
    │   └── ModelResponseError               the reply cannot be understood
    ├── StoreError                  exit 5   state.db or another state file
    │   ├── StoreBusyError                   another process holds the lock for too long
    │   ├── StoreCorruptError                the database is damaged
    │   ├── StoreVersionError                written by a newer program
    │   ├── StoreUnwritableError             read-only, full disk, or a directory in the way
    │   ├── SessionNotFoundError
    │   ├── CheckpointError                  a snapshot of files cannot be taken or restored
    │   ├── SessionBusyError                 another process is running this session
    │   └── SessionTitleError                title too long or taken
    ├── ToolError                   exit 6   told to the model as the tool's result
    │   ├── ToolArgumentsError               not JSON, or not of the tool's schema
    │   ├── ToolDeniedError                  refused by policy or by the user
    │   └── ToolTimeoutError
    ├── ExecutionError              exit 6   a command environment (Docker, SSH …) is unavailable
    ├── MemoryServiceError          exit 1   an external memory service does not do what it should
    ├── PlatformError               exit 1   a messaging platform
    │   ├── NotReadyError                    it cannot be reached now; tried again later
    │   ├── AuthFailedError                  it refuses the credential; tried again after a reload
    │   └── DeliveryError                    a message was not sent, or nobody knows
    └── GatewayError                exit 1   the gateway process: another one runs, it does not answer
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class HermesError(Exception):
    """Root of all errors of this program.

    Args:
        message: What happened, one sentence, no trailing period needed.
        why: The cause, when it is known and adds something.
        remedy: What the person can do next: a command to type, a key to set.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, why: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.why = why
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message

    @property
    def lines(self) -> tuple[str, ...]:
        """The one to three lines a person should read."""
        return tuple(line for line in (self.message, self.why, self.remedy) if line)


class UsageError(HermesError):
    """The command line or a slash command is wrong."""

    exit_code = 2


class ConfigError(HermesError):
    """The configuration cannot be used."""

    exit_code = 3


class ConfigFileError(ConfigError):
    """A configuration file cannot be read or parsed. `line` and `column` are one-based."""

    def __init__(
        self,
        message: str,
        *,
        path: Path,
        line: int | None = None,
        column: int | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.path = path
        self.line = line
        self.column = column


class SettingError(ConfigError):
    """A setting is unknown or its value is of the wrong kind. `key` is the dotted path."""

    def __init__(self, message: str, *, key: str, why: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.key = key


class ManagedError(ConfigError):
    """A change was refused because the installation is managed from outside."""

    exit_code = 7


class MissingExtraError(ConfigError):
    """An optional dependency is not installed. `extra` is its name in pyproject.toml."""

    def __init__(
        self, message: str, *, extra: str, why: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(
            message, why=why, remedy=remedy or f"Install it: pip install 'hermes-agent[{extra}]'"
        )
        self.extra = extra


class ModelError(HermesError):
    """A model request failed.

    Args:
        message: What happened; never contains a key.
        status: HTTP status, if one was received.
        retry_after_seconds: What the provider asked for, if it did.
        partial_text: Text that had been streamed before the failure.
        diagnostics: Response headers worth reporting (request ids, edge ids).
    """

    exit_code = 4

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_seconds: float | None = None,
        partial_text: str = "",
        diagnostics: dict[str, str] | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        self.partial_text = partial_text
        self.diagnostics = diagnostics or {}


class ProviderSetupError(ModelError):
    """No provider is configured, its key is missing, or a provider or model name is unknown."""


class ModelAuthError(ModelError):
    """The provider refused the credential (401, 403)."""


class ModelQuotaError(ModelError):
    """The account has no credit left (402)."""


class ModelNotFoundError(ModelError):
    """The provider does not know the model or the path (404)."""


class ModelRequestError(ModelError):
    """The provider refused the request itself (other 4xx)."""


class ContextOverflowError(ModelRequestError):
    """The conversation does not fit the model's context window."""


class ModelRateLimitError(ModelError):
    """Too many requests (429)."""


class ModelServerError(ModelError):
    """The provider failed (5xx)."""


class ModelConnectionError(ModelError):
    """The endpoint cannot be reached."""


class ModelTimeoutError(ModelError):
    """No answer, or no further bytes, arrived in time."""


class StreamCutError(ModelError):
    """The stream ended before the answer did."""


class ModelResponseError(ModelError):
    """The reply cannot be understood, or is empty."""


class StoreError(HermesError):
    """The state directory or database cannot be used."""

    exit_code = 5


class StoreBusyError(StoreError):
    """Another process held the database lock for too long."""


class StoreCorruptError(StoreError):
    """The database is damaged."""


class StoreVersionError(StoreError):
    """The database was written by a newer program."""


class StoreUnwritableError(StoreError):
    """The state directory is read-only, full, or something else stands where a file should be."""


class SessionNotFoundError(StoreError):
    """No session has this id, prefix or title."""


class CheckpointError(StoreError):
    """A snapshot of files cannot be taken, found or restored."""


class SessionBusyError(StoreError):
    """Another process is running this session."""


class SessionTitleError(StoreError):
    """A session title is too long or already taken."""


class ToolError(HermesError):
    """A tool could not do what it was asked; the text is given to the model as the result."""

    exit_code = 6


class ToolArgumentsError(ToolError):
    """The arguments are not JSON or do not fit the tool's schema."""


class ToolDeniedError(ToolError):
    """The call was refused by policy or by the user."""


class ToolTimeoutError(ToolError):
    """The tool did not finish in time."""


class ExecutionError(HermesError):
    """An environment that runs commands (Docker, SSH …) is unavailable."""

    exit_code = 6


class MemoryServiceError(HermesError):
    """An external memory service failed.

    `is_final`: it refused this very request and always will; otherwise it is worth trying again later.
    """

    def __init__(
        self, message: str, *, why: str | None = None, remedy: str | None = None, is_final: bool = False
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.is_final = is_final


class PlatformError(HermesError):
    """A messaging platform failed."""


class NotReadyError(PlatformError):
    """The platform cannot be reached now.

    Args:
        message: What happened.
        retry_after_seconds: When the platform asked to be tried again.
        why: See `HermesError`.
        remedy: See `HermesError`.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.retry_after_seconds = retry_after_seconds


class AuthFailedError(PlatformError):
    """The platform refuses the credential; only a person can mend that."""


class DeliveryError(PlatformError):
    """A message was not sent.

    Args:
        message: What happened.
        is_permanent: Trying again is of no use: the chat is gone, the bot was blocked, the text refused.
        is_unknown: The request left, and no answer came: it may have been sent.
        retry_after_seconds: When the platform asked to be tried again.
        why: See `HermesError`.
        remedy: See `HermesError`.
    """

    def __init__(
        self,
        message: str,
        *,
        is_permanent: bool = False,
        is_unknown: bool = False,
        retry_after_seconds: float | None = None,
        why: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, why=why, remedy=remedy)
        self.is_permanent = is_permanent
        self.is_unknown = is_unknown
        self.retry_after_seconds = retry_after_seconds


class GatewayError(HermesError):
    """The gateway process: another one is running, or it does not answer."""
