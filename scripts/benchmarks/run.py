"""The figures of docs/performance.md. Everything happens on this machine, on loopback, and ends by itself."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from api_figures import figures as api_figures
from gateway_figures import figures as gateway_figures
from mcp_figures import figures as mcp_figures
from measure import Series, compare, run_once

from hermes_agent.core.messages import AssistantMessage, Message, ToolCall, ToolMessage, UserMessage
from hermes_agent.store import open_store

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = sys.executable
HERMES = str(Path(PYTHON).parent / "hermes")
ROUNDS = 200


@dataclass(frozen=True)
class Row:
    """One line of a table: what, measured, compared with, the figure, the goal, whether it is met."""

    what: str
    figure: str
    goal: str
    is_met: bool


class Bench:
    """One run of the benchmarks in a fresh home, against a scripted model on loopback."""

    def __init__(self, folder: Path, base_url: str) -> None:
        self.folder = folder
        self.base_url = base_url
        self.env = {
            "PATH": f"{Path(PYTHON).parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
            "HERMES_HOME": str(folder / "hermes"),
            "LANG": "C.UTF-8",
            "BENCH_KEY": "bench-key-0123456789",
        }
        home = folder / "hermes"
        home.mkdir(exist_ok=True)
        (home / "config.yaml").write_text(
            "model:\n  provider: custom:bench\n  default: echo\n"
            "custom_providers:\n"
            f"  - name: bench\n    base_url: {base_url}/v1\n    key_env: BENCH_KEY\n"
        )

    def one_shot(self, model: str, *more: str) -> list[str]:
        return [HERMES, "-z", "Please go on.", "-m", model, "--yolo", "--max-turns", "500", *more]

    def start(self) -> Iterator[Row]:
        for what, command, base, goal in (
            ("`hermes --version`", [HERMES, "--version"], "pass", 15),
            ("`hermes --help`", [HERMES, "--help"], "import click", 60),
            ("`hermes config`", [HERMES, "config"], "import pydantic, yaml", 120),
        ):
            ours, theirs = compare(command, [PYTHON, "-c", base], env=self.env)
            yield _above(what, ours, theirs, base, goal)

    def one_shot_rows(self) -> Iterator[Row]:
        ours, theirs = compare(self.one_shot("echo"), [PYTHON, "-c", "import openai"], env=self.env)
        yield _above("one-shot answer, instant model", ours, theirs, "import openai", 300)
        yield Row(
            "… its peak resident memory",
            f"{ours.peak_mib:.0f} MiB; {ours.peak_mib / theirs.peak_mib:.2f} × `import openai`",
            "under 90 MiB",
            ours.peak_mib < 90,
        )
        before = self._stats()
        run_once(self.one_shot("echo"), self.env)
        stats = self._stats()
        size = stats["last"]["system_chars"] + stats["last"]["tool_schema_chars"]
        yield Row(
            "system prompt and tool schemas",
            f"about {size / 4:.0f} tokens ({stats['last']['tools']} tools, {size} characters / 4)",
            "under 6,000",
            size / 4 < 6000,
        )
        assert stats["requests"] > before["requests"]

    def rounds(self) -> Iterator[Row]:
        per_round: dict[int, float] = {}
        for history in (10, 100, 1000):
            ids = asyncio.run(self._sessions_with_history(history, 10))
            many = [run_once(self.one_shot(f"tools-{ROUNDS}", "-r", name), self.env) for name in ids[:5]]
            none = [run_once(self.one_shot("echo", "-r", name), self.env) for name in ids[5:]]
            per_round[history] = (Series(tuple(many)).cpu_ms - Series(tuple(none)).cpu_ms) / ROUNDS
            yield Row(
                f"CPU of one tool round, {history} prior messages",
                f"{per_round[history]:.1f} ms",
                "under 8 ms",
                per_round[history] < 8,
            )
        ratio = per_round[1000] / per_round[10]
        yield Row("… 1,000 against 10 prior messages", f"{ratio:.2f} ×", "about 1", ratio < 1.3)
        before = self._stats()
        run_once(self.one_shot(f"tools-{ROUNDS}"), self.env)
        after = self._stats()
        connections = after["connections"] - before["connections"]
        yield Row(
            f"connections for {ROUNDS + 1} requests of one run", str(connections), "1", connections <= 1
        )

    def store(self) -> Iterator[Row]:
        script = ROOT / "scripts" / "bench_store.py"
        output = subprocess.run(
            [PYTHON, str(script), "figures", "100000"], capture_output=True, text=True, check=True
        ).stdout
        figures = json.loads(output)
        rate = figures["messages_per_second"]
        yield Row("storing messages in batches", f"{rate:,} a second", "10,000", rate >= 10_000)
        count = figures["messages"]
        medians = figures["search_median_ms"]
        query, slowest = max(medians.items(), key=lambda item: item[1])
        middle = statistics.median(medians.values())
        yield Row(
            f"search over {count:,} messages, {len(medians)} queries",
            f"median {middle:.1f} ms; slowest (`{query}`) {slowest:.1f} ms",
            "20 ms",
            middle < 20,
        )
        share = figures["bytes_per_byte_of_text"]
        yield Row("database to the text in it", f"{share:.2f} ×", "2.5 ×", share <= 2.5)

    def api(self) -> Iterator[Row]:
        for what, figure, goal, is_met in api_figures(HERMES, self.env, self.base_url):
            yield Row(what, figure, goal, is_met)

    def mcp(self) -> Iterator[Row]:
        for what, figure, goal, is_met in mcp_figures(HERMES, self.env):
            yield Row(what, figure, goal, is_met)

    def gateway(self) -> Iterator[Row]:
        for what, figure, goal, is_met in gateway_figures(HERMES, self.env):
            yield Row(what, figure, goal, is_met)

    async def _sessions_with_history(self, count: int, sessions: int) -> list[str]:
        store = await open_store(self.folder / "hermes" / "state.db")
        ids = []
        for _ in range(sessions):
            record = await store.create(source="cli", model="custom:bench:echo")
            await store.append(record.id, list(_history(count)))
            ids.append(record.id)
        await store.aclose()
        return ids

    def _stats(self) -> dict:
        with urlopen(f"{self.base_url}/stats") as response:
            return json.load(response)


def _history(count: int) -> Iterator[Message]:
    for number in range(count // 4):
        call = ToolCall(f"call_old_{number}", "read_file", json.dumps({"path": f"notes-{number}.txt"}))
        yield UserMessage.of(f"Question {number}: " + "what do the notes say about this? " * 6)
        yield AssistantMessage(tool_calls=(call,), finish_reason="tool_calls")
        yield ToolMessage(call.id, "read_file", f"{number}: " + "a line of notes\n" * 40)
        yield AssistantMessage(f"Answer {number}: " + "the notes say this and that. " * 12)


def _above(what: str, ours: Series, theirs: Series, base: str, goal: int) -> Row:
    above = ours.wall_ms - theirs.wall_ms
    return Row(
        what,
        f"{ours.wall_ms / theirs.wall_ms:.2f} × `python -c '{base}'` (+{above:.0f} ms)",
        f"+{goal} ms",
        above <= goal,
    )


@contextmanager
def model_server(env: dict[str, str]) -> Iterator[str]:
    """The scripted model server; yields its URL."""
    process = subprocess.Popen(
        [HERMES, "dev", "model-server", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    try:
        yield str(json.loads(process.stdout.readline())["url"]).removesuffix("/v1").rstrip("/")
    finally:
        process.terminate()
        process.wait()


GROUPS: dict[str, tuple[str, Callable[[Bench], Iterator[Row]]]] = {
    "start": ("Start", Bench.start),
    "one-shot": ("One-shot answers", Bench.one_shot_rows),
    "rounds": ("Tool rounds", Bench.rounds),
    "store": ("Conversations on disk", Bench.store),
    "api": ("API server", Bench.api),
    "gateway": ("The gateway as a service", Bench.gateway),
    "mcp": ("MCP", Bench.mcp),
}

PREAMBLE = """\
# Performance

