"""`.env` files: reading them as people wrote them, and writing single variables back.

A line is `NAME=value`, perhaps after `export`. Values may be bare (an inline comment starts at ` #`),
in single quotes (literal) or in double quotes (`\\n`, `\\r`, `\\t`, `\\"`, `\\\\`, `\\$` and `` \\` ``
are escapes; may span lines). Nothing is expanded. Two assignments that a lost newline glued together
are told apart if the second name is a known one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hermes_agent.config.files import exclusive, read_file, replace_atomically
from hermes_agent.config.managed import require_unmanaged
from hermes_agent.config.paths import Home
from hermes_agent.config.secret_names import is_secret_name, names
from hermes_agent.core.errors import SettingError

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_ASSIGNMENT = r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*"
_BARE = r"[A-Za-z0-9_./:@%+,~-]+"
_ESCAPE = r'\\([nrt"\\$`])'
_UNESCAPED = {"n": "\n", "r": "\r", "t": "\t"}
_ESCAPED = {
    "\\": "\\\\",
    '"': '\\"',
    "$": "\\$",
    "`": "\\`",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}
_KNOWN_NAMES = tuple(
    f"{name}="
    for name in names(
        "OPENROUTER_API_KEY OPENAI_API_KEY ANTHROPIC_API_KEY ANTHROPIC_TOKEN CLAUDE_CODE_OAUTH_TOKEN "
        "NOUS_API_KEY COPILOT_GITHUB_TOKEN GH_TOKEN GITHUB_TOKEN GOOGLE_API_KEY GEMINI_API_KEY "
        "GLM_API_KEY ZAI_API_KEY Z_AI_API_KEY KIMI_API_KEY KIMI_CODING_API_KEY MINIMAX_API_KEY "
        "DEEPSEEK_API_KEY XAI_API_KEY NVIDIA_API_KEY HF_TOKEN TAVILY_API_KEY FIRECRAWL_API_KEY "
        "EXA_API_KEY BRAVE_API_KEY ELEVENLABS_API_KEY GROQ_API_KEY MISTRAL_API_KEY BROWSERBASE_API_KEY "
        "TELEGRAM_BOT_TOKEN TELEGRAM_ALLOWED_USERS DISCORD_BOT_TOKEN DISCORD_ALLOWED_USERS "
        "SLACK_BOT_TOKEN SLACK_APP_TOKEN API_SERVER_KEY API_SERVER_ENABLED GATEWAY_ALLOWED_USERS "
        "GATEWAY_ALLOW_ALL_USERS OPENAI_BASE_URL SUDO_PASSWORD"
    )
)

_REFUSED = names(
    "PATH HOME SHELL USER LOGNAME IFS ENV BASH_ENV PROMPT_COMMAND EDITOR VISUAL PAGER BROWSER "
    "HERMES_HOME HERMES_MANAGED HERMES_YOLO_MODE NODE_OPTIONS PERL5OPT PERL5LIB RUBYOPT RUBYLIB"
)
_REFUSED_STARTS = ("LD_", "DYLD_", "PYTHON", "GIT_")
_IGNORED = frozenset({"HERMES_HOME", "HERMES_MANAGED", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP"})
_IGNORED_STARTS = ("LD_", "DYLD_")


def is_refused(name: str) -> bool:
    """Whether we never write a variable: it would change which programs run, or where our home is."""
    return name in _REFUSED or name.startswith(_REFUSED_STARTS)


def is_ignored(name: str) -> bool:
    """Whether a variable is not taken even from the user's own `.env`."""
    return name in _IGNORED or name.startswith(_IGNORED_STARTS)


@dataclass(frozen=True, slots=True)
class Assignment:
    """One variable of a file. `line` counts from 1; `end` is the first line after it."""

    name: str
    value: str
    line: int
    end: int


@dataclass(frozen=True, slots=True)
class EnvFile:
    """A parsed file. Later assignments of a name win; `warnings` are for people."""

    path: Path
    assignments: tuple[Assignment, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, str]:
        """Name to value."""
        return {item.name: item.value for item in self.assignments}

    def line_of(self, name: str) -> int | None:
        """Where the value of a variable stands."""
        return next((item.line for item in reversed(self.assignments) if item.name == name), None)


