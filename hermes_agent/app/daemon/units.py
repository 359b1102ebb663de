"""Unit files for systemd and a property list for launchd: the gateway as a service of the machine.

Pure texts and names; `cli.commands.gateway` writes them and calls the service manager.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from hermes_agent.config.paths import Home

UNIT = "hermes-gateway"
LAUNCHD_LABEL = "ai.hermes.gateway"
SYSTEM_UNITS = Path("/etc/systemd/system")
WATCHDOG_SECONDS = 120
START_SECONDS = 180
_MARGIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What a unit says.

    Attributes:
        home: State directory.
        user: Account of a system unit; empty for a user's own.
        user_home: That account's home directory; where the service starts.
        drain_seconds: How long running work is waited for when it stops.
    """

    home: Home
    user_home: Path
    user: str = ""
    drain_seconds: float = 180.0

    @property
    def command(self) -> tuple[str, ...]:
        """What the service manager runs. The interpreter's own path, so that no PATH is needed."""
        return (sys.executable, "-m", "hermes_agent", "gateway", "run", "--replace")

    @property
    def stop_seconds(self) -> int:
        """Longer than the drain, so that the drain decides."""
        return int(self.drain_seconds) + _MARGIN_SECONDS


def suffix(home: Home, user_home: Path) -> str:
    """Empty for `~/.hermes`, `-<name>` for a profile of it, otherwise `-<8 hex digits of the path>`."""
    default = user_home / ".hermes"
    if home.root == default:
        return ""
    if home.root.parent == default / "profiles":
        return f"-{home.root.name}"
    return f"-{hashlib.sha256(str(home.root).encode()).hexdigest()[:8]}"


def unit_name(home: Home, user_home: Path) -> str:
    """`hermes-gateway.service`, with the suffix of another home."""
    return f"{UNIT}{suffix(home, user_home)}.service"


def launchd_label(home: Home, user_home: Path) -> str:
    """`ai.hermes.gateway`, with the suffix of another home."""
    return f"{LAUNCHD_LABEL}{suffix(home, user_home)}"


def systemd_unit(plan: ServicePlan) -> str:
    """The unit file."""
    account = f"User={plan.user}\n" if plan.user else ""
    target = "multi-user.target" if plan.user else "default.target"
    return f"""\
[Unit]
Description=Hermes gateway ({_systemd_text(str(plan.home.root))})
Wants=network-online.target
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
{account}ExecStart={" ".join(map(_systemd_word, plan.command))}
ExecReload=/bin/kill -HUP $MAINPID
Environment={_systemd_word(f"HERMES_HOME={plan.home.root}")}
WorkingDirectory={_systemd_text(str(plan.user_home))}
Restart=always
RestartSec=5
RestartForceExitStatus=75
SuccessExitStatus=75
KillMode=mixed
TimeoutStartSec={START_SECONDS}
TimeoutStopSec={plan.stop_seconds}
WatchdogSec={WATCHDOG_SECONDS}
UMask=0077

[Install]
WantedBy={target}
"""


@dataclass(frozen=True, slots=True)
class UnitFacts:
    """Whose gateway a unit file starts. `user` is empty in a user's own unit."""

    home: Home
    user: str


def read_unit(path: Path) -> UnitFacts | None:
    """What a unit file says; None if it is not there, or not one of ours."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = {"HERMES_HOME": "", "User": ""}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "Environment":
            key, _, value = _plain_word(value).partition("=")
        if key in found:
            found[key] = value
    return UnitFacts(Home(Path(found["HERMES_HOME"])), found["User"]) if found["HERMES_HOME"] else None


def launchd_plist(plan: ServicePlan) -> str:
    """The property list for macOS."""
    arguments = "".join(f"\n    <string>{escape(word)}</string>" for word in plan.command)
    log = escape(str(plan.home.logs / "gateway.launchd.log"))
    return f"""\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{escape(launchd_label(plan.home, plan.user_home))}</string>
  <key>ProgramArguments</key>
  <array>{arguments}
  </array>
  <key>EnvironmentVariables</key>
  <dict>
    <key>HERMES_HOME</key>
    <string>{escape(str(plan.home.root))}</string>
  </dict>
  <key>WorkingDirectory</key>
  <string>{escape(str(plan.user_home))}</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>5</integer>
  <key>ExitTimeOut</key>
  <integer>{plan.stop_seconds}</integer>
  <key>StandardErrorPath</key>
  <string>{log}</string>
</dict>
</plist>
"""


def _systemd_text(text: str) -> str:
    return text.replace("%", "%%").replace("\n", " ")


def _plain_word(word: str) -> str:
    """The text that `_systemd_word` wrote."""
    if word.startswith('"') and word.endswith('"') and len(word) > 1:
        word = word[1:-1]
    word = word.replace("%%", "%").replace("$$", "$")
    return re.sub(r"\\(.)", r"\1", word)


def _systemd_word(text: str) -> str:
    """One word of a command line or assignment."""
    quoted = _systemd_text(text).replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{quoted}"' if any(char in text for char in " \t'\"\\;#") else quoted
