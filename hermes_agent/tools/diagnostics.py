"""A quick syntax check of what was just written, so that the model hears of its slips at once."""

from __future__ import annotations

import ast
import asyncio
import json
import posixpath
import tomllib
import warnings
from collections.abc import Callable

import yaml

MAX_CHARS = 400_000


async def diagnose(path: str, text: str, before: str | None = None) -> str | None:
    """Check the syntax of Python, JSON, YAML and TOML files.

    Args:
        path: Its ending chooses the check.
        text: The new content.
        before: The old content; None for a new file.

    Returns:
        One line for the model; None if there is nothing to say.
    """
    check = _CHECKS.get(posixpath.splitext(path)[1].lower())
    if check is None or len(text) > MAX_CHARS or not text.strip():
        return None
    problem = await asyncio.to_thread(check, text)
    if problem is None:
        return None
    was_broken = before is not None and before.strip() and await asyncio.to_thread(check, before) is not None
    return f"Syntax: {problem}" + (" (the file was broken before, too)" if was_broken else "")


def _python(text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(text)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return None


def _json(text: str) -> str | None:
    try:
        json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        return f"line {error.lineno} column {error.colno}: {error.msg} (not valid JSON)"
    except RecursionError:
        return "nested too deeply"
    return None


def _yaml(text: str) -> str | None:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for _ in yaml.compose_all(text, Loader=loader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1} column {mark.column + 1}: " if mark else ""
        return f"{where}{error.problem or error.context} (not valid YAML)"
    except (yaml.YAMLError, RecursionError) as error:
        return str(error).splitlines()[0] if str(error) else "not valid YAML"
    return None


def _toml(text: str) -> str | None:
    try:
        tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return f"{error} (not valid TOML)"
    return None


_CHECKS: dict[str, Callable[[str], str | None]] = {
    ".py": _python,
    ".pyi": _python,
    ".json": _json,
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
}
