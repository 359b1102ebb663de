"""From command-line options to an open session."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from pathlib import Path

from hermes_agent.agent.service import SessionOptions
from hermes_agent.agent.session import Session
from hermes_agent.app.container import App
from hermes_agent.app.logging import start_logging
from hermes_agent.cli.options import ChatOptions
from hermes_agent.config.loader import LoadedConfig
from hermes_agent.config.loader import load as load_config
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import UsageError
from hermes_agent.core.messages import ImagePart, Part, TextPart, UserMessage

MAX_IMAGE_BYTES = 20_000_000
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def flags_of(options: ChatOptions) -> dict[str, object]:
    """Settings that the command line overrides, as dotted keys."""
    flags: dict[str, object] = {}
    if options.debug:
        flags["logging.level"] = "DEBUG"
    if options.safe_mode:
        flags["display.personality"] = ""
    if options.checkpoints:
        flags["checkpoints.enabled"] = True
    return flags


def session_options(options: ChatOptions) -> SessionOptions:
    """How to open a session."""
    toolsets = [name.strip() for name in (options.toolsets or "").split(",") if name.strip()]
    return SessionOptions(
        source=options.source or "cli",
        provider=options.provider,
        model=options.model,
        toolsets=toolsets or None,
        max_turns=options.max_turns,
        is_yolo=options.yolo,
        ignores_rules=options.ignore_rules or options.safe_mode,
    )


def load_settings(
    home: Home, options: ChatOptions, flags: Mapping[str, object] | None = None
) -> LoadedConfig:
    """The configuration of a chat.

    Args:
        home: The state directory.
        options: The command line.
        flags: Settings as dotted keys; default those of the command line.

    Raises:
        ConfigError: It cannot be used.
    """
    return load_config(
        home,
        overrides=flags_of(options) if flags is None else flags,
        use_file=not (options.ignore_user_config or options.safe_mode),
    )


def load_app(options: ChatOptions) -> App:
    """The app of a chat, with its log files open.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    app = App(load_settings(Home.from_environment(), options))
    start_logging(app.home, app.settings.logging, app.redactor)
    return app


async def open_session(app: App, options: ChatOptions) -> Session:
    """Open the session that the command line asks for.

    Raises:
        ProviderSetupError: No usable model.
        SessionNotFoundError: There is none to resume.
    """
    latest = options.continue_latest
    return await app.open_session(
        resume=options.resume,
        continue_latest=latest or latest is not None,
        options=session_options(options),
    )


def build_message(text: str, images: Iterable[str]) -> UserMessage:
    """A message with images attached.

    Raises:
        UsageError: A file is no image, or cannot be read.
    """
    parts: list[Part] = [TextPart(text)]
    parts.extend(load_image(path) for path in images)
    return UserMessage(tuple(parts))


def load_image(path: str) -> ImagePart:
    """Read an image file (or take an http address as it is).

    Raises:
        UsageError: It is no PNG, JPEG, GIF or WebP, is too large, or cannot be read.
    """
    if path.startswith(("http://", "https://")):
        return ImagePart(url=path)
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > MAX_IMAGE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_IMAGE_BYTES // 1_000_000} MB")
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"The image {path} cannot be read", why=error.strerror) from error
    media_type = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
    if media_type is None and data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        media_type = "image/webp"
    if media_type is None:
        raise UsageError(f"{path} is no image", remedy="PNG, JPEG, GIF and WebP can be attached.")
    return ImagePart(media_type, base64.b64encode(data).decode("ascii"))
