#!/usr/bin/env python3
"""Adapter between an outside search benchmark and the store, and the store's own figures.

bench_store.py load DB < corpus.jsonl    fill a fresh database ({"session", "role", "content", "ts"})
bench_store.py query DB [LIMIT]          one query per line in, one {"hits": N} per line out
bench_store.py figures [MESSAGES]        messages per second, bytes per byte of text, load and search times
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from hermes_agent.core.messages import AssistantMessage, Message, UserMessage
from hermes_agent.store import SqliteStore, open_store

BATCH = 500
QUERIES = (
    "unicorn", "needle", "haystack", "w0", "w1", "haystack w7", "w3 w4", '"needle in a haystack"', "w0 OR w1",
    "w0 NOT w1", "unic*", "w*", "w1*", "zzzzqqqq", "独角兽", "foo-bar.baz/qux:1", "%", "w0 w1 w2 w3 w4",
)  # fmt: skip


def read_corpus(lines: Iterable[str]) -> Iterator[tuple[str, Message]]:
    for line in lines:
        row = json.loads(line)
        text = row["content"]
        yield row["session"], UserMessage.of(text) if row["role"] == "user" else AssistantMessage(text)


def make_corpus(count: int) -> Iterator[tuple[str, Message]]:
    rng = random.Random(1)
    words = [f"w{number}" for number in range(20_000)]
    bulk = rng.choices(words, [1 / (number + 1) for number in range(20_000)], k=count * 40)
    for number in range(count):
        text = " ".join(bulk[number * 40 : number * 40 + 40])
        if number % 1000 == 500:
            text += " needle in a haystack"
        elif number % 50 == 25:
            text += " haystack"
        if number == count // 2:
            text += " unicorn 独角兽 foo-bar.baz/qux:1"
        yield f"s{number // 1000:06d}", UserMessage.of(text) if number % 2 == 0 else AssistantMessage(text)


async def fill(store: SqliteStore, corpus: Iterable[tuple[str, Message]]) -> None:
    known: set[str] = set()
    batch: list[Message] = []
    current = ""
    for session, message in corpus:
        if batch and (session != current or len(batch) == BATCH):
            await store.append(current, batch)
            batch = []
        if session not in known:
            known.add(session)
            await store.create(source="cli", session_id=session)
        current = session
        batch.append(message)
    if batch:
        await store.append(current, batch)


async def load(path: Path) -> None:
    store = await open_store(path)
    await fill(store, read_corpus(sys.stdin))
    await store.aclose()


async def query(path: Path, limit: int) -> None:
    store = await open_store(path)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        hits = await store.search(line.rstrip("\n"), limit=limit)
        print(json.dumps({"hits": len(hits)}), flush=True)
    await store.aclose()


async def figures(count: int) -> None:
    corpus = list(make_corpus(count))
    text_bytes = sum(len(message.text.encode()) for _, message in corpus)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        store = await open_store(path)
        begin = time.perf_counter()
        await fill(store, corpus)
        seconds = time.perf_counter() - begin
        report: dict[str, object] = {"messages": count, "messages_per_second": round(count / seconds)}
        await store.create(source="cli", session_id="single")
        begin = time.perf_counter()
        for _ in range(200):
            await store.append_draft("single", "text", "a few words ")
        report["draft_ms"] = round((time.perf_counter() - begin) / 200 * 1000, 3)
        begin = time.perf_counter()
        for _, message in corpus[:200]:
            await store.append("single", [message])
        report["append_one_ms"] = round((time.perf_counter() - begin) / 200 * 1000, 3)
        report["load_1000_messages_ms"] = await timed(lambda: store.messages("s000000"))
        report["list_20_ms"] = await timed(store.list)
        report["search_median_ms"] = {
            text: await timed(lambda text=text: store.search(text)) for text in QUERIES
        }
        await store.aclose()
        report["bytes_per_byte_of_text"] = round(path.stat().st_size / text_bytes, 2)
        begin = time.perf_counter()
        store = await open_store(path)
        report["open_ms"] = round((time.perf_counter() - begin) * 1000, 2)
        await store.aclose()
    print(json.dumps(report, indent=1, ensure_ascii=False))


async def timed(action, runs: int = 9) -> float:  # type: ignore[no-untyped-def]
    took = []
    for _ in range(runs):
        begin = time.perf_counter()
        await action()
        took.append((time.perf_counter() - begin) * 1000)
    return round(statistics.median(took), 2)


def main(args: list[str]) -> None:
    match args:
        case ["load", path]:
            asyncio.run(load(Path(path)))
        case ["query", path, *limit]:
            asyncio.run(query(Path(path), int(limit[0]) if limit else 100))
        case ["figures", *count]:
            asyncio.run(figures(int(count[0]) if count else 100_000))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
