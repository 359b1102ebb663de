from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermes_agent.core.messages import AssistantMessage, ToolCall, ToolMessage, UserMessage
from hermes_agent.store import SqliteStore, open_store
from hermes_agent.store.search_query import compile_query
from hermes_agent.store.search_text import fold, searchable, set_apart

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "see foo-bar.baz/qux:1 for details",
    "write to user@example.com, please",
    "the rate rose by 50% in a year",
    "50 apples and C++ code",
    "草地上有一只独角兽在睡觉。",
    "これは日本語の文章です",
    "한국어를 배우고 있어요",
    "Café crème brûlée, naïve Ångström",
    'she said "never again" and left',
    "path /usr/local/bin,/opt and --verbose *.py",
    "สวัสดีครับ ยินดีต้อนรับ",
    "snake_case_name and kebab-case-name",
    "Привет, мир",
]


@pytest.fixture
async def filled(store: SqliteStore) -> SqliteStore:
    record = await store.create(source="cli", title="texts")
    await store.append(record.id, [UserMessage.of(text) for text in TEXTS])
    return store


async def found(store: SqliteStore, query: str, **options: str) -> set[int]:
    """Numbers of the texts that a query finds."""
    return {hit.message_id - 1 for hit in await store.search(query, **options)}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("fox", {0}),
        ("FOX dog", {0}),
        ("fox dinosaur", set()),
        ("fox OR apples", {0, 4}),
        ("the NOT fox", {3}),
        ("rate AND year", {3}),
        ('"quick brown"', {0}),
        ('"brown quick"', set()),
        ("“quick brown”", {0}),
        ("qui*", {0}),
        ('"quick bro"*', {0}),
        ("q*", {0, 1}),
        ("j* over", {0}),
        ("foo-bar.baz/qux:1", {1}),
        ("foo-ba*", {1}),
        ("user@example.com", {2}),
        ("example.com,", {2}),
        ("/usr/local/bin,/opt", {10}),
        ("--verbose", {10}),
        ("*.py", {10}),
        ("独角兽", {5}),
        ("角", {5}),
        ("睡觉", {5}),
        ("兽角", set()),
        ("日本語", {6}),
        ("배우고", {7}),
        ("배우", {7}),
        ("ยินดี", {11}),
        ("cafe creme", {8}),
        ("angstrom NAÏVE", {8}),
        ("snake_case_name", {12}),
        ("kebab-case-name", {12}),
        ("мир", {13}),
        ('"never again"', {9}),
        ("%", {3}),
        ("@", {2}),
        ("*", {10}),
        ('"', {9}),
        ("++", {4}),
        (",", {2, 8, 10, 13}),
        ("-", {1, 10, 12}),
        ("zzz", set()),
        ("", set()),
        ("   ", set()),
    ],
)
async def test_queries_find_what_they_name(filled: SqliteStore, query: str, expected: set[int]) -> None:
    assert await found(filled, query) == expected


async def test_a_literal_match_comes_before_a_match_of_its_words(filled: SqliteStore) -> None:
    hits = await filled.search("50%")
    assert [hit.message_id - 1 for hit in hits] == [3, 4]


@pytest.mark.parametrize(
    "query",
    [
        "AND", "OR", "NOT", "AND OR NOT", "fox AND", "OR fox", "NOT fox", "fox NOT", "fox AND AND dog",
        "(fox", "fox)", "(fox OR dog) AND lazy", '"', '""', '"""', '"fox', 'fox"', '"fox" "', "*", "**",
        "fox**", "*fox", "fox *", "col:fox", "body:fox", "^fox", "fox^2", "NEAR(fox dog)", "fox NEAR dog",
        "{fox}", "-fox", "+fox", "fox;", "';--", "\x00", "fox\x00dog", "\\", "fox\\", "a" * 5000, "fox " * 50,
        "\ud800", "🦄", "🦄 fox", "%_%", "[a-z]", "NOT NOT", "-", "--", "'", "‘fox’", "\u200b", "\n\t",
        "e\u0301", "İ", "ß", "ﬁ",
    ],
)  # fmt: skip
async def test_no_text_is_a_wrong_query(filled: SqliteStore, query: str) -> None:
    await filled.search(query)


@given(st.text(max_size=60))
def test_compiling_never_fails_and_gives_balanced_quotes(text: str) -> None:
    assert compile_query(text).expression.count('"') % 2 == 0


@given(st.text(max_size=80))
def test_folding_keeps_positions(text: str) -> None:
    assert len(fold(text)) == len(text)


