"""Inbound: who may talk, which conversation it is for, stored before it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast, get_args

from hermes_agent.core.approvals import ApprovalRequest, Decision
from hermes_agent.core.errors import DeliveryError, HermesError
from hermes_agent.core.inbox import InboxEntry
from hermes_agent.core.outbox import Outgoing
from hermes_agent.core.platform import (
    ButtonPress,
    ChatAddress,
    InboundMessage,
    OutgoingFile,
    Person,
    PressReply,
)
from hermes_agent.gateway.chat_run import ChatRun
from hermes_agent.gateway.context import GatewayContext
from hermes_agent.gateway.conversation import Conversation
from hermes_agent.gateway.delivery import finish_quietly
from hermes_agent.gateway.home_channel import home_channel
from hermes_agent.gateway.keys import session_key

_LOG = logging.getLogger(__name__)


class Router:
    """The `Receiver` that adapters hand messages to, and the conversations.

    Args:
        make_context: Builds what conversations share, given the router's `route`.
    """

    def __init__(self, make_context: Callable[[Router], GatewayContext]) -> None:
        self._conversations: dict[str, Conversation] = {}
        self._tidying: asyncio.Task[None] | None = None
        self.last_received_at = 0.0
        self.context = make_context(self)

    # The `Receiver` port.

    async def receive(self, message: InboundMessage) -> None:
        """Store a message and give it to its conversation. Raises `StoreError`."""
        context = self.context
        self.last_received_at = time.time()
        if message.sender.is_bot or not message.is_addressed:
            return
        if not (message.text.strip() or message.attachments):
            return
        admission = context.access.admit(message.platform, message.sender)
        if not admission.is_allowed:
            await self._turn_away(message)
            return
        settings = context.ports.settings()
        key = session_key(
            message,
            per_user_in_groups=settings.group_sessions_per_user,
            per_user_in_threads=settings.thread_sessions_per_user,
        )
        arrival, entry = await context.ports.inbox.add(message, key)
        if entry is None:
            _LOG.info("%s %s: delivered again, known already", message.platform, message.message_id)
        elif arrival == "new":
            self.route(entry)
        elif (found := self._conversations.get(entry.session_key)) is not None:
            if arrival == "edited":
                found.replace_text(entry)
            elif entry.state == "running":
                found.tell_edit(message.text)

    async def pressed(self, press: ButtonPress) -> PressReply:
        """Take a press of a button: an approval, or the answer to a question."""
        access = self.context.access
        if not access.admit(press.platform, press.sender).is_allowed:
            return PressReply("This is not for you.")
        action, _, rest = press.value.partition(":")
        name, _, value = rest.rpartition(":")
        if action == "approve" and value in get_args(Decision):
            return await self._approve(press, name, cast("Decision", value))
        if action == "answer":
            chosen = str(int(value) + 1) if value.isdecimal() else value
            for run in self._runs():
                if not run.asks(name):
                    continue
                if not run.may_answer(press.sender.id):
                    return PressReply("This question is for somebody else.")
                if run.answer_question(chosen, name):
                    return PressReply("Thank you.", is_over=True)
        return PressReply("This question is closed.", is_over=True)

    def may_talk(self, platform: str, person: Person) -> bool:
        """Whether a rule lets somebody in."""
        return self.context.access.admit(platform, person).is_allowed

    async def load_cursor(self, platform: str) -> str:
        """The cursor stored last."""
        return await self.context.ports.chats.get_fact(platform, "cursor")

    async def save_cursor(self, platform: str, cursor: str) -> None:
        """Remember where to go on receiving."""
        await self.context.ports.chats.put_fact(platform, "cursor", cursor)

    async def forward(
        self,
        key: str,
        address: ChatAddress,
        text: str,
        files: Sequence[OutgoingFile] = (),
        *,
        wait_seconds: float = 0.0,
    ) -> str:
        """Send something to a chat of any platform; returns its `OutboxState`."""
        ports, delivery = self.context.ports, self.context.delivery
        target: ChatAddress | None = address
        if not address.chat_id:
            variable = ports.environ().get
            target = await home_channel(address.platform, ports.settings(), variable, ports.chats)
        if target is None:
            raise DeliveryError(
                f"{address.platform} has no home channel",
                remedy=f"Write /sethome in a chat there, or name the chat: {address.platform}:CHAT",
                is_permanent=True,
            )
        message = Outgoing(key=key, address=target, text=text, files=tuple(files), kind="send")
        entry_id = await delivery.put(message)
        try:
            async with asyncio.timeout(wait_seconds):
                entry = await delivery.settled(entry_id)
        except TimeoutError:
            entry = await delivery.entry(entry_id)
        return entry.state if entry is not None else "expired"

    # Conversations.

    def route(self, entry: InboxEntry, *, is_resumed: bool = False) -> None:
        """Give a stored message to its conversation."""
        found = self._conversations.get(entry.session_key)
        if found is None:
            found = self._conversations[entry.session_key] = Conversation(entry.session_key, self.context)
        found.add(entry, is_resumed=is_resumed)

    async def resume(self) -> int:
        """Take up everything an earlier process left; before any adapter connects. Returns how much."""
        entries = await self.context.ports.inbox.unfinished()
        for entry in sorted(entries, key=lambda each: (each.state != "running", each.id)):
            self.route(entry, is_resumed=True)
        return len(entries)

    def conversations(self) -> Sequence[Conversation]:
        """All that are known now."""
        return list(self._conversations.values())

    def _runs(self) -> list[ChatRun]:
        return [
            each.run for each in self._conversations.values() if each.run is not None and each.run.is_going
        ]

    def open_approvals(self) -> list[tuple[str, ApprovalRequest]]:
        """Actions that runs wait to be allowed, with the conversations they belong to."""
        runs = ((key, each.run) for key, each in self._conversations.items())
        found = ((key, run.open_approval) for key, run in runs if run is not None)
        return [(key, request) for key, request in found if request is not None]

    def decide(self, request_id: str, decision: Decision, by: str) -> ApprovalRequest | None:
        """Answer one of them; None if it is not open any more."""
        for run in self._runs():
            if (request := run.decide(decision, by, request_id=request_id)) is not None:
                return request
        return None

    @property
    def active(self) -> int:
        """Runs going on."""
        return sum(1 for each in self._conversations.values() if each.is_running)

    @property
    def open_sessions(self) -> int:
        """Sessions kept in memory."""
        return sum(1 for each in self._conversations.values() if each.session is not None)

    async def release(self, session_id: str) -> bool:
        """Let somebody else open a session: close it where it is open and idle; False if it is at work."""
        for each in list(self._conversations.values()):
            if each.chat.holds(session_id):
                return await each.give_up()
        return True

    async def drain(self) -> None:
        """Begin no new run, wait for those going on."""
        self.context.is_draining = True
        await asyncio.gather(*(each.drain() for each in self._conversations.values()))

    async def leave(self) -> None:
        """Stop everything; what is not finished is taken up by the next process."""
        self.context.is_draining = True
        await finish_quietly(self._tidying)
        results = await asyncio.gather(
            *(each.leave() for each in self._conversations.values()), return_exceptions=True
        )
        for result in results:
            if isinstance(result, Exception):
                _LOG.warning("a conversation did not close: %s", result)
        self._conversations.clear()

    async def tidy(self) -> None:
        """Close sessions that nobody used for long, and those beyond the limit, oldest first."""
        settings = self.context.ports.settings().gateway
        idle = sorted(
            (each for each in self._conversations.values() if each.is_idle), key=lambda each: each.used_at
        )
        surplus = self.open_sessions - settings.max_cached_agents
        now = time.monotonic()
        for conversation in idle:
            is_open = conversation.session is not None and not conversation.chat.has_processes
            is_old = now - conversation.used_at > settings.agent_idle_seconds
            if is_open and (surplus > 0 or is_old):
                surplus -= 1
                with suppress(HermesError):
                    await conversation.chat.close()
            if conversation.session is None and conversation.is_idle:
                self._conversations.pop(conversation.key, None)

    def tidy_soon(self) -> None:
        """Close sessions beyond the limit now."""
        limit = self.context.ports.settings().gateway.max_cached_agents
        if self._tidying is None and not self.context.is_draining and self.open_sessions > limit:
            self._tidying = asyncio.create_task(self._tidy_once(), name="tidy")

    async def _tidy_once(self) -> None:
        try:
            await self.tidy()
        finally:
            self._tidying = None

    def forget_models(self) -> None:
        """Settings have changed: sessions are opened anew, those at work when their run has ended."""
        for conversation in list(self._conversations.values()):
            if conversation.session is not None:
                conversation.outdate()

    async def _approve(self, press: ButtonPress, request_id: str, decision: Decision) -> PressReply:
        if decision == "always" and not self.context.access.is_owner(press.platform, press.sender):
            return PressReply("Only the owner may approve something for good.")
        approvals = self.context.ports.approvals
        action = await approvals.decide_approval(request_id, press.sender.id, decision)
        if action is None:
            return PressReply("This is not yours to decide, or it is too late.")
        conversation = self._conversations.get(await approvals.approval_of(request_id))
        run = conversation.run if conversation is not None else None
        # After a restart the run asks for the same action under another id.
        if run is not None and run.decide(decision, press.sender.id, request_id=request_id, action=action):
            await approvals.use_approval(request_id)
            return PressReply("Not run." if decision == "deny" else "Approved.", is_over=True)
        return PressReply("Noted; it counts if I ask for the same again.", is_over=True)

    async def _turn_away(self, message: InboundMessage) -> None:
        access = self.context.access
        _LOG.info("%s: a message of unknown user %s was refused", message.platform, message.sender.id)
        if not access.offers_pairing(message) or message.is_edit:
            return
        code = await asyncio.to_thread(
            access.pairing.request, message.platform, message.sender.id, message.sender.name
        )
        if code is None:
            return
        await self.context.ports.chats.put_fact(
            message.platform, f"pairing_chat:{message.sender.id}", message.chat_id
        )
        await self.context.delivery.put(
            Outgoing(
                key=f"pairing:{message.platform}:{message.chat_id}:{message.message_id}",
                address=message.address,
                text=(
                    "I do not know you yet. Give this code to the owner of this bot; it is valid for an "
                    f"hour:\n\n`{code}`\n\nThe owner runs: `hermes pairing approve {message.platform} {code}`"
                ),
                kind="pairing",
            )
        )
