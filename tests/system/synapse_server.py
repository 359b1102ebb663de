"""A private Synapse: one process, SQLite, on a free port of this machine. And people who write there."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import yaml

SERVER = "hermes.test"
PASSWORD = "a password for tests"
_SECRET = "shared secret of the tests"
_PYTHON = (
    Path(os.environ.get("HERMES_TEST_SYNAPSE") or Path(__file__).parents[2] / ".synapse") / "bin" / "python"
)

Json = dict[str, Any]


def why_not() -> str:
    if not _PYTHON.exists():
        return "Synapse is not installed: scripts/install-synapse"
    return ""


@dataclass
class Synapse:
    """A running home server."""

    directory: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.directory / "synapse.out").open("ab") as out:
            self.process = subprocess.Popen(
                [str(_PYTHON), "-m", "synapse.app.homeserver", "-c", str(self.directory / "homeserver.yaml")],
                cwd=self.directory,
                env={"PATH": os.environ["PATH"], "HOME": str(self.directory), "SYNAPSE_CACHE_FACTOR": "0.5"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        deadline = time.monotonic() + 60
        while True:
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", trust_env=False).status_code == 200:
                    return
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def output(self) -> str:
        return (self.directory / "synapse.out").read_text(errors="replace")[-4000:]

    def register(self, name: str, *, is_admin: bool = False) -> Person:
        """A new account."""
        path = f"{self.url}/_synapse/admin/v1/register"
        nonce = httpx.get(path, trust_env=False).json()["nonce"]
        role = "admin" if is_admin else "notadmin"
        text = "\0".join((nonce, name, PASSWORD, role)).encode()
        body = {
            "nonce": nonce,
            "username": name,
            "password": PASSWORD,
            "admin": is_admin,
            "mac": hmac.new(_SECRET.encode(), text, hashlib.sha1).hexdigest(),
        }
        found = httpx.post(path, json=body, trust_env=False).raise_for_status().json()
        return Person(self.url, found["user_id"], found["access_token"])


@dataclass
class Person:
    """Somebody with a client. `seen` are all events they got."""

    url: str
    user_id: str
    token: str
    since: str = ""
    seen: list[Json] = field(default_factory=list)
    invited: list[str] = field(default_factory=list)
    typing: list[str] = field(default_factory=list)
    _count: int = 0

    def call(self, method: str, path: str, body: Json | None = None, **options: Any) -> Json:
        response = httpx.request(
            method,
            f"{self.url}/_matrix/client/v3/{path}",
            json=body if "content" not in options else None,
            headers={"Authorization": f"Bearer {self.token}", **options.pop("headers", {})},
            timeout=60,
            trust_env=False,
            verify=False,  # there is no TLS: spares reading the certificates each time
            **options,
        )
        assert response.status_code == 200, response.text
        found: Json = response.json()
        return found

    def room(self, *invite: str, is_direct: bool = True, **more: Any) -> str:
        body = {"invite": list(invite), "is_direct": is_direct, "preset": "private_chat", **more}
        return str(self.call("POST", "createRoom", body)["room_id"])

    def say(self, room: str, text: str | Json, **more: Any) -> str:
        """Send a message; returns its event id."""
        content = {"msgtype": "m.text", "body": text} if isinstance(text, str) else text
        self._count += 1
        transaction = f"{time.time_ns()}-{self._count}"
        path = f"rooms/{quote(room)}/send/m.room.message/{transaction}"
        return str(self.call("PUT", path, {**content, **more})["event_id"])

    def join(self, room: str) -> None:
        self.call("POST", f"join/{quote(room)}", {})

    def look(self, seconds: float = 1.0) -> None:
        """Take what is new."""
        query = f"sync?timeout={int(seconds * 1000)}" + (f"&since={self.since}" if self.since else "")
        news = self.call("GET", query)
        self.since = news["next_batch"]
        self.invited += list(news.get("rooms", {}).get("invite", {}))
        for room_id, room in news.get("rooms", {}).get("join", {}).items():
            for event in room["timeline"]["events"]:
                self.seen.append({**event, "room_id": room_id})
            for event in room.get("ephemeral", {}).get("events", []):
                if event["type"] == "m.typing":
                    self.typing += event["content"]["user_ids"]

    def messages(self, room: str, sender: str = "") -> list[Json]:
        """Messages of others (or of one) in a room; edits are events of their own."""
        return [
            event
            for event in self.seen
            if event["room_id"] == room
            and event["type"] == "m.room.message"
            and (event["sender"] == sender if sender else event["sender"] != self.user_id)
        ]

    def shown(self, room: str) -> list[str]:
        """Texts of others as a client shows them: with their last edit."""
        texts: dict[str, str] = {}
        for event in self.messages(room):
            content = event["content"]
            related = content.get("m.relates_to", {})
            if related.get("rel_type") == "m.replace":
                texts[related["event_id"]] = content["m.new_content"]["body"]
            else:
                texts[event["event_id"]] = content["body"]
        return list(texts.values())

    def wait_for(self, condition: Callable[[], object], timeout: float = 60.0, hint: str = "") -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            texts = [(each["type"], each["content"]) for each in self.seen[-12:]]
            assert time.monotonic() < deadline, f"it did not happen{hint}; seen: {texts}"
            self.look(0.5)

    def wait_for_text(self, room: str, text: str, timeout: float = 60.0) -> Json:
        """The first event of somebody else with this text."""

        def found() -> list[Json]:
            return [each for each in self.messages(room) if text in str(each["content"].get("body"))]

        self.wait_for(found, timeout, f" ({text!r})")
        return found()[0]

    def upload(self, data: bytes, name: str, media_type: str) -> str:
        response = httpx.post(
            f"{self.url}/_matrix/media/v3/upload?filename={quote(name)}",
            content=data,
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": media_type},
            trust_env=False,
            verify=False,  # there is no TLS: spares reading the certificates each time
        )
        return str(response.raise_for_status().json()["content_uri"])

    def download(self, uri: str) -> bytes:
        response = httpx.get(
            f"{self.url}/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}",
            headers={"Authorization": f"Bearer {self.token}"},
            trust_env=False,
            verify=False,  # there is no TLS: spares reading the certificates each time
        )
        return response.raise_for_status().content


@contextlib.contextmanager
def running_synapse() -> Iterator[Synapse]:
    """Start it; skips the test that asks for it if it cannot be had."""
    if reason := why_not():
        pytest.skip(reason)
    directory = Path(tempfile.mkdtemp(prefix="hermes-synapse-", dir="/tmp"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    synapse = Synapse(directory, port)
    (directory / "homeserver.yaml").write_text(yaml.safe_dump(_settings(directory, port)))
    (directory / "log.yaml").write_text(json.dumps(_LOGGING))
    generated = subprocess.run(
        [
            str(_PYTHON),
            "-m",
            "synapse.app.homeserver",
            "-c",
            str(directory / "homeserver.yaml"),
            "--generate-keys",
        ],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
    )
    assert generated.returncode == 0, generated.stderr
    try:
        synapse.start()
        yield synapse
    finally:
        synapse.stop()
        shutil.rmtree(directory, ignore_errors=True)


_LOGGING: Json = {
    "version": 1,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"level": "WARNING", "handlers": ["console"]},
    "disable_existing_loggers": False,
}


def _settings(directory: Path, port: int) -> Json:
    often = {"per_second": 1000, "burst_count": 1000}
    return {
        "server_name": SERVER,
        "listeners": [
            {
                "port": port,
                "bind_addresses": ["127.0.0.1"],
                "type": "http",
                "tls": False,
                "resources": [{"names": ["client", "media"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "log_config": str(directory / "log.yaml"),
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "macaroon_secret_key": "for tests",
        "form_secret": "for tests",
        "registration_shared_secret": _SECRET,
        "report_stats": False,
        "suppress_key_server_warning": True,
        "trusted_key_servers": [],
        "federation_domain_whitelist": [],
        "url_preview_enabled": False,
        "presence": {"enabled": False},
        "max_upload_size": "20M",
        "rc_message": often,
        "rc_login": {"address": often, "account": often, "failed_attempts": often},
        "rc_registration": often,
        "rc_joins": {"local": often, "remote": often},
        "rc_invites": {"per_room": often, "per_user": often, "per_issuer": often},
        "rc_room_creation": often,
        "bcrypt_rounds": 4,
    }
