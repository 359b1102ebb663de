"""Read a shell command the way a shell would, far enough to see which programs it starts.

Quotes, escapes, known variables, `$IFS`, brace lists and simple substitutions such as `$(echo rm)` are
resolved; what cannot be known stays as `${NAME}`. Loops, functions and subshells are flattened: every
command in them counts. The reader rather sees a command too many than one too few, and never fails:
text that is no valid shell is read as far as it goes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from hermes_agent.tools.shell_text import ansi, ansi_end, brace_list, closing, filtered, printf

MAX_DEPTH = 12
MAX_COMMANDS = 2_000
MAX_WORDS = 20_000
MAX_VALUE_CHARS = 1_000
UNKNOWN = "$?"
"""Stands for the output of a command that was not run."""

_NAME = re.compile(r"[A-Za-z_]\w*")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(?:\[[^\]]*\])?\+?=(.*)", re.DOTALL)
_REDIRECT = re.compile(r"(&>>|&>|<<<|<<-|<<|<>|>>|>\||>&|<&|>|<)")
_PARAMETER = re.compile(r"!?#?([A-Za-z_]\w*|[0-9@*#?$!-])(\[[^\]]*\])?(.*)", re.DOTALL)
_FUNCTION = re.compile(r"\([ \t]*\)\s*\{?")
_SLICE = re.compile(r":\s*(\d+)\s*(?::\s*(\d+))?$")
_ABSOLUTE = ("HOME", "PATH", "PWD", "SHELL", "OLDPWD")
_KEYWORDS = frozenset(
    (
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "while",
        "until",
        "do",
        "done",
        "esac",
        "!",
        "{",
        "}",
        "coproc",
        "function",
    )
)


@dataclass(slots=True)
class ShellCommand:
    """One program start.

    Attributes:
        words: The program and its arguments, resolved as far as possible; assignments are stripped.
        redirects: Operator and target.
        here: Bodies of here-documents and here-strings.
        sources: The commands before it in its pipeline, nearest first.
    """

    words: list[str] = field(default_factory=list)
    redirects: list[tuple[str, str]] = field(default_factory=list)
    here: list[str] = field(default_factory=list)
    sources: list[ShellCommand] = field(default_factory=list)


@dataclass(slots=True)
class ShellScript:
    """Everything a script starts, substitutions included, roughly in order.

    Attributes:
        commands: One per program start.
        functions: Names of functions it defines.
        is_cut: It is too long; the rest was not read.
    """

    commands: list[ShellCommand] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    is_cut: bool = False


def parse_shell(text: str, variables: dict[str, str] | None = None, depth: int = 0) -> ShellScript:
    """Read a script. `variables` are known values; assignments in the script are added to them."""
    reader = _Reader(text, variables if variables is not None else {}, depth)
    reader.read()
    return reader.script


class _Reader:
    def __init__(self, text: str, variables: dict[str, str], depth: int) -> None:
        self.script = ShellScript()
        self._text = text
        self._at = 0
        self._variables = variables
        self._depth = depth
        self._command = ShellCommand()
        self._pipeline: list[ShellCommand] = []
        self._word: list[str] | None = None
        self._braces = False  # the word has an unquoted brace
        self._operator = ""
        self._documents: list[tuple[ShellCommand, str, bool, bool]] = []
        self._has_quotes = False
        self._word_count = 0

    def read(self) -> None:
        while self._at < len(self._text):
            if len(self.script.commands) >= MAX_COMMANDS or self._word_count >= MAX_WORDS:
                self.script.is_cut = True
                break
            self._step(self._text[self._at])
        self._end_pipeline()

    def _step(self, char: str) -> None:
        if char in " \t\r":
            self._end_word()
            self._at += 1
        elif char == "\n":
            self._end_pipeline()
            self._at += 1
            self._read_documents()
        elif char == "#" and self._word is None:
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end
        elif (match := _REDIRECT.match(self._text, self._at)) and char in "<>&":
            self._redirect(match[1])
        elif char in ";&|()":
            self._control(char)
        else:
            self._expand(char)

    def _control(self, char: str) -> None:
        match = _FUNCTION.match(self._text, self._at) if char == "(" else None
        if match and (self._word is not None or len(self._command.words) == 1):
            self._end_word()
            self.script.functions.update(self._command.words[-1:])
            self._command = ShellCommand()
            self._at = match.end()
            return
        is_pipe = char == "|" and not self._text.startswith("||", self._at)
        if is_pipe:
            self._end_command()
            if not self._pipeline and self.script.commands:
                self._pipeline = [self.script.commands[-1]]  # `( … ) |` and `{ …; } |`
            self._at += 2 if self._text.startswith("|&", self._at) else 1
        else:
            self._end_pipeline()
            self._at += 1

    def _redirect(self, operator: str) -> None:
        if operator in "<>" and self._text.startswith("(", self._at + 1):
            end = closing(self._text, self._at + 2)
            self._nested(self._text[self._at + 2 : end])
            self._put(UNKNOWN)
            self._at = end + 1
            return
        if self._word is not None and "".join(self._word).isdigit():
            self._word = None  # the number of a file descriptor
        self._end_word()
        self._operator = operator
        self._at += len(operator)

    def _put(self, text: str) -> None:
        if self._word is None:
            self._word = []
        self._word.append(text)

    def _expand(self, char: str) -> None:
        text = self._text
        if char == "\\":
            following = text[self._at + 1 : self._at + 2]
            if following != "\n":
                self._put(following)
                self._has_quotes = True
            self._at += 2
        elif char == "'":
            end = text.find("'", self._at + 1)
            end = len(text) if end < 0 else end
            self._put(text[self._at + 1 : end])
            self._has_quotes = True
            self._at = end + 1
        elif char == '"':
            self._double_quoted()
        elif text.startswith("$'", self._at):
            end = ansi_end(text, self._at + 2)
            self._put(ansi(text[self._at + 2 : end]))
            self._at = end + 1
        elif char in "$`":
            value, self._at = self._dollar(self._at)
            self._split_in(value)
        else:
            self._braces = self._braces or char == "{"
            self._put(char)
            self._at += 1

    def _double_quoted(self) -> None:
        text, at = self._text, self._at + 1
        self._put("")
        self._has_quotes = True
        while at < len(text) and text[at] != '"':
            if text[at] == "\\" and at + 1 < len(text):
                following = text[at + 1]
                self._put(
                    "" if following == "\n" else following if following in '$`"\\' else "\\" + following
                )
                at += 2
            elif text[at] in "$`":
                value, at = self._dollar(at)
                self._put(value)
            else:
                end = at + 1
                while end < len(text) and text[end] not in '"\\$`':
                    end += 1
                self._put(text[at:end])
                at = end
        self._at = at + 1

    def _split_in(self, value: str) -> None:
        """Put an unquoted expansion: its blanks separate words."""
        if not value.strip():
            if value:
                self._end_word()
            return
        if value[0].isspace():
            self._end_word()
        pieces = value.split()
        self._put(pieces[0])
        for piece in pieces[1:]:
            self._end_word()
            self._put(piece)
        if value[-1].isspace():
            self._end_word()

    def _dollar(self, at: int) -> tuple[str, int]:
        """The value of the expansion at `at`, and where it ends."""
        text = self._text
        if text[at] == "`":
            end = at + 1
            while end < len(text) and text[end] != "`":
                end += 2 if text[end] == "\\" else 1
            inner = re.sub(r"\\([`$\\])", r"\1", text[at + 1 : end])
            return self._nested(inner), end + 1
        if text.startswith("$((", at):
            end = closing(text, at + 2)
            self._nested_expansions(text[at + 3 : end])
            return "0", end + 1
        if text.startswith("$(", at):
            end = closing(text, at + 2)
            return self._nested(text[at + 2 : end]), end + 1
        if text.startswith("${", at):
            end = closing(text, at + 2, "{", "}")
            return self._parameter(text[at + 2 : end]), end + 1
        if text.startswith('$"', at):
            return "", at + 1
        match = _NAME.match(text, at + 1)
        if match:
            return self._value(match[0]), match.end()
        if at + 1 < len(text) and text[at + 1] in "0123456789@*#?$!-":
            return self._value(text[at + 1]), at + 2
        return "$", at + 1

    def _value(self, name: str) -> str:
        return " " if name == "IFS" else self._variables.get(name, f"${{{name}}}")

    def _parameter(self, inner: str) -> str:
        match = _PARAMETER.match(inner)
        if match is None:
            return UNKNOWN
        name, rest = match[1], match[3]
        if name == "IFS":
            return " "
        known = self._variables.get(name)
        part = _SLICE.match(rest)
        if part:
            start, length = int(part[1]), part[2]
            if known is not None:
                return known[start : start + int(length)] if length else known[start:]
            return "/" if name in _ABSOLUTE and start == 0 and length == "1" else f"${{{name}}}"
        if known is None and (rest[:2] in (":-", ":=") or rest[:1] in ("-", "=")):
            return self._plain(rest.lstrip(":")[1:])
        if rest[:2] == ":+" or rest[:1] == "+":
            return self._plain(rest.lstrip(":")[1:])
        if rest:
            self._nested_expansions(rest)
        return known if known is not None else f"${{{name}}}"

    def _plain(self, text: str) -> str:
        """The value of a word inside `${…}`."""
        if self._depth >= MAX_DEPTH:
            return UNKNOWN
        script = parse_shell(f": {text}", self._variables, self._depth + 1)
        self.script.commands += script.commands[:-1]
        return " ".join(script.commands[-1].words[1:]) if script.commands else ""

    def _nested_expansions(self, text: str) -> None:
        if "$(" in text or "`" in text:
            self._plain(text)

    def _nested(self, inner: str) -> str:
        """Read a substitution; its value if that is plain to see."""
        if self._depth >= MAX_DEPTH:
            return UNKNOWN
        script = parse_shell(inner, self._variables, self._depth + 1)
        self.script.commands += script.commands
        self.script.functions |= script.functions
        self.script.is_cut = self.script.is_cut or script.is_cut
        value = printed(script.commands[-1]) if script.commands else ""
        return UNKNOWN if value is None else value.rstrip("\n")

    def _end_word(self) -> None:
        if self._word is None:
            return
        word = "".join(self._word)
        operator, self._operator = self._operator, ""
        quoted, self._has_quotes = self._has_quotes, False
        braces, self._braces = self._braces, False
        self._word = None
        if operator in ("<<", "<<-"):
            self._documents.append((self._command, word, quoted, operator == "<<-"))
        elif operator == "<<<":
            self._command.here.append(word)
        elif operator:
            self._command.redirects.append((operator, word))
        else:
            self._command.words += brace_list(word) if braces and not quoted else [word]
            self._word_count += 1

    def _end_command(self) -> None:
        self._end_word()
        self._operator = ""
        command, self._command = self._command, ShellCommand()
        self._assign(command)
        while command.words and command.words[0] in _KEYWORDS:
            keyword = command.words.pop(0)
            if keyword == "function" and command.words:
                self.script.functions.add(command.words.pop(0))
            self._assign(command)
        if command.words[:1] == ["for"] and "in" in command.words[2:3]:
            self._set(command.words[1], " ".join(command.words[3:]))
        if command.words[:2] == ["set", "--"]:
            for number, word in enumerate(command.words[2:12], 1):
                self._set(str(number), word)
        if command.words[:1] == ["read"] and command.here and len(command.words) > 1:
            self._set(command.words[-1], command.here[0])
        if command.words or command.redirects or command.here:
            command.sources = self._pipeline[::-1]
            self.script.commands.append(command)
            self._pipeline.append(command)

    def _assign(self, command: ShellCommand) -> None:
        while command.words and (match := _ASSIGNMENT.fullmatch(command.words[0])):
            self._set(match[1], match[2])
            command.words.pop(0)
        if command.words[:1] and command.words[0] in ("export", "declare", "local", "readonly", "typeset"):
            for word in command.words[1:]:
                if match := _ASSIGNMENT.fullmatch(word):
                    self._set(match[1], match[2])

    def _set(self, name: str, value: str) -> None:
        # a long value could grow without end by being put into itself
        self._variables[name] = value if len(value) <= MAX_VALUE_CHARS else UNKNOWN

    def _end_pipeline(self) -> None:
        self._end_command()
        self._pipeline = []

    def _read_documents(self) -> None:
        for command, delimiter, is_quoted, strips_tabs in self._documents:
            lines = []
            while self._at < len(self._text):
                end = self._text.find("\n", self._at)
                end = len(self._text) if end < 0 else end
                line = self._text[self._at : end]
                self._at = end + 1
                if (line.lstrip("\t") if strips_tabs else line) == delimiter:
                    break
                lines.append(line)
            body = "\n".join(lines)
            command.here.append(body)
            if not is_quoted:
                self._nested_expansions('"' + body.replace('"', "") + '"')
        self._documents = []


def printed(command: ShellCommand) -> str | None:
    """What a command writes, if that is plain to see: `echo`, `printf`, here-documents, base64, `which`."""
    if not command.words:
        return None
    name, arguments = command.words[0].rpartition("/")[2], command.words[1:]
    if name == "echo":
        while arguments and re.fullmatch(r"-[neE]+", arguments[0]):
            arguments = arguments[1:]
        return ansi(" ".join(arguments))
    if name == "printf" and arguments:
        return printf([argument for argument in arguments if argument != "--"])
    if name == "pwd":
        return "$PWD"
    if name in ("which", "command", "type") and arguments:
        return arguments[-1]
    if name == "cat" and all(argument.startswith("-") for argument in arguments):
        return stdin_of(command)
    if name in ("base64", "base32", "openssl", "xxd", "rev", "tr"):
        return filtered(name, arguments, stdin_of(command))
    return None


def stdin_of(command: ShellCommand) -> str | None:
    """What a command reads from its standard input, if that is plain to see."""
    if command.here:
        return "\n".join(command.here)
    return printed(command.sources[0]) if command.sources else None
