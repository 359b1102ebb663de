"""The webhook platform: signed deliveries in, answers out to whatever chat the route names.

Each delivery is a conversation of its own. The answer passes through the outbox twice: once as the answer
to the delivery, then as a message to the chat; the second is known by the key of the first.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from hermes_agent.agent.commands import commands_for
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.gateway import PlatformSettings
from hermes_agent.core.errors import DeliveryError, HermesError, NotReadyError
from hermes_agent.core.platform import Capabilities, InboundMessage, OutgoingPart, Person, Receiver
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.gateway.platforms.listener import Answer, Listener, Request
from hermes_agent.gateway.platforms.outside import read_json
from hermes_agent.gateway.platforms.table import Variable
from hermes_agent.gateway.platforms.webhook.deliveries import Deliveries
from hermes_agent.gateway.platforms.webhook.routes import Route, RouteBook, subscriptions_file
from hermes_agent.gateway.platforms.webhook.settings import WebhookSettings, webhook_settings
from hermes_agent.gateway.platforms.webhook.signatures import SignatureError, verify
from hermes_agent.gateway.platforms.webhook.template import fill, prompt_for

_LOG = logging.getLogger(__name__)

NAME = "webhook"
PREFIX = "/webhooks/"
_HEARTBEAT_SECONDS = 15.0
_DELIVER_SECONDS = 10.0
"""How long a route without an agent waits for the chat's platform before it answers."""
_MAX_TEXT = 1_000_000
_MAX_ID = 200
_MINUTE = 60.0
_ANSWERS = frozenset({"", "answer", "command", "background"})
"""Kinds of messages that are passed on; notices and progress are for people who read along."""

_ID_HEADERS = ("x-github-delivery", "webhook-id", "svix-id", "idempotency-key", "x-gitlab-event-uuid")
_WEAK_ID_HEADER = "x-request-id"
"""Proxies add it, too, and then it differs for each try."""
_EVENT_HEADERS = ("x-github-event", "x-gitlab-event", "x-event-key", "x-event-type", "x-webhook-event")


def make_adapter(settings: PlatformSettings, variable: Variable) -> WebhookAdapter:
    """Build it. Raises `SettingError` for settings and routes that cannot be used."""
    return WebhookAdapter(webhook_settings(settings, variable), Home.from_environment())


