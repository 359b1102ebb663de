"""What a command looks like: tests on its words, from which rules are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

from hermes_agent.tools.command_floor import Place, absolute, operands
from hermes_agent.tools.command_wrappers import program

Matcher: TypeAlias = Callable[[Sequence[str], Place], bool]


def flags(words: Sequence[str]) -> set[str]:
    """Options, with clusters of letters taken apart: `-rf` is `-r`, `-f`."""
    found: set[str] = set()
    for word in words[1:]:
        if word == "--":
            break
        if word.startswith("--"):
            found.add(word.partition("=")[0])
        elif word.startswith("-") and len(word) > 1:
            found.add(word)
            found.update(f"-{letter}" for letter in word[1:])
    return found


def has(*options: str) -> Matcher:
    """Any of these options."""
    return lambda words, _place: bool(flags(words) & set(options))


def always(_words: Sequence[str], _place: Place) -> bool:
    """Every call."""
    return True


def verb(*verbs: str) -> Matcher:
    """The first word that is no option is one of these."""
    return lambda words, _place: next(iter(operands(words)), "") in verbs


def has_verbs(*verbs: str) -> Matcher:
    """These words follow each other (`system prune`)."""
    return lambda words, _place: any(
        tuple(operands(words)[at : at + len(verbs)]) == verbs for at in range(len(words))
    )


def both(one: Matcher, other: Matcher) -> Matcher:
    """Two at once."""
    return lambda words, place: one(words, place) and other(words, place)


def either(one: Matcher, other: Matcher) -> Matcher:
    """One of two."""
    return lambda words, place: one(words, place) or other(words, place)


def open_to_all(words: Sequence[str], _place: Place) -> bool:
    """Permissions for everybody."""
    modes = [*operands(words)[:1], *(word for word in words[1:] if re.match(r"-[rwx]", word))]
    return any(
        re.fullmatch(r"[0-7]?[0-7]?[0-7][2367]", mode)
        or re.search(r"(^|,)[ugo]*[oa][ugo]*[+=]\w*w|^\+\w*w", mode)
        for mode in modes
    )


def kill_signal(words: Sequence[str], _place: Place) -> bool:
    """The signal that cannot be caught."""
    text = " ".join(words[1:]).upper()
    return (
        re.search(r"(^| )-(S |N )?(-SIGNAL[= ])?(9|KILL|SIGKILL)( |$)|SIGNAL[= ](9|KILL|SIGKILL)", text)
        is not None
    )


def to_root(words: Sequence[str], _place: Place) -> bool:
    """Gives a whole folder to root."""
    owner = next(iter(operands(words)), "")
    return bool(flags(words) & {"-R", "--recursive"}) and re.match(r"(root|0)?(:|\.|$)", owner) is not None


def on_system(words: Sequence[str], place: Place) -> bool:
    """Touches what belongs to the system."""
    paths = [absolute(word, place) for word in operands(words)]
    return any(
        path == "/" or re.match(r"/(etc|usr|bin|sbin|lib|lib64|boot|var|opt|root|sys|proc)(/|$)", path)
        for path in paths
    )


def forced_push(words: Sequence[str], _place: Place) -> bool:
    """Overwrites what others have pushed."""
    rest = operands(words)
    return "push" in rest and (
        bool(flags(words) & {"-f", "--force", "--force-with-lease", "--mirror", "--delete", "-d", "--prune"})
        or any(word.startswith(("+", ":")) for word in rest)
    )


def git(verb: str, *options: str) -> Matcher:
    """A git command, perhaps with one of these options."""

    def matches(words: Sequence[str], _place: Place) -> bool:
        rest = operands(words)
        return verb in rest[:3] and (not options or bool(flags(words) & set(options)))

    return matches


def git_discard(words: Sequence[str], _place: Place) -> bool:
    """Throws away changes in the working tree."""
    rest = operands(words)
    if "checkout" in rest[:3]:
        return (
            bool(flags(words) & {"-f", "--force"})
            or ("--" in words and "checkout" in words)
            or rest[-1:] == ["."]
        )
    if "switch" in rest[:3]:
        return bool(flags(words) & {"-f", "--force", "--discard-changes"})
    return "restore" in rest[:3] and "--staged" not in words


def inline_code(words: Sequence[str], _place: Place) -> bool:
    """Code on the command line."""
    name = program(words)
    letters = {
        "perl": "eE",
        "ruby": "e",
        "node": "ep",
        "nodejs": "ep",
        "bun": "e",
        "php": "r",
        "lua": "e",
        "osascript": "e",
        "Rscript": "e",
        "tclsh": "",
    }
    wanted = letters.get(re.sub(r"[\d.]+$", "", name), "c")
    for word in words[1:]:
        if word in ("--eval", "--execute", "--print", "--run") or (name == "deno" and word == "eval"):
            return True
        if re.fullmatch(rf"-[A-Za-z]*[{wanted or 'c'}]", word):
            return True
        if not word.startswith("-"):
            return False
    return False


def container_host(words: Sequence[str], _place: Place) -> bool:
    """A container that may reach the host."""
    rest = " ".join(words[1:])
    return (
        re.search(
            r"--privileged|--pid[= ]host"
            r"|(-v|--volume|--mount)[= ]?\S*(source=|src=)?(/:|/var/run/docker\.sock|/etc[:/])",
            rest,
        )
        is not None
    )


def write_targets(words: Sequence[str]) -> list[str]:  # noqa: PLR0911 - a table in the shape of code
    """Paths that this command writes, as far as they can be seen."""
    name, rest = program(words), operands(words)
    if name in ("tee", "truncate", "touch", "mkdir", "chattr", "unlink", "rm", "shred", "sponge"):
        return rest
    if name in ("chmod", "chown", "chgrp", "setfacl"):
        return rest[1:]
    if name == "mv":
        return rest
    if name in ("cp", "install", "ln", "rsync", "scp"):
        named = [word.partition("=")[2] for word in words if word.startswith("--target-directory=")]
        return rest[-1:] + named + after(words, "-t")
    if name == "dd":
        return [word[3:] for word in words if word.startswith("of=")]
    if name in ("sed", "gsed", "perl") and any(re.match(r"-\w*i|--in-place", word) for word in words[1:]):
        return rest
    if name in ("curl", "wget"):
        return after(words, "-o", "--output", "-O", "--output-document")
    if name in ("vim", "vi", "nano", "ed", "emacs", "ex"):
        return rest
    return []


def after(words: Sequence[str], *options: str) -> list[str]:
    """The words after these options."""
    return [words[at + 1] for at in range(len(words) - 1) if words[at] in options]
