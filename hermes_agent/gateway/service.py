"""The messaging service: adapters, router, delivery; one `core.surface.Service` of the process."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast, get_args

from hermes_agent.core.approvals import Decision
from hermes_agent.core.errors import GatewayError, HermesError, StoreError, UsageError
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import ChatAddress, Platform
from hermes_agent.core.surface import Health
from hermes_agent.gateway.access import Access
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.delivery import Delivery
from hermes_agent.gateway.handoff import hand_over
from hermes_agent.gateway.keeper import Keeper
from hermes_agent.gateway.ports import GatewayPorts, PlatformFactory
from hermes_agent.gateway.processes import ProcessNotices
from hermes_agent.gateway.router import Router

_LOG = logging.getLogger(__name__)

_TIDY_SECONDS = 60.0
_FLUSH_SECONDS = 5.0
_PRUNE_SECONDS = 6 * 3600.0


class MessagingService:
    """Talks to people on all configured platforms."""

    def __init__(self, ports: GatewayPorts) -> None:
        self._ports = ports
        self._keepers: dict[str, Keeper] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._is_started = False
        self._outbox_counts: dict[str, int] = {}
        self.delivery = Delivery(
            ports.outbox, self._platform_of, max_parts=ports.settings().gateway.max_parts
        )
        self._processes = ProcessNotices(
            ports.settings, ports.chats, self.delivery, ports.redact, self._shows_progress
        )
        self._router: Router | None = None

    @property
    def name(self) -> str:
        """Constant."""
        return "messaging"

    async def run(self, started: Callable[[], None]) -> None:
        """Resume, connect, work until cancelled."""
        router = self._router = Router(self._context)
        try:
            await self.delivery.open()
            await self._ports.adopt_index()
            await self._processes.tell_lost()
            await self._tell_restarted()
            resumed = await router.resume()
            if resumed:
                _LOG.info("%d messages of the last time are gone on with", resumed)
            await self._connect(self._ports.platforms(), router)
            await asyncio.gather(*(keeper.settled.wait() for keeper in self._keepers.values()))
            self._is_started = True
            self._warn_without_rules()
            self._ports.hooks.emit("gateway:startup", {"platforms": list(self._keepers)})
            started()
            await self._tidy(router)
        finally:
            self._is_started = False
            self._processes.leave()
            await router.leave()
            await self._processes.aclose()
            await self._ports.close_hooks()
            await self.delivery.aclose()
            with suppress(HermesError):
                await self._ports.write_index()
            await asyncio.gather(*(keeper.stop() for keeper in self._keepers.values()))
            self._keepers.clear()
            self._router = None

    async def drain(self) -> None:
        """Begin no new run, wait for those going on, send what is ready."""
        if self._router is not None:
            await self._router.drain()
            await self.delivery.flush(_FLUSH_SECONDS)

    async def reload(self) -> None:
        """Connect platforms anew whose settings may have changed; drop those that are gone."""
        router = self._router
        if router is None:
            return
        router.context.access = Access(self._ports.settings(), self._ports.environ().get, self._ports.pairing)
        router.forget_models()
        wanted = dict(self._ports.platforms())
        for name in [name for name in self._keepers if name not in wanted]:
            await self._keepers.pop(name).stop()
        for name, build in wanted.items():
            keeper = self._keepers.get(name)
            if keeper is None:
                await self._connect([(name, build)], router)
            elif keeper.state != "paused":
                await keeper.restart(build)

    def health(self) -> Health:
        """Degraded if a platform is not connected."""
        platforms = {
            name: {
                "state": keeper.state,
                "error_code": None if keeper.state in ("connected", "paused", "connecting") else keeper.state,
                "error_message": keeper.error or None,
                "since": keeper.since,
                "reconnects": keeper.reconnects,
                **(dict(keeper.platform.facts()) if keeper.platform is not None else {}),
            }
            for name, keeper in self._keepers.items()
        }
        troubled = [
            f"{name}: {keeper.error or keeper.state}"
            for name, keeper in self._keepers.items()
            if keeper.state not in ("connected", "paused")
        ]
        router = self._router
        return Health(
            "degraded" if troubled else "ok",
            "; ".join(troubled),
            active=router.active if router else 0,
            is_stuck=any(keeper.is_stuck for keeper in self._keepers.values()),
            facts={
                "platforms": platforms,
                "open_sessions": router.open_sessions if router else 0,
                "outbox": self._outbox_counts,
                "last_received_at": (router.last_received_at or None) if router else None,
            },
        )

    # Control commands (`process.control`).

    async def on_send(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """`hermes send`: queue a message and say what became of it within a few seconds."""
        address = ChatAddress(
            str(request["platform"]), str(request["chat_id"]), str(request.get("thread_id") or "")
        )
        entry_id = await self.delivery.put(
            Outgoing(key=str(request["key"]), address=address, text=str(request["text"]), kind="send")
        )
        try:
            async with asyncio.timeout(float(request.get("wait_seconds") or 10)):
                entry = await self.delivery.settled(entry_id)
        except TimeoutError:
            entry = await self.delivery.entry(entry_id)
        assert entry is not None
        return {
            "id": entry.id,
            "state": entry.state,
            "message_ids": list(entry.message_ids),
            "error": entry.error,
        }

    async def on_look(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """Another process has queued something."""
        await self.delivery.look_around()
        return {}

    async def on_approved(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Somebody was let in: tell them, in the chat where they asked (a direct message)."""
        platform, user_id = str(request["platform"]), str(request["user_id"])
        chat_id = await self._ports.chats.get_fact(platform, f"pairing_chat:{user_id}")
        if chat_id:
            await self.delivery.put(
                Outgoing(
                    key=f"paired:{platform}:{user_id}:{time.time():.0f}",
                    address=ChatAddress(platform, chat_id),
                    text="✅ You may talk to me now. /help shows what I understand.",
                    kind="pairing",
                )
            )
        return {}

    async def on_approvals(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        """What runs wait to be allowed (`hermes mcp serve`)."""
        found = self._router.open_approvals() if self._router is not None else []
        return {
            "approvals": [
                {
                    "id": each.id,
                    "session_key": key,
                    "tool": each.tool_name,
                    "action": each.action,
                    "reasons": list(each.reasons),
                }
                for key, each in found
            ]
        }

    async def on_approve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Decide one of them. Whoever may ask on the control socket owns this gateway."""
        decision = str(request.get("decision"))
        if decision not in get_args(Decision):
            raise GatewayError(f"There is no decision {decision!r}")
        router, request_id = self._router, str(request.get("id"))
        decided = (
            router.decide(request_id, cast("Decision", decision), "owner") if router is not None else None
        )
        if decided is None:
            raise GatewayError(f"Nothing waits for a decision under {request_id!r}")
        return {"action": decided.action}

    async def on_release(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The terminal wants to go on with a session that a chat has open."""
        router = self._router
        return {"is_free": router is not None and await router.release(str(request.get("session_id")))}

    async def on_handoff(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The terminal hands its conversation over to a platform's home channel."""
        if self._router is None:
            raise GatewayError("The gateway is still starting")
        platform, session_id = str(request.get("platform")), str(request.get("session_id"))
        return {"address": await hand_over(self._router.context, platform, session_id)}

    async def on_platform(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Pause or resume a platform."""
        name = str(request.get("name"))
        await (self.pause(name) if request.get("action") == "pause" else self.resume(name))
        return {"platforms": self._lines()}

    async def pause(self, name: str) -> None:
        """Disconnect a platform until `resume`, also across restarts. Raises `UsageError`."""
        keeper = self._keeper(name)
        await self._ports.chats.put_fact(name, "paused", "1")
        await keeper.stop("paused")

    async def resume(self, name: str) -> None:
        """Connect it again. Raises `UsageError`."""
        keeper = self._keeper(name)
        await self._ports.chats.put_fact(name, "paused", "")
        keeper.start()

    def _keeper(self, name: str) -> Keeper:
        keeper = self._keepers.get(name)
        if keeper is None:
            known = ", ".join(self._keepers) or "none"
            raise UsageError(f"There is no platform {name!r}", remedy=f"Configured: {known}")
        return keeper

    def _context(self, router: Router) -> GatewayContext:
        ports = self._ports
        return GatewayContext(
            ports=ports,
            access=Access(ports.settings(), ports.environ().get, ports.pairing),
            delivery=self.delivery,
            platform_of=self._platform_of,
            route=router.route,
            platform_lines=self._lines,
            processes=self._processes,
            conversations=router.conversations,
            release=router.release,
            on_idle=router.tidy_soon,
            pause=self.pause,
            resume=self.resume,
        )

    async def _connect(self, wanted: Sequence[tuple[str, PlatformFactory]], router: Router) -> None:
        for name, build in wanted:
            keeper = Keeper(name, build, router, self._changed)
            self._keepers[name] = keeper
            if await self._ports.chats.get_fact(name, "paused"):
                await keeper.stop("paused")
                keeper.settled.set()
            else:
                keeper.start()

    def _platform_of(self, name: str) -> Platform | None:
        keeper = self._keepers.get(name)
        return keeper.platform if keeper is not None else None

    def _shows_progress(self, name: str) -> bool:
        platform = self._platform_of(name)
        return platform is None or platform.capabilities.shows_progress

    def _changed(self, name: str) -> None:
        if self._platform_of(name) is not None:
            task = asyncio.create_task(self.delivery.look_around(name), name=f"outbox of {name}")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    def _lines(self) -> list[str]:
        return [
            f"{name}: {keeper.state}{f' ({keeper.error})' if keeper.error else ''}"
            for name, keeper in self._keepers.items()
        ]

    async def _tell_restarted(self) -> None:
        """Answer the `/restart` that ended the process before this one."""
        text = await self._ports.chats.get_fact("gateway", "restarted_from")
        if not text:
            return
        await self._ports.chats.put_fact("gateway", "restarted_from", "")
        with suppress(ValueError, TypeError, KeyError):
            asked = json.loads(text)
            await self.delivery.put(
                Outgoing(
                    key=f"restarted:{asked['key']}",
                    address=ChatAddress(asked["platform"], asked["chat_id"], asked["thread_id"]),
                    text="♻️ I am back.",
                )
            )

    def _warn_without_rules(self) -> None:
        if self._router is None:
            return
        access = self._router.context.access
        for name in self._keepers:
            if not access.has_rules(name) and not any(
                user.platform == name for user in access.pairing.approved()
            ):
                _LOG.warning(
                    "%s: nobody may talk yet; let people in with %s_ALLOWED_USERS or hermes pairing approve",
                    name,
                    name.upper(),
                )

    async def _tidy(self, router: Router) -> None:
        pruned_at = 0.0
        while True:
            try:
                self._outbox_counts = await self._ports.outbox.counts()
                await self._ports.write_index()
                if time.monotonic() - pruned_at > _PRUNE_SECONDS:
                    await self._ports.prune()
                    pruned_at = time.monotonic()
            except StoreError as error:
                _LOG.warning("tidying: %s", error)
            await asyncio.sleep(_TIDY_SECONDS)
            await router.tidy()
