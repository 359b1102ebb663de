"""Runs one `handler.py` in a process of its own. Standard library only: it is started by its path.

Standard input: one JSON object on a line, `{"id", "event", "context"}`. Standard output: one line for each,
`{"id", "error"}`; what the handler prints goes to standard error.
"""

import asyncio
import importlib.util
import inspect
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any


def _load(path: str) -> Callable[[str, dict[str, Any]], Any]:
    sys.path.insert(0, os.path.dirname(path))  # noqa: PTH120 - pathlib would double the start
    spec = importlib.util.spec_from_file_location("hermes_hook_handler", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handle: Callable[[str, dict[str, Any]], Any] | None = getattr(module, "handle", None)
    if not callable(handle):
        raise TypeError("handler.py has no function handle(event_type, context)")
    return handle


async def _finish(made: Awaitable[Any]) -> None:
    await made


def _error(error: BaseException) -> str:
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == sys.argv[1]]
    where = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def main() -> None:
    """Serve until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # a print() of the handler must not look like an answer
    handle: Callable[[str, dict[str, Any]], Any] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        error = ""
        try:
            if handle is None:
                handle = _load(sys.argv[1])
            made = handle(request["event"], request["context"])
            if inspect.isawaitable(made):
                asyncio.run(_finish(made))
        except BaseException as problem:  # noqa: BLE001 - also sys.exit(): only this call has failed
            error = _error(problem)
        answers.write(json.dumps({"id": request["id"], "error": error}) + "\n")


if __name__ == "__main__":
    main()
