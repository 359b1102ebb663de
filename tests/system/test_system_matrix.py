"""Chats with the real gateway process on a real Synapse."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nio
import pytest
from nio.crypto import decrypt_attachment
from platform_process import RULES, PlatformGateway
from synapse_server import PASSWORD, Person, Synapse, running_synapse

from hermes_agent.config.paths import Home

pytestmark = pytest.mark.system

_NAMES = iter(range(1000))


@pytest.fixture(scope="module")
def _synapse() -> Iterator[Synapse]:
    with running_synapse() as running:
        yield running


@pytest.fixture
def synapse(_synapse: Synapse) -> Iterator[Synapse]:
    yield _synapse
    if _synapse.process is None:
        _synapse.start()


@pytest.fixture
def bot(synapse: Synapse) -> Person:
    """The agent's account, as its owner could use it."""
    return synapse.register(f"hermes{next(_NAMES)}")


@pytest.fixture
def alice(synapse: Synapse) -> Person:
    return synapse.register(f"alice{next(_NAMES)}")


@pytest.fixture
def bob(synapse: Synapse) -> Person:
    return synapse.register(f"bob{next(_NAMES)}")


@pytest.fixture
def gateway(home: Home, bot: Person, alice: Person, model_server: Any) -> Iterator[PlatformGateway]:
    made = PlatformGateway(
        home,
        None,  # type: ignore[arg-type]
        platform="matrix",
        base_url=model_server(RULES).base_url,
        extra={
            "homeserver": bot.url,
            "user_id": bot.user_id,
            "messages_per_second": 100,
            "burst": 100,
            "allowed_users": [alice.user_id],
            "encryption": False,
        },
        env={"MATRIX_PASSWORD": PASSWORD},
    )
    yield made
    made.end()


def direct(alice: Person, bot: Person) -> str:
    """A direct chat that the bot has joined."""
    room = alice.room(bot.user_id)
    joined(alice, room, bot)
    return room


def joined(alice: Person, room: str, bot: Person) -> None:
    alice.wait_for(
        lambda: any(
            event["type"] == "m.room.member"
            and event["room_id"] == room
            and event["sender"] == bot.user_id
            and event["content"]["membership"] == "join"
            for event in alice.seen
        ),
        hint=" (the bot does not join)",
    )


def test_a_message_is_answered(gateway: PlatformGateway, alice: Person, bot: Person) -> None:
    gateway.start()
    room = alice.room(bot.user_id)
    asked = alice.say(room, "token-1, said before the bot came in")
    answer = alice.wait_for_text(room, "token-1")
    assert answer["content"]["body"] == "[1] You said: token-1, said before the bot came in"
    assert answer["content"]["msgtype"] == "m.text"
    assert answer["content"]["m.relates_to"]["m.in_reply_to"]["event_id"] == asked
    alice.say(room, "token-2")
    assert alice.wait_for_text(room, "token-2")["content"]["body"].startswith("[3]")
    assert bot.user_id in alice.typing
    state = gateway.state()
    assert (state["user"], state["encryption"]) == (bot.user_id, "off")
    assert gateway.stop() == 0


def test_markdown_is_formatted(gateway: PlatformGateway, alice: Person, bot: Person) -> None:
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "show markdown")
    content = alice.wait_for_text(room, "bold")["content"]
    assert content["format"] == "org.matrix.custom.html"
    assert "<strong>bold</strong>" in content["formatted_body"]
    assert '<a href="https://example.org">link</a>' in content["formatted_body"]
    assert "&lt;b&gt;raw" in content["formatted_body"]


