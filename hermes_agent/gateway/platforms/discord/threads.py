"""Threads that answers open: a thread opened from a message has the message's id, so it is known before.

It is opened when there is something to say in it, never because a stranger mentioned the bot.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from hermes_agent.core.errors import DeliveryError
from hermes_agent.core.platform import ChatAddress
from hermes_agent.gateway.platforms.discord.rest import Rest

_LOG = logging.getLogger(__name__)

_MAX_NAMES = 1000
_NAME_LENGTH = 80


class Threads:
    """Where messages for an address go."""

    def __init__(self) -> None:
        self._names: OrderedDict[int, str] = OrderedDict()
        self._threadless: set[int] = set()
        self._direct: dict[int, int] = {}

    def announce(self, message_id: int, text: str) -> None:
        """A message whose answer gets a thread; its text gives the name."""
        line = " ".join(text.split())
        name = line if len(line) <= _NAME_LENGTH else f"{line[: _NAME_LENGTH - 1]}…"
        self._names[message_id] = name or "Conversation"
        if len(self._names) > _MAX_NAMES:
            self._names.popitem(last=False)

    def channel(self, address: ChatAddress) -> int:
        """The channel or thread of an address. Raises `DeliveryError` if it is none of Discord."""
        try:
            channel_id, thread_id = int(address.chat_id), int(address.thread_id or 0)
        except ValueError as error:
            raise DeliveryError(f"{address} is no chat of Discord", is_permanent=True) from error
        if thread_id and thread_id not in self._threadless:
            return thread_id
        return self._direct.get(channel_id, channel_id)

    async def find(self, rest: Rest, address: ChatAddress) -> bool:
        """Discord knows no such channel: what else may the address mean? Whether `open` may find it now.

        Raises:
            DeliveryError: It could not be asked now.
        """
        place = self.channel(address)
        if address.thread_id and place == int(address.thread_id):
            self.announce(place, "")  # a thread that was to be opened when the process ended
            return True
        if place in self._direct.values():
            return False
        try:
            self._direct[place] = await rest.open_direct_chat(place)  # the id of a person
        except DeliveryError as error:
            if not error.is_permanent:
                raise
        return place in self._direct

    async def open(self, rest: Rest, address: ChatAddress) -> int:
        """The same, and open the thread if it was announced; without the right to, it is the channel.

        Raises:
            DeliveryError: It could not be opened now.
        """
        place = self.channel(address)
        name = self._names.get(place)
        if name is None:
            return place
        try:
            await rest.open_thread(int(address.chat_id), place, name)
        except DeliveryError as error:
            if not error.is_permanent:
                raise
            _LOG.info("discord: no thread could be opened in %s: %s", address.chat_id, error)
            self._threadless.add(place)
        self._names.pop(place, None)
        return self.channel(address)
