"""Errors as clients get them: an HTTP status and OpenAI's error object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes_agent.core.errors import HermesError


class ApiError(HermesError):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        message: For people.
        code: For programs, stable.
        kind: OpenAI's `type`; None takes the one that fits the status.
        param: Dotted path of the wrong field.
        headers: Further response headers.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        kind: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.kind = kind or _kind(status)
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """`{"error": {message, type, param, code}}`."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def _kind(status: int) -> str:
    kinds = {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        409: "conflict_error",
        429: "rate_limit_error",
    }
    return kinds.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def bad_request(message: str, param: str | None = None, *, code: str | None = None) -> ApiError:
    """400: a field is missing or wrong."""
    return ApiError(400, message, code=code, param=param)


def not_found(what: str, identifier: str, *, param: str | None = None) -> ApiError:
    """404: there is no such thing, or it is not this key's."""
    return ApiError(404, f"There is no {what} {identifier[:100]!r}", code=f"{what}_not_found", param=param)


_STATUSES: dict[str, tuple[int, str]] = {
    "ProviderSetupError": (503, "model_not_configured"),
    "ModelAuthError": (502, "model_auth_failed"),
    "ModelQuotaError": (429, "insufficient_quota"),
    "ModelNotFoundError": (502, "model_not_found_upstream"),
    "ContextOverflowError": (400, "context_length_exceeded"),
    "ModelRequestError": (502, "model_refused_request"),
    "ModelRateLimitError": (429, "rate_limit_exceeded"),
    "ModelTimeoutError": (504, "model_timeout"),
    "ModelConnectionError": (502, "model_unreachable"),
    "MissingExtraError": (503, "model_not_configured"),
    "SessionBusyError": (409, "session_busy"),
    "SessionNotFoundError": (404, "session_not_found"),
    "StoreBusyError": (503, "store_busy"),
}


def from_type(name: str, lines: tuple[str, ...], exit_code: int) -> ApiError:
    """The error for the class name of a `HermesError`; unknown ones are told apart by their exit code."""
    status, code = _STATUSES.get(name, (0, ""))
    if not status:
        status, code = {4: (502, "model_error"), 5: (503, "store_error"), 2: (400, "bad_request")}.get(
            exit_code, (500, "internal_error")
        )
    return ApiError(status, "\n".join(lines) or "The run failed", code=code)


def from_hermes(error: HermesError) -> ApiError:
    """The same error as clients should see it."""
    if isinstance(error, ApiError):
        return error
    return from_type(type(error).__name__, error.lines, error.exit_code)