def test_in_a_room_it_answers_what_mentions_or_answers_it(
    gateway: PlatformGateway, alice: Person, bob: Person, bot: Person
) -> None:
    gateway.start()
    room = alice.room(bot.user_id, bob.user_id, is_direct=False, name="Everybody")
    bob.join(room)
    joined(alice, room, bot)
    alice.say(room, "token-1 is for nobody")
    alice.say(room, f"{bot.user_id}: token-2", **{"m.mentions": {"user_ids": [bot.user_id]}})
    first = alice.wait_for_text(room, "token-2")
    assert first["content"]["body"].endswith("You said: token-2")
    reply = {"m.relates_to": {"m.in_reply_to": {"event_id": first["event_id"]}}}
    alice.say(room, f"> <{bot.user_id}> You said\n\ntoken-3", **reply)
    assert "token-3" in alice.wait_for_text(room, "token-3")["content"]["body"]
    pill = f'<a href="https://matrix.to/#/{quote(bot.user_id)}">Hermes</a> token-4'
    alice.say(room, {"msgtype": "m.text", "body": "Hermes token-4", "formatted_body": pill})
    alice.wait_for_text(room, "token-4")
    gateway.stop()
    gateway.start()
    alice.say(room, "token-8 is for nobody after a restart either")
    bob.say(room, f"{bot.user_id} token-5 of somebody who may not")
    alice.say(room, {"msgtype": "m.notice", "body": f"{bot.user_id} token-6 of a machine"})
    alice.say(room, f"{bot.user_id} token-7")
    alice.wait_for_text(room, "token-7")
    answers = [each["content"]["body"] for each in alice.messages(room, bot.user_id)]
    assert [text for text in answers if any(f"token-{number}" in text for number in (1, 5, 6, 8))] == []


def test_a_thread_is_a_conversation_of_its_own(gateway: PlatformGateway, alice: Person, bot: Person) -> None:
    gateway.start()
    room = direct(alice, bot)
    root = alice.say(room, "token-1")
    alice.wait_for_text(room, "token-1")
    thread = {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": root},
    }
    alice.say(room, "token-2", **{"m.relates_to": thread})
    answer = alice.wait_for_text(room, "token-2")["content"]
    assert answer["body"].startswith("[1]")
    assert answer["m.relates_to"]["rel_type"] == "m.thread"
    assert answer["m.relates_to"]["event_id"] == root


def test_in_a_thread_that_it_takes_part_in_no_mention_is_needed(
    gateway: PlatformGateway, alice: Person, bob: Person, bot: Person
) -> None:
    gateway.start()
    room = alice.room(bot.user_id, bob.user_id, is_direct=False)
    joined(alice, room, bot)
    root = alice.say(room, "token-0 for nobody")
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root, "is_falling_back": True}}
    alice.say(room, f"{bot.user_id} token-1", **thread)
    alice.wait_for_text(room, "token-1")
    gateway.stop()
    gateway.start()
    alice.say(room, "token-2", **thread)
    assert alice.wait_for_text(room, "token-2")["content"]["body"].startswith("[3]")


def test_an_edited_message_is_taken_with_its_new_text(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "be slow with token-1")
    second = alice.say(room, "token-2 with a tpyo")
    new = {"msgtype": "m.text", "body": "token-2 with a typo"}
    alice.say(
        room,
        "* token-2 with a typo",
        **{"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": second}},
    )
    alice.wait_for_text(room, "token-2")
    assert [text for text in alice.shown(room) if "token-2" in text] == ["[3] You said: token-2 with a typo"]


def test_a_streamed_answer_is_one_message(gateway: PlatformGateway, alice: Person, bot: Person) -> None:
    gateway.settings = {"streaming": {"enabled": True, "edit_interval": 0.2, "buffer_threshold": 1}}
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "speak slowly")
    alice.wait_for(lambda: any("complete: done." in text for text in alice.shown(room)))
    assert len(alice.shown(room)) == 1
    edits = [each for each in alice.messages(room) if "m.new_content" in each["content"]]
    assert len(edits) >= 2
    assert alice.shown(room)[0].startswith("One moment please")


def test_files_go_both_ways(gateway: PlatformGateway, alice: Person, bot: Person, tmp_path: Path) -> None:
    gateway.start()
    room = direct(alice, bot)
    uri = alice.upload(b"\x00\x01 binary \xff", "thing.bin", "application/x-thing")
    content = {"msgtype": "m.file", "body": "token-1 look", "filename": "Größe.bin", "url": uri}
    alice.say(room, {**content, "info": {"mimetype": "application/x-thing", "size": 11}})
    assert "11 bytes" in alice.wait_for_text(room, "token-1")["content"]["body"]
    report = tmp_path / "report.txt"
    report.write_text("content of the report ✓")
    alice.say(room, f"send the file {report}")
    alice.wait_for_text(room, "Here it is.")
    found = alice.wait_for_text(room, "report.txt")["content"]
    assert found["msgtype"] == "m.file"
    assert alice.download(found["url"]).decode() == "content of the report ✓"
    alice.say(room, {"msgtype": "m.image", "body": "gone.png", "url": "mxc://hermes.test/nothing"})
    assert "could not be downloaded" in alice.wait_for_text(room, "gone.png")["content"]["body"]


