"""Reading scripts from YAML, with errors that name file, line and column."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml
from pydantic import BaseModel, ValidationError

from hermes_agent.core.errors import ConfigFileError
from hermes_agent.models.scripted.script import (
    AnswerScript,
    CutScript,
    Defaults,
    ErrorScript,
    Expect,
    GarbageScript,
    HangScript,
    Script,
    Step,
    ToolCallScript,
    UsageScript,
    When,
)

ScriptSource: TypeAlias = Script | str | Path | Sequence[str | Mapping[str, Any] | Step] | Mapping[str, Any]
"""A script, its YAML text, its file, a list of steps, or the map that the YAML would give."""

IN_MEMORY = Path("<script>")
_REMEDY = "The format is described in docs/scripted-model.md."
_SECTIONS: tuple[type[BaseModel], ...] = (
    Script, Step, AnswerScript, ToolCallScript, When, Expect, UsageScript, ErrorScript,
    CutScript, HangScript, GarbageScript, Defaults,
)  # fmt: skip
_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_script(source: ScriptSource) -> Script:
    """Make a script of whatever describes one.

    Raises:
        ConfigFileError: It cannot be read or is not a script; `line` and `column` are given for YAML.
    """
    if isinstance(source, Script):
        return source
    if isinstance(source, Path):
        return _parse(_read(source), source)
    if isinstance(source, str):
        return _parse(source, IN_MEMORY)
    return _validate(source, None, IN_MEMORY)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigFileError(
            f"{path} is not UTF-8 text", path=path, why=f"byte {error.start}: {error.reason}", remedy=_REMEDY
        ) from error
    except OSError as error:
        raise ConfigFileError(
            f"Cannot read the script {path}", path=path, why=error.strerror, remedy=_REMEDY
        ) from error


def _fail(path: Path, node: yaml.Node | None, message: str, why: str | None = None) -> ConfigFileError:
    line = node.start_mark.line + 1 if node else None
    column = node.start_mark.column + 1 if node else None
    where = f"{path}:{line}:{column}" if node else str(path)
    return ConfigFileError(
        f"{where}: {message}", path=path, line=line, column=column, why=why, remedy=_REMEDY
    )


def _parse(text: str, path: Path) -> Script:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise _fail(path, None, "the script is empty")
        _refuse_duplicates(node, path, set())
        return _validate(loader.construct_document(node), node, path)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else None
        column = mark.column + 1 if mark else None
        problem = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
        where = f"{path}:{line}:{column}" if mark else str(path)
        raise ConfigFileError(
            f"{where}: not YAML: {problem}", path=path, line=line, column=column, remedy=_REMEDY
        ) from error
    except RecursionError as error:
        raise _fail(path, None, "the script is nested too deeply") from error
    finally:
        loader.dispose()


def _refuse_duplicates(node: yaml.Node, path: Path, seen: set[int]) -> None:
    if id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in keys:
                raise _fail(path, key, f"{name!r} is given twice")
            keys.add(name)
            _refuse_duplicates(value, path, seen)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(item, path, seen)


def _validate(value: object, root: yaml.Node | None, path: Path) -> Script:
    try:
        return Script.model_validate(value)
    except ValidationError as error:
        # An error of a field that exists says more than one of a union's other branch.
        details = error.errors(include_url=False)
        first = max(details, key=lambda item: len(item["loc"]))
        location = tuple(first["loc"])
        if location and location[0] == "steps" and isinstance(root, yaml.SequenceNode):
            location = location[1:]  # a plain list of steps
        node, names = _find(root, location)
        where = ".".join(names) if root is not None else ".".join(str(part) for part in location)
        message = str(first["msg"]).removeprefix("Value error, ")
        why = None
        if first["type"] == "extra_forbidden":
            message, why = f"unknown key {location[-1]!r}", _nearest(str(location[-1]))
            where = where.rpartition(".")[0]
        more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
        raise _fail(path, node, f"{where + ': ' if where else ''}{message}{more}", why) from error


def _find(root: yaml.Node | None, location: tuple[int | str, ...]) -> tuple[yaml.Node | None, list[str]]:
    """The node nearest to a location of the typed model; parts the YAML does not have are skipped."""
    node, names = root, []
    for part in location:
        if isinstance(node, yaml.MappingNode):
            wanted = ("when", "match") if part == "when" else (str(part),)
            for key, value in node.value:
                if key.value in wanted:
                    names.append(str(key.value))
                    # the key is where people look; a block's value starts a line below
                    node = value if isinstance(value, yaml.CollectionNode) else key
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            names.append(str(part + 1))
            node = node.value[part]
    return node, names


def _nearest(name: str) -> str:
    known = sorted({field for section in _SECTIONS for field in section.model_fields})
    close = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {close[0]!r}?" if close else "No part of a script has such a key."
