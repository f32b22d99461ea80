"""The names: 1.6.3's, with its signatures, defaults and values."""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import veltix_tx
from veltix_tx.dropin import veltix
from veltix_tx.errors import SettingsError

HERE = Path(__file__).parent
API: dict[str, dict[str, Any]] = json.loads((HERE / "api163.json").read_text(encoding="utf-8"))
MODULES: dict[str, dict[str, list[str]]] = json.loads((HERE / "modules163.json").read_text(encoding="utf-8"))

OWN_MACHINERY = {"Client": {"init_components", "set_connected", "set_running"}}
"""What 1.6.3 calls itself and no program does."""

CLASSES = sorted(name for name, entry in API.items() if entry["kind"] == "class")
ENUMS = sorted(name for name, entry in API.items() if entry["kind"] == "enum")
FUNCTIONS = sorted(name for name, entry in API.items() if entry["kind"] == "function")


def shown(default: object) -> str:
    """Return a default as ``api163.json`` writes it."""
    if isinstance(default, Enum):
        return str(default) if type(default).__str__ is Enum.__str__ else f"{type(default).__name__}.{default.name}"
    return "sys.stdout" if repr(default) == "<factory>" else repr(default)


def parameters(signature: str) -> dict[str, str | None]:
    """Return the names and defaults of a written signature."""
    text = signature[signature.index("(") + 1 : -1]
    parts = [part.split("=") for part in text.split(", ")] if text else []
    return {part[0]: part[1] if len(part) > 1 else None for part in parts}


def taken(function: Any) -> dict[str, str | None]:
    """Return the names and defaults of a function's positional parameters, ``self`` and ``cls`` left out."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY)
    given = [each for each in inspect.signature(function).parameters.values() if each.kind in kinds]
    return {each.name: None if each.default is inspect.Parameter.empty else shown(each.default) for each in given}


def same_parameters(ours: Any, theirs: str) -> None:
    """Check that a call that 1.6.3 takes means the same here; more parameters may follow if none is required."""
    wanted = {name: default for name, default in parameters(theirs).items() if name not in ("self", "cls")}
    found = {name: default for name, default in taken(ours).items() if name not in ("self", "cls")}
    first = dict(list(found.items())[: len(wanted)])
    assert first == wanted
    assert all(default is not None for name, default in found.items() if name not in wanted)


def test_every_name_can_be_imported() -> None:
    """What 1.6.3 exports is exported, and what the package calls its own is there."""
    assert not set(API) - set(veltix.__all__)
    assert all(hasattr(veltix, name) for name in veltix.__all__)


def test_version_is_ours() -> None:
    """The version is this package's own, not upstream's."""
    assert veltix.__version__ == veltix_tx.__version__


@pytest.mark.parametrize("name", CLASSES)
def test_class_takes_what_upstreams_takes(name: str) -> None:
    """A class is made, and each of its methods called, as in 1.6.3."""
    ours, theirs = getattr(veltix, name), API[name]
    if "signature" in theirs:
        same_parameters(ours, theirs["signature"])
    for method, signature in theirs.get("methods", {}).items():
        if method in OWN_MACHINERY.get(name, ()):
            continue
        found = inspect.getattr_static(ours, method)
        if signature == "property":
            assert isinstance(found, property), method
            continue
        kind = {"static": staticmethod, "class": classmethod}.get(signature.split(" ")[0])
        assert kind is None or isinstance(found, kind), method
        same_parameters(getattr(ours, method), signature)
    for base in theirs.get("bases", ()):
        assert base in {each.__name__ for each in ours.__mro__}


@pytest.mark.parametrize("name", [name for name in CLASSES if "fields" in API[name]])
def test_dataclass_has_upstreams_fields(name: str) -> None:
    """A dataclass has 1.6.3's fields in their order, with their defaults, and can be changed."""
    ours, theirs = getattr(veltix, name), API[name]
    found = {each.name: "required" if each.default is MISSING else shown(each.default) for each in fields(ours)}
    first = dict(list(found.items())[: len(theirs["fields"])])
    if name == "LoggerConfig":
        first["stream"] = "sys.stdout"  # looked up when the config is made
    assert first == theirs["fields"]


@pytest.mark.parametrize("name", ENUMS)
def test_enum_has_upstreams_members(name: str) -> None:
    """An enum has 1.6.3's members with their values (a socket backend's value was its class)."""
    ours, theirs = getattr(veltix, name), API[name]
    assert issubclass(ours, Enum)
    for member, value in theirs["members"].items():
        assert name == "SocketCore" or ours[member].value == value
        assert member in ours.__members__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_takes_what_upstreams_takes(name: str) -> None:
    """A function takes one argument, as in 1.6.3; its name may differ."""
    assert len(taken(getattr(veltix, name))) == len(parameters(API[name]["signature"])) == 1


