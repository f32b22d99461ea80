"""Paths of the administration."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from veltix_tx.ops.admin_api import ANSWERS, Text, Watch
from veltix_tx.ops.openapi import document

from .markdown import as_markdown, table


def paths() -> str:
    """Every path with its methods and what it does."""
    rows = [
        [method.upper(), f"`{path.replace('{id}', 'ID')}`", each["summary"]]
        for path, methods in _DOCUMENT["paths"].items()
        for method, each in methods.items()
    ]
    return table(["method", "path", "does"], rows)


def operations() -> str:
    """Every path with its parameters, its body and its answer, from the OpenAPI document."""
    rows = []
    for path, methods in _DOCUMENT["paths"].items():
        for method, each in methods.items():
            taken = [f"`{parameter['name']}`" for parameter in each["parameters"] if parameter["in"] == "query"]
            body = each.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
            ((media_type, answer),) = each["responses"]["200"]["content"].items()
            shown = _kind(answer["schema"]) if media_type == "application/json" else f"`{media_type}`"
            rows.append([f"`{method.upper()} {path}`", ", ".join(taken), _kind(body) if body else "", shown])
    return table(["operation", "parameters", "body", "answer"], rows)


def answers() -> str:
    """Every type of the document with its fields."""
    found = []
    for name, schema in _DOCUMENT["components"]["schemas"].items():
        fields, needed = schema["properties"], schema.get("required", ())
        rows = [[f"`{field}`", _kind(each), "" if field in needed else "not always"] for field, each in fields.items()]
        said = " ".join(as_markdown(schema["description"]).split())
        found.append("\n\n".join([f"### {name}", said, *([table(["field", "type", ""], rows)] if rows else [])]))
    return "\n\n".join(found)


_DOCUMENT: dict[str, Any] = document(ANSWERS, {Text: "text/plain", Watch: "text/event-stream"})


def _kind(schema: dict[str, Any]) -> str:
    """Return a schema's type in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if schema.get("type") == "object":
        values = schema.get("additionalProperties")
        return f"map of {_kind(values)}" if isinstance(values, dict) and values else "map"
    return str(schema.get("type", "any"))


BLOCKS: dict[str, Callable[[], str]] = {"paths": paths, "operations": operations, "answers": answers}
