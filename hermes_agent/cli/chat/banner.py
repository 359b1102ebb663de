"""What the chat says first and last."""

from __future__ import annotations

from rich.console import Group
from rich.text import Text

from hermes_agent import __version__
from hermes_agent.agent.session import Session
from hermes_agent.cli.chat.painter import Painter, clip
from hermes_agent.cli.output import short_path

DEMO_TEXT = (
    "This is the demo model: offline, no intelligence, a few fixed requests.\n"
    "  Try: list the files here · read README.md · run date\n"
    "  Connect a real model: hermes setup"
)


def banner(painter: Painter, session: Session, width: int, *, is_resumed: bool) -> str:
    """A few lines: version, model, directory, session."""
    info = session.model.info
    where = short_path(session.scope.environment.cwd)
    if session.scope.environment.name != "local":
        where = f"{session.scope.environment.name}: {where}"
    rows = [
        Text.assemble(
            ("☤ Hermes ", "bold cyan"), (__version__, "dim"), (f"  {clip(info.label, width - 20)}", "")
        ),
        Text(f"  {clip(where, width - 4)}", style="dim"),
        Text(f"  session {session.id}{' (resumed)' if is_resumed else ''} · /help", style="dim"),
    ]
    if info.is_demo:
        rows.append(Text(f"  {DEMO_TEXT}", style="yellow"))
    if session.gate.is_yolo:
        rows.append(Text("  YOLO: risky commands run without asking", style="yellow"))
    return painter.paint(Group(*rows), width)


def farewell(painter: Painter, session: Session, width: int) -> str:
    """How to go on later; empty if nothing was said."""
    if not session.messages:
        return ""
    title = f"  {session.record.title}" if session.record.title else ""
    return painter.paint(
        Text.assemble(("\nGo on with: ", "dim"), f"hermes -r {session.id}", (title, "dim")), width
    )