def read(path: Path) -> EnvFile:
    """Read a file; one that is not there is empty.

    Raises:
        ConfigFileError: It is a directory or cannot be read.
    """
    return parse(read_text(path), path)


def read_text(path: Path) -> str:
    """The text of a file, bytes that are not UTF-8 kept as surrogates; '' if it is not there.

    Raises:
        ConfigFileError: It is a directory or cannot be read.
    """
    data = read_file(path)
    if data is None:
        return ""
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def parse(text: str, path: Path = Path(".env")) -> EnvFile:
    """Parse the text of a file."""
    warnings: list[str] = []
    assignments: list[Assignment] = []
    for item in _assignments(text.split("\n"), path.name, warnings):
        value = item.value
        if is_credential(item.name):
            value = _cleaned(item, path.name, warnings)
        assignments.append(Assignment(item.name, value, item.line, item.end))
    return EnvFile(path, tuple(assignments), tuple(warnings))


def is_credential(name: str) -> bool:
    """Whether a value goes into an HTTP header one day and must therefore be ASCII."""
    return is_secret_name(name) and not name.upper().endswith(("PASSWORD", "PASSPHRASE", "PASS"))


def _cleaned(item: Assignment, file: str, warnings: list[str]) -> str:
    value = "".join(char for char in item.value if char.isascii()).strip()
    if not item.value.isascii():
        warnings.append(
            f"{file} line {item.line}: {item.name} held characters that no key contains; they were left out. "
            f"Copy the key again if it is refused."
        )
    return value


def _assignments(lines: list[str], file: str, warnings: list[str]) -> Iterator[Assignment]:
    number = 0
    while number < len(lines):
        line = lines[number]
        start = number
        number += 1
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = re.match(_ASSIGNMENT, line)
        if match is None:
            warnings.append(f"{file} line {start + 1} is not NAME=value and was left out")
            continue
        rest = line[match.end() :]
        if rest.startswith('"') and _closing(rest, '"') is None:
            number, rest = _join(lines, number, rest)
        for name, value in _split(match.group(1), rest, f"{file} line {start + 1}", warnings):
            if re.fullmatch(_NAME, name):
                yield Assignment(name, value, start + 1, number)
            else:
                warnings.append(
                    f"{file} line {start + 1}: {name!r} is no name of a variable and was left out"
                )


def _join(lines: list[str], number: int, rest: str) -> tuple[int, str]:
    """Take further lines until the double quote closes; none if it never does."""
    joined = rest
    for end in range(number, len(lines)):
        joined += "\n" + lines[end]
        if _closing(joined, '"') is not None:
            return end + 1, joined
    return number, rest


def _closing(text: str, quote: str) -> int | None:
    """Index of the quote that closes the one at the start of `text`."""
    index = 1
    while index < len(text):
        if quote == '"' and text[index] == "\\":
            index += 1
        elif text[index] == quote:
            return index
        index += 1
    return None


def _split(name: str, rest: str, where: str, warnings: list[str]) -> Iterator[tuple[str, str]]:
    """The assignment of a line, and those that were glued to its end."""
    quote = rest[:1]
    closing = _closing(rest, quote) if quote in {"'", '"'} else None
    if closing is not None:
        inner, tail = rest[1:closing], rest[closing + 1 :].strip()
        yield name, _unescape(inner) if quote == '"' else inner
        glued = re.match(_ASSIGNMENT, tail)
        if glued is not None:
            warnings.append(f"{where}: a newline is missing before {glued.group(1)}; read as two lines")
            yield from _split(glued.group(1), tail[glued.end() :], where, warnings)
        elif tail and not tail.startswith("#"):
            warnings.append(f"{where}: text after the closing quote of {name} was left out")
        return
    if quote in {"'", '"'}:
        warnings.append(f"{where}: the quote of {name} is never closed; it was taken as part of the value")
    value = _without_comment(rest)
    at, next_name = _glued(value)
    if next_name:
        warnings.append(f"{where}: a newline is missing before {next_name}; read as two lines")
        yield name, value[:at].strip()
        yield from _split(next_name, value[at + len(next_name) + 1 :], where, warnings)
        return
    yield name, value


