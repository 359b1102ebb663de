"""The docstrings under fields, read from the source when a reference or a schema is made."""

from __future__ import annotations

import ast
import inspect
import sys
from functools import cache

from pydantic import BaseModel


@cache
def _module_docs(module: str) -> dict[str, dict[str, str]]:
    """Class to field to docstring."""
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: _class_docs(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _class_docs(node: ast.ClassDef) -> dict[str, str]:
    docs = {}
    for field, below in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            docs[field.target.id] = " ".join(inspect.cleandoc(below.value.value).split())
    return docs


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """What stands under each field of a section."""
    return _module_docs(model.__module__).get(model.__name__, {})


def class_doc(model: type[BaseModel]) -> str:
    """The docstring of a section, on one line."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").split())


def section_doc(name: str, model: type[BaseModel]) -> str:
    """What a top-level section is about: from its class, or from its module."""
    doc = class_doc(model)
    about = doc.split(":", 1)[1].strip() if doc.startswith(f"`{name}`") and ":" in doc else ""
    if not about:
        module = sys.modules[model.__module__].__doc__ or ""
        about = module.split("\n", maxsplit=1)[0].rpartition("`: ")[2].strip()
    return about[:1].upper() + about[1:]
