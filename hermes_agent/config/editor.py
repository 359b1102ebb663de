"""Editing config.yaml without touching what people wrote around the value: comments, order, quotes.

A single value that is there already is replaced in the text itself, so that every other byte stays.
Everything else goes through ruamel.yaml (this is the only module that imports it), which keeps comments
and order. Before anything is written the new text is read again and must mean exactly the old values
with the edit applied; a value of the wrong kind is refused. Values are never expanded: `${NAME}` in the
file stays `${NAME}`.
"""

from __future__ import annotations

import copy
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import YAMLError
from ruamel.yaml.representer import RoundTripRepresenter

from hermes_agent.config import expansion, migrations, shape, validation, yaml_reader
from hermes_agent.config.casting import cast, nix_name, nix_value
from hermes_agent.config.editor_port import variable_for
from hermes_agent.config.env_file import set_variable, unset_variable
from hermes_agent.config.environ import Environ
from hermes_agent.config.files import exclusive, read_file, replace_atomically
from hermes_agent.config.keys import Key, format_key, get_in, has, parse_key, put_in, remove_from
from hermes_agent.config.managed import OPTION_PREFIX, require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.config.registry import CONFIG_VERSION, VERSION_KEY
from hermes_agent.config.yaml_reader import YamlDocument
from hermes_agent.core.errors import ConfigError, ConfigFileError, SettingError

_NEW_FILE_MODE = 0o600
Edit = Callable[[Any], None]
"""Changes a map in place; called once on plain maps and once on those that keep comments."""


def set_text(home: Home, key: str, text: str, *, force: bool = False) -> str:
    """`hermes config set`: cast what a person typed and store it where it belongs.

    Args:
        home: The state directory.
        key: Dotted key, or the name of a `.env` variable.
        text: The value as typed.
        force: Store a key that no section knows.

    Returns:
        Where it went, for people: `OPENAI_API_KEY in …/.env`.

    Raises:
        ManagedError: The installation is managed.
        SettingError: The key is unknown, or the value of the wrong kind.
        ConfigFileError: The file is broken.
        StoreUnwritableError: It cannot be written.
    """
    variable = variable_for(key)
    if variable is not None:
        set_variable(home, variable, text)
        return f"{variable} in {home.env_file}"
    parts = _normal(parse_key(key))
    set_value(home, format_key(parts), cast(text, parts), force=force)
    return f"{format_key(parts)} in {home.config_file}"


def set_value(home: Home, key: str, value: object, *, force: bool = False) -> None:
    """Set one key of config.yaml.

    Args:
        home: The state directory; made if it is missing.
        key: Dotted key; a list index may name an element or the one after the last.
        value: A JSON-like value.
        force: Accept a key that no section knows.

    Raises:
        ManagedError: The installation is managed.
        SettingError: The key is unknown, or the value of the wrong kind; the file is untouched.
        ConfigFileError: The file is broken.
        StoreUnwritableError: It cannot be written.
    """
    parts = parse_key(key)
    if isinstance(value, str):
        parts = _normal(parts)
    _require_unmanaged(home, "hermes config set", parts, f"{nix_value(value)};")
    if parts == (VERSION_KEY,):
        raise SettingError(
            f"{VERSION_KEY} is kept by hermes itself",
            key=VERSION_KEY,
            remedy="To bring an old file up to date: hermes config migrate",
        )
    if not force and not shape.is_known(parts):
        near = shape.nearest(parts)
        raise SettingError(
            f"{format_key(parts)!r} is not a known setting",
            key=format_key(parts),
            remedy=(f"Did you mean {near!r}? " if near else "")
            + "`hermes config keys` lists all; --force stores it anyway.",
        )

    def edit(data: Any) -> None:
        if parts[0] == "model" and len(parts) > 1:
            for _note in migrations.model_map(data):
                pass
        try:
            put_in(data, parts, copy.deepcopy(value), is_list=shape.is_list)
        except KeyError as error:
            raise SettingError(
                f"Cannot set {format_key(parts)}: {error.args[0]!r} is in the way",
                key=format_key(parts),
                why="It is a single value, or a list without such an element.",
                remedy="See what is there with: hermes config get " + format_key(parts[:-1]),
            ) from error

    _change(home, edit, parts, _ScalarChange(parts, value))


