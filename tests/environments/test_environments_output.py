"""Bounded buffers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.environments.output import OutputBuffer, RollingBuffer

CHUNKS = st.lists(st.binary(max_size=60), max_size=30)


@given(CHUNKS, st.integers(1, 100))
def test_rolling_buffer_keeps_exactly_the_end(chunks: list[bytes], size: int) -> None:
    buffer = RollingBuffer(size)
    for chunk in chunks:
        buffer.feed(chunk)
    everything = b"".join(chunks)
    assert buffer.data() == everything[max(0, len(everything) - size) :]
    assert buffer.dropped_bytes == max(0, len(everything) - size)


@given(st.lists(st.text(max_size=20), max_size=30), st.integers(10, 60))
def test_output_buffer_keeps_head_and_tail_without_cutting_characters(texts: list[str], size: int) -> None:
    buffer = OutputBuffer(size)
    for text in texts:
        buffer.feed(text.encode(errors="replace"))
    everything = "".join(texts).encode(errors="replace").decode()
    if len(everything.encode()) <= size:
        assert buffer.text() == everything
        return
    head, _, tail = buffer.text().partition(f"\n[... {buffer.dropped_bytes:,} bytes omitted ...]\n")
    assert everything.startswith(head)
    assert everything.endswith(tail)
    assert buffer.dropped_bytes == len(everything.encode()) - size
    assert len(head.encode()) <= size * 0.4
    assert len(tail.encode()) <= size * 0.6 + 1


@given(CHUNKS)
def test_any_bytes_become_text(chunks: list[bytes]) -> None:
    buffer = OutputBuffer(50)
    for chunk in chunks:
        buffer.feed(chunk)
    buffer.text().encode()
