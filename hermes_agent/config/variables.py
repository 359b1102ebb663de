"""The one table of environment variables that set config.yaml keys.

The loader, `hermes config explain` and the configuration reference all read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

_TRUE = frozenset({"1", "true", "yes", "on"})


class Reader(Protocol):
    """What is needed of an `Environ`."""

    def get(self, name: str) -> str | None:
        """The value of a variable; None if it is absent or empty."""
        ...


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that sets a key.

    Attributes:
        name: Of the variable.
        key: Dotted key of config.yaml.
        when_true: The value that a true-looking variable stands for; anything else is ignored.
        is_list: The value is a list, separated by commas.
    """

    name: str
    key: str
    when_true: str | None = None
    is_list: bool = False

    def value(self, environ: Reader) -> object:
        """The value for the key; None if the variable has nothing to say."""
        text = environ.get(self.name)
        if text is None:
            return None
        text = text.strip()
        if self.when_true is not None:
            return self.when_true if text.lower() in _TRUE else None
        if self.is_list:
            return [item.strip() for item in text.split(",") if item.strip()]
        return text


VARIABLES: tuple[Variable, ...] = (
    Variable("HERMES_INFERENCE_MODEL", "model.default"),
    Variable("HERMES_INFERENCE_PROVIDER", "model.provider"),
    Variable("HERMES_MAX_ITERATIONS", "agent.max_turns"),
    Variable("HERMES_YOLO_MODE", "approvals.mode", when_true="off"),
    Variable("HERMES_LOG_LEVEL", "logging.level"),
    Variable("HERMES_REDACT_SECRETS", "security.redact_secrets"),
    Variable("HERMES_TIMEZONE", "timezone"),
    Variable("HERMES_LANGUAGE", "display.language"),
    Variable("HERMES_BACKGROUND_NOTIFICATIONS", "display.background_process_notifications"),
    Variable("HERMES_ENABLE_PROJECT_PLUGINS", "plugins.allow_project"),
    Variable("TERMINAL_ENV", "terminal.backend"),
    Variable("TERMINAL_CWD", "terminal.cwd"),
    Variable("TERMINAL_TIMEOUT", "terminal.timeout"),
    Variable("TERMINAL_MAX_FOREGROUND_TIMEOUT", "terminal.max_foreground_timeout"),
    Variable("TERMINAL_PERSISTENT_SHELL", "terminal.persistent_shell"),
    Variable("TERMINAL_DOCKER_IMAGE", "terminal.docker_image"),
    Variable("TERMINAL_DOCKER_NETWORK", "terminal.docker_network"),
    Variable("TERMINAL_CONTAINER_CPU", "terminal.container_cpu"),
    Variable("TERMINAL_CONTAINER_MEMORY", "terminal.container_memory"),
    Variable("TERMINAL_CONTAINER_DISK", "terminal.container_disk"),
    Variable("TERMINAL_CONTAINER_PERSISTENT", "terminal.container_persistent"),
    Variable("TERMINAL_SSH_HOST", "terminal.ssh_host"),
    Variable("TERMINAL_SSH_USER", "terminal.ssh_user"),
    Variable("TERMINAL_SSH_PORT", "terminal.ssh_port"),
    Variable("TERMINAL_SSH_KEY", "terminal.ssh_key"),
    Variable("MESSAGING_CWD", "gateway.cwd"),
    Variable("GATEWAY_ALLOWED_USERS", "gateway.allowed_users"),
    Variable("GATEWAY_ALLOW_ALL_USERS", "gateway.allow_all_users"),
    Variable("SESSION_IDLE_MINUTES", "session_reset.idle_minutes"),
    Variable("SESSION_RESET_HOUR", "session_reset.at_hour"),
    Variable("WHATSAPP_REPLY_PREFIX", "whatsapp.reply_prefix"),
    Variable("API_SERVER_ENABLED", "api_server.enabled"),
    Variable("API_SERVER_HOST", "api_server.host"),
    Variable("API_SERVER_PORT", "api_server.port"),
    Variable("API_SERVER_KEY", "api_server.key"),
    Variable("API_SERVER_CORS_ORIGINS", "api_server.cors_origins", is_list=True),
    Variable("API_SERVER_MODEL_NAME", "api_server.model_name"),
    Variable("HERMES_DASHBOARD_PUBLIC_URL", "dashboard.public_url"),
    Variable("HERMES_DASHBOARD_BASIC_AUTH_USERNAME", "dashboard.basic_auth.username"),
    Variable("HERMES_DASHBOARD_BASIC_AUTH_PASSWORD_HASH", "dashboard.basic_auth.password_hash"),
    Variable("HERMES_DASHBOARD_BASIC_AUTH_PASSWORD", "dashboard.basic_auth.password"),
    Variable("HERMES_DASHBOARD_BASIC_AUTH_SECRET", "dashboard.basic_auth.secret"),
    Variable("HERMES_DASHBOARD_BASIC_AUTH_TTL_SECONDS", "dashboard.basic_auth.session_ttl_seconds"),
)

BY_KEY: Mapping[str, Variable] = {variable.key: variable for variable in VARIABLES}