class WebhookAdapter(BaseAdapter):
    """Listens for deliveries."""

    def __init__(self, settings: WebhookSettings, home: Home) -> None:
        super().__init__(
            NAME,
            Capabilities(
                max_text=_MAX_TEXT,
                can_send_files=True,
                recognises_resends=True,
                messages_per_second=100.0,
                burst=1000,
                max_silence_seconds=_HEARTBEAT_SECONDS * 4,
                shows_progress=False,
            ),
        )
        self._settings = settings
        self._routes = RouteBook(settings, subscriptions_file(home))
        self._deliveries = Deliveries(home.cache / "webhook_deliveries.jsonl", settings.duplicate_seconds)
        self._limits: dict[str, deque[float]] = {}
        self._listener = Listener(
            settings.host,
            settings.port,
            self._answer,
            name=NAME,
            max_bytes=settings.max_body_bytes,
            admit=self._admit,
        )

    async def start(self, receiver: Receiver) -> None:
        """Listen."""
        self.receiver = receiver
        await asyncio.to_thread(self._deliveries.load, time.time())
        self._routes.refresh()
        await self._listener.start()
        self.progressed()

    async def run(self) -> None:
        """See to it that the listener lives."""
        while True:
            if not self._listener.is_alive:
                raise NotReadyError("The listener for webhooks has ended")
            self.progressed()
            await asyncio.sleep(_HEARTBEAT_SECONDS)

    async def stop(self) -> None:
        """Listen no longer."""
        await self._listener.stop()

    async def send(self, part: OutgoingPart) -> str:
        """Pass an answer on to where its route delivers."""
        if part.kind in ("send", "cron"):
            raise DeliveryError("Nobody reads what is sent to webhooks; name a chat", is_permanent=True)
        if part.kind not in _ANSWERS:
            return "not for anybody"
        route = self._routes.find(part.address.chat_id)
        if route is None or route.target is None:
            _LOG.info("webhook %s: %s", part.address.chat_id, part.text or "(a file)")
            return "logged"
        assert self.receiver is not None
        files = (part.file,) if part.file is not None else ()
        await self.receiver.forward(f"webhook:{part.key}", route.target, part.text, files)
        return f"to {route.target}"

    def facts(self) -> Mapping[str, str]:
        """Where it listens."""
        facts = {"address": self._listener.address, "routes": str(self._routes.count)}
        return {**facts, "problem": self._routes.problems[0]} if self._routes.problems else facts

    # Requests.

    def _admit(self, method: str, path: str) -> Answer | None:
        """Before the body is read."""
        if path in ("/health", "/webhooks/health"):
            return None
        name = path.removeprefix(PREFIX)
        route = self._routes.find(name) if path.startswith(PREFIX) else None
        if route is None:
            return Answer.error(404, "There is no such route")
        if method != "POST":
            return Answer.error(405, "Deliver with POST", Allow="POST")
        return None if route.settings.enabled else Answer.error(403, "This route is switched off")

    async def _answer(self, request: Request) -> Answer:
        if not request.path.startswith(PREFIX) or request.method == "GET":
            return Answer(200, {"status": "ok", "platform": NAME, "routes": self._routes.count})
        route = self._routes.find(request.path.removeprefix(PREFIX))
        if route is None:
            return Answer.error(404, "There is no such route")
        now = time.time()
        if route.secret:
            try:
                verify(
                    route.settings.signature,
                    request.headers,
                    request.body,
                    route.secret,
                    now=now,
                    tolerance_seconds=self._settings.tolerance_seconds,
                )
            except SignatureError as error:
                _LOG.warning("webhook %s: refused: %s", route.name, error)
                return Answer.error(401, str(error))
        if wait := self._wait_seconds(route):
            return Answer.error(
                429, f"More than {route.rate_limit} deliveries in a minute", Retry_After=f"{wait:.0f}"
            )
        try:
            payload = _payload(request)
            text = _prompt(route, _event(request.headers, payload), payload)
        except (ValueError, RecursionError):
            return Answer.error(400, "The body is not JSON, or nested too deeply")
        return await self._deliver(route, request.headers, payload, text, now)

    async def _deliver(
        self, route: Route, headers: Mapping[str, str], payload: Any, text: str, now: float
    ) -> Answer:
        event = _event(headers, payload)
        if event == "url_verification" and isinstance(payload, dict) and "challenge" in payload:
            return Answer(200, {"challenge": payload["challenge"]})  # Slack asks whether anybody is there
        if event == "ping" and "x-github-event" in headers:
            return Answer(200, {"status": "pong", "route": route.name})
        if route.settings.events and event not in route.settings.events:
            return Answer(200, {"status": "ignored", "route": route.name, "event": event})
        delivery_id = _delivery_id(headers, payload)
        message_id = self._deliveries.message_id(route.name, delivery_id, now)
        told = {"route": route.name, "event": event, "delivery_id": delivery_id}
        if message_id is None:
            return Answer(200, {"status": "duplicate", **told})
        if route.settings.deliver_only:
            return await self._pass_on(route, text, message_id, told, now)
        message = InboundMessage(
            platform=NAME,
            chat_id=route.name,
            message_id=message_id,
            sender=Person(route.name, f"webhook {route.name}"),
            text=text,
            thread_id=hashlib.sha256(f"{route.name}:{message_id}".encode()).hexdigest()[:16],
            chat_name=route.settings.description or route.name,
            sent_at=now,
        )
        assert self.receiver is not None
        try:
            await self.receiver.receive(message)
        except HermesError as error:
            _LOG.error("webhook %s: not stored: %s", route.name, error)
            return Answer.error(503, "Not stored; deliver it again", Retry_After="30")
        self._deliveries.taken(route.name, delivery_id, now)
        return Answer(202, {"status": "accepted", **told})

    async def _pass_on(
        self, route: Route, text: str, message_id: str, told: Mapping[str, str], now: float
    ) -> Answer:
        """Send the text itself; no agent reads it."""
        assert self.receiver is not None and route.target is not None
        try:
            state = await self.receiver.forward(
                f"webhook:{route.name}:{message_id}", route.target, text, wait_seconds=_DELIVER_SECONDS
            )
        except DeliveryError as error:
            self._deliveries.failed(route.name, told["delivery_id"])
            return Answer.error(502, " ".join(error.lines))
        except HermesError as error:
            _LOG.error("webhook %s: not stored: %s", route.name, error)
            return Answer.error(503, "Not stored; deliver it again", Retry_After="30")
        if state in ("failed", "expired", "cancelled"):
            self._deliveries.failed(route.name, told["delivery_id"])
            return Answer.error(502, f"{route.target.platform} did not take the message")
        self._deliveries.taken(route.name, told["delivery_id"], now)
        if state == "sent":
            return Answer(200, {"status": "delivered", **told})
        return Answer(202, {"status": "unknown" if state == "unknown" else "queued", **told})

    def _wait_seconds(self, route: Route) -> float:
        """Count a delivery; how long to wait if there were too many."""
        times = self._limits.setdefault(route.name, deque())
        now = time.monotonic()
        while times and now - times[0] > _MINUTE:
            times.popleft()
        if len(times) >= route.rate_limit:
            return max(1.0, _MINUTE - (now - times[0]))
        times.append(now)
        return 0.0


