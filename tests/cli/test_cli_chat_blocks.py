"""The splitter: whatever the pieces, nothing is lost, and final blocks never change."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from hermes_agent.cli.chat.blocks import FENCE_CHUNK_LINES, Block, BlockStream

DOCUMENT = """# Title

A paragraph
of two lines.

- one
- two
  - inner

1. first
2. second

```python
def f():

    return 1
```

| a | b |
|---|---|
| 1 | 2 |

The end."""


def split(text: str, size: int) -> list[Block]:
    stream = BlockStream()
    blocks: list[Block] = []
    for start in range(0, len(text), size):
        stream.feed(text[start : start + size])
        blocks.extend(stream.take())
    return blocks + stream.finish()


def test_blocks_do_not_depend_on_how_the_text_arrives() -> None:
    whole = split(DOCUMENT, len(DOCUMENT))
    assert [block.text for block in whole] == [
        *DOCUMENT.split("\n\n")[:4],
        "```python\ndef f():\n\n    return 1\n```",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "The end.",
    ]
    for size in (1, 2, 3, 7, 50):
        assert split(DOCUMENT, size) == whole


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "word ",
                "\n",
                "\n\n",
                "- item\n",
                "1. x\n",
                "```py\n",
                "```\n",
                "    code\n",
                "# h\n",
                "> q\n",
                "|a|\n|-|\n",
            ]
        ),
        max_size=30,
    ),
    st.integers(1, 9),
)
def test_every_word_of_any_text_comes_out_once_and_in_order(pieces: list[str], size: int) -> None:
    numbered = "".join(
        piece.replace("word", f"w{index}").replace("item", f"i{index}").replace("x", f"x{index}")
        for index, piece in enumerate(pieces)
    )
    shown = "\n".join(block.text for block in split(numbered, size))
    words = r"[wix]\d+"
    assert re.findall(words, shown) == re.findall(words, numbered)


def test_a_long_code_block_is_given_out_while_it_is_still_open() -> None:
    stream = BlockStream()
    lines = [f"line {number}" for number in range(3 * FENCE_CHUNK_LINES)]
    stream.feed("```text\n" + "\n".join(lines) + "\n")
    early = stream.take()
    assert early
    assert not early[0].continues
    assert all(block.continues for block in early[1:])
    code = "\n".join(block.code for block in early + stream.finish())
    assert code.split("\n") == lines


def test_an_open_fence_may_contain_shorter_fences() -> None:
    text = "````md\n```py\nx\n```\n" + "\n".join(str(n) for n in range(80)) + "\n````\n\nafter"
    blocks = split(text, 5)
    assert "\n".join(block.code for block in blocks if block.kind == "code").startswith("```py\nx\n```\n0")
    assert blocks[-1].text == "after"


def test_a_long_numbered_list_keeps_counting_across_pieces() -> None:
    for style in ("{n}. item {n}", "1. item {n}"):
        text = "\n".join(style.format(n=n) for n in range(1, 80)) + "\n\nend"
        blocks = split(text, 11)
        assert len(blocks) > 2
        starts = [block.text.split(".")[0] for block in blocks[:-1]]
        items = [re.findall(r"item (\d+)", block.text)[0] for block in blocks[:-1]]
        assert starts == items


def test_discarding_forgets_only_what_is_not_final() -> None:
    stream = BlockStream()
    stream.feed("kept\n\nlost")
    assert [block.text for block in stream.take()] == ["kept"]
    stream.discard()
    stream.feed("new")
    assert [block.text for block in stream.finish()] == ["new"]