def append_missing(home: Home, key: str, values: Iterable[str]) -> None:
    """Add those values to a list that it does not hold yet. Raises as `set_value` does."""
    wanted = list(dict.fromkeys(values))
    parts = parse_key(key)
    _require_unmanaged(home, "hermes config set", parts, f"{nix_value(wanted)};")
    present = yaml_reader.read(home.config_file).data.get(key) or []
    if all(value in present for value in wanted):
        return

    def edit(data: Any) -> None:
        if data.get(key) is None:
            data[key] = []
        for value in wanted:
            if value not in data[key]:
                data[key].append(value)

    _change(home, edit, parts)


def unset(home: Home, key: str) -> bool:
    """Remove a key of config.yaml or a variable of `.env`; False if it was not there.

    Raises as `set_value` does.
    """
    variable = variable_for(key)
    if variable is not None:
        return unset_variable(home, variable)
    parts = parse_key(key)
    _require_unmanaged(home, "hermes config unset", parts, "lib.mkForce null;  # or take its line out")
    if not has(yaml_reader.read(home.config_file).data, parts):
        return False

    def edit(data: Any) -> None:
        remove_from(data, parts)
        for depth in range(len(parts) - 1, 0, -1):  # Maps that became empty go too.
            above = parts[:depth]
            if has(data, above) and get_in(data, above) == {}:
                remove_from(data, above)

    _change(home, edit, parts)
    return True


def migrate(home: Home, *, dry_run: bool = False) -> tuple[list[str], Path | None]:
    """Write older forms of settings in their present form, after copying the file.

    Returns:
        What was changed, and the copy (None if nothing was written).

    Raises:
        ManagedError: The installation is managed.
        ConfigFileError: The file is broken, or newer than this program.
        StoreUnwritableError: It cannot be written.
    """
    if not dry_run:
        require_unmanaged(home, "hermes config migrate")
    document = yaml_reader.read(home.config_file)
    version = migrations.version_of(document.data)
    if version > CONFIG_VERSION:
        raise ConfigFileError(
            f"{home.config_file} is of version {version}; this program knows {CONFIG_VERSION}",
            path=home.config_file,
            line=document.line_of((VERSION_KEY,)),
            remedy="Update hermes.",
        )
    plain = copy.deepcopy(document.data)
    notes = migrations.upgrade(plain)
    if plain == document.data or dry_run:
        return notes, None
    copied = backup(home, f"config.yaml.v{version}")
    _change(home, lambda data: _quietly(migrations.upgrade, data), None)
    return notes, copied


def _quietly(function: Callable[[Any], object], data: Any) -> None:
    function(data)


def backup(home: Home, name: str) -> Path | None:
    """Copy config.yaml to `backups/<name>-<time>`; None if there is none."""
    data = read_file(home.config_file)
    if data is None:
        return None
    home.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    copied = home.backups / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    replace_atomically(copied, data, mode=_NEW_FILE_MODE)
    return copied


def lock(home: Home) -> AbstractContextManager[None]:
    """Hold this while changing config.yaml."""
    return exclusive(home.config_lock)


def _normal(parts: Key) -> Key:
    return ("model", "default") if parts == ("model",) else parts


def _require_unmanaged(home: Home, action: str, parts: Key, nix: str | None) -> None:
    option = OPTION_PREFIX + ".".join(nix_name(part) for part in parts)
    require_unmanaged(home, action, option, nix_line=f"{option} = {nix}" if nix else None)


