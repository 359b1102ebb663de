"""What needs the running gateway: sending messages, answering its questions."""

from __future__ import annotations

import secrets
from typing import Any, Literal, TypeAlias

from hermes_agent.core.errors import GatewayError, UsageError
from hermes_agent.mcp.server.conversations import Conversations, target_of
from hermes_agent.mcp.server.ports import ServerPorts

Answer: TypeAlias = Literal["allow-once", "allow-always", "deny"]

_DECISIONS: dict[str, str] = {"allow-once": "once", "allow-always": "always", "deny": "deny"}
MAX_MESSAGE_CHARS = 100_000


class Actions:
    """The acting tools. Each says honestly if there is no gateway, or it cannot do it."""

    def __init__(self, ports: ServerPorts, conversations: Conversations) -> None:
        self._ports = ports
        self._conversations = conversations

    async def send(self, target: str, message: str) -> dict[str, Any]:
        """Send a message; says what became of it within some seconds."""
        if not message.strip():
            raise UsageError("The message is empty")
        if len(message) > MAX_MESSAGE_CHARS:
            raise UsageError(f"The message is longer than {MAX_MESSAGE_CHARS:,} characters")
        chat = await self._conversations.find_chat(target)
        platform, _, rest = (target_of(chat) if chat else target).partition(":")
        chat_id, _, thread_id = rest.partition(":")
        if not platform or not chat_id:
            raise UsageError(
                f"{target!r} is no target", remedy="channels_list shows targets, such as telegram:12345"
            )
        answer = await self._ports.ask_gateway(
            "send",
            {
                "platform": platform,
                "chat_id": chat_id,
                "thread_id": thread_id,
                "text": message,
                "key": f"mcp:{secrets.token_hex(12)}",
            },
        )
        state = str(answer.get("state", "unknown"))
        result = {
            "success": state == "sent",
            "state": state,
            "id": answer.get("id"),
            "message_ids": answer.get("message_ids") or [],
            "target": target,
        }
        return result | ({"error": self._ports.redact(str(answer["error"]))} if answer.get("error") else {})

    async def open_permissions(self) -> dict[str, Any]:
        """Questions that wait for a person."""
        answer = await self._ask("approvals", {})
        found = [
            {
                "id": str(each.get("id", "")),
                "session_key": str(each.get("session_key", "")),
                "tool": str(each.get("tool", "")),
                "action": self._ports.redact(str(each.get("action", ""))),
                "reasons": [self._ports.redact(str(reason)) for reason in each.get("reasons") or ()],
                "expires_at": each.get("expires_at"),
            }
            for each in answer.get("approvals") or ()
            if isinstance(each, dict)
        ]
        return {"count": len(found), "permissions": found}

    async def respond(self, permission_id: str, decision: Answer) -> dict[str, Any]:
        """Answer one of them."""
        answer = await self._ask("approve", {"id": permission_id, "decision": _DECISIONS[decision]})
        return {
            "success": True,
            "id": permission_id,
            "decision": decision,
            "action": answer.get("action", ""),
        }

    async def _ask(self, command: str, values: dict[str, Any]) -> dict[str, Any]:
        try:
            return await self._ports.ask_gateway(command, values)
        except GatewayError as error:
            if "no control command" in error.message:
                raise GatewayError(
                    "The running gateway does not let its questions be answered from here",
                    remedy="Answer them in the chat where they were asked",
                ) from error
            raise
