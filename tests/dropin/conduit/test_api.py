"""Names, fields and defaults, against those of the real release; what is not here; a missing pydantic."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.interop.conduits import Conduits
from veltix_tx.dropin import conduit
from veltix_tx.dropin.conduit import ClientDescriptor, ServerDescriptor

OURS = "veltix_tx.dropin.conduit"

LEFT_OUT = {
    "FileTransfer": "call a method for each part",
    "TransferProgress": "call a method for each part",
    "Stream": "server.broadcast",
    "StreamManager": "server.broadcast",
    "ClientStreamConsumer": "server.broadcast",
    "ClientPool": "a Client for each server",
    "PoolStats": "a Client for each server",
}
"""Names of netconduit 5.0.0's ``__all__`` that are not here, and what is said of them."""

DUMP = """
import json, conduit
from conduit.data import __all__ as names
from conduit.response.error import ErrorCode
from pydantic_core import PydanticUndefined

def fields(model):
    return {name: None if each.default is PydanticUndefined else [each.default] for name, each in model.model_fields.items()}

models = [name for name in names if name != "ConnectionHealth"]
print(json.dumps({
    "all": conduit.__all__,
    "models": {name: [fields(getattr(conduit, name)), getattr(conduit, name).model_config.get("extra")] for name in models},
    "states": [state.name for state in conduit.ConnectionState],
    "types": {kind.name: kind for kind in conduit.MessageType},
    "flags": {flag.name: flag for flag in conduit.MessageFlags},
    "codes": {code.name: code for code in ErrorCode},
    "methods": {
        name: [each for each in vars(getattr(conduit, name)) if each[0] != "_"]
        for name in ("Server", "Client", "RPC", "ConnectionPool", "Response", "Error", "MessageHeader", "ProtocolEncoder")
    },
}))
"""