class _ScalarChange:
    """A value that can perhaps be replaced in the text alone."""

    def __init__(self, key: Key, value: object) -> None:
        self.key = key
        self.value = value

    def apply(self, text: str) -> str | None:
        """The new text; None if it takes more than replacing one plain or quoted scalar."""
        if not isinstance(self.value, str | int | float | bool):
            return None
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        for part in self.key:
            if not isinstance(node, yaml.MappingNode):
                return None
            found = [value for name, value in node.value if getattr(name, "value", None) == part]
            if len(found) != 1:
                return None
            node = found[0]
        if not isinstance(node, yaml.ScalarNode) or node.start_mark.line != node.end_mark.line:
            return None
        old = text[node.start_mark.index : node.end_mark.index]
        if not old or old[0] in "&!|>*":
            return None
        new = _scalar_text(self.value, old[0])
        return text[: node.start_mark.index] + new + text[node.end_mark.index :]


def _scalar_text(value: object, quote: str) -> str:
    if isinstance(value, str) and quote == "'":
        return "'" + value.replace("'", "''") + "'" if value.isprintable() else _dump_scalar(value)
    if isinstance(value, str) and quote == '"':
        return yaml.safe_dump(value, default_style='"', width=10**9, allow_unicode=True).strip()
    return _dump_scalar(value)


def _dump_scalar(value: object) -> str:
    text: str = yaml.safe_dump(value, width=10**9, allow_unicode=True)
    return text.removesuffix("...\n").strip()


def _change(home: Home, edit: Edit, key: Key | None, scalar: _ScalarChange | None = None) -> None:
    """Apply an edit to the file, if the result is valid and means what it should."""
    home.ensure()
    path = home.config_file
    with lock(home):
        raw = read_file(path) or b""
        document = yaml_reader.parse(raw, path)
        wanted = copy.deepcopy(document.data)
        edit(wanted)
        if wanted == document.data and not (scalar and _differs(document.data, scalar)):
            return
        if key is not None:
            _require_valid(home, wanted, key)
        data = _scalar_bytes(raw, scalar, wanted, path) if scalar is not None else None
        if data is None:
            data = edit_bytes(raw, edit, path)
        replace_atomically(path, data, mode=_NEW_FILE_MODE)


def _scalar_bytes(raw: bytes, scalar: _ScalarChange, wanted: dict[str, Any], path: Path) -> bytes | None:
    """The file with one value replaced in its text; None if that does not mean what is wanted."""
    text = raw.decode("utf-8-sig")
    newline = "\r\n" if "\r\n" in text else "\n"
    new = scalar.apply(text.replace("\r\n", "\n"))
    if new is None or not _means(new, wanted, path):
        return None
    return _with_ends(raw, new, newline)


def _with_ends(raw: bytes, text: str, newline: str) -> bytes:
    start = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    return start + text.replace("\n", newline).encode()


def _differs(data: dict[str, Any], scalar: _ScalarChange) -> bool:
    """Whether values that compare equal are of different kinds (`1` and `true` and `1.0`)."""
    try:
        old = get_in(data, scalar.key)
    except KeyError:
        return True
    return type(old) is not type(scalar.value)


def _means(text: str, wanted: dict[str, Any], path: Path) -> bool:
    try:
        return yaml_reader.parse(text.encode(), path).data == wanted
    except ConfigFileError:
        return False


def _require_valid(home: Home, wanted: dict[str, Any], key: Key) -> None:
    """Refuse if the edit makes its own key wrong; what is wrong elsewhere was so before."""
    data = copy.deepcopy(wanted)
    migrations.upgrade(data)
    environ = Environ.load(home)
    data = expansion.expand(data, environ)
    _valid, problems = validation.validate(data, lambda _key: "")
    for problem in problems:
        wrong = parse_key(problem.key)
        if wrong[: len(key)] == key or key[: len(wrong)] == wrong:
            near = problem.remedy if problem.remedy and problem.remedy.startswith("Did you mean") else ""
            raise SettingError(
                problem.message,
                key=problem.key,
                why=problem.why,
                remedy=f"{near} Nothing was changed.".strip(),
            )