def test_an_invitation_of_a_stranger_waits_until_they_may_talk(
    gateway: PlatformGateway, bob: Person, bot: Person
) -> None:
    gateway.start()
    room = bob.room(bot.user_id)
    bob.say(room, "token-1")
    bob.wait_for(lambda: "may not talk" in gateway.output())
    assert bob.user_id in gateway.state()["invitations_of_strangers"]
    gateway.stop()
    gateway.env["MATRIX_ALLOWED_USERS"] = bob.user_id
    gateway.start()
    bob.say(room, "token-2")
    bob.wait_for_text(room, "token-2")


def test_what_was_said_while_it_was_down_is_answered_however_much(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "token-0")
    alice.wait_for_text(room, "token-0")
    gateway.stop()
    for number in range(1, 71):  # more than one sync gives
        alice.say(room, f"token-{number:03}.")
    gateway.start()
    alice.wait_for_text(room, "token-070.", timeout=120)
    answered = "\n".join(alice.shown(room))
    assert [number for number in range(1, 71) if f"token-{number:03}." not in answered] == []


def test_a_cursor_that_the_server_does_not_know_loses_and_repeats_nothing(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "token-1")
    alice.wait_for_text(room, "token-1")
    gateway.stop()
    alice.say(room, "token-2")
    with sqlite3.connect(gateway.home.root / "state.db") as db:
        where = "platform = 'matrix' AND name = 'cursor'"
        (stored,) = db.execute(f"SELECT value FROM platform_state WHERE {where}").fetchone()
        broken = json.dumps({**json.loads(stored), "token": "no such token"})
        db.execute(f"UPDATE platform_state SET value = ? WHERE {where}", (broken,))
    gateway.start()
    alice.wait_for_text(room, "token-2")
    assert "does not know how far we were" in gateway.output()
    alice.say(room, "token-3")
    alice.wait_for_text(room, "token-3")
    assert len(alice.messages(room, bot.user_id)) == 3


def test_nothing_is_lost_or_answered_twice_when_the_process_is_killed(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.settings = {"display": {"busy_input_mode": "queue"}}
    gateway.start()
    room = direct(alice, bot)
    for number in range(6):
        alice.say(room, f"be slow and answer token-{number}")
        if number % 2:
            alice.wait_for(lambda least=number: stored(gateway) >= least)
            gateway.kill()
            gateway.start()
    alice.wait_for(lambda: sum("Slow answer" in text for text in alice.shown(room)) == 6, 60)
    alice.look(2)
    assert [text for text in alice.shown(room) if "Slow" in text] == [
        f"Slow answer to token-{number}." for number in range(6)
    ]


def test_it_goes_on_when_the_server_comes_back(
    gateway: PlatformGateway, synapse: Synapse, alice: Person, bot: Person
) -> None:
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "be slow and answer token-1")
    alice.wait_for(lambda: stored(gateway) == 1)
    synapse.stop()
    gateway_retries(gateway)
    synapse.start()
    alice.wait_for_text(room, "Slow answer to token-1", 60)
    alice.say(room, "token-2")
    alice.wait_for_text(room, "token-2")