def _prompt(route: Route, event: str, payload: Any) -> str:
    """What the agent is told, or the chat if no agent is in between."""
    if route.settings.deliver_only:
        return fill(route.settings.prompt or "{__raw__}", payload, marked=False)
    text = prompt_for(route.name, event, route.settings.prompt, payload, target=route.answer_goes)
    if not route.settings.skills:
        return text
    first, *others = route.settings.skills
    if others:
        text = f"(Skills that may help, too: {', '.join(others)}.)\n{text}"
    is_taken = any(first in (spec.name, *spec.aliases) for spec in commands_for("gateway"))
    return text if is_taken else f"/{first} {text}"


def _payload(request: Request) -> Any:
    """The JSON, also from a form (GitHub can send one). Raises `ValueError`."""
    is_form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if is_form and request.body[:1] not in (b"{", b"["):  # curl calls everything a form
        fields = parse_qs(request.body.decode("utf-8"), strict_parsing=True, max_num_fields=200)
        if "payload" in fields:
            return read_json(fields["payload"][0].encode())
        return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    return read_json(request.body)


def _event(headers: Mapping[str, str], payload: Any) -> str:
    for name in _EVENT_HEADERS:
        if headers.get(name):
            return headers[name]
    if not isinstance(payload, Mapping):
        return ""
    inner = payload.get("event")
    if isinstance(inner, Mapping):  # Slack
        return str(inner.get("type") or payload.get("type") or "")
    for name in ("event_type", "event", "type", "action"):
        if isinstance(payload.get(name), str):
            return str(payload[name])
    return ""


def _delivery_id(headers: Mapping[str, str], payload: Any) -> str:
    """What names the delivery; a delivery without a name is never a duplicate."""
    found = next((headers[name] for name in _ID_HEADERS if headers.get(name)), "")
    if not found and isinstance(payload, Mapping):
        named = payload.get("id") if "stripe-signature" in headers else payload.get("event_id")
        found = named if isinstance(named, str) else ""
    found = found or headers.get(_WEAK_ID_HEADER, "")
    if len(found) > _MAX_ID or not found.isprintable():
        found = hashlib.sha256(found.encode("utf-8", "replace")).hexdigest()
    return found or f"unnamed-{secrets.token_hex(12)}"