def _without_comment(text: str) -> str:
    match = re.search(r"(?:^|[ \t])#", text)
    return (text[: match.start()] if match else text).strip()


def _glued(value: str) -> tuple[int, str]:
    """Where the first known name with `=` starts inside a value, and the name; ('' if there is none)."""
    found = [
        (at, -len(known), known[:-1])
        for known in _KNOWN_NAMES
        if (at := value.find(known)) > 0 and value[at - 1] not in "?&;"
    ]
    if not found:
        return 0, ""
    at, _, name = min(found)
    return at, name


def _unescape(text: str) -> str:
    return re.sub(_ESCAPE, lambda match: _UNESCAPED.get(match.group(1), match.group(1)), text)


def format_line(name: str, value: str) -> str:
    """`NAME=value` with the least quoting that every reader of such files understands."""
    if re.fullmatch(_BARE, value):
        return f"{name}={value}"
    if "'" not in value and all(char >= " " for char in value):
        return f"{name}='{value}'"
    return f'{name}="{"".join(_ESCAPED.get(char, char) for char in value)}"'


def set_variable(home: Home, name: str, value: str) -> None:
    """Write one variable into the home's `.env`; other lines stay as they are.

    Raises:
        ManagedError: The installation is managed.
        SettingError: The name is refused or no name, or the value cannot be stored.
        ConfigFileError: The file cannot be read.
        StoreUnwritableError: It cannot be written.
    """
    _require_unmanaged(home, f"hermes config set {name}", name)
    _require_allowed(name)
    if is_credential(name):
        value = value.strip()
        if not value.isascii():
            raise SettingError(
                f"The value for {name} contains characters that no key contains",
                key=name,
                remedy="Copy it again, without quotes or invisible characters.",
            )
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise SettingError(f"The value for {name} cannot be stored as text", key=name)
    _edit(home, name, format_line(name, value))


def unset_variable(home: Home, name: str) -> bool:
    """Remove a variable from the home's `.env`; False if it was not there.

    Raises:
        ManagedError: The installation is managed.
        ConfigFileError: The file cannot be read.
        StoreUnwritableError: It cannot be written.
    """
    _require_unmanaged(home, f"hermes config unset {name}", name)
    return _edit(home, name, None)


def _require_unmanaged(home: Home, action: str, name: str) -> None:
    line = f'services.hermes-agent.environmentFiles = [ "/run/secrets/hermes.env" ];  # with a line {name}=…'
    require_unmanaged(home, action, "services.hermes-agent.environmentFiles", nix_line=line)


def _require_allowed(name: str) -> None:
    if not re.fullmatch(_NAME, name):
        raise SettingError(
            f"{name!r} is no name of a variable", key=name, remedy="Use letters, digits and underscores."
        )
    if is_refused(name):
        raise SettingError(
            f"{name} is never written to .env",
            key=name,
            why="It decides which programs run, or where hermes keeps its files.",
            remedy="Set it in the shell or the service that starts hermes.",
        )


def _edit(home: Home, name: str, line: str | None) -> bool:
    home.ensure()
    path = home.env_file
    with exclusive(home.env_lock):
        text = read_text(path)
        lines = text.split("\n")
        found = [item for item in parse(text, path).assignments if item.name == name]
        shared = {item.line for item in parse(text, path).assignments if item.name != name}
        if line is None and not found:
            return False
        for item in reversed(found):
            others = [
                format_line(other.name, other.value)
                for other in parse("\n".join(lines[item.line - 1 : item.end]), path).assignments
                if other.name != name
            ]
            replacement = others if item.line in shared else []
            if line is not None and item is found[-1]:
                replacement = [*replacement, line]
            lines[item.line - 1 : item.end] = replacement
        if line is not None and not found:
            while lines and not lines[-1].strip():
                lines.pop()
            lines.append(line)
        new = "\n".join(lines)
        if new and not new.endswith("\n"):
            new += "\n"
        replace_atomically(path, new.encode("utf-8", "surrogateescape"), mode=0o600)
        return True