def test_the_session_is_kept_and_a_wrong_password_is_said(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    device = gateway.state()["device"]
    session = gateway.home.root / "platforms" / "matrix" / "session.json"
    assert session.stat().st_mode & 0o777 == 0o600
    gateway.stop()
    gateway.env["MATRIX_PASSWORD"] = "wrong"
    gateway.start()
    assert gateway.state()["state"] == "connected"
    assert gateway.state()["device"] == device
    gateway.stop()
    session.unlink()
    gateway.start()
    state = gateway.state()
    assert state["state"] == "auth_failed"
    assert f"refuses the password of {bot.user_id}" in state["error_message"]


def test_a_session_that_was_ended_elsewhere_is_begun_anew(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    room = direct(alice, bot)
    device = gateway.state()["device"]
    bot.call("POST", "logout/all", {})
    alice.wait_for(lambda: gateway.state()["state"] == "connected" and gateway.state()["device"] != device)
    alice.say(room, "token-1")
    alice.wait_for_text(room, "token-1")


def test_a_refused_token_is_said(gateway: PlatformGateway, bot: Person, alice: Person) -> None:
    gateway.env = {"MATRIX_ACCESS_TOKEN": bot.token}
    gateway.start()
    room = direct(alice, bot)
    alice.say(room, "token-1")
    alice.wait_for_text(room, "token-1")
    bot.call("POST", "logout", {})
    alice.wait_for(lambda: gateway.state()["state"] == "auth_failed")
    assert "MATRIX_ACCESS_TOKEN" in gateway.state()["error_message"]


def test_without_encryption_an_encrypted_room_is_told_once(
    gateway: PlatformGateway, alice: Person, bot: Person
) -> None:
    gateway.start()
    algorithm = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room = alice.room(bot.user_id, initial_state=[algorithm])
    joined(alice, room, bot)
    for number in range(2):
        path = f"rooms/{quote(room)}/send/m.room.encrypted/t{number}"
        sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s", "device_id": "D"}
        alice.call("PUT", path, {**sealed, "sender_key": "k"})
    alice.wait_for_text(room, "encrypted")
    other = direct(alice, bot)
    alice.say(other, "token-1")
    alice.wait_for_text(other, "token-1")
    assert len(alice.messages(room)) == 1


def test_messages_to_people_and_aliases_are_sent(
    gateway: PlatformGateway, alice: Person, bob: Person, bot: Person
) -> None:
    del gateway.extra["encryption"]
    gateway.start()
    room = alice.room(bot.user_id, room_alias_name=f"news{next(_NAMES)}")
    joined(alice, room, bot)
    alias = next(each["content"]["alias"] for each in alice.seen if each["type"] == "m.room.canonical_alias")
    sent = gateway.ask("send", platform="matrix", chat_id=alias, text="to the alias", key="k1")
    assert sent["state"] == "sent"
    alice.wait_for_text(room, "to the alias")
    gone = gateway.ask("send", platform="matrix", chat_id="#nowhere:hermes.test", text="x", key="k2")
    assert gone["state"] == "failed"
    bad = gateway.ask("send", platform="matrix", chat_id="!none:hermes.test", text="x", key="k3")
    assert bad["state"] == "failed"
    person = gateway.ask("send", platform="matrix", chat_id=alice.user_id, text="to you", key="k4")
    assert person["state"] == "sent"
    alice.wait_for_text(room, "to you")
    stranger = gateway.ask("send", platform="matrix", chat_id=bob.user_id, text="hello bob", key="k5")
    assert stranger["state"] == "sent"
    bob.wait_for(lambda: bob.invited)
    bob.join(bob.invited[0])
    gateway.stop()
    gateway.start()
    assert (
        gateway.ask("send", platform="matrix", chat_id=bob.user_id, text="again", key="k6")["state"] == "sent"
    )
    bob.wait_for_text(bob.invited[0], "again")
    assert len(bob.invited) == 1


def test_odd_and_hostile_events_stop_nothing(gateway: PlatformGateway, alice: Person, bot: Person) -> None:
    gateway.start()
    room = direct(alice, bot)
    for content in (
        {"msgtype": "m.text"},
        {"msgtype": "m.text", "body": 7},
        {"msgtype": ["m.text"], "body": "x"},
        {"body": "no type"},
        {"msgtype": "m.text", "body": "x", "m.relates_to": "y"},
        {"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.replace", "event_id": 5}},
        {"msgtype": "m.file", "body": "no address"},
        {"msgtype": "m.image", "body": "x", "url": "https://example.org/x.png"},
        {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [{}, 1]}},
        {"msgtype": "m.text", "body": "ü" * 20_000 + " token-1"},
    ):
        with suppress(AssertionError):  # some the server itself refuses
            alice.say(room, content)
    alice.say(room, "token-2")
    alice.wait_for_text(room, "token-2", 60)
    assert gateway.state()["reconnects"] == 0