def edit_bytes(raw: bytes, edit: Edit, path: Path) -> bytes:
    """The bytes of a config.yaml after an edit; nothing is written.

    Args:
        raw: The file's bytes.
        edit: The change.
        path: For messages.

    Raises:
        ConfigFileError: The bytes are no YAML.
        ConfigError: They use YAML that does not survive an edit.
    """
    document = yaml_reader.parse(raw, path)
    wanted = copy.deepcopy(document.data)
    edit(wanted)
    text = raw.decode("utf-8-sig")
    newline = "\r\n" if "\r\n" in text else "\n"
    new = _edited(text.replace("\r\n", "\n"), edit, document)
    if not _means(new, wanted, path):
        raise ConfigError(
            f"{path} cannot be edited automatically",
            why="It uses YAML that does not survive an edit (anchors, merges, tags).",
            remedy="Make the change yourself with: hermes config edit",
        )
    return _with_ends(raw, new, newline)


def new_bytes(data: Mapping[str, Any]) -> bytes:
    """A new config.yaml with this content, in block style."""
    editor = YAML()
    editor.width = 10**9
    editor.indent(mapping=2, sequence=4, offset=2)
    plain = json.loads(json.dumps(data))
    text = _dump(editor, plain) if plain else ""
    if not _means(text, plain, Path("config.yaml")):
        text = json.dumps(plain, indent=2, ensure_ascii=False) + "\n"  # JSON is YAML, too.
    return text.encode()


class _Float(float):
    """A number with a fraction as it was written: the library would round what it writes back."""

    text = ""


class _Constructor(RoundTripConstructor):
    """Keeps the text of numbers."""


class _Representer(RoundTripRepresenter):
    """Writes the text of numbers back."""


def _construct_float(_constructor: object, node: Any) -> _Float:
    value = _Float(yaml_reader.number(node.value))
    value.text = node.value
    return value


def _represent_float(representer: Any, value: _Float) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:float", value.text)


_Constructor.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Representer.add_representer(_Float, _represent_float)


def _edited(text: str, edit: Edit, document: YamlDocument) -> str:
    """The text after an edit through the library that keeps comments."""
    editor = YAML()
    editor.Constructor = _Constructor
    editor.Representer = _Representer
    editor.preserve_quotes = True
    editor.allow_duplicate_keys = True
    editor.width = 10**9
    mapping, sequence, offset = _indentation(text)
    editor.indent(mapping=mapping, sequence=sequence, offset=offset)
    try:
        data = editor.load(text)
        if data is None:
            # A file of comments only: keep them above what is added.
            fresh: dict[str, Any] = {}
            edit(fresh)
            return _joined(text, _dump(editor, fresh))
        edit(data)
    except (YAMLError, ValueError) as error:
        raise ConfigError(
            f"{document.path} cannot be edited automatically",
            why=str(error).split("\n", maxsplit=1)[0],
            remedy="Make the change yourself with: hermes config edit",
        ) from error
    return _dump(editor, data)


def _dump(editor: YAML, data: object) -> str:
    stream = io.StringIO()
    editor.dump(data, stream)
    return stream.getvalue()


def _joined(above: str, below: str) -> str:
    return above + ("" if not above or above.endswith("\n") else "\n") + below


def _indentation(text: str) -> tuple[int, int, int]:
    """How the file indents maps and lists, so that an edit does not move every line."""
    mapping = re.search(r"^[\w.\"'-]+:[ ]*(?:#.*)?\n(?:[ ]*(?:#.*)?\n)*([ ]+)[^\s#-]", text, re.MULTILINE)
    listed = re.search(
        r"^([ ]*)[\w.\"'-]+:[ ]*(?:#.*)?\n(?:[ ]*(?:#.*)?\n)*([ ]*)-([ ]+)", text, re.MULTILINE
    )
    width = len(mapping.group(1)) if mapping else 2
    if listed is None:
        return width, 4, 2
    offset = max(0, len(listed.group(2)) - len(listed.group(1)))
    return width, offset + 1 + len(listed.group(3)), offset
