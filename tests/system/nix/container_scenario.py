"""Runs on a machine with the container unit, as root: what the unit must do. Prints one line for each step.

Usage: container_scenario.py MODEL_YAML
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from scenario import HOME, KEY, UNIT, ask, check, journal, model_server, ready, show, systemctl, until

NAME = "hermes-agent"
HANG = """
for place in /proc/[0-9]*; do
  if tr '\\0' ' ' <$place/cmdline | grep -q '[g]ateway run'; then kill -STOP ${place#/proc/}; fi
done
"""
"""Stops the gateway's processes, as if they hung; its own text does not match."""


def docker(*words: str) -> str:
    """Run docker; what it prints."""
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip()


def identity() -> str:
    """Which container it is."""
    return docker("inspect", "-f", "{{.Id}}", NAME)


def main() -> None:
    """Go through all steps."""
    start = show("ExecStart")
    package = re.search(r"path=(\S*)/bin/hermes-agent-container", start)
    assert package is not None, start
    secrets = Path("/etc/hermes-secrets.env")
    secrets.write_text(f"API_SERVER_KEY={KEY}\n")
    secrets.chmod(0o600)
    with model_server(f"{package.group(1)}/bin/hermes", sys.argv[1]):
        steps(f"{package.group(1)}/bin/hermes")


def steps(hermes: str) -> None:
    """What is expected of the unit."""
    systemctl("restart", UNIT)
    until("the unit with its API", ready, 200)
    first = identity()
    check("a restart takes new secrets", f"API_SERVER_KEY={KEY}" in (HOME / ".env").read_text())
    check("readiness and status come through", "ok" in show("StatusText"), show("StatusText"))
    check("a message is answered", ask("hello") == "you said: hello")
    said = ask("run: id -un; pwd; echo done > made; cat made; cat /proc/1/cgroup | head -1")
    check("a tool runs as the user inside, in the workspace", "hermes" in said and "done" in said, said)
    made = Path("/var/lib/hermes/workspace/made")
    check("what it writes belongs to the service user on the host", made.owner() == "hermes", made.owner())
    check("commands get no secrets", KEY not in ask("run: env; true"))
    said = ask("run: python3 -c 'print(6 * 7)'; node --version; uv --version")
    check("Python, Node and uv are there without a network", "42" in said and "uv" in said, said)

    pid = show("MainPID")
    systemctl("reload", UNIT)
    until("the end of the reload", lambda: show("ActiveState") == "active")
    check("a reload keeps the process", show("MainPID") == pid)

    restarts = int(show("NRestarts"))
    docker("kill", "-s", "KILL", NAME)
    until("the restart", lambda: int(show("NRestarts")) > restarts and ready(), 120)
    check("a killed container is started again, the same one", identity() == first)
    check("and answers", ask("back?") == "you said: back?")

    restarts = int(show("NRestarts"))
    os.kill(int(show("MainPID")), signal.SIGKILL)
    until("the restart", lambda: int(show("NRestarts")) > restarts and ready(), 120)
    check("so does a killed supervisor", identity() == first and ask("and now?") == "you said: and now?")

    restarts = int(show("NRestarts"))
    docker("exec", "-u", "0", NAME, "sh", "-c", HANG)
    until("the watchdog", lambda: int(show("NRestarts")) > restarts and ready(), 150)
    check("a gateway that hangs inside is started again", ask("awake?") == "you said: awake?")

    done = subprocess.run(
        [hermes, "config", "get", "model.default"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HERMES_HOME": str(HOME)},
    )
    check("the host's command runs inside", "scripted" in done.stdout, done.stdout + done.stderr)

    began = time.monotonic()
    systemctl("stop", UNIT)
    check("it stops in good order", show("Result") == "success", show("Result") + journal())
    check("and quickly when nothing runs", time.monotonic() - began < 20, time.monotonic() - began)
    check("the container is still there", identity() == first)
    systemctl("start", UNIT)
    until("the start", ready, 120)
    print("all steps done")


if __name__ == "__main__":
    main()
