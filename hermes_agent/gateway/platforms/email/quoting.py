"""What is new in a mail: without the quoted mail it answers and without the signature.

Guessing must never lose what somebody said: in doubt text stays, and if nothing would be left, all stays.
"""

from __future__ import annotations

import re

_WROTE = re.compile(
    r"^(On|Am|Le|El|Il|Op|Em|Den|Dne|W dniu|På)\b.{0,200}?"
    r"(wrote|schrieb|a écrit|escribió|ha scritto|schreef|escreveu|skrev|napsal\(a\)|napisał)"
    r".{0,120}:\s*$",
    re.IGNORECASE | re.DOTALL,
)
_SEPARATOR = re.compile(
    r"^\s*-{2,}\s*(Original Message|Original-Nachricht|Ursprüngliche Nachricht|Message d'origine|"
    r"Mensaje original|Messaggio originale|Oorspronkelijk bericht)\s*-{2,}\s*$",
    re.IGNORECASE,
)
_HEADER = re.compile(r"^\*?(From|Von|De|Da|Van|Från)\s*:\*?\s*\S", re.IGNORECASE)
_HEADER_MORE = re.compile(
    r"^\*?(Sent|Date|To|Subject|Gesendet|Datum|An|Betreff|Envoyé|À|Objet|Enviado|Para|Asunto|Inviato|"
    r"Oggetto|Verzonden|Aan|Onderwerp|Cc)\s*:",
    re.IGNORECASE,
)
_FORWARDED = re.compile(
    r"^\s*-{3,}.{0,10}(Forwarded message|Weitergeleitete Nachricht|Message transféré|Mensaje reenviado|"
    r"Doorgestuurd bericht|Begin forwarded).{0,10}-{3,}\s*$|^Begin forwarded message:\s*$",
    re.IGNORECASE,
)
_SENT_FROM = re.compile(
    r"^(Sent from my .{1,60}|Sent from (Outlook|Mail|Yahoo|Proton).{0,60}|Get Outlook for .{1,40}|"
    r"Von meinem .{1,40} gesendet|Gesendet von .{1,60}|Envoyé de mon .{1,60}|Enviado desde mi .{1,60})$",
    re.IGNORECASE,
)
_RULE = re.compile(r"^\s*_{10,}\s*$")


def new_text(text: str) -> str:
    """The part of a mail's text that its sender wrote this time."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    kept = _without_signature(_without_quote(lines))
    said = "\n".join(kept).strip()
    return said or text.strip()


def _without_quote(lines: list[str]) -> list[str]:
    for index, line in enumerate(lines):
        if _FORWARDED.match(line):
            return lines  # what was forwarded is what it is about
        if _SEPARATOR.match(line) or _is_header_block(lines, index):
            end = index - 1 if index and _RULE.match(lines[index - 1]) else index
            return lines[:end] if any(each.strip() for each in lines[:end]) else lines
    return _without_trailing_quote(lines)


def _without_trailing_quote(lines: list[str]) -> list[str]:
    """Without one block of quoted text at the end or the beginning.

    Answers between quoted lines keep them: alone they would not make sense.
    """
    end = _signature(lines)
    said = [
        index
        for index, line in enumerate(lines[:end])
        if line.strip() and not line.startswith(">") and not _SENT_FROM.match(line.strip())
    ]
    if not said:
        return lines
    begin = _attribution(lines, said[-1])
    if begin is not None:
        return lines[:begin] if any(index < begin for index in said) else lines
    kept = lines[: said[-1] + 1]
    quoted = [index for index, line in enumerate(kept) if line.startswith(">")]
    if not quoted:
        return kept
    before = [index for index in said if index < quoted[0]]
    is_one_block = not any(quoted[0] < index < quoted[-1] for index in said)
    leads_in = not before or _attribution(kept, before[-1]) == before[0]
    return kept[quoted[-1] + 1 :] if is_one_block and leads_in else kept


def _attribution(lines: list[str], last_said: int) -> int | None:
    """Where the line `On …, … wrote:` begins, if it is the last thing said (it may take three lines)."""
    for count in (1, 2, 3):
        begin = last_said - count + 1
        if begin < 0:
            return None
        if _WROTE.match("\n".join(lines[begin : last_said + 1]).strip()):
            return begin
    return None


def _is_header_block(lines: list[str], index: int) -> bool:
    """Outlook puts the headers of the quoted mail above it."""
    if not _HEADER.match(lines[index]):
        return False
    following = [line for line in lines[index + 1 : index + 6] if line.strip()]
    return sum(1 for line in following if _HEADER_MORE.match(line)) >= 2


def _without_signature(lines: list[str]) -> list[str]:
    end = _signature(lines)
    while end and (not lines[end - 1].strip() or _SENT_FROM.match(lines[end - 1].strip())):
        end -= 1
    return lines[:end]


def _signature(lines: list[str]) -> int:
    """Where the signature begins: behind `-- `, and short; a line of two hyphens may be anything."""
    first = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    for index in range(first + 1, len(lines)):
        if lines[index] in ("--", "-- ") and _is_short(lines, index + 1, 20 if lines[index] == "-- " else 6):
            return index
    return len(lines)


def _is_short(lines: list[str], begin: int, most: int) -> bool:
    count = 0
    for index in range(begin, len(lines)):
        line = lines[index]
        if line.strip() and not line.startswith(">"):
            count += 1
            if count > most or len(line) > 200:
                return False
    return True
