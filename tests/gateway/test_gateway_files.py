"""Files in chats: which may be sent, and what the agent is told of those that people send."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path, PurePosixPath
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.app.container import App
from hermes_agent.app.cron import deliver
from hermes_agent.config.paths import Home
from hermes_agent.core.environment import Environment
from hermes_agent.core.errors import DeliveryError, ExecutionError, ToolError
from hermes_agent.core.messages import ImagePart
from hermes_agent.core.platform import Attachment, Capabilities, InboundMessage, Person
from hermes_agent.core.speech import Recording
from hermes_agent.gateway.files import KEPT_SECONDS, ChatFiles, safe_name
from hermes_agent.gateway.inputs import MAX_SHOWN_TEXT_CHARS, build_input
from hermes_agent.gateway.media import take_media
from hermes_agent.gateway.platforms.base import BaseAdapter
from hermes_agent.store.outbox import SqliteOutbox
from hermes_agent.store.store import SqliteStore

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)


class Shelf(BaseAdapter):
    """A platform that has these files."""

    def __init__(self, **files: bytes) -> None:
        super().__init__("shelf", Capabilities())
        self.files = files

    async def fetch(self, attachment: Attachment, *, max_bytes: int) -> bytes:
        if attachment.reference not in self.files:
            raise DeliveryError("it is gone", is_permanent=True)
        return self.files[attachment.reference][: max_bytes + 1]


class Listener:
    """Hears what it was told to hear."""

    name = "listener"

    def __init__(self, text: str = "", problem: str = "") -> None:
        self.text = text
        self.problem = problem

    async def transcribe(self, recording: Recording) -> str:
        assert Path(recording.path).read_bytes()
        if self.problem:
            raise ToolError(self.problem)
        return self.text


def message(*attachments: Attachment, text: str = "look") -> InboundMessage:
    return InboundMessage("shelf", "c1", "m1", Person("u1"), text, attachments=attachments)


async def told(
    files: ChatFiles, shelf: Shelf | None, *attachments: Attachment, sees_images: bool = True
) -> str:
    made = await build_input(
        [message(*attachments)], is_shared=False, platform=shelf, files=files, sees_images=sees_images
    )
    return made.text


async def told_text(files: ChatFiles, text: str) -> str:
    return (await build_input([message(text=text)], is_shared=False, platform=None, files=files)).text


# What goes out.


async def test_named_files_are_copied_and_private_ones_are_refused(home: Home, tmp_path: Path) -> None:
    report = tmp_path / "report.pdf"
    report.write_bytes(b"x")
    home.env_file.write_text("KEY=1")
    link = tmp_path / "innocent.txt"
    link.symlink_to(home.env_file)
    text, files = await take_media(
        f"Here it is.\nMEDIA:{report}\nMEDIA:{home.env_file}\nMEDIA:{link}\nMEDIA:/etc/passwd\nMEDIA:x.txt",
        ChatFiles(home),
    )
    (sent,) = files
    assert Path(sent.path).is_relative_to(home.cache / "outgoing")
    assert (sent.name, Path(sent.path).read_bytes()) == ("report.pdf", b"x")
    assert text.startswith("Here it is.")
    assert "MEDIA:" not in text
    assert text.count("was not sent") == 4


@pytest.mark.parametrize(
    "name",
    [
        ".env",
        ".env.local",
        "auth.json",
        "id_ed25519",
        "id_rsa.pub",
        "server.key",
        ".ssh/config",
        ".netrc",
        "credentials.json",
        ".bash_history",
        ".config/app.toml",
        "state.db",
    ],
)
async def test_files_that_look_secret_are_refused(home: Home, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("secret")
    text, files = await take_media(f"MEDIA:{path}", ChatFiles(home))
    assert not files
    assert "was not sent" in text


async def test_the_state_directory_is_private_except_what_is_made_to_be_sent(home: Home) -> None:
    (home.cache / "images").mkdir(parents=True)
    for path in (home.cache / "images" / "a.png", home.root / "MEMORY.md", home.root / "cron" / "jobs.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    (home.root / "cron" / "output").mkdir()
    (home.root / "cron" / "output" / "report.md").write_text("x")
    asked = [
        home.cache / "images" / "a.png",
        home.root / "MEMORY.md",
        home.root / "cron" / "jobs.json",
        home.root / "cron" / "output" / "report.md",
    ]
    _text, files = await take_media("\n".join(f"MEDIA:{each}" for each in asked), ChatFiles(home))
    assert [file.name for file in files] == ["a.png", "report.md"]


async def test_only_listed_roots_and_the_usual_places_are_open(home: Home) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as elsewhere:
        path = Path(elsewhere) / "a.txt"
        path.write_text("x")
        text, files = await take_media(f"MEDIA:{path}", ChatFiles(home))
        assert "outside" in text
        assert not files
        _text, files = await take_media(f"MEDIA:{path}", ChatFiles(home, roots=lambda: [elsewhere]))
        assert files


async def test_the_kind_of_a_file_follows_its_name_and_the_marks(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"x")
    (tmp_path / "b.png").write_bytes(b"x")
    for marks, kinds in (
        ("", ["audio", "image"]),
        ("[[audio_as_voice]]", ["voice", "image"]),
        ("[[as_document]]", ["document", "document"]),
    ):
        answer = f"Here {marks}\nMEDIA:{tmp_path}/a.mp3\nMEDIA:{tmp_path}/b.png"
        text, files = await take_media(answer, ChatFiles(home))
        assert [file.kind for file in files] == kinds
        assert text == "Here"


async def test_examples_in_code_blocks_are_text(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    answer = f"Write this:\n```\nMEDIA:{tmp_path}/a.png\n```"
    assert await take_media(answer, ChatFiles(home)) == (answer, ())


@given(st.text())
def test_a_file_name_never_leaves_its_directory(name: str) -> None:
    made = safe_name(name)
    assert made and "/" not in made and not made.startswith(".") and len(made) <= 90


# What comes in.


async def test_a_small_text_file_is_shown_whole(home: Home) -> None:
    shelf = Shelf(a="grüße\n```\ncode\n```".encode())
    text = await told(ChatFiles(home), shelf, Attachment("document", "a", "notes.md"))
    assert "````\ngrüße\n```\ncode\n```\n````" in text
    assert "saved as" in text


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"x" * (MAX_SHOWN_TEXT_CHARS + 1), "long.txt"),
        (b"a\0b", "odd.txt"),
        (b"\xff\xfe", "latin.txt"),
        (b"x", "a.pdf"),
    ],
)
async def test_other_files_are_told_by_path(home: Home, data: bytes, name: str) -> None:
    text = await told(ChatFiles(home), Shelf(a=data), Attachment("document", "a", name))
    assert "What is in the file" not in text
    (saved,) = (home.cache / "attachments").iterdir()
    assert str(saved) in text
    assert saved.read_bytes() == data


async def test_of_an_endless_message_the_agent_gets_the_beginning_and_the_path(home: Home) -> None:
    text = await told_text(ChatFiles(home), "ü" * 2_000_000)
    assert len(text) < 20_000
    (saved,) = (home.cache / "attachments").iterdir()
    assert str(saved) in text
    assert saved.read_text() == "ü" * 2_000_000


async def test_an_image_is_seen_by_models_that_can_and_kept_for_all(home: Home) -> None:
    photo = Attachment("image", "a", media_type="image/jpeg")
    made = await build_input([message(photo)], is_shared=False, platform=Shelf(a=PNG), files=ChatFiles(home))
    (image,) = [part for part in made.parts if isinstance(part, ImagePart)]
    assert image.media_type == "image/png"  # told by its bytes: a wrong type would spoil the conversation
    text = await told(ChatFiles(home), Shelf(a=PNG), photo, sees_images=False)
    assert "cannot see images" in text
    (saved,) = (home.cache / "attachments").iterdir()
    assert saved.suffix == ".png"


async def test_what_only_claims_to_be_an_image_is_a_file(home: Home) -> None:
    photo = Attachment("image", "a", "photo.png", "image/png")
    made = await build_input(
        [message(photo)], is_shared=False, platform=Shelf(a=b"<svg/>"), files=ChatFiles(home)
    )
    assert not [part for part in made.parts if isinstance(part, ImagePart)]


async def test_a_voice_message_is_written_down(home: Home) -> None:
    files = ChatFiles(home, transcriber=lambda: Listener("buy milk"))
    text = await told(files, Shelf(a=b"OggS"), Attachment("voice", "a"))
    assert "as listener heard it:]\nbuy milk" in text
    (saved,) = (home.cache / "attachments").iterdir()
    assert saved.suffix == ".ogg"


@pytest.mark.parametrize(
    ("listener", "expected"),
    [
        (None, "no speech recognition is set up"),
        (Listener(problem="the service is down"), "could not be written down: the service is down"),
        (Listener("  "), "heard no words"),
    ],
)
async def test_the_agent_is_told_honestly_what_it_did_not_hear(
    home: Home, listener: Listener | None, expected: str
) -> None:
    files = ChatFiles(home, transcriber=lambda: listener)
    text = await told(files, Shelf(a=b"OggS"), Attachment("voice", "a", "memo.ogg"))
    assert expected in text
    assert "memo.ogg" in text
    assert "do not know what it says" in text


class Elsewhere:
    """A place on another machine; only what files need."""

    name = "ssh"

    def __init__(self, *, is_reachable: bool = True) -> None:
        self.is_reachable = is_reachable
        self.written: dict[str, bytes] = {}

    def resolve(self, path: str) -> str:
        return str(PurePosixPath("/work") / path)

    async def write_bytes(self, path: str, data: bytes) -> None:
        if not self.is_reachable:
            raise ExecutionError("the host is down")
        self.written[path] = data

    async def read_bytes(self, path: str, *, max_bytes: int) -> bytes:
        if path not in self.written:
            raise ToolError(f"File not found: {path}")
        return self.written[path][:max_bytes]


async def test_files_are_brought_where_the_commands_run_and_fetched_from_there(home: Home) -> None:
    place = Elsewhere()
    sent = [message(Attachment("document", "a", "a.bin"))]
    made = await build_input(
        sent,
        is_shared=False,
        platform=Shelf(a=b"x"),
        files=ChatFiles(home),
        environment=cast("Environment", place),
    )
    ((path, data),) = place.written.items()
    assert path in made.text
    assert data == b"x"
    place.written["/work/out.txt"] = b"result"
    place.written["/root/.ssh/id_rsa"] = b"key"
    answer = "MEDIA:out.txt\nMEDIA:/root/.ssh/id_rsa\nMEDIA:/gone"
    text, files = await take_media(answer, ChatFiles(home), cast("Environment", place))
    assert [Path(file.path).read_bytes() for file in files] == [b"result"]
    assert text.count("was not sent") == 2


async def test_a_place_that_is_down_is_told(home: Home) -> None:
    made = await build_input(
        [message(Attachment("document", "a", "a.bin"))],
        is_shared=False,
        platform=Shelf(a=b"x"),
        files=ChatFiles(home),
        environment=cast("Environment", Elsewhere(is_reachable=False)),
    )
    assert "out of reach of your commands" in made.text


async def test_files_that_cannot_be_had_are_named(home: Home) -> None:
    gone = Attachment("document", "b", "b.txt")
    assert "it is gone" in await told(ChatFiles(home), Shelf(), gone)
    assert "not connected" in await told(ChatFiles(home), None, gone)
    assert "larger than 20 MB" in await told(ChatFiles(home), Shelf(), Attachment("video", "b", size=10**9))


async def test_the_same_message_is_kept_once_and_old_files_are_forgotten(home: Home) -> None:
    files, shelf = ChatFiles(home), Shelf(a=b"x", b=b"y")
    for _ in range(2):
        await told(
            files, shelf, Attachment("document", "a", "../../evil.bin"), Attachment("document", "b", "b.txt")
        )
    saved = sorted((home.cache / "attachments").iterdir())
    assert len(saved) == 2
    assert saved[0].stat().st_mode & 0o77 == 0
    old = saved[0].stat().st_mtime - KEPT_SECONDS - 1
    os.utime(saved[0], (old, old))
    assert files.prune() == 1
    assert list((home.cache / "attachments").iterdir()) == [saved[1]]


async def test_a_scheduled_job_can_send_files_too(home: Home, tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    chart.write_bytes(b"x")
    app = App.load(home=home)
    outbox = SqliteOutbox(cast("SqliteStore", await app.store()))
    try:
        job = {"id": "j", "due_at": 1}
        assert await deliver(app, outbox, "loopback:c1", f"The figures.\nMEDIA:{chart}", job) is None
        (entry,) = await outbox.pending()
    finally:
        await app.aclose()
    assert entry.message.text == "The figures."
    assert [file.kind for file in entry.message.files] == ["image"]
