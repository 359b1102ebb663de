"""Which shell commands need a person's consent, and which are never run.

The text is read twice, as it stands and with look-alikes of Unicode replaced, and every command that a
shell would start is judged with its wrappers taken off: substitutions, subshells, pipelines into a
shell, `bash -c`, `eval`, `find -exec`, here-documents. The worst verdict counts. This is a safety net
against mistakes and confused models, not a wall against somebody who writes a program to get around it;
whatever cannot be seen through is asked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hermes_agent.core.approvals import Allowed, Forbidden, NeedsApproval, Verdict
from hermes_agent.tools.command_floor import (
    Place,
    absolute,
    floor_reason,
    is_vital,
    operands,
    redirect_reason,
)
from hermes_agent.tools.command_rules import program_rules, reads_code, sql_rules, write_rules
from hermes_agent.tools.command_wrappers import SHELLS, WRAPPERS, inner_commands, program, takes_everything
from hermes_agent.tools.shell_parser import UNKNOWN, ShellCommand, parse_shell, stdin_of

MAX_DEPTH = 8
MAX_CHARS = 200_000
MAX_WORK = 100_000
"""Words judged, again for every wrapper."""

_ANSI = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|[@-Z\\-_])")
_DOWNLOADERS = frozenset(("curl", "wget", "fetch", "aria2c", "http", "https", "lwp-download"))
_RUNS_SHELL = re.compile(
    r"system|popen|subprocess|exec|spawn|Runtime|rmtree|unlink|remove_tree|rm_rf|rmSync|rmdir|delete|`|qx"
    r"|do shell script"
)
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|`([^`]*)`")
_DELETES_TREE = re.compile(
    r"(?:rmtree|remove_tree|rm_rf|rm_r|rmSync|rmdirSync|rm)\s*\(?\s*(?:os\.path\.expanduser\(|Path\()?\s*[\"']([^\"']+)[\"']"
)
_INTERPRETER = re.compile(
    r"(python|pypy|perl|ruby|node|nodejs|bun|deno|php|lua|osascript|awk|gawk|mawk|tclsh)[\d.]*$"
)


def review_command(
    command: str,
    *,
    is_isolated: bool = False,
    has_sudo_password: bool = False,
    cwd: str | None = None,
) -> Verdict:
    """Classify a shell command.

    Args:
        command: As the shell will get it.
        is_isolated: It runs in a sandbox: nothing is asked, the floor stays.
        has_sudo_password: A password for sudo is configured, so `sudo -S` does not guess one.
        cwd: Where it starts (absolute, or from `~`), if known; makes `rm -rf *` in `/` or a home visible.

    Returns:
        `Forbidden` for the floor, `NeedsApproval` with the ids of all rules that it breaks, or `Allowed`.
    """
    if cwd is not None:
        cwd = absolute(cwd, Place())
    texts = dict.fromkeys((_without_escapes(command), _plain(command)))
    homes = frozenset({str(Path.home())} - {"/"})
    review = _Review(Place(cwd, homes), has_sudo_password)
    for text in texts:
        review.place.cwd = cwd
        review.script(text[:MAX_CHARS])
    if review.forbidden:
        return Forbidden(command, review.forbidden[0])
    if len(command) > MAX_CHARS:
        review.ask("too-long", "is too long to be judged")
    if is_isolated or not review.rules:
        return Allowed()
    return NeedsApproval(command, tuple(dict.fromkeys(review.rules.values())), tuple(review.rules))


def _without_escapes(command: str) -> str:
    return _ANSI.sub("", command).replace("\0", "")


def _plain(command: str) -> str:
    """With look-alike characters in their ASCII form and invisible ones removed."""
    text = unicodedata.normalize("NFKC", _without_escapes(command))
    return "".join(
        " " if unicodedata.category(char) == "Zs" else char
        for char in text
        if unicodedata.category(char) != "Cf" and (char >= " " or char in "\n\t\r")
    )


@dataclass(slots=True)
class _Review:
    place: Place
    has_sudo_password: bool
    forbidden: list[str] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict)
    _work: int = 0

    def ask(self, rule: str, reason: str) -> None:
        self.rules.setdefault(rule, reason)

    def script(self, text: str, depth: int = 0, variables: dict[str, str] | None = None) -> None:
        """Judge everything that a script starts."""
        if depth > MAX_DEPTH:
            self.ask("unknown-program", "is nested too deeply to be judged")
            return
        script = parse_shell(text, dict(variables or {}))
        for command in script.commands:
            self._command(command, depth)
            name = command.words[0] if command.words else ""
            if name in script.functions:
                if any(source.words[:1] == [name] for source in command.sources):
                    self.forbidden.append("it is a fork bomb: it starts itself without end")
                elif len(command.words) > 1 and depth < 3 and not variables:
                    arguments = command.words[1:]
                    known = {str(number): word for number, word in enumerate(arguments, 1)}
                    self.script(text, depth + 1, known | dict.fromkeys("@*", " ".join(arguments)))
        if script.is_cut:
            self.ask("too-long", "is too long to be judged")

    def _command(self, command: ShellCommand, depth: int) -> None:
        for operator, target in command.redirects:
            if ">" in operator and not target.isdigit() and target not in ("-", "/dev/null"):
                reason = redirect_reason(target, self.place)
                if reason:
                    self.forbidden.append(reason)
                for rule in write_rules(target, self.place):
                    self.ask(rule.id, rule.reason)
        if command.words:
            self._words(command.words, command, depth)

    def _words(self, words: Sequence[str], command: ShellCommand, depth: int) -> None:
        """Judge one command, then what it starts."""
        self._work += len(words)
        if depth > MAX_DEPTH or self._work > MAX_WORK:
            self.ask("unknown-program", "is nested too deeply to be judged")
            return
        unset = re.sub(r"\$\{[^}]*\}", "", words[0])
        if unset and unset != words[0]:
            # `r${x}m`: a variable that is not set leaves nothing
            self._words([unset, *words[1:]], command, depth + 1)
        reason = floor_reason(words, self.place)
        if reason:
            self.forbidden.append(reason)
        name = program(words)
        if name in ("cd", "pushd") and len(words) <= 2:
            target = words[1] if len(words) > 1 else "~"
            self.place.cwd = absolute(target, self.place) if self.place.cwd or target[0:1] in "/~$" else None
        for rule in program_rules(words, self.place):
            self.ask(rule.id, rule.reason)
        self._special(name, words, command)
        self._input(name, words, command, depth)
        for script in _typed_scripts(name, words, command):
            self.script(script, depth + 1)
        if _INTERPRETER.match(name):
            self._code(" ".join(words[1:]), depth)
        for inner in inner_commands(words):
            if inner.script is not None:
                self._inner_script(name, words, inner.script, depth)
            elif name == "xargs":
                self._words([*inner.words, *_listed(command)], command, depth + 1)
            else:
                self._words(inner.words, command, depth + 1)

    def _inner_script(self, name: str, words: Sequence[str], script: str, depth: int) -> None:
        if name in SHELLS:
            self.ask("shell-c", "runs a script given on the command line")
        if name in ("eval", "trap") and UNKNOWN in script:
            return self.ask("eval-unknown", "runs text that is not known beforehand")
        at = list(words).index(script) + 1 if script in words else len(words)
        given = words[at : at + 20]
        return self.script(script, depth + 1, {str(number): word for number, word in enumerate(given)})

    def _special(self, name: str, words: Sequence[str], command: ShellCommand) -> None:
        if name == "sudo" and not self.has_sudo_password:
            rest = iter(words[1:])
            for word in rest:
                if not word.startswith("-") or word == "--":
                    break
                if word in WRAPPERS["sudo"].valued:
                    next(rest, "")
                elif word == "--stdin" or re.fullmatch(r"-[A-Za-z]*S[A-Za-z]*", word):
                    self.forbidden.append(
                        "it feeds sudo a guessed password; none is configured (SUDO_PASSWORD)"
                    )
        deletes = any(program(inner.words) in ("rm", "shred", "unlink") for inner in inner_commands(words))
        if name == "find" and deletes:
            self.ask("find-delete", "deletes what it finds")
        if name in ("xargs", "parallel") and deletes:
            self.ask("xargs-rm", "deletes files by a list")
        texts = [*words[1:], *command.here, *(text for text in (stdin_of(command),) if text)]
        for rule in sql_rules(name, texts):
            self.ask(rule.id, rule.reason)
        if name in ("source", ".") and (UNKNOWN in words[1:] or "/dev/stdin" in words[1:]):
            self.ask("pipe-to-shell", "runs text that is not known beforehand")

    def _input(self, name: str, words: Sequence[str], command: ShellCommand, depth: int) -> None:
        """Judge a program that a shell or interpreter reads from its standard input."""
        if name in SHELLS and UNKNOWN in operands(words)[:1]:
            self.ask("pipe-to-shell", "runs text that is not known beforehand")
        if not reads_code(words) or not (command.here or command.sources):
            return
        if command.here:
            self.ask("script-heredoc", "runs a script given as its input")
        if command.sources:
            programs = {program(source.words) for source in command.sources}
            if programs & _DOWNLOADERS:
                self.ask("download-to-shell", "runs what it downloads")
            elif programs & {"base64", "base32", "xxd", "openssl", "gunzip", "zcat"}:
                self.ask("decoded-shell", "runs something that was encoded")
            else:
                self.ask("pipe-to-shell", "runs what another command prints")
        given = stdin_of(command)
        if given and name in SHELLS:
            self.script(given, depth + 1)
        elif given:
            self._code(given, depth)

    def _code(self, code: str, depth: int) -> None:
        """Look for the floor in a program of another language: shell commands and paths in its strings."""
        if not _RUNS_SHELL.search(code):
            return
        for match in _DELETES_TREE.finditer(code):
            if is_vital(match[1], self.place):
                self.forbidden.append(f"it deletes {match[1]!r}: a system directory or a home")
        inner = _Review(Place(self.place.cwd, self.place.homes), self.has_sudo_password)
        strings = ["".join(groups) for groups in _QUOTED.findall(code)]
        for text in [*strings, " ".join(strings)][:200]:
            inner.script(text, depth + 1)
        self.forbidden += inner.forbidden


def _listed(command: ShellCommand) -> list[str]:
    """The words that `xargs` gets."""
    given = stdin_of(command)
    if given:
        return given.split()
    source = command.sources[0].words if command.sources else []
    if program(source) == "find" and takes_everything(source):
        return [word for word in source[1:2] if not word.startswith("-")] or [UNKNOWN]
    return [UNKNOWN]


def _typed_scripts(name: str, words: Sequence[str], command: ShellCommand) -> list[str]:
    """Texts that a program hands to a shell without looking like a wrapper."""
    if name in ("tmux", "screen", "byobu", "zellij"):
        return [word for word in words[1:] if " " in word] + [" ".join(operands(words)[1:])]
    if name in ("vim", "vi", "nvim", "ex", "emacs", "gdb"):
        return [word.partition("!")[2] or word.partition("shell ")[2] for word in words[1:]]
    if name in ("at", "batch"):
        return [text for text in (stdin_of(command),) if text]
    return []
