"""The English that the demo model understands: fixed patterns in the notation of `demo_patterns`.

Nothing here is clever. A sentence either fits a pattern as a whole or it is not understood, and then
the demo model says so. The first pattern that fits wins.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from hermes_agent.models import demo_actions as do
from hermes_agent.models.demo_actions import Action
from hermes_agent.models.demo_patterns import QUOTED, compile_pattern, match_sentence

MAX_SENTENCE = 2_000
"""Characters of a sentence that patterns are tried on; patterns with two open ends take quadratic time."""

_SHOW = "(read|show|open|cat|print|display|view|see|look at|give) [me]"
_FILES = "(files|folders|directories|directory contents|contents|directory|content)"
_TODOS = "(todo|todos|to-do|to-dos|to do|task|tasks) [list|lists|items|tasks]"
_RUN = "(run|execute|exec|start|launch)"

_NOTATION: tuple[tuple[str, Callable[[re.Match[str]], Action | None]], ...] = (
    ("(help|?|/help|commands|menu|example|examples) [here|please]", do.say("help")),
    ("what can (you|i) (do|say|try|ask) [here|for me]", do.say("help")),
    ("what do you (know|understand|do)", do.say("help")),
    ("(who|what) are you", do.say("help")),
    ("how (does this|do you) work", do.say("help")),
    ("are you {rest}", do.say("help")),
    ("(hi|hello|hey|howdy|good (morning|afternoon|evening)) [there|hermes|demo]", do.say("hello")),
    ("(thanks|thank you|thx|great|nice|cool|bye|goodbye) [a lot|very much|hermes]", do.say("thanks")),
    ("(stop|nevermind|never mind|cancel|forget it|abort|enough) [that|it]", do.say("stop")),
    (
        "(simulate|show|make|cause|produce) [me] (a|an) [model|provider] (error|outage|failure)",
        do.say("outage"),
    ),
    ("count [up] [from (1|one)] to {n:number} [{slow:word}]", do.count),
    ("{slow:word} count [up] to {n:number}", do.count),
    ("think [aloud|hard|out loud|step by step] [(about|of|over) {topic}]", do.say("think", "topic")),
    ("(show|demo|test|print) [me] [some|a|your] (markdown|formatting) [example|please]", do.say("markdown")),
    (
        "what (did|have) i (say|said|ask|asked|write|written|tell|told) [to] [you] [at the] [{which:word}]",
        do.say("history", "which"),
    ),
    ("what was my {which:word} (message|question|request|word)", do.say("history", "which")),
    ("what did {which:word} (say|do|answer) [first|last|before]", do.say("history", "which")),
    (f"(show|read|list|what's|what is|what are) [me] [the|my] [current] {_TODOS}", do.show_todos),
    (
        "(create|make|start|write|add|set up|give me|plan) [me] [a|an|the|my] [new] "
        f"{_TODOS} [with|for|of|to|about|-] [{{items}}]",
        do.make_todos,
    ),
    (
        "(mark|tick|check|complete|finish) [off] [the] [task|item|todo|number] {id:word} "
        "[as] [done|off|complete|completed|finished]",
        do.tick_todo,
    ),
    ("(list|show) [me] [the|my|all] [running] [background] processes", do.processes),
    ("ask me [a|an|any|some|one] [simple|short|random|clarifying] (question|questions|something)", do.ask),
    ("(clarify|ask a question|ask something)", do.ask),
    ("ask me {question}", do.ask),
    ("[what's|what is|what|tell me] [the] [current] (time|date|day) [and (time|date)] [is it|is today] "
     "[today|now|here]", do.command("date")),
    ("(where am i|where are we|where are you|pwd)", do.command("pwd")),
    ("[in] (what's|what is|what|which) [the|my|our] [current|working] [working] (directory|folder) "
     "[am i in|are we in|is this]", do.command("pwd")),
    ("(who am i|whoami)", do.command("whoami")),
    ("(count|how many) [the] [number of] lines (of|in|are in|are there in|does) {path} [have|has]",
     do.count_lines),
    (f"in the {{background:word}} {_RUN} [the] [command] {{command}}", do.run),
    (f"{_RUN} [the] [command] {{command}} in the {{background:word}}", do.run),
    ("(run|execute|exec) [[this|the|a] [shell|terminal] command] {command}", do.run),
    ("(remember|memorise|memorize|keep in mind|don't forget|note) [that|down|this] {fact}", do.remember),
    ("forget [that|about] {fact}", do.forget),
    ("(replace|change) {old:word} (with|by|to|into) {new:word} in {path}", do.replace_text),
    ("(create|make|write) [a|the|me] [new] [file] [called|named] {path:word} "
     "(with|containing|saying|that says) [the] [text|content|contents|words] {text}", do.write),
    ("(write|save|put|store) [the] [text|word|words] {text} (to|into|in|as) [a|the] [new] [file] "
     "[called|named] {path:word}", do.write),
    ("(create|make|touch) (a|an|the) [new] [empty] file [called|named] {path:word}", do.write),
    ("(delete|remove|rm|erase) [the] [{what:word}] {path:word}", do.delete),
    ("(delete|remove|rm|erase) [the] {path:word} [{what:word}]", do.delete),
    (f"[list|show|display|print|give|what's|what is|what are|what|which|see] [me] [all] [of] [the|my] "
     f"{_FILES} [and {_FILES}] [are|is|do i have|do we have|exist|listing] [here|there] "
     "[(in|inside|under|of|at|from) {path}]", do.list_files),
    ("(ls|dir|list) [{path}]", do.list_files),
    ("(what's|what is) [there] [in|inside] (here|(this|the current) (folder|directory))", do.list_files),
    ("(what's|what is) (in|inside) the {path:word} (folder|directory)", do.list_files),
    ("(what's|what is) (in|inside) {path:folder}", do.list_files),
    ("(find|locate) [all] [the] (file|files|folder|folders) [named|called|matching|like] {text} "
     "[(in|under|inside) {path}]", do.find_files),
    ("(search|look|grep) [in|through] [the|all|my] files for {text}", do.search),
    ("(search|look) [in|through] {path:word} for {text}", do.search),
    ("{verb:word} for [the] [text|word|string|pattern] {text} [(in|under|inside|within) {path}]", do.search),
    ("{verb:word} [the] [text|word|string|pattern] {text} [(in|under|inside|within) {path}]", do.search),
    ("where (is|are|does) {text} (mentioned|used|defined|occur|appear|found) [in {path}]", do.search),
    (f"{_SHOW} [the] first {{head:number}} lines (of|in|from) {{path}}", do.read),
    (f"{_SHOW} [the] (line|lines) {{first:range}} [(-|to|until|and) {{last:number}}] (of|in|from) {{path}}",
     do.read),
    ("(what's|what is) (in|inside) [the] [file] {path:filename}", do.read),
    ("what does {path} (say|contain)", do.read),
    (f"{_SHOW} [the] [file|content of|contents of|text of] [the] [file] {{path}}", do.read),
)  # fmt: skip


@cache
def _rules() -> tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Action | None]], ...]:
    """The patterns, compiled at first use."""
    return tuple((compile_pattern(notation), build) for notation, build in _NOTATION)


_POLITE = re.compile(
    r"(?:(?:please|hey|ok|okay|now|first|also|just|hermes|could you|can you|would you|will you|kindly|next"
    r"|i want you to|i'd like you to|i would like you to|let'?s|and|then|finally)\b[,:]?\s+)+",
    re.IGNORECASE,
)
_POLITE_END = re.compile(r"[,\s]+(?:please|for me|thanks|thank you|now|again)\s*[.!?]*\Z", re.IGNORECASE)
_END = re.compile(r"(?<=[\w\"'`”’)\]])[.!?…]+\Z|\s+[!?]+\Z")
_RUNS = re.compile(rf"{_RUN}\b".replace("(", "(?:"), re.IGNORECASE)
_END_OF_COMMAND = re.compile(r"(?<=[\w\"'`)])\.\Z")
_JOINT = re.compile(
    rf"({QUOTED})|[,;.]?\s+(?:and\s+then|then|after\s+that|afterwards)\b[,:]?\s+|\s*\n\s*(?:[-*]|\d+[.)])\s+",
    re.IGNORECASE,
)
_SHELL = re.compile(r"\s*\$\s+(?P<command>\S.*)|\s*!\s*(?P<bang>\w.*)", re.DOTALL)
_LONG_RUN = re.compile(
    r"\s*(?:run|execute)(?: the command)?:?\s+(?P<command>\S.*)", re.DOTALL | re.IGNORECASE
)


def understand(text: str) -> list[Action]:
    """The actions that a message asks for, in order; `unknown` alone if a part fits nothing."""
    parts = _split(text)
    if len(parts) > 1:
        actions = [understand_one(part) for part in parts]
        if all(actions):
            return [action for action in actions if action is not None]
        whole = understand_one(text)
        if whole is not None:
            return [whole]
        if any(actions):  # half of a request is worse than none of it
            missing = [part for action, part in zip(actions, parts, strict=True) if action is None]
            return [Action("unknown", part) for part in missing]
    return [understand_one(text) or Action("unknown", text.strip())]


def understand_one(text: str) -> Action | None:
    """The action that a single sentence asks for; None if it fits no pattern."""
    shell = _SHELL.fullmatch(text)
    if shell:
        return do.run_command((shell["command"] or shell["bang"]).strip())
    sentence = _clean(text)
    if len(sentence) > MAX_SENTENCE:
        long_run = _LONG_RUN.fullmatch(sentence)
        return do.run_command(long_run["command"]) if long_run else None
    for pattern, build in _rules():
        found = match_sentence(pattern, sentence)
        action = build(found) if found else None
        if action is not None:
            return action
    return None


def _clean(text: str) -> str:
    """Without politeness and closing punctuation; a dot that is a path of its own stays."""
    text = text.strip()
    polite = _POLITE.match(text)
    if polite and polite.end() < len(text):
        text = text[polite.end() :]
    text = _POLITE_END.sub("", text)
    end = _END_OF_COMMAND if _RUNS.match(text) else _END
    return end.sub("", text).strip()


def _split(text: str) -> list[str]:
    if _SHELL.match(text) or len(text) > 10 * MAX_SENTENCE:
        return [text]
    parts, start = [], 0
    for joint in _JOINT.finditer(text):
        if joint[1] is None:
            parts.append(text[start : joint.start()])
            start = joint.end()
    parts.append(text[start:])
    return [part for part in (piece.strip() for piece in parts) if part]
