"""The JSON Schema of config.yaml."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from hermes_agent.config.docstrings import class_doc, field_docs, section_doc
from hermes_agent.config.registry import CONFIG_VERSION, ROOT_KEYS, VERSION_KEY
from hermes_agent.config.shape import bare, is_model

_REFERENCE = "#/$defs/{model}"


def json_schema() -> dict[str, Any]:
    """Draft 2020-12. Names that no section knows are allowed, as they are in the file."""
    models = list(dict.fromkeys(key.model() for key in ROOT_KEYS.values()))
    references, common = models_json_schema(
        [(model, "validation") for model in models], ref_template=_REFERENCE
    )
    definitions: dict[str, Any] = common["$defs"]
    for model in _with_inner(models):
        _describe(definitions.get(model.__name__), model)
    properties: dict[str, Any] = {}
    for name, key in ROOT_KEYS.items():
        model = key.model()
        if key.is_field:
            properties[name] = definitions[model.__name__]["properties"][name]
        else:
            reference = references[(model, "validation")]
            properties[name] = {**reference, "description": section_doc(name, model)}
    properties["model"] = {
        "anyOf": [{"type": "string"}, references[(ROOT_KEYS["model"].model(), "validation")]],
        "description": section_doc("model", ROOT_KEYS["model"].model()),
    }
    properties[VERSION_KEY] = {"type": "integer", "description": "Version of the file format."}
    for key in ROOT_KEYS.values():
        if key.is_field:
            definitions.pop(key.model().__name__, None)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"hermes-agent config.yaml, version {CONFIG_VERSION}",
        "type": "object",
        "properties": properties,
        "$defs": definitions,
    }


def _with_inner(models: list[type[Any]]) -> list[type[BaseModel]]:
    """The models and all that their fields hold."""
    found: dict[type[BaseModel], None] = {}
    queue = list(models)
    while queue:
        model = queue.pop()
        if model in found:
            continue
        found[model] = None
        for field in model.model_fields.values():
            queue.extend(_models_in(field.annotation))
    return list(found)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    annotation = bare(annotation)
    if is_model(annotation):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]


def _describe(definition: dict[str, Any] | None, model: type[BaseModel]) -> None:
    if definition is None:
        return
    definition["description"] = class_doc(model)
    for name, text in field_docs(model).items():
        if name in definition.get("properties", {}):
            definition["properties"][name]["description"] = text