def test_attributes_that_programs_use(ends: Any) -> None:
    """Servers and clients have the attributes of 1.6.3's that say something outside of it."""
    server, client = ends.pair()
    for each, name in ((server, "Server"), (client, "Client")):
        missing = {attribute for attribute in API[name]["attributes"] if not hasattr(each, attribute)}
        assert not missing - {"socket", "ping_result"}
    info = server.clients[0]
    assert all(hasattr(info, attribute) for attribute in API["ClientInfo"]["attributes"])


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("client", ["Client", "ClientConfig", "DisconnectReason", "DisconnectState"]),
        ("client.client", ["Client", "ClientConfig", "DisconnectReason", "DisconnectState"]),
        ("client.disconnect", ["DisconnectReason", "DisconnectState"]),
        ("exceptions", [*MODULES["veltix.exceptions"]["own"], "ConnectionError", "MessageError"]),
        ("network.request", ["Request", "Response", "RequestError"]),
        ("network.sender", ["Sender", "Mode"]),
        ("network.types", ["MessageType", "MessageTypeRegistry"]),
        ("server", ["Server", "ServerConfig", "ClientInfo"]),
        ("server.client_info", ["ClientInfo"]),
        ("server.server", ["Server", "ServerConfig", "ClientInfo"]),
        ("utils", ["format_bytes", "encode_json", "decode_json", "encode_utf8", "decode_utf8"]),
    ],
)
def test_submodules(module: str, names: list[str]) -> None:
    """The submodules that documents and programs import from have upstream's names, and they are the same objects."""
    found = importlib.import_module(f"veltix_tx.dropin.veltix.{module}")
    for name in names:
        assert getattr(found, name) is getattr(veltix, name, getattr(found, name))


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        ("ServerConfig", {"port": 70000}),
        ("ServerConfig", {"port": "8080"}),
        ("ServerConfig", {"max_workers": 0}),
        ("ServerConfig", {"max_connection": 0}),
        ("ServerConfig", {"wire": "9.9"}),
        ("ClientConfig", {"handshake_timeout": -1}),
        ("ClientConfig", {"retry": -1}),
        ("ClientConfig", {"retry_delay": "soon"}),
        ("ClientConfig", {"max_message_size": 0}),
        ("ClientConfig", {"buffer_size": "big"}),
    ],
)
def test_a_setting_that_cannot_be_is_refused(config: str, settings: dict[str, Any]) -> None:
    """A setting that makes no sense is refused with its name when the server or client is made; upstream takes anything."""
    made = getattr(veltix, config)(**settings)
    owner = veltix.Server if config == "ServerConfig" else veltix.Client
    with pytest.raises(SettingsError, match=next(iter(settings))):
        owner(made)


def test_config_without_defaults_is_required() -> None:
    """A server or client is not made without its config."""
    with pytest.raises(TypeError):
        veltix.Server()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        veltix.Client()  # type: ignore[call-arg]


def test_configs_are_compared_by_value() -> None:
    """Two configs with the same settings are equal, and can be changed until they are used."""
    assert veltix.ServerConfig(port=1) == veltix.ServerConfig(port=1)
    config = veltix.ClientConfig()
    config.port = 9000
    assert config == veltix.ClientConfig(port=9000)


def test_first_documents_setting(ends: Any) -> None:
    """``max_clients`` is ``max_connection``'s first name: one client, and no second."""
    server = ends.server(max_clients=1)
    ends.client(server)
    assert not ends.client(server, connect=False).connect()


def test_exceptions_are_the_packages_own() -> None:
    """One ``except VeltixError`` catches what either API raises; two names are Python's as well."""
    assert veltix.VeltixError is veltix_tx.VeltixError
    assert issubclass(veltix.TimeoutError, TimeoutError)
    exceptions = importlib.import_module("veltix_tx.dropin.veltix.exceptions")
    assert issubclass(exceptions.ConnectionError, ConnectionError)
    assert issubclass(exceptions.ConnectionError, veltix.VeltixError)
    for name in ("SenderError", "NetworkError", "MessageError", "MessageTypeError", "RequestError", "TimeoutError"):
        assert issubclass(getattr(veltix, name), veltix.VeltixError)
