"""Runs inside the booted machine, as root: what the unit must do. Prints one line for each step.

Usage: scenario.py MODEL_YAML
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

UNIT = "hermes-agent.service"
HOME = Path("/var/lib/hermes/.hermes")
KEY = "key-of-the-test-0123456789"
MODEL = "http://127.0.0.1:4999/health"


def systemctl(*words: str) -> str:
    """Run systemctl; its output."""
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def show(name: str) -> str:
    """A property of the unit."""
    return systemctl("show", "-P", name, UNIT)


def until(what: str, true: Callable[[], object], seconds: float = 40) -> None:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            print(
                subprocess.run(
                    ["journalctl", "--no-pager", "-n", "40", "-u", UNIT],
                    capture_output=True,
                    text=True,
                    check=False,
                ).stdout
            )
            sys.exit(f"FAILED: waited in vain: {what}")
        time.sleep(0.1)


def check(what: str, is_true: object, detail: object = "") -> None:
    """Fail unless something is true."""
    if not is_true:
        sys.exit(f"FAILED: {what}: {detail}")
    print(f"ok: {what}")


def answers(url: str) -> bool:
    """Whether somebody answers at an address."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def ask(text: str) -> str:
    """Send a message through the API; the answer."""
    body = {"model": "hermes-agent", "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(
        "http://127.0.0.1:8642/v1/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return str(json.load(response)["choices"][0]["message"]["content"])
    except urllib.error.HTTPError as error:
        sys.exit(f"FAILED: {error}: {error.read().decode()}\n{journal()}")


def ready() -> bool:
    """Whether the unit is up and its API answers."""
    return show("ActiveState") == "active" and answers("http://127.0.0.1:8642/health")


def main() -> None:
    """Go through all steps."""
    hermes = re.search(r"path=(\S*/bin/hermes)", show("ExecStart"))
    assert hermes is not None
    Path("/etc/hermes-secrets.env").write_text(f"API_SERVER_KEY={KEY}\nROTATED=one\n")
    Path("/etc/hermes-secrets.env").chmod(0o600)
    Path("/etc/hermes-credential").write_text("handed-over-secret\n")
    Path("/etc/hermes-credential").chmod(0o600)
    with model_server(hermes.group(1), sys.argv[1]):
        steps()


@contextmanager
def model_server(hermes: str, script: str) -> Iterator[None]:
    """A scripted model on this machine."""
    server = subprocess.Popen(
        [hermes, "dev", "model-server", "--script", script, "--port", "4999"],
        env={**os.environ, "HERMES_HOME": "/tmp/model-home", "HERMES_MANAGED": "false"},
    )
    try:
        until("the model server", lambda: answers(MODEL))
        yield
    finally:
        server.terminate()


def steps() -> None:
    """What is expected of the unit."""
    systemctl("restart", UNIT)
    until("the unit with its API", ready)
    check("a restart takes new secrets", f"API_SERVER_KEY={KEY}" in (HOME / ".env").read_text())
    check("the unit is notified", show("Type") == "notify" and "ok" in show("StatusText"), show("StatusText"))
    check("a message is answered", ask("hello") == "you said: hello")

    said = ask("run: id -un; pwd; echo done > made; cat made")
    check("a tool runs as the service user in the workspace", "hermes" in said and "done" in said, said)
    check("the workspace was written", Path("/var/lib/hermes/workspace/made").exists())
    said = ask("run: touch /etc/x /usr/x /root/x /home/x 2>&1; ls /root 2>&1; true")
    check(
        "nothing else can be written",
        not any(Path(p).exists() for p in ("/etc/x", "/usr/x", "/root/x")),
        said,
    )
    said = ask("run: env; cat /etc/hermes-secrets.env 2>&1; true")
    check("commands get no secrets", KEY not in said and "handed-over-secret" not in said, said)
    said = ask("run: python3 -c 'import subprocess; print(6 * 7)'; git --version; nproc; free -m | head -1")
    check("ordinary programs work", "42" in said and "git version" in said, said)

    pid = show("MainPID")
    systemctl("reload", UNIT)
    until("the end of the reload", lambda: show("ActiveState") == "active")
    check("a reload keeps the process", show("MainPID") == pid)
    check("and it still answers", ask("again") == "you said: again")

    restarts = int(show("NRestarts"))
    os.kill(int(pid), signal.SIGSTOP)
    until("the watchdog", lambda: int(show("NRestarts")) > restarts and ready(), 90)
    check("a process that hangs is started again", show("MainPID") != pid)

    pid = show("MainPID")
    os.kill(int(pid), signal.SIGKILL)
    until("the restart", lambda: show("MainPID") not in {pid, "0"} and ready(), 60)
    check("a killed process is started again and answers", ask("back?") == "you said: back?")

    began = time.monotonic()
    systemctl("stop", UNIT)
    check("it stops in good order", show("Result") == "success", show("Result"))
    check("and quickly when nothing runs", time.monotonic() - began < 15)
    systemctl("start", UNIT)
    until("the start", ready)

    drain()

    text = subprocess.run(
        ["systemd-analyze", "security", UNIT, "--no-pager"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", text)
    check("the exposure is at most 1.5", found and float(found.group(1)) <= 1.5, text[-300:])

    Path("/tmp/elsewhere").mkdir(exist_ok=True)
    shutil.rmtree("/var/lib/hermes/workspace")
    Path("/var/lib/hermes/workspace").mkdir()
    shutil.chown("/var/lib/hermes/workspace", "hermes", "hermes")
    (HOME / ".env").unlink()
    (HOME / ".env").symlink_to("/etc/hermes-stolen")
    systemctl("restart", UNIT)
    until("the refusal", lambda: "symbolic link" in journal())
    check("a link in place of .env is not followed", not Path("/etc/hermes-stolen").exists())
    print("all steps done")


def drain() -> None:
    """A run that is going on gets its time when the unit is stopped."""
    started = Path("/var/lib/hermes/workspace/started")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, f"run: touch {started}; sleep 4; echo finished")
        until("the run", started.exists)
        began = time.monotonic()
        systemctl("stop", UNIT)
        took = time.monotonic() - began
        check("a running answer is waited for", "finished" in answer.result(), answer.result())
    check("no longer than it takes", took < 15, took)
    check("and the stop is a good one", show("Result") == "success", show("Result"))
    systemctl("start", UNIT)
    until("the start after it", ready)


def journal() -> str:
    """The unit's last lines."""
    words = ["journalctl", "--no-pager", "-n", "60", "-u", UNIT]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    main()
