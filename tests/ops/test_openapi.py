"""The OpenAPI document: sound, complete, and true of what the administration really answers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.support.administration import NEWS, TYPES, World
from tests.support.fleet import FleetWorld
from veltix_tx import Client
from veltix_tx.ops.admin_api import ANSWERS, Text
from veltix_tx.testing import MemoryNetwork

ASKED: dict[str, dict[str, Any]] = {
    "GET /healthz": {},
    "GET /readyz": {},
    "GET /metrics": {},
    "GET /api/v1/server": {},
    "GET /api/v1/now": {},
    "GET /api/v1/listeners": {},
    "GET /api/v1/sessions": {"query": "?search=&state=open&sort=-slow&offset=0&limit=5"},
    "GET /api/v1/sessions/{id}": {},
    "POST /api/v1/sessions/{id}/ping": {"body": {}},
    "POST /api/v1/sessions/{id}/send": {"body": {"type": "news", "text": "hello"}},
    "POST /api/v1/sessions/{id}/trace": {"body": {"seconds": 5, "contents": True, "log": True}},
    "GET /api/v1/sessions/{id}/trace": {"query": "?after=0&limit=10"},
    "GET /api/v1/nodes": {"query": "?limit=5"},
    "GET /api/v1/rooms": {"query": "?pattern=*&limit=5"},
    "GET /api/v1/members": {"query": "?room=lobby&limit=5"},
    "GET /api/v1/routes": {"query": "?search=&offset=0&limit=5"},
    "GET /api/v1/events": {"query": "?after=0&search=&connection=&limit=5"},
    "GET /api/v1/limits": {},
    "GET /api/v1/log": {},
    "POST /api/v1/log": {"body": {"namespace": "a.b", "level": "warn"}},
    "GET /api/v1/openapi.json": {},
    "POST /api/v1/sessions/{id}/disconnect": {"body": {}},
}
"""What is asked in the test, one after another."""


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def _check(document: dict[str, Any], schema: dict[str, Any], value: object) -> None:
    """Check a value, which may have no field that the schema does not know."""
    closed = {
        name: each | {"additionalProperties": False} if "properties" in each else each
        for name, each in document["components"]["schemas"].items()
    }
    Draft202012Validator(schema | {"components": {"schemas": closed}}).validate(value)


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    """The document."""
    found: dict[str, Any] = world.get("openapi.json")
    return found


def test_the_document_is_sound_and_has_every_path(document: dict[str, Any]) -> None:
    """It is OpenAPI, and has each method of each path; every parameter in it is spoken of where the path is."""
    validate(document)
    operations = _operations(document)
    assert len(operations) == sum(map(len, ANSWERS.values()))
    for operation in operations.values():
        for parameter in operation["parameters"]:
            assert parameter["in"] == "path" or f"`{parameter['name']}`" in operation["summary"] or "show" in operation["summary"]
        body = operation.get("requestBody", {"content": {"application/json": {"schema": {"$ref": "/Empty"}}}})
        name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for field in document["components"]["schemas"][name]["properties"]:
            assert f"`{field}`" in operation["summary"]


def test_every_answer_is_what_the_document_says(world: World, document: dict[str, Any]) -> None:
    """Each path is asked with all its parameters or its body, both as the document has them, and answers as it says there."""
    client = Client(types=TYPES)
    world.network.connect(client)
    (peer,) = world.server.clients
    world.network.result(world.server.room("lobby").join(peer, state={"name": "ann"}))
    peer.add_tag("vip", "yes")
    client.send(NEWS, b"hello")
    world.network.advance(1)
    operations = _operations(document)
    assert set(operations) - set(ASKED) == {"GET /events"}  # which goes on
    for name, given in ASKED.items():
        operation, query, body = operations[name], given.get("query", ""), given.get("body")
        assert re.findall(r"[?&](\w+)=", query) == [each["name"] for each in operation["parameters"] if each["in"] == "query"]
        if body is not None:
            _check(document, operation["requestBody"]["content"]["application/json"]["schema"], body)
        method, path = name.split()
        answer = world.ask(method, path.replace("{id}", peer.id) + query, body)
        assert answer.status == 200, (name, answer.body)
        ((media_type, content),) = operation["responses"]["200"]["content"].items()
        assert answer.headers["content-type"].startswith(media_type)
        _check(document, content["schema"], answer.json if media_type == "application/json" else answer.body.decode())
    refused = world.ask("GET", "/api/v1/sessions/1-99")
    _check(document, document["components"]["responses"]["Error"]["content"]["application/json"]["schema"], refused.json)


def test_workers_answer_what_the_document_says(network: MemoryNetwork) -> None:
    """What several workers show together is of the same types, with what is theirs."""
    fleet = FleetWorld(network)
    (session,) = fleet.connect(1)
    fleet.connect(2, 2)
    document = fleet.get("openapi.json")
    operations = _operations(document)
    for name, given in ASKED.items():
        method, path = name.split()
        query = dict(re.findall(r"[?&](\w+)=([^&]*)", given.get("query", "")))
        answer = fleet.ask(method, path[1:].replace("{id}", session.id), given.get("body"), **query)
        ((_, content),) = operations[name]["responses"]["200"]["content"].items()
        _check(document, content["schema"], answer.content.decode() if isinstance(answer, Text) else answer)
