"""Reading config.yaml: fast, exact about where things stand, and clear when it is broken.

Scalars follow YAML 1.2: only `true` and `false` are booleans, so `mode: off` stays the text it looks
like; dates stay text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hermes_agent.config.files import read_file
from hermes_agent.core.errors import ConfigFileError

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # pragma: no cover  # a PyYAML built without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

_MAX_NODES = 100_000
_MAX_DEPTH = 100
_SUSPICIOUS_OPENINGS = 5_000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufffe\uffff]")


class _Loader(_Base):
    """A safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("tag:yaml.org,2002:int", r"^(?:[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+)$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:merge", r"^(?:<<)$", "<"),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), ["" if _c == "\0" else _c for _c in _first])


def _construct_int(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if text.startswith(("0x", "0o")):
        return int(text, 0)
    return int(text.lstrip("+"), 10)


def number(text: str) -> float:
    """A number as YAML writes it: `.5`, `1e3`, `-.inf`."""
    lowered = text.lower().replace("_", "")
    return float(lowered.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """A file that could be read.

    Attributes:
        path: The file.
        data: Its content; empty if the file is missing or empty.
        warnings: Duplicate keys and the like, for people.
        exists: False if there is no such file.
    """

    path: Path
    data: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    exists: bool = True
    _root: yaml.Node | None = None

    def line_of(self, keys: tuple[str | int, ...]) -> int | None:
        """Line (from 1) of a key, or of the nearest map around it that is in the file."""
        line: int | None = None
        node = self._root
        for key in keys:
            found = _child(node, key)
            if found is None:
                return line
            mark, node = found
            line = mark
        return line


def _child(node: yaml.Node | None, key: str | int) -> tuple[int, yaml.Node] | None:
    found = None
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value == str(key):
                found = (key_node.start_mark.line + 1, value_node)
    elif isinstance(node, yaml.SequenceNode) and str(key).isdigit() and int(key) < len(node.value):
        value_node = node.value[int(key)]
        found = (value_node.start_mark.line + 1, value_node)
    return found


def read(path: Path) -> YamlDocument:
    """Read a file; one that is not there is empty.

    Raises:
        ConfigFileError: It is a directory, unreadable, not UTF-8, not YAML, or not a map.
    """
    data = read_file(path)
    return YamlDocument(path, exists=False) if data is None else parse(data, path)


def parse(data: bytes, path: Path) -> YamlDocument:
    """Parse the bytes of a file.

    Raises:
        ConfigFileError: They are not UTF-8, not YAML, or not a map.
    """
    text = _decode(data, path)
    try:
        return _parse(text, path)
    except ConfigFileError:
        # JSON that the YAML library refuses: tabs between values, escaped surrogate pairs.
        content = _json_map(text)
        if content is None:
            raise
        return YamlDocument(path, _text_keys(content))


def _json_map(text: str) -> dict[str, Any] | None:
    if not text.lstrip().startswith("{"):
        return None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _parse(text: str, path: Path) -> YamlDocument:
    loader = _Loader(text)
    try:
        _refuse_depth(text, path)
        root = loader.get_single_node()
        warnings = tuple(_inspect(root, path, text)) if root is not None else ()
        content = loader.construct_document(root) if root is not None else None
    except yaml.MarkedYAMLError as error:
        raise _broken(error, path, text) from error
    except (yaml.YAMLError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise ConfigFileError(
            f"{path} is not valid YAML",
            path=path,
            why=_one_line(str(error)) or type(error).__name__,
            remedy=_EDIT,
        ) from error
    finally:
        loader.dispose()
    if root is None or content is None:
        return YamlDocument(path)
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "a single value"
        raise ConfigFileError(
            f"{path} must be a map of settings, but it is {kind}",
            path=path,
            line=root.start_mark.line + 1,
            column=root.start_mark.column + 1,
            why=_excerpt(text, root.start_mark.line, root.start_mark.column),
            remedy="Write settings as `key: value` lines, for example `model: openrouter:…`.",
        )
    return YamlDocument(path, _text_keys(content), warnings, True, root)


_EDIT = "Mend it with: hermes config edit"


def _decode(data: bytes, path: Path) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigFileError(
            f"{path} is UTF-16, not UTF-8", path=path, remedy="Save it as UTF-8 in your editor."
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = data.rfind(b"\n", 0, error.start) + 1
        line = data.count(b"\n", 0, error.start) + 1
        column = len(data[start : error.start].decode("utf-8", "replace")) + 1
        raise ConfigFileError(
            f"{path} line {line}, column {column}: a byte that is not UTF-8 (0x{data[error.start]:02x})",
            path=path,
            line=line,
            column=column,
            remedy="Save the file as UTF-8 in your editor.",
        ) from error
    control = _CONTROL.search(text)
    if control is not None:
        line = text.count("\n", 0, control.start())
        column = control.start() - (text.rfind("\n", 0, control.start()) + 1)
        raise ConfigFileError(
            f"{path} line {line + 1}, column {column + 1}: a control character (0x{ord(control[0]):02x})",
            path=path,
            line=line + 1,
            column=column + 1,
            remedy="Remove it: retype the line in your editor.",
        )
    return text


def _refuse_depth(text: str, path: Path) -> None:
    """Refuse nesting that the parser, which recurses in C, would not survive."""
    if sum(text.count(opening) for opening in ("[", "{", "- ", "? ")) < _SUSPICIOUS_OPENINGS:
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        mark = event.start_mark
        if depth > _MAX_DEPTH and mark is not None:
            raise _too_deep(path, mark.line, mark.column, text)


def _too_deep(path: Path, line: int, column: int, text: str) -> ConfigFileError:
    return ConfigFileError(
        f"{path} line {line + 1}, column {column + 1}: nested too deep",
        path=path,
        line=line + 1,
        column=column + 1,
        why=_excerpt(text, line, column),
        remedy=_EDIT,
    )


def _inspect(root: yaml.Node, path: Path, text: str) -> Iterator[str]:
    """Refuse what would never end or never fit; yield a warning for each duplicate key."""
    count = 0
    stack: list[tuple[yaml.Node, tuple[int, ...], str]] = [(root, (), "")]
    while stack:
        node, parents, prefix = stack.pop()
        count += 1
        if count > _MAX_NODES or id(node) in parents:
            why = "An alias contains itself." if id(node) in parents else "Aliases multiply without end."
            raise ConfigFileError(
                f"{path} line {node.start_mark.line + 1} cannot be used",
                path=path,
                line=node.start_mark.line + 1,
                column=node.start_mark.column + 1,
                why=f"{why}\n{_excerpt(text, node.start_mark.line, node.start_mark.column)}",
                remedy="Write the values out instead of using `*alias`.",
            )
        if len(parents) > _MAX_DEPTH:
            raise _too_deep(path, node.start_mark.line, node.start_mark.column, text)
        inner = (*parents, id(node))
        if isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else "?"
                dotted = f"{prefix}.{name}" if prefix else str(name)
                line = key.start_mark.line + 1
                if name in seen and name != "<<":
                    yield (
                        f"{path} line {line}: {dotted!r} stands twice (first on line {seen[name]}); "
                        f"the later value is used"
                    )
                seen[name] = line
                stack.append((key, inner, dotted))
                stack.append((value, inner, dotted))
        elif isinstance(node, yaml.SequenceNode):
            stack.extend((item, inner, prefix) for item in node.value)


def _text_keys(value: Any) -> Any:
    """Keys as text, whatever they look like (`3000: x`); values of odd tags (`!!binary`) too."""
    if isinstance(value, dict):
        return {_key_text(key): _text_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_text_keys(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _key_text(key: object) -> str:
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)


def _broken(error: yaml.MarkedYAMLError, path: Path, text: str) -> ConfigFileError:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return ConfigFileError(f"{path} is not valid YAML", path=path, why=str(error), remedy=_EDIT)
    line, column = mark.line, mark.column
    problem = error.problem or "it cannot be understood"
    lines = text.split("\n")
    line = min(line, len(lines) - 1)
    remedy = _remedy(problem, lines[line])
    return ConfigFileError(
        f"{path} line {line + 1}, column {column + 1}: {problem}",
        path=path,
        line=line + 1,
        column=column + 1,
        why=_excerpt(text, line, column),
        remedy=remedy,
    )


def _remedy(problem: str, line: str) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    if "\t" in indent or (
        "\\t" in problem or "'\t'" in problem or ("cannot start any token" in problem and "\t" in line)
    ):
        return "Replace the tab by spaces: YAML does not allow tabs for indentation."
    if "mapping values are not allowed" in problem:
        return (
            "Put a value that contains `: ` in quotes; check the indentation of this line and the one above."
        )
    if "block end" in problem or "block mapping" in problem:
        return "Check the indentation: keys of one map start in the same column."
    if "constructor for the tag" in problem or "tag" in problem:
        return "Remove the tag (the word that starts with `!`)."
    if "alias" in problem:
        return "Put a value that starts with `*` in quotes."
    if "quoted scalar" in problem:
        return "A quote is opened and never closed."
    return _EDIT


def _excerpt(text: str, line: int, column: int) -> str:
    """The line and the one above it around a column, and a caret; tabs as arrows, secrets starred out."""
    start = max(0, column - _EXCERPT_COLUMNS // 2)
    lines = text.split("\n", line + 1)[: line + 1]
    shown = [
        f"{number + 1:>5} | {_shown(lines[number], start)}" for number in range(max(0, line - 1), len(lines))
    ]
    return "\n".join([*shown, f"{'':>5} | {' ' * (column - start)}^"])


_EXCERPT_COLUMNS = 100
_LOOK_BACK = 2_000
_AFTER_A_NAME = (
    r"(?i)((?:key|token|secret|password|authorization)[\w.-]*[\"']?\s*:\s*)"
    r"(\"(?:[^\"\\]|\\.)*\"?|'[^']*'?|\S[^,}\]]*)"
)


def _shown(line: str, start: int) -> str:
    """Some columns of a line of the file for eyes, each where it was."""
    before = max(0, start - _LOOK_BACK)
    part = line[before : start + 2 * _EXCERPT_COLUMNS].rstrip("\r")
    part = re.sub(_AFTER_A_NAME, lambda found: found.group(1) + "*" * len(found.group(2)), part)
    return part[start - before :][:_EXCERPT_COLUMNS].replace("\t", "→")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
