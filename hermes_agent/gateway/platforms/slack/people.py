"""Names of people: Slack's messages have ids only."""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Iterable

from hermes_agent.core.errors import DeliveryError
from hermes_agent.gateway.platforms.outside import whole
from hermes_agent.gateway.platforms.slack.web import SlackRefusedError, Web

_MAX_NAMES = 1000
_MAX_LOOKUPS = 10
_LOOKUP_SECONDS = 2.0
_MENTION = re.compile(r"<@([A-Z0-9]+)(?:\|[^>]*)?>")


class People:
    """Looks names up once; needs the scope users:read, and does without it."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self._names: OrderedDict[str, str] = OrderedDict()
        self._is_refused = False

    def name(self, user_id: str) -> str:
        """The name if it is known, else the id."""
        return self._names.get(user_id, user_id)

    async def learn(self, user_ids: Iterable[str]) -> None:
        """Look up those not known yet: at most ten, for at most two seconds; never fails."""
        unknown = [each for each in dict.fromkeys(user_ids) if each and each not in self._names]
        if not unknown or self._is_refused:
            return
        tasks = [asyncio.create_task(self._look_up(each)) for each in unknown[:_MAX_LOOKUPS]]
        _done, late = await asyncio.wait(tasks, timeout=_LOOKUP_SECONDS)
        for task in late:
            task.cancel()

    async def _look_up(self, user_id: str) -> None:
        try:
            user = (await self._web.ask("users.info", user=user_id)).get("user") or {}
        except DeliveryError as error:
            if isinstance(error, SlackRefusedError) and error.code == "missing_scope":
                self._is_refused = True
            return
        profile = user.get("profile") or {}
        name = profile.get("display_name") or user.get("real_name") or user.get("name") or user_id
        self._names[user_id] = whole(str(name))
        if len(self._names) > _MAX_NAMES:
            self._names.popitem(last=False)


def mentioned(text: str) -> list[str]:
    """User ids mentioned in a text."""
    return _MENTION.findall(text)
