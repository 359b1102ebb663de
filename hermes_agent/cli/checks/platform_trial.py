"""Trying the credentials of a messaging platform: connect, ask who we are, leave."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import HermesError, NotReadyError, StoreError
from hermes_agent.core.loading import load
from hermes_agent.core.platform import (
    ButtonPress,
    ChatAddress,
    InboundMessage,
    OutgoingFile,
    Person,
    Platform,
    PressReply,
)
from hermes_agent.gateway.platforms.table import PlatformEntry, Variable

_LOG = logging.getLogger(__name__)

TRIAL_SECONDS = 45.0
_LEAVE_SECONDS = 10.0


class _Nobody:
    """A `Receiver` that takes nothing: what arrives meanwhile stays unacknowledged for the gateway."""

    async def receive(self, message: InboundMessage) -> None:
        raise StoreError(f"{message.platform} is only being tried")

    async def pressed(self, press: ButtonPress) -> PressReply:  # noqa: ARG002
        return PressReply("Not now.")

    def may_talk(self, platform: str, person: Person) -> bool:  # noqa: ARG002
        return False

    async def load_cursor(self, platform: str) -> str:  # noqa: ARG002
        return ""

    async def save_cursor(self, platform: str, cursor: str) -> None:
        """Nothing."""

    async def forward(
        self,
        key: str,  # noqa: ARG002
        address: ChatAddress,
        text: str,  # noqa: ARG002
        files: Sequence[OutgoingFile] = (),  # noqa: ARG002
        *,
        wait_seconds: float = 0.0,  # noqa: ARG002
    ) -> str:
        raise StoreError(f"Nothing is sent to {address.platform} now")


def try_platform(
    entry: PlatformEntry,
    settings: PlatformSettings,
    variable: Variable,
    *,
    timeout_seconds: float = TRIAL_SECONDS,
) -> Mapping[str, str]:
    """Connect once and leave; returns what the platform says about us.

    Raises:
        AuthFailedError: The credential is refused.
        NotReadyError: It cannot be reached.
        ConfigError: Something is missing.
        HermesError: Anything else went wrong.
    """
    return asyncio.run(_try(entry, settings, variable, timeout_seconds))


async def _try(
    entry: PlatformEntry, settings: PlatformSettings, variable: Variable, timeout_seconds: float
) -> Mapping[str, str]:
    platform: Platform = load(entry.path)(settings, variable)
    try:
        async with asyncio.timeout(timeout_seconds):
            await platform.start(_Nobody())
        return dict(platform.facts())
    except TimeoutError as error:
        raise NotReadyError(f"No answer within {timeout_seconds:.0f} s") from error
    except HermesError:
        raise
    except Exception as error:
        _LOG.exception("trying %s failed", entry.name)
        raise HermesError("It failed unexpectedly", why=f"{type(error).__name__}: {error}") from error
    finally:
        with suppress(HermesError, TimeoutError):
            async with asyncio.timeout(_LEAVE_SECONDS):
                await platform.stop()
