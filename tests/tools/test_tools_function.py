from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Required, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermes_agent.core.approvals import Allowed, NeedsApproval
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.tools.function import tool
from hermes_agent.tools.schema_kinds import Limit


class Step(TypedDict, total=False):
    id: Required[str]
    status: Literal["open", "done"]


@tool(emoji="📖", toolset="file", parallel_safe=True, preview="path")
async def look(
    path: Annotated[str, "File to read"],
    offset: Annotated[int, "First line", Limit(1)] = 1,
    ratio: float = 0.5,
    deep: bool = False,
    mode: Literal["replace", "patch"] = "replace",
    tags: list[str] | None = None,
    steps: list[Step] | None = None,
    extra: dict[str, str] | None = None,
    *,
    context: ToolContext,
) -> ToolResult:
    """Look at a
    file.

    Twice.
    """
    return ToolResult(json.dumps([path, offset, ratio, deep, mode, tags, steps, extra]))


async def call(**arguments: Any) -> list[Any]:
    return json.loads((await look.run(arguments, CONTEXT)).text)


CONTEXT = ToolContext(session=None)  # type: ignore[arg-type]  # these functions never look


def test_schema_is_terse_and_in_signature_order() -> None:
    assert look.definition.name == "look"
    assert look.definition.description == "Look at a file.\nTwice."
    assert json.dumps(look.definition.parameters) == json.dumps(
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "description": "File to read"},
                "offset": {"type": "integer", "minimum": 1, "description": "First line", "default": 1},
                "ratio": {"type": "number", "default": 0.5},
                "deep": {"type": "boolean"},
                "mode": {"type": "string", "enum": ["replace", "patch"], "default": "replace"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "steps": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string"},
                            "status": {"type": "string", "enum": ["open", "done"]},
                        },
                        "required": ["id"],
                    },
                },
                "extra": {"type": "object", "additionalProperties": {"type": "string"}},
            },
            "required": ["path"],
        }
    )


async def test_defaults_fill_what_is_missing_or_null() -> None:
    plain = ["a", 1, 0.5, False, "replace", None, None, None]
    assert await call(path="a") == plain
    assert await call(path="a", offset=None, tags=None, nonsense=None) == plain
    assert await call(path="a", offset="", deep="", mode="") == plain


@pytest.mark.parametrize(
    ("name", "given_value", "expected"),
    [
        ("offset", "5", 5),
        ("offset", " 5 ", 5),
        ("offset", 5.0, 5),
        ("offset", "5.0", 5),
        ("ratio", 1, 1.0),
        ("ratio", "0.25", 0.25),
        ("deep", "true", True),
        ("deep", "False", False),
        ("deep", 1, True),
        ("mode", "Patch ", "patch"),
        ("path", 42, "42"),
        ("tags", '["a", "b"]', ["a", "b"]),
        ("tags", "a", ["a"]),
        ("tags", [1], ["1"]),
        ("steps", '[{"id": "1"}]', [{"id": "1", "status": None}]),
        ("steps", {"id": 1, "status": "done"}, [{"id": "1", "status": "done"}]),
        ("extra", '{"a": "b"}', {"a": "b"}),
    ],
)
async def test_what_models_get_slightly_wrong_is_converted(
    name: str, given_value: Any, expected: Any
) -> None:
    bound = look.bind({"path": "x", name: given_value})
    assert bound[name] == expected
    assert type(bound[name]) is type(expected)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({}, "- path: missing, expected string"),
        ({"path": None}, "- path: expected string, got null"),
        ({"path": ["a"]}, "- path: expected string, got array of 1"),
        ({"path": "a", "offset": "ten"}, "- offset: expected integer of at least 1, got string 'ten'"),
        ({"path": "a", "offset": 0}, "- offset: expected integer of at least 1, got number 0"),
        ({"path": "a", "offset": 1.5}, "- offset: expected integer of at least 1, got number 1.5"),
        ({"path": "a", "offset": True}, "- offset: expected integer of at least 1, got true"),
        ({"path": "a", "ratio": "nan"}, "- ratio: expected number, got string 'nan'"),
        ({"path": "a", "deep": "maybe"}, "- deep: expected boolean, got string 'maybe'"),
        ({"path": "a", "mode": "edit"}, "- mode: expected one of replace, patch, got string 'edit'"),
        ({"path": "a", "tags": 5}, "- tags: expected array of string, got number 5"),
        ({"path": "a", "steps": [{"status": "done"}]}, "- steps[0].id: missing, expected string"),
        ({"path": "a", "steps": ["x"]}, "- steps[0]: expected object, got string 'x'"),
        ({"path": "a", "extra": "x"}, "- extra: expected object of string, got string 'x'"),
        ({"path": "a", "offst": 3}, "- offst: unknown argument; did you mean 'offset'?"),
        ({"path": "a", "zzz": 3}, "- zzz: unknown argument"),
    ],
)
async def test_wrong_arguments_name_field_expectation_and_value(arguments: dict[str, Any], line: str) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        await look.run(arguments, CONTEXT)
    assert line in caught.value.message.splitlines()
    assert caught.value.message.startswith("Invalid arguments for look:")
    assert "path* (string)" in caught.value.message.splitlines()[-1]