async def test_encrypted_rooms_are_read_and_written(
    gateway: PlatformGateway, alice: Person, bot: Person, tmp_path: Path
) -> None:
    del gateway.extra["encryption"]
    gateway.start()
    assert gateway.state()["encryption"] == "on"
    async with sealed_client(alice, tmp_path / "alice") as client:
        algorithm = {
            "type": "m.room.encryption",
            "content": {"algorithm": "m.megolm.v1.aes-sha2"},
            "state_key": "",
        }
        made = await client.room_create(is_direct=True, invite=[bot.user_id], initial_state=[algorithm])
        room = made.room_id
        await seen(client, lambda: len(client.rooms.get(room, nio.MatrixRoom("", "")).users) == 2)
        await say(client, room, "token-1")
        answer = await answered(client, room, bot, "token-1")
        assert answer.decrypted
        assert answer.body == "[1] You said: token-1"
        gateway.kill()
        await say(client, room, "token-2, said while it was down")
        gateway.start()
        assert (await answered(client, room, bot, "token-2")).body.startswith("[3]")

        uploaded, keys = await client.upload(
            lambda *_: b"a secret thing", "application/x-thing", "thing.bin", encrypt=True, filesize=14
        )
        content = {"msgtype": "m.file", "body": "token-3 look", "filename": "thing.bin"}
        await say(
            client, room, {**content, "file": {**keys, "url": uploaded.content_uri}, "info": {"size": 14}}
        )
        assert "14 bytes" in (await answered(client, room, bot, "token-3")).body
        report = tmp_path / "report.txt"
        report.write_text("content of the report")
        await say(client, room, f"send the file {report}")
        sent = await answered(client, room, bot, "report.txt", kind=nio.RoomEncryptedFile)
        assert alice.download(sent.url) != b"content of the report"
        plain = decrypt_attachment(alice.download(sent.url), sent.key["k"], sent.hashes["sha256"], sent.iv)
        assert plain == b"content of the report"
    keys_file = next((gateway.home.root / "platforms" / "matrix").glob("*.db"))
    assert keys_file.parent.stat().st_mode & 0o777 == 0o700


@asynccontextmanager
async def sealed_client(person: Person, directory: Path) -> AsyncIterator[nio.AsyncClient]:
    """Somebody whose client encrypts."""
    directory.mkdir()
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=False)
    client = nio.AsyncClient(person.url, person.user_id, store_path=str(directory), config=config)
    client.heard = []
    await client.login(PASSWORD)
    client.add_event_callback(lambda room, event: client.heard.append((room.room_id, event)), nio.Event)
    try:
        await client.sync(timeout=0, full_state=True)
        await client.keys_upload()
        yield client
    finally:
        await client.close()


async def seen(client: nio.AsyncClient, condition: Callable[[], object]) -> None:
    async with asyncio.timeout(40):
        while not condition():
            await client.sync(timeout=500)
            if client.should_upload_keys:
                await client.keys_upload()
            if client.should_query_keys:
                await client.keys_query()


async def say(client: nio.AsyncClient, room: str, content: str | dict[str, Any]) -> None:
    body = {"msgtype": "m.text", "body": content} if isinstance(content, str) else content
    sent = await client.room_send(room, "m.room.message", body, ignore_unverified_devices=True)
    assert isinstance(sent, nio.RoomSendResponse), sent


async def answered(
    client: nio.AsyncClient, room: str, bot: Person, text: str, kind: type = nio.RoomMessageText
) -> Any:
    def found() -> list[Any]:
        return [
            event
            for where, event in client.heard
            if where == room
            and event.sender == bot.user_id
            and isinstance(event, kind)
            and text in event.body
        ]

    await seen(client, found)
    return found()[0]


def gateway_retries(gateway: PlatformGateway) -> None:
    deadline = time.monotonic() + 30
    while gateway.state()["state"] != "retrying":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def stored(gateway: PlatformGateway) -> int:
    """Messages that are in the inbox."""
    try:
        with sqlite3.connect(f"file:{gateway.home.root / 'state.db'}?mode=ro", uri=True) as db:
            (count,) = db.execute("SELECT count(*) FROM inbox").fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0