@pytest.fixture(scope="module")
def real(conduits: Conduits) -> dict[str, Any]:
    """Names, fields and numbers of the real release."""
    path = os.pathsep.join(map(str, conduits.path("5.0.0")))
    done = subprocess.run(
        [sys.executable, "-c", DUMP], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_name_of_the_release_is_here_or_says_what_to_use(real: dict[str, Any]) -> None:
    """``__all__`` is the release's but for what is left out, and every name of it can be imported."""
    assert set(conduit.__all__) == set(real["all"]) - set(LEFT_OUT) | {"ConnectionPool", "ConnectionState"}
    assert all(hasattr(conduit, name) for name in conduit.__all__)


def test_models_have_the_fields_and_defaults_of_the_release(real: dict[str, Any]) -> None:
    """Each data model and descriptor has the same fields, defaults and rule for extra keys."""
    for name, (fields, extra) in real["models"].items():
        model = getattr(conduit, name)
        ours = {each: field.default for each, field in model.model_fields.items()}
        assert ours.keys() == fields.keys(), name
        assert {each: ours[each] for each, default in fields.items() if default} == {
            each: default[0] for each, default in fields.items() if default
        }, name
        assert [each for each, default in fields.items() if model.model_fields[each].is_required() and default] == [], name
        assert model.model_config.get("extra") == extra, name


def test_numbers_and_methods_are_those_of_the_release(real: dict[str, Any]) -> None:
    """States, types, flags and codes have the release's names and numbers, and classes its methods."""
    assert [state.name for state in conduit.ConnectionState] == real["states"]
    assert {kind.name: kind for kind in conduit.MessageType} == real["types"]
    assert {flag.name: flag for flag in conduit.MessageFlags} == real["flags"]
    codes = import_module(f"{OURS}.response.error").ErrorCode
    assert {code.name: code for code in codes} == real["codes"]
    for name, methods in real["methods"].items():
        missing = {each for each in methods if not hasattr(getattr(conduit, name), each)}
        assert missing <= {"set_callbacks", "STRUCT_FORMAT", *conduit.MessageHeader.__annotations__}, name


@pytest.mark.parametrize(
    "settings",
    [
        {"password": ""},
        {"port": 0},
        {"port": 65536},
        {"heartbeat_interval": 0.5},
        {"heartbeat_interval": 90},
        {"max_connections": 0},
        {"no_such_field": 1},
        {"ssl_enabled": True},
        {"ssl_enabled": True, "ssl_cert_file": "cert.pem", "ssl_verify_client": True},
    ],
)
def test_descriptors_refuse_what_cannot_be(settings: dict[str, Any]) -> None:
    """As in netconduit, and TLS without its files, which netconduit takes, and speaks plain text."""
    with pytest.raises(ValidationError):
        ServerDescriptor(**{"password": "secret", **settings})


def test_a_client_descriptor_refuses_what_cannot_be() -> None:
    """Waits that shrink, no host, and certificates that nobody verifies."""
    given: dict[str, Any] = {"server_host": "localhost", "server_port": 8080, "password": "secret"}
    ClientDescriptor(**given)
    for wrong in ({"reconnect_delay_max": 1.0}, {"server_host": None}, {"ssl_enabled": True, "ssl_verify": False}, {"timeout": 1}):
        with pytest.raises(ValidationError):
            ClientDescriptor(**given | wrong)


def test_a_descriptor_does_not_show_its_password() -> None:
    """A descriptor may be in a log or a traceback."""
    assert "secret" not in repr(ServerDescriptor(password="secret"))


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_says_what_to_use(name: str) -> None:
    """Importing such a name is one error with what is to be used in its place."""
    with pytest.raises(ImportError, match=f"^{name} of netconduit is not in .*: .*{LEFT_OUT[name]}"):
        getattr(conduit, name)


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        ("transfer", "FileTransfer", "part"),
        ("streaming", "StreamManager", "broadcast"),
        ("pool", "ClientPool", "Client"),
        ("metrics", "Metrics", "counters"),
        ("ratelimit", "RateLimiter", "rate_limit_enabled=True"),
        ("transport", "TLSConfig", "ssl_enabled=True"),
        ("messages", "MessageRouter", "Server and Client"),
        ("rpc", "RPCRegistry", "Server and Client"),
    ],
)
def test_left_out_names_of_submodules_say_so_too(module: str, name: str, said: str) -> None:
    """The modules can be imported; the names say what to use; other names are AttributeErrors."""
    found = import_module(f"{OURS}.{module}")
    with pytest.raises(ImportError, match=f"^{name} of netconduit .*{said}"):
        getattr(found, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        found.no_such_name  # noqa: B018


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("client", "Client"),
        ("server", "Server"),
        ("descriptors", "ServerDescriptor ClientDescriptor"),
        ("data", "ServerDescriptor RPCError ConnectionHealth"),
        ("data.descriptors", "ServerDescriptor"),
        ("data.connection", "ConnectionState ConnectionInfo"),
        ("data.messages", "MessageData AuthRequest"),
        ("data.rpc", "RPCMethodInfo RPCListResponse"),
        ("protocol", "MessageType ProtocolDecoder DecodeError IncompleteMessageError MAX_PAYLOAD_SIZE DecodedMessage"),
        ("protocol.format", "MessageHeader"),
        ("protocol.encoder", "ProtocolEncoder"),
        ("protocol.decoder", "ProtocolDecoder"),
        ("response", "Response Error"),
        ("response.error", "Error ErrorCode"),
        ("response.response", "Response"),
        ("rpc", "RPC data"),
        ("rpc.helpers", "data params"),
        ("rpc.rpc_class", "RPC RPCError RPCTimeout"),
        ("messages", "Message"),
        ("messages.message", "Message"),
        ("connection", "Connection ConnectionPool"),
        ("connection.connection", "Connection ConnectionStats"),
        ("connection.pool", "ConnectionPool"),
        ("transport", "ConnectionState"),
        ("exceptions", "ConduitError RPCError NotConnectedError"),
    ],
)
def test_names_are_where_users_of_netconduit_import_them(module: str, names: str) -> None:
    """Upstream's submodule paths work."""
    found = import_module(f"{OURS}.{module}")
    assert all(hasattr(found, name) for name in names.split())


def test_everything_can_be_imported_with_a_star() -> None:
    """Which fails with 4.0.0 and 5.0.0; no name without ``__all__`` comes along."""
    names: dict[str, Any] = {}
    exec(f"from {OURS} import *", names)
    assert set(names) - {"__builtins__"} == set(conduit.__all__)


def test_a_missing_pydantic_is_one_line_that_names_the_extra() -> None:
    """Without pydantic the import fails with what to install."""
    code = f"import sys; sys.modules['pydantic'] = None; import {OURS}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    said = done.stderr.strip().splitlines()[-1]
    assert said == "ImportError: veltix_tx.dropin.conduit needs pydantic: pip install 'veltix-tx[conduit]'"


def test_messages_become_maps_and_back() -> None:
    """A Message is its fields."""
    message = conduit.Message("chat", {"text": "hi"}, correlation_id=3, timestamp=5)
    assert message.to_dict() == {"type": "chat", "data": {"text": "hi"}, "correlation_id": 3, "timestamp": 5, "metadata": {}}
    assert conduit.Message.from_dict(message.to_dict()) == message
    assert conduit.Message.from_dict({"type": "chat"}).timestamp > 10**12


def test_health_is_good_only_of_an_active_connection() -> None:
    """Connected, authenticated, active and not paused."""
    good = conduit.ConnectionHealth(state="active", connected=True, authenticated=True)
    assert good.is_healthy()
    for wrong in ({"state": "paused"}, {"connected": False}, {"authenticated": False}, {"is_paused": True}):
        assert not conduit.ConnectionHealth(**good.model_dump() | wrong).is_healthy()
