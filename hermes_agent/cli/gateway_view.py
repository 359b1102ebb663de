"""What `hermes gateway status` and `list` know and print."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hermes_agent.app.daemon.control import ask_gateway
from hermes_agent.app.daemon.identity import read_state, running_pid
from hermes_agent.app.daemon.manager import InstalledService
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import GatewayError


def collect(service: InstalledService) -> dict[str, Any]:
    """Everything about the gateway of a home: live if it runs, else what it wrote last."""
    pid = running_pid(service.home)
    unit = {
        "name": service.name,
        "installed": service.is_installed,
        "path": str(service.path),
        "state": service.state() if service.is_installed else "",
    }
    if pid is not None:
        try:
            return {"running": True, "unit": unit, **_without_ok(ask_gateway(service.home, "status"))}
        except GatewayError as error:
            return {"running": True, "unit": unit, "pid": pid, "problem": error.message, **_old(service.home)}
    return {"running": False, "unit": unit, **_old(service.home)}


def lines(found: dict[str, Any]) -> Iterator[str]:
    """For people."""
    unit = found["unit"]
    if found["running"]:
        started = found.get("started_at")
        since = f", up {_span(time.time() - started)}" if started else ""
        yield f"The gateway is {found.get('gateway_state', 'running')} (process {found.get('pid')}{since})"
    else:
        reason = found.get("exit_reason")
        yield f"The gateway is not running{f' (it ended: {reason})' if reason else ''}"
    if found.get("problem"):
        yield f"  {found['problem']}"
    for name, service in found.get("services", {}).items():
        detail = f": {service['detail']}" if service["detail"] else ""
        active = f", {service['active']} running" if service["active"] else ""
        yield f"  {name:<12} {service['state']}{active}{detail}"
        for platform, state in service.get("platforms", {}).items():
            problem = f": {state['error_message']}" if state.get("error_message") else ""
            yield f"    {platform:<10} {state['state']}{problem}"
        outbox = {key: value for key, value in service.get("outbox", {}).items() if value}
        if outbox:
            yield f"    sent today: {', '.join(f'{count} {state}' for state, count in outbox.items())}"
    if unit["installed"]:
        yield f"Service: {unit['name']} {unit['state']}".rstrip()
    elif not found["running"]:
        yield "Service: not installed. hermes gateway install does that; hermes gateway run starts it here."


def gateways(home: Home) -> Iterator[dict[str, Any]]:
    """The gateway of a home (or of the home that this profile belongs to) and of every profile."""
    root = Home(home.root.parent.parent) if home.root.parent.name == "profiles" else home
    homes = [("default", root)]
    if root.profiles.is_dir():
        homes += [(path.name, Home(path)) for path in sorted(root.profiles.iterdir()) if path.is_dir()]
    for name, each in homes:
        service = InstalledService(each, False, Path.home())
        state = (service.state() or "installed") if service.is_installed else "-"
        yield {"name": name, "pid": running_pid(each), "service": state, "home": str(each.root)}


def _old(home: Home) -> dict[str, Any]:
    state = read_state(home)
    return {key: state[key] for key in ("exit_reason", "restart_requested", "updated_at") if key in state}


def _without_ok(answer: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ok"}


def _span(seconds: float) -> str:
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