@given(
    st.lists(
        st.sampled_from(['"', "*", "AND", "OR", "NOT", " ", "fox", "独", "-", "(", ")", "é", "\x00", "1"]),
        max_size=15,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
async def test_any_mixture_can_be_searched(filled_for_all: SqliteStore, pieces: list[str]) -> None:
    await filled_for_all.search("".join(pieces))


@pytest.fixture
async def filled_for_all(filled: SqliteStore) -> SqliteStore:
    return filled


@given(word=st.text(st.characters(categories=["Ll", "Lu", "Nd", "Lo"]), min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=120, deadline=None)
async def test_a_stored_word_is_found_by_itself(store: SqliteStore, word: str) -> None:
    record = await store.create(source="cli")
    (identifier,) = await store.append(record.id, [UserMessage.of(f"before {word} after")])
    hits = await store.search(f'"{word}"', session_id=record.id)
    assert [hit.message_id for hit in hits] == [identifier]


async def test_snippets_mark_matches(filled: SqliteStore) -> None:
    (hit,) = await filled.search("lazy brown")
    assert hit.snippet == "the quick >>>brown<<< fox jumps over the >>>lazy<<< dog"
    (hit,) = await filled.search("独角")
    assert hit.snippet == "草地上有一只>>>独角<<<兽在睡觉。"
    (hit,) = await filled.search("creme")
    assert ">>>crème<<<" in hit.snippet
    assert (hit.session_title, hit.source, hit.role) == ("texts", "cli", "user")


async def test_a_snippet_of_a_long_message_is_short_and_shows_the_match(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("word " * 5000 + "unicorn" + " word" * 5000)])
    (hit,) = await store.search("unicorn")
    assert ">>>unicorn<<<" in hit.snippet
    assert len(hit.snippet) < 300
    assert hit.snippet[0] == hit.snippet[-1] == "…"


async def test_tool_calls_and_results_are_found(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    call = ToolCall("c", "terminal", '{"command":"grep -r \\"needle\\"\\nmake install"}')
    output = "head\n" + "filler line\n" * 2000 + "tail marker"
    await store.append(
        record.id,
        [AssistantMessage("", (call,)), ToolMessage("c", "terminal", output), UserMessage.of("thanks")],
    )
    assert [hit.role for hit in await store.search("needle")] == ["assistant"]
    assert [hit.role for hit in await store.search('"make install"')] == ["assistant"]
    assert [hit.role for hit in await store.search("tail marker")] == ["tool"]
    assert {hit.role for hit in await store.search("terminal")} == {"assistant", "tool"}


async def test_search_can_be_narrowed(store: SqliteStore) -> None:
    first = await store.create(source="cli")
    second = await store.create(source="telegram")
    await store.append(first.id, [UserMessage.of("apple")])
    await store.append(second.id, [UserMessage.of("apple")])
    assert [hit.session_id for hit in await store.search("apple")] == [second.id, first.id]
    assert [hit.session_id for hit in await store.search("apple", session_id=first.id)] == [first.id]
    assert [hit.session_id for hit in await store.search("apple", source="telegram")] == [second.id]
    assert await store.search("apple", session_id="nothing") == []
    assert await store.search("apple", limit=0) == []
    assert len(await store.search("apple", limit=1)) == 1


async def test_every_match_can_be_had(store: SqliteStore) -> None:
    record = await store.create(source="cli")
    await store.append(record.id, [UserMessage.of("apple") for _ in range(300)])
    assert len(await store.search("apple", limit=1000)) == 300


async def test_the_index_is_small(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "state.db")
    record = await store.create(source="cli")
    words = [f"word{number}" for number in range(5000)]
    texts = [
        " ".join(words[(number * 37 + step * step) % 5000] for step in range(60)) for number in range(4000)
    ]
    for start in range(0, len(texts), 500):
        await store.append(record.id, [UserMessage.of(text) for text in texts[start : start + 500]])
    await store.aclose()
    assert store.path.stat().st_size < 2.5 * sum(map(len, texts))


ANYTHING = st.none() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20)


@given(ANYTHING, ANYTHING, ANYTHING, ANYTHING | st.just('[{"function": {"name": "\\ud800"}}]'))
def test_any_row_can_be_indexed(role: str, content: object, tool_name: object, tool_calls: object) -> None:
    text = searchable(role, content, tool_name, tool_calls)
    assert isinstance(set_apart(text), str)


def test_images_are_not_indexed() -> None:
    image = '{"type":"image_url","image_url":{"url":"data:image/png;base64,QUJD"}}'
    content = f'[{{"type":"text","text":"look"}},{image}]'
    assert searchable("user", content, None, None) == "look"


def test_ascii_text_is_indexed_as_it_is() -> None:
    assert set_apart("plain text") == "plain text"
    assert set_apart("a独角b").split() == ["a", "独", "角", "b"]
