"""Bytes of a file as text that can be edited and written back with nothing else changed.

Encoding, byte-order mark and every line's own ending survive an edit; bytes that are not valid in a
UTF-8 file survive as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from hermes_agent.core.errors import ToolError

SNIFF_BYTES = 65_536

_BOMS: tuple[tuple[bytes, str], ...] = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\b\x1b")) + b"\x7f"


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file spells its text. `name` is Python's codec; `bom` stands before the text."""

    name: str
    bom: bytes = b""

    @property
    def label(self) -> str:
        """For people: `UTF-16-LE with BOM`."""
        return self.name.upper() + (" with BOM" if self.bom else "")

    @property
    def errors(self) -> str:
        """The error handler that loses nothing."""
        return (
            "surrogateescape" if self.name == "utf-8" else "surrogatepass" if "utf" in self.name else "strict"
        )


UTF8 = Encoding("utf-8")


def detect_encoding(head: bytes) -> Encoding | None:
    """Guess from the first bytes (`SNIFF_BYTES` are enough); None means that it is not text."""
    head = head[:SNIFF_BYTES]
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name, bom)
    if b"\0" in head:
        return _utf16_without_bom(head)
    if len(head.translate(None, _CONTROLS)) < len(head) * 0.95:
        return None
    return UTF8 if _is_utf8(head) else Encoding("latin-1")


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # a character cut by the end of the sample is fine
        return error.end == len(head) and len(head) - error.start < 4 and len(head) == SNIFF_BYTES
    return True


def _utf16_without_bom(head: bytes) -> Encoding | None:
    pairs = len(head) // 2
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if pairs >= 4 and odd > pairs * 0.6 and even == 0:
        return Encoding("utf-16-le")
    if pairs >= 4 and even > pairs * 0.6 and odd == 0:
        return Encoding("utf-16-be")
    return None


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "ELF executable"),
    (b"%PDF", "PDF document"),
    (b"PK\x03\x04", "ZIP archive (also docx, xlsx, jar)"),
    (b"\x1f\x8b", "gzip archive"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"\xca\xfe\xba\xbe", "Java class or Mach-O binary"),
    (b"\xfd7zXZ", "xz archive"),
    (b"7z\xbc\xaf", "7-Zip archive"),
    (b"OggS", "Ogg media"),
    (b"ID3", "MP3 audio"),
)

_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_type(head: bytes) -> str | None:
    """The media type of a picture that models can be shown, or None."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _IMAGES if head.startswith(magic)), None)


def binary_kind(head: bytes) -> str:
    """What a file without text probably is."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), "binary data")


@dataclass(slots=True)
class TextFile:
    r"""A text whose lines end in `\n`, and what is needed to write it back as it was.

    Attributes:
        text: The content; edit it with `replace` only.
        encoding: Of the file.
        ending: The usual line ending: `\n` or `\r\n`.
        endings: Every line's ending, if they differ; None if all are `ending`.
    """

    text: str
    encoding: Encoding = UTF8
    ending: str = "\n"
    endings: list[str] | None = field(default=None)

    @classmethod
    def parse(cls, data: bytes, path: str = "The file") -> TextFile:
        """Decode. Raises `ToolError` for a file that is not text."""
        encoding = detect_encoding(data)
        if encoding is None:
            raise ToolError(f"{path} is not a text file ({binary_kind(data)}, {len(data):,} bytes)")
        try:
            raw = data[len(encoding.bom) :].decode(encoding.name, encoding.errors)
        except UnicodeDecodeError as error:
            raise ToolError(f"{path} is not valid {encoding.label}", why=error.reason) from error
        windows = raw.count("\r\n")
        plain = raw.count("\n") - windows
        if not windows:
            return cls(raw, encoding)
        ending = "\r\n" if windows >= plain else "\n"
        endings = None
        if plain:
            endings = ["\r\n" if line.endswith("\r") else "\n" for line in raw.split("\n")[:-1]]
        return cls(raw.replace("\r\n", "\n"), encoding, ending, endings)

    def replace(self, start: int, end: int, new: str) -> None:
        r"""Put `new` (line ending `\n`) in place of `text[start:end]`."""
        if self.endings is not None:
            first = self.text.count("\n", 0, start)
            old_count = self.text.count("\n", start, end)
            old = self.endings[first : first + old_count]
            count = new.count("\n")
            kept = old[:count] + [self.ending] * (count - len(old))
            self.endings[first : first + old_count] = kept
        self.text = self.text[:start] + new + self.text[end:]

    def replace_lines(self, first: int, last: int, new: list[str]) -> None:
        """Put other lines in place of lines `first` up to (not including) `last`, counted from 0."""
        starts = line_starts(self.text)
        start, end = _offset(starts, first, self.text), _offset(starts, last, self.text)
        block = "\n".join(new)
        if new and (end < len(self.text) or self.text.endswith("\n") or first == last == 0):
            block += "\n"
        if new and start == len(self.text) and self.text and not self.text.endswith("\n"):
            block = "\n" + block.removesuffix("\n")
        self.replace(start, end, block)

    def to_bytes(self, path: str = "The file") -> bytes:
        """Encode. Raises `ToolError` if the file's encoding has no such character."""
        text = self.text
        if self.endings is not None:
            lines = text.split("\n")
            text = (
                "".join(line + ending for line, ending in zip(lines, self.endings, strict=False)) + lines[-1]
            )
        elif self.ending != "\n":
            text = text.replace("\n", self.ending)
        try:
            return self.encoding.bom + text.encode(self.encoding.name, self.encoding.errors)
        except UnicodeEncodeError as error:
            character = text[error.start : error.start + 1]
            raise ToolError(
                f"{path} is {self.encoding.label} and cannot hold {character!r}",
                remedy="Convert the file first (iconv), or use other characters.",
            ) from error


def line_starts(text: str) -> list[int]:
    """Offsets at which lines begin; a final newline does not begin another line."""
    starts = [0] if text else []
    position = text.find("\n") + 1
    while 0 < position < len(text):
        starts.append(position)
        position = text.find("\n", position) + 1
    return starts


def _offset(starts: list[int], line: int, text: str) -> int:
    return starts[line] if line < len(starts) else len(text)


def change_counts(old: str, new: str) -> tuple[int, int]:
    """Lines added and removed, for summaries: exact for what lies between equal heads and tails."""
    before, after = old.splitlines(), new.splitlines()
    start = 0
    shorter = min(len(before), len(after))
    while start < shorter and before[start] == after[start]:
        start += 1
    end = 0
    while end < shorter - start and before[-1 - end] == after[-1 - end]:
        end += 1
    middle_old, middle_new = before[start : len(before) - end], after[start : len(after) - end]
    if len(middle_old) * len(middle_new) > 250_000:
        return len(middle_new), len(middle_old)
    common = _common_lines(middle_old, middle_new)
    return len(middle_new) - common, len(middle_old) - common


def _common_lines(one: list[str], other: list[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(other) + 1)
    for line in one:
        before = row
        row = [0]
        for index, (diagonal, above) in enumerate(pairwise(before)):
            row.append(diagonal + 1 if line == other[index] else max(above, row[-1]))
    return row[-1]
