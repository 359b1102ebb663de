"""`session_search` in its three shapes, on a real store."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hermes_agent.core.errors import ToolArgumentsError, ToolError
from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.core.tool import SessionScope, ToolContext
from hermes_agent.environments.local import LocalEnvironment
from hermes_agent.store import SqliteStore, open_store
from hermes_agent.tools.session_search import MESSAGE_CHARS, make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "state.db")
    yield opened
    await opened.aclose()


class Asking:
    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self.store = store
        self._folder = folder

    async def talk(self, *texts: str, **session: Any) -> str:
        record = await self.store.create(source=session.pop("source", "cli"), **session)
        for text in texts:
            call = ToolCall("c1", "terminal", '{"command": "ls"}')
            await self.store.append(
                record.id,
                [
                    UserMessage.of(text),
                    AssistantMessage("", (call,)),
                    ToolMessage("c1", "terminal", "x" * 5_000),
                    AssistantMessage(f"Answer to {text}"),
                ],
            )
        return record.id

    async def ask(self, principal: str = "owner", session: str = "now", **arguments: Any) -> str:
        environment = LocalEnvironment(cwd=str(self._folder), child_env={})
        scope = SessionScope(session, environment, principal=principal)
        return (await make(self.store).run(arguments, ToolContext(scope))).text


@pytest.fixture
def asking(store: SqliteStore, tmp_path: Path) -> Asking:
    return Asking(store, tmp_path)


async def test_words_find_messages_and_their_ids_lead_on(asking: Asking) -> None:
    session = await asking.talk("where is the blue teapot", "and the saucer?")
    found = await asking.ask(query="teapot")
    assert session in found and ">>>teapot<<<" in found
    number = int(re.search(r"\[(\d+)\]", found)[1])  # type: ignore[index]
    around = await asking.ask(session_id=session, around_message_id=number, window=5)
    assert "Answer to" in around
    assert "called terminal" in around and len(around) < 4 * MESSAGE_CHARS


async def test_without_arguments_recent_sessions_are_listed_but_not_this_one(asking: Asking) -> None:
    older = await asking.talk("about tea")
    current = await asking.talk("this one")
    listed = await asking.ask(session=current)
    assert older in listed and "about tea" in listed and current not in listed
    assert await asking.ask(session=older, limit=1) != ""


@pytest.mark.parametrize(
    "query", ['"', "AND", "a* OR (", "NEAR(x y)", "teapot:", "-", "日本", "'; DROP TABLE"]
)
async def test_any_text_is_a_valid_query(asking: Asking, query: str) -> None:
    await asking.talk("where is the blue teapot")
    assert await asking.ask(query=query)


async def test_arguments_that_make_no_sense_are_explained(asking: Asking) -> None:
    session = await asking.talk("one")
    other = await asking.talk("two")
    foreign = int(re.search(r"\[(\d+)\]", await asking.ask(query="two"))[1])  # type: ignore[index]
    with pytest.raises(ToolArgumentsError, match="needs session_id"):
        await asking.ask(around_message_id=1)
    with pytest.raises(ToolArgumentsError, match="limit"):
        await asking.ask(limit=0)
    with pytest.raises(ToolError):
        await asking.ask(session_id="nothing", around_message_id=1)
    with pytest.raises(ToolError, match="has no message"):
        await asking.ask(session_id=session, around_message_id=foreign)
    assert other in await asking.ask(session_id=other)
    assert "Nothing found" in await asking.ask(query="unicorn")


async def test_people_in_chats_find_only_what_is_theirs(asking: Asking) -> None:
    mine = await asking.talk("my teapot", source="telegram", user_id="1")
    theirs = await asking.talk("their teapot", source="telegram", user_id="2")
    found = await asking.ask(principal="telegram:1", query="teapot")
    assert mine in found and theirs not in found
    assert theirs not in await asking.ask(principal="telegram:1")
    with pytest.raises(ToolError, match="no session"):
        await asking.ask(principal="telegram:1", session_id=theirs, around_message_id=1)
    assert theirs in await asking.ask(query="teapot")


async def test_no_earlier_sessions_is_said(asking: Asking) -> None:
    assert await asking.ask() == "There are no earlier sessions."