Made by `scripts/bench --write`; each figure compares two things measured in turn in one run, or counts
something. The model is the scripted one on loopback, which answers at once. Medians of eleven runs,
warm file cache, bytecode compiled. Goals are for the difference to the plain interpreter, so that they
hold on any machine. `scripts/bench --write GROUP …` renews some tables and leaves the others.
"""


def _tables(path: Path) -> dict[str, str]:
    """The tables of the document as it is: title to text."""
    if not path.exists():
        return {}
    _, *parts = path.read_text(encoding="utf-8").split("\n## ")
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", choices=[*GROUPS, []])
    parser.add_argument("--write", action="store_true", help="renew docs/performance.md")
    parser.add_argument("--note", default="", help="what to say of the machine under these tables")
    options = parser.parse_args()
    path = ROOT / "docs" / "performance.md"
    tables = _tables(path)
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        env = {"PATH": os.environ["PATH"], "HOME": folder, "HERMES_HOME": str(Path(folder) / "server")}
        with model_server(env) as url:
            bench = Bench(Path(folder), url)
            for name in options.groups or GROUPS:
                title, rows = GROUPS[name]
                lines = ["| what | measured | goal | met |", "| --- | --- | --- | --- |"]
                for row in rows(bench):
                    missed += not row.is_met
                    lines.append(
                        f"| {row.what} | {row.figure} | {row.goal} | {'yes' if row.is_met else 'no'} |"
                    )
                    print(lines[-1], flush=True)
                tables[title] = "\n".join([*lines, *(["", options.note] if options.note else [])])
    if options.write:
        about = f"Python {platform.python_version()}, {platform.system()}, {os.cpu_count()} cores.\n"
        known = [(title, tables[title]) for title, _ in GROUPS.values() if title in tables]
        text = "\n".join([PREAMBLE, about, *(f"## {title}\n\n{table}\n" for title, table in known)])
        path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"{missed} goals missed")


if __name__ == "__main__":
    main()
