"""`tool`: a typed async function becomes a `core.tool.Tool`.

::

    @tool(emoji="📖", toolset="file", parallel_safe=True, preview="path")
    async def read_file(
        path: Annotated[str, "File to read"], offset: int = 1, *, context: ToolContext
    ) -> ToolResult:
        '''Read a file, one page at a time.'''

The name, description and JSON Schema come from the function; arguments are checked and gently
converted before it runs. Hooks (`review`, `touched_paths`, `preview` …) get the same checked
arguments that the function gets, so what was approved is what runs.
"""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hermes_agent.core.approvals import Allowed, Verdict
from hermes_agent.core.errors import ToolArgumentsError
from hermes_agent.core.model import ToolDefinition
from hermes_agent.core.tool import ToolContext, ToolResult
from hermes_agent.tools.schema import parameter
from hermes_agent.tools.schema_kinds import MISSING, ObjectKind, Parameter

Arguments: TypeAlias = Mapping[str, Any]
ToolFunction: TypeAlias = Callable[..., Awaitable[ToolResult]]
Safety: TypeAlias = bool | Callable[[Arguments], bool]
TouchedPaths: TypeAlias = Callable[[Arguments, ToolContext], tuple[str, ...] | None]
Preview: TypeAlias = str | Callable[[Arguments], str]
Review: TypeAlias = Callable[[Arguments, ToolContext], Verdict]

PREVIEW_CHARS = 120


@dataclass(frozen=True, slots=True, eq=False)
class FunctionTool:
    """A `Tool` made of a function; build it with `tool`."""

    definition: ToolDefinition
    function: ToolFunction
    signature: ObjectKind
    context_name: str
    emoji: str
    toolset: str
    parallel_safe: Safety
    paths: TouchedPaths | None
    previewer: Preview
    reviewer: Review | None

    def is_parallel_safe(self, arguments: Arguments) -> bool:
        """May run beside other safe calls."""
        if isinstance(self.parallel_safe, bool):
            return self.parallel_safe
        bound = self._bound(arguments)
        return bound is not None and self.parallel_safe(bound)

    def touched_paths(self, arguments: Arguments, context: ToolContext) -> tuple[str, ...] | None:
        """Paths the call reads or writes; None if unknown."""
        bound = self._bound(arguments)
        return self.paths(bound, context) if self.paths and bound is not None else None

    def preview(self, arguments: Arguments) -> str:
        """One line for people."""
        bound = self._bound(arguments)
        if callable(self.previewer) and bound is not None:
            return _one_line(self.previewer(bound))
        source = arguments if bound is None else bound
        if isinstance(self.previewer, str) and source.get(self.previewer) is not None:
            return _one_line(str(source[self.previewer]))
        return _one_line(json.dumps(dict(arguments), ensure_ascii=False, default=str)) if arguments else ""

    def review(self, arguments: Arguments, context: ToolContext) -> Verdict:
        """Classify the call. Arguments that do not fit are allowed: `run` refuses them before it acts."""
        if self.reviewer is None:
            return Allowed()
        bound = self._bound(arguments)
        return Allowed() if bound is None else self.reviewer(bound, context)

    async def run(self, arguments: Arguments, context: ToolContext) -> ToolResult:
        """Check the arguments and call the function."""
        return await self.function(**self.bind(arguments), **{self.context_name: context})

    def bind(self, arguments: Arguments) -> dict[str, Any]:
        """The checked and converted arguments, defaults filled in.

        Raises:
            ToolArgumentsError: Names every field that is wrong, what was expected and what came.
        """
        if not isinstance(arguments, Mapping):
            raise ToolArgumentsError(f"{self.definition.name}: arguments must be a JSON object")
        values, problems = self.signature.collect(arguments)
        if problems:
            raise ToolArgumentsError(
                f"Invalid arguments for {self.definition.name}:\n"
                + "\n".join(f"- {line}" for problem in problems for line in problem.splitlines())
                + "\nParameters: "
                + ", ".join(_usage(known) for known in self.signature.parameters)
            )
        return values

    def _bound(self, arguments: Arguments) -> dict[str, Any] | None:
        try:
            return self.bind(arguments)
        except ToolArgumentsError:
            return None


def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    emoji: str = "🔧",
    toolset: str = "",
    parallel_safe: Safety = False,
    touched_paths: TouchedPaths | None = None,
    preview: Preview = "",
    review: Review | None = None,
) -> Callable[[ToolFunction], FunctionTool]:
    """Turn a typed async function (or bound method) into a tool.

    The parameter whose type is `ToolContext` gets the call's surroundings; all others are the model's.

    Args:
        name: Default: the function's name.
        description: Default: the function's docstring, its line breaks inside paragraphs removed.
        emoji: One character for progress displays.
        toolset: The leaf toolset it belongs to.
        parallel_safe: It only reads; or a function of the arguments that says so.
        touched_paths: Gives the absolute paths a call touches.
        preview: Name of the parameter to show, or a function of the arguments.
        review: Classifies a call before it runs; default: always allowed.

    Raises:
        TypeError: A parameter has no type hint, or one that is not supported, or none is a `ToolContext`.
    """

    def build(function: ToolFunction) -> FunctionTool:
        signature, schema, context_name = _shape(function)
        text = description if description is not None else _flowed(inspect.getdoc(function) or "")
        return FunctionTool(
            ToolDefinition(name or function.__name__, text, schema),
            function,
            signature,
            context_name,
            emoji,
            toolset,
            parallel_safe,
            touched_paths,
            preview,
            review,
        )

    return build


_Shape: TypeAlias = tuple[ObjectKind, dict[str, Any], str]

_SHAPES: dict[object, _Shape] = {}
"""By code, defaults and hints: every session has tools of its own, but their schemas are the same."""


def _shape(function: ToolFunction) -> _Shape:
    """Signature, JSON Schema and the name of the `ToolContext` parameter; worked out once per function."""
    plain: Any = getattr(function, "__func__", function)
    key: object = None
    known: _Shape | None = None
    try:
        key = (
            plain.__code__,
            plain.__defaults__,
            tuple((plain.__kwdefaults__ or {}).items()),
            tuple(plain.__annotations__.items()),
        )
        known = _SHAPES.get(key)
    except (AttributeError, TypeError):
        key = None  # a callable object, or a default that cannot be hashed
    if known is not None:
        return known
    parameters, context_name = _parameters(function)
    signature = ObjectKind(tuple(parameters))
    shape = (signature, signature.schema(), context_name)
    if key is not None:
        _SHAPES[key] = shape
    return shape


def _parameters(function: ToolFunction) -> tuple[list[Parameter], str]:
    """The model's parameters, and the name of the one that takes the `ToolContext`."""
    hints = typing.get_type_hints(function, include_extras=True)
    found = []
    context_name = ""
    for name, given in inspect.signature(function).parameters.items():
        if name not in hints:
            raise TypeError(f"parameter {name!r} of {function.__name__} has no type hint")
        if hints[name] is ToolContext:
            context_name = name
        else:
            default = MISSING if given.default is given.empty else given.default
            found.append(parameter(name, hints[name], default))
    if not context_name:
        raise TypeError(f"{function.__name__} takes no ToolContext")
    return found, context_name


def _flowed(text: str) -> str:
    return "\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _one_line(text: str) -> str:
    line = " ".join(text[: PREVIEW_CHARS * 4].split())
    return line if len(line) <= PREVIEW_CHARS else line[: PREVIEW_CHARS - 1] + "…"


def _usage(known: Parameter) -> str:
    return f"{known.name}{'*' if known.is_required else ''} ({known.kind.label})"
