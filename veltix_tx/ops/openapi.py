"""OpenAPI document of the administration, made of its table of paths and of what their functions are annotated to return."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, get_args, get_origin, get_type_hints

import msgspec
from twisted.internet.defer import Deferred

from veltix_tx._version import __version__

__all__ = ["document"]


class _SendOptions(TypedDict, total=False):
    text: str
    hex: str


class SendBody(_SendOptions):
    """A message to send: ``type`` a code or a name, its content as ``text`` or as hexadecimal digits (``hex``)."""

    type: int | str


class _TraceOptions(TypedDict, total=False):
    contents: bool
    log: bool


class TraceBody(_TraceOptions):
    """A trace to begin for so many ``seconds``, 0 to end it; whether to keep contents, and to log each frame."""

    seconds: float


class _LevelOptions(TypedDict, total=False):
    namespace: str


class LevelBody(_LevelOptions):
    """A ``level`` of the log, for one ``namespace`` and what is below it, or for all others."""

    level: str


class Empty(TypedDict):
    """An empty object."""


class Error(TypedDict):
    """Why a request cannot be answered."""

    error: str


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}

_PARAMETERS: dict[str, tuple[dict[str, Any], str]] = {
    "search": (_TEXT, "Text that what is found has in it."),
    "state": (_TEXT, "State of what is found."),
    "sort": (_TEXT, "Field of the order; with - in front the highest first."),
    "offset": (_COUNT, "How many are passed over."),
    "limit": (_COUNT, "How many are returned."),
    "connection": (_TEXT, "Id of a connection that what is found is about."),
    "after": (_COUNT, "Number of the last one that is known."),
    "pattern": (_TEXT, "Pattern of names: * is any text, ? any character, [ab] one of these."),
    "room": (_TEXT, "Name of the room; it must be given."),
    "show": (_TEXT, "Path below /api/v1/ that the snapshots show, with its parameters."),
}
"""Parameters of URLs."""

_QUERIES = {
    "events": ("show", "search", "state", "sort", "offset", "limit"),
    "api/v1/sessions": ("search", "state", "sort", "offset", "limit"),
    "api/v1/sessions/{id}/trace": ("after", "limit"),
    "api/v1/nodes": ("limit",),
    "api/v1/rooms": ("pattern", "limit"),
    "api/v1/members": ("room", "limit"),
    "api/v1/routes": ("search", "offset", "limit"),
    "api/v1/events": ("after", "search", "connection", "limit"),
}
"""Parameters that GET of a path takes."""

_BODIES: dict[str, type] = {
    "api/v1/sessions/{id}/send": SendBody,
    "api/v1/sessions/{id}/trace": TraceBody,
    "api/v1/log": LevelBody,
}
"""Bodies that POST to a path takes; to any other it takes an empty object."""

_OPEN = ("healthz", "readyz")
"""Paths that need no token."""

_ID = re.compile(r"[(].*?[)]")
"""The part of a path's pattern that is an id."""

_ERROR = {"$ref": "#/components/responses/Error"}


def document(answers: Mapping[str, Mapping[str, Callable[..., object]]], media_types: Mapping[object, str]) -> dict[str, Any]:
    """Return the document.

    Args:
        answers: what answers each method of each path, which is a regular expression.
        media_types: those of types of answers that are no JSON.
    """
    kinds = [_answer_type(answer) for methods in answers.values() for answer in methods.values()]
    named = [*(kind for kind in kinds if kind not in media_types), *_BODIES.values(), Empty, Error]
    _, schemas = msgspec.json.schema_components(named, ref_template=_REFERENCE)
    said = "Why it cannot be answered: status 400, 401, 403, 404, 405, 409, 413, 415, 429, 500, 503 or 504."
    return {
        "openapi": "3.1.0",
        "info": {"title": "Administration of a server of veltix_tx", "version": __version__},
        "security": [{"token": []}, {}],
        "paths": {
            f"/{path}": {method.lower(): _operation(path, method, answer, media_types) for method, answer in methods.items()}
            for path, methods in ((_shown(pattern), methods) for pattern, methods in answers.items())
        },
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "Where it asks for one."}},
            "responses": {"Error": {"description": said, "content": _content("application/json", _schema(Error))}},
        },
    }


_REFERENCE = "#/components/schemas/{name}"


def _shown(pattern: str) -> str:
    """Return a path as OpenAPI writes it, without the slash in front."""
    return _ID.sub("{id}", pattern).replace("\\", "")


def _operation(path: str, method: str, answer: Callable[..., object], media_types: Mapping[object, str]) -> dict[str, Any]:
    kind = _answer_type(answer)
    content = _content(media_types[kind], _TEXT) if kind in media_types else _content("application/json", _schema(kind))
    parameters = [_parameter(name) for name in _QUERIES.get(path, ())] if method == "GET" else []
    if "{id}" in path:
        shape = {"type": "string", "pattern": r"^[!-.0-~]+-\d+$"}
        parameters.insert(0, {"name": "id", "in": "path", "required": True, "schema": shape, "description": "Id of the session."})
    operation: dict[str, Any] = {
        "operationId": "_".join([method.lower(), *re.findall(r"\w+", path)]),
        "summary": " ".join((inspect.getdoc(answer) or "").replace("``", "`").split()),
        "parameters": parameters,
        "responses": {"200": {"description": "The answer.", "content": content}, "default": _ERROR},
    }
    if method == "POST":
        body = _content("application/json", _schema(_BODIES.get(path, Empty)))
        operation["requestBody"] = {"required": True, "content": body}
    if path in _OPEN:
        operation["security"] = []
    return operation


def _answer_type(answer: Callable[..., object]) -> Any:
    """Return the type of an answer, be it there at once or later."""
    kind = get_type_hints(answer)["return"]
    return get_args(kind)[0] if get_origin(kind) is Deferred else kind


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REFERENCE)
    return schema


def _content(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _parameter(name: str) -> dict[str, Any]:
    schema, meaning = _PARAMETERS[name]
    return {"name": name, "in": "query", "required": name == "room", "schema": schema, "description": meaning}