async def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        await look.run({"offset": "x", "deep": 7}, CONTEXT)
    assert [line.split(":")[0] for line in caught.value.message.splitlines()[1:-1]] == [
        "- path",
        "- offset",
        "- deep",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(
        st.sampled_from(["path", "offset", "ratio", "deep", "mode", "tags", "steps", "extra", "other"]), JSON
    )
)
def test_any_json_object_is_bound_or_refused(arguments: dict[str, Any]) -> None:
    try:
        bound = look.bind(arguments)
    except ToolArgumentsError as error:
        assert error.message.count("\n") >= 1
        assert look.preview(arguments) is not None
        return
    assert isinstance(bound["path"], str)
    assert isinstance(bound["offset"], int) and bound["offset"] >= 1
    assert look.bind(bound) == bound


async def test_hooks_see_the_checked_arguments() -> None:
    seen: list[Any] = []

    def note(arguments: Any, _context: Any) -> Any:
        seen.append(arguments["count"])
        return NeedsApproval("x", (), ())

    @tool(
        review=note,
        touched_paths=lambda arguments, _c: (str(arguments["count"] + 1),),
        parallel_safe=lambda a: a["count"] > 1,
    )
    async def go(count: int, *, context: ToolContext) -> ToolResult:
        """Go."""
        return ToolResult(str(count))

    assert go.review({"count": "3"}, CONTEXT) == NeedsApproval("x", (), ())
    assert seen == [3]
    assert go.touched_paths({"count": "3"}, CONTEXT) == ("4",)
    assert go.is_parallel_safe({"count": "3"})
    assert not go.is_parallel_safe({"count": "bad"})
    assert go.touched_paths({"count": "bad"}, CONTEXT) is None
    assert go.review({"count": "bad"}, CONTEXT) == Allowed()


def test_previews_are_one_short_line() -> None:
    assert look.preview({"path": "a\n  b" + "c" * 500}).startswith("a bccc")
    assert len(look.preview({"path": "x" * 500})) == 120
    assert look.preview({"path": "a", "offset": "bad"}) == "a"
    assert look.preview({}) == ""


def test_unsupported_signatures_fail_when_they_are_defined() -> None:
    async def untyped(path, *, context: ToolContext) -> ToolResult:  # type: ignore[no-untyped-def]
        return ToolResult("")

    async def odd(path: set[str], *, context: ToolContext) -> ToolResult:
        return ToolResult("")

    async def either(path: int | str, *, context: ToolContext) -> ToolResult:
        return ToolResult("")

    for function in (untyped, odd, either):
        with pytest.raises(TypeError, match="path"):
            tool()(function)
