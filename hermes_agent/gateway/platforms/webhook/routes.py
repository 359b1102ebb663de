"""Routes: those of config.yaml, and subscriptions that come and go while the gateway runs."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import SettingError, StoreError, StoreUnwritableError
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.home_channel import parse_chat
from hermes_agent.gateway.platforms.outside import complaints
from hermes_agent.gateway.platforms.table import PLATFORMS
from hermes_agent.gateway.platforms.webhook.settings import UNPROTECTED, RouteSettings, WebhookSettings

_LOG = logging.getLogger(__name__)

NAME_FORM = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
LOG = "log"


@dataclass(frozen=True, slots=True)
class Route:
    """One route, checked.

    Attributes:
        target: Where the answer goes; None is the log only. An empty chat is the home channel.
        secret: Empty takes requests of anybody.
    """

    name: str
    settings: RouteSettings
    target: ChatAddress | None
    secret: str
    rate_limit: int

    @property
    def answer_goes(self) -> str:
        """In words, for the prompt."""
        if self.target is None:
            return "is only written into a log"
        return f"is sent to a chat on {self.target.platform}"


def subscriptions_file(home: Home) -> Path:
    """`webhook_subscriptions.json`."""
    return home.root / "webhook_subscriptions.json"


def check_route(name: str, settings: RouteSettings, common: WebhookSettings) -> Route:
    """A route that can be used.

    Raises:
        SettingError: Its name, secret or target cannot.
    """
    key = f"platforms.webhook.extra.routes.{name}"
    if not NAME_FORM.fullmatch(name):
        raise SettingError(
            f"{name!r} is no name of a route",
            key=key,
            remedy="Take small letters, digits, - and _; it becomes part of the address.",
        )
    secret = settings.secret or common.secret
    if not secret:
        raise SettingError(
            f"The webhook route {name} has no secret",
            key=f"{key}.secret",
            why="Without one anybody could give the agent work.",
            remedy="Set WEBHOOK_SECRET in .env, or a secret of the route (openssl rand -hex 32).",
        )
    if secret == UNPROTECTED:
        if not common.is_local:
            raise SettingError(
                f"The webhook route {name} would take requests of anybody on {common.host}",
                key=f"{key}.secret",
                remedy=f"Give it a secret; {UNPROTECTED} works on 127.0.0.1 only.",
            )
        secret = ""
    target = target_of(settings, key)
    if settings.deliver_only and target is None:
        raise SettingError(
            f"The webhook route {name} has nobody to deliver to",
            key=f"{key}.deliver",
            remedy="deliver_only needs deliver: PLATFORM or PLATFORM:CHAT.",
        )
    return Route(name, settings, target, secret, settings.rate_limit or common.rate_limit)


def target_of(settings: RouteSettings, key: str) -> ChatAddress | None:
    """Where `deliver` leads; None is the log. Raises `SettingError`."""
    word = settings.deliver.strip() or LOG
    platform, _, rest = word.partition(":")
    if word == LOG:
        return None
    known = {entry.name for entry in PLATFORMS if entry.has_chats}
    if platform not in known:
        raise SettingError(
            f"Webhook answers cannot be delivered to {platform!r}",
            key=f"{key}.deliver",
            remedy=f"One of: {LOG}, {', '.join(sorted(known))} (also PLATFORM:CHAT)",
        )
    named = parse_chat(platform, rest)
    return ChatAddress(
        platform,
        named.chat_id or settings.deliver_extra.get("chat_id", ""),
        named.thread_id or settings.deliver_extra.get("thread_id", ""),
    )


class RouteBook:
    """All routes. Subscriptions are read again whenever their file has changed.

    Args:
        settings: With the static routes, which win over subscriptions of the same name.
        path: The subscriptions.

    Raises:
        SettingError: A static route cannot be used.
    """

    def __init__(self, settings: WebhookSettings, path: Path) -> None:
        self._settings = settings
        self._path = path
        self._static = {name: check_route(name, each, settings) for name, each in settings.routes.items()}
        self._dynamic: dict[str, Route] = {}
        self._seen: tuple[int, ...] | None = None
        self.problems: tuple[str, ...] = ()
        """What is wrong with the subscriptions."""

    def find(self, name: str) -> Route | None:
        """A route by name."""
        self.refresh()
        return self._static.get(name) or self._dynamic.get(name)

    @property
    def count(self) -> int:
        """How many there are."""
        return len({**self._static, **self._dynamic})

    def refresh(self) -> None:
        """Look whether the file has changed. A broken one leaves everything as it was."""
        try:
            status = self._path.stat()
            mark: tuple[int, ...] = (status.st_ino, status.st_size, status.st_mtime_ns)
        except OSError:
            mark = ()
        if mark == self._seen:
            return
        self._seen = mark
        try:
            found = read_subscriptions(self._path)
        except StoreError as error:
            self.problems = (" ".join(error.lines),)
            _LOG.error("%s; the subscriptions stay as they were", self.problems[0])
            return
        problems: list[str] = []
        dynamic: dict[str, Route] = {}
        for name, data in found.items():
            try:
                dynamic[name] = check_route(name, _settings_of(name, data), self._settings)
            except SettingError as error:
                problems.append(" ".join(error.lines))
                _LOG.error("webhook subscription %s is not used: %s", name, problems[-1])
        self._dynamic, self.problems = dynamic, tuple(problems)


def read_subscriptions(path: Path) -> dict[str, dict[str, Any]]:
    """Subscriptions by name; none if there is no file.

    Raises:
        StoreError: The file cannot be read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read",
            why=str(error),
            remedy="Mend it, or move it away and subscribe again.",
        ) from error
    if not isinstance(data, dict) or not all(isinstance(each, dict) for each in data.values()):
        raise StoreError(f"{path} is not a map of subscriptions", remedy="Move it away and subscribe again.")
    return data


@contextmanager
def changing_subscriptions(home: Home) -> Iterator[dict[str, dict[str, Any]]]:
    """Change what is given; it is written when the block ends. One at a time, across processes.

    Raises:
        StoreError: The file cannot be read or written.
    """
    path = subscriptions_file(home)
    home.ensure()
    home.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(home.run / "webhook_subscriptions.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        data = read_subscriptions(path)
        yield data
        try:
            text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
            replace_atomically(path, text.encode(), mode=0o600)
        except OSError as error:
            raise StoreUnwritableError(f"{path} cannot be written", why=error.strerror) from error
    finally:
        os.close(lock)


def _settings_of(name: str, data: Mapping[str, Any]) -> RouteSettings:
    try:
        return RouteSettings.model_validate(data)
    except ValidationError as error:
        raise SettingError(
            f"The webhook route {name} cannot be used",
            key=f"webhook_subscriptions.{name}",
            why=complaints(error),
        ) from error
