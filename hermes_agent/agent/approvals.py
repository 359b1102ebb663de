"""Policy over approvals: who decides whether a risky call may run.

Order: the hard floor (never), yolo or `approvals.mode: off` (always), remembered rules, the smart
judge, the person. Nobody there means no.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from hermes_agent.config.sections.agent import ApprovalSettings
from hermes_agent.core.approvals import Allowed, ApprovalRequest, Decision, Forbidden, NeedsApproval, Verdict
from hermes_agent.core.errors import HermesError, ToolDeniedError


class Approver(Protocol):
    """Whoever shows the run to a person."""

    @property
    def is_interactive(self) -> bool:
        """Whether a person can be asked."""
        ...

    async def request_approval(self, request: ApprovalRequest) -> Decision:
        """Ask; a time-out is `deny`."""
        ...


Judge = Callable[[NeedsApproval], Awaitable[bool | None]]
"""Decides in smart mode: True run it, False do not, None ask the person."""


@dataclass
class ApprovalGate:
    """The approvals of one session.

    Attributes:
        settings: Mode and time-out.
        always: Rules approved for good (`command_allowlist`).
        remember: Stores rules the person approved for good; may raise `HermesError`.
        is_yolo: Skip every question (never the hard floor).
    """

    settings: ApprovalSettings
    always: set[str] = field(default_factory=set)
    remember: Callable[[Iterable[str]], None] = field(default=lambda _rules: None)
    judge: Judge | None = None
    is_yolo: bool = False
    session_rules: set[str] = field(default_factory=set)

    async def check(
        self, verdict: Verdict, *, tool_name: str, tool_call_id: str, approver: Approver
    ) -> str | None:
        """Let the call pass or raise.

        Returns:
            A warning for the person, or None.

        Raises:
            ToolDeniedError: The call must not run; the text tells the model what to do instead.
        """
        if isinstance(verdict, Allowed):
            return None
        if isinstance(verdict, Forbidden):
            raise ToolDeniedError(
                f"Refused: {verdict.reason}. This is never allowed, not even with approval. "
                "Do not try to achieve the same in another way; tell the user what you wanted to do."
            )
        if self.is_yolo or self.settings.mode == "off" or self._is_remembered(verdict):
            return None
        if self.settings.mode == "smart" and self.judge is not None:
            ruling = await self.judge(verdict)
            if ruling is True:
                return None
            if ruling is False:
                raise ToolDeniedError(
                    f"Denied by the approval policy ({', '.join(verdict.reasons)}). Choose a safer way."
                )
        return await self._ask(verdict, tool_name, tool_call_id, approver)

    def _is_remembered(self, verdict: NeedsApproval) -> bool:
        known = self.always | self.session_rules
        return all(rule in known for rule in verdict.rules)

    async def _ask(
        self, verdict: NeedsApproval, tool_name: str, tool_call_id: str, approver: Approver
    ) -> str | None:
        request = ApprovalRequest(
            id=f"approval_{secrets.token_hex(8)}",
            tool_call_id=tool_call_id,
            tool_name=tool_name,
            action=verdict.action,
            reasons=verdict.reasons,
            timeout_seconds=self.settings.timeout,
        )
        decision = await approver.request_approval(request)
        if decision == "deny":
            if not approver.is_interactive:
                raise ToolDeniedError(
                    f"Not run: this needs approval ({', '.join(verdict.reasons)}) and nobody can be asked "
                    "in this run. Find a way without it, or tell the user what to run themselves."
                )
            raise ToolDeniedError(
                f"Denied by the user, or not approved in time ({', '.join(verdict.reasons)}). "
                "Do not retry the same action; ask what they would prefer."
            )
        if decision in {"session", "always"}:
            self.session_rules.update(verdict.rules)
        if decision == "always":
            self.always.update(verdict.rules)
            try:
                self.remember(verdict.rules)
            except HermesError as error:
                return f"Approved for this session only: {error.message}"
        return None
