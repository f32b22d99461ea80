"""What importing costs: the wire floor needs no Twisted, and nothing at all installs a reactor."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import veltix_tx
import veltix_tx.wire


def run(code: str) -> str:
    """The output of a fresh Python that runs the code."""
    # Not from the checkout, which would then be imported in place of an installed package.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_wire_floor_works_without_twisted() -> None:
    """Every module of the wire imports, and a handshake completes, where Twisted and zope cannot be imported."""
    names = [module.name for module in pkgutil.walk_packages(veltix_tx.wire.__path__, "veltix_tx.wire.")]
    assert "veltix_tx.wire.veltix.connection" in names
    code = f"""
import sys
for blocked in ("twisted", "zope", "zope.interface", "asyncio", "socket", "random", "logging"):
    sys.modules[blocked] = None
import importlib
for name in {["veltix_tx", "veltix_tx.wire", "veltix_tx.errors", "veltix_tx.settings", *names]!r}:
    importlib.import_module(name)
from veltix_tx import Limits, MessageType, VeltixError
from veltix_tx.wire.interface import Role
from veltix_tx.wire.veltix.connection import VeltixConnection
clocks = dict(calendar_ms=lambda: 0, uptime_ms=lambda: 0, getrandbits=lambda bits: 1)
server, client = VeltixConnection(Role.SERVER, **clocks), VeltixConnection(Role.CLIENT, **clocks)
server.start(), client.start()
client.receive_data(b"".join(server.data_to_send()), 0)
server.receive_data(b"".join(client.data_to_send()), 0)
print(client.receive_data(b"".join(server.data_to_send()), 0)[0].peer.version)
"""
    assert run(code) == "2.0.0"


def test_the_wire_floor_asks_for_no_clock_dice_or_socket() -> None:
    """No wire module, nor what it stands on, imports anything that does I/O, tells the time or throws dice."""
    forbidden = {"twisted", "zope", "asyncio", "socket", "time", "random", "logging", "secrets", "os", "threading"}
    package = Path(veltix_tx.__file__).parent
    for path in [*(package / "wire").rglob("*.py"), package / "settings.py", package / "errors.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = {"os"} if path.name == "compiled.py" else set()  # for a variable of the environment
            assert not {name.partition(".")[0] for name in names} & (forbidden - allowed), path.name


def test_no_module_installs_a_reactor() -> None:
    """Importing the package and every module of it leaves the choice of the reactor to the program."""
    code = """
import importlib, pkgutil, sys
import veltix_tx
for name in veltix_tx.__all__:
    getattr(veltix_tx, name)
for module in pkgutil.walk_packages(veltix_tx.__path__, "veltix_tx."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        assert "twisted.internet.reactor" not in sys.modules, module.name
import twisted.plugins.veltix_tx_plugin
assert "twisted.internet.reactor" not in sys.modules
print(len([name for name in sys.modules if name.startswith("veltix_tx")]) > 20)
"""
    assert run(code) == "True"


def test_the_front_door_imports_only_what_is_asked_for() -> None:
    """``import veltix_tx`` alone brings none of its rooms."""
    code = "import sys, veltix_tx; print(sorted(name for name in sys.modules if name.startswith(('veltix_tx', 'twisted'))))"
    assert run(code) == "['veltix_tx', 'veltix_tx._version']"


def test_dir_and_help_list_the_public_names() -> None:
    """A shell's completion and ``help(veltix_tx)`` show what there is, although nothing is imported before it is used."""
    assert set(veltix_tx.__all__) <= set(dir(veltix_tx))
    assert {"import_module", "TYPE_CHECKING", "_HOMES"}.isdisjoint(dir(veltix_tx))
    code = "import veltix_tx; names = dir(veltix_tx); import sys; print('Server' in names, 'veltix_tx.server' in sys.modules)"
    assert run(code) == "True False"
    shown = pydoc.plain(pydoc.render_doc(veltix_tx))
    assert [name for name in veltix_tx.__all__ if not re.search(rf"\b{name}\b", shown)] == ["__version__"]  # shown as VERSION


def test_every_public_name_is_where_the_front_door_says() -> None:
    """__all__ and the map of homes agree, and every name is its home's own."""
    assert set(veltix_tx._HOMES) | {"__version__"} == set(veltix_tx.__all__)
    assert sorted(veltix_tx.__all__) == sorted(set(veltix_tx.__all__))
    for name, home in veltix_tx._HOMES.items():
        value = getattr(veltix_tx, name)
        assert value is getattr(importlib.import_module(home), name)
        assert getattr(value, "__module__", home) == home


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING name each public name from its home."""
    tree = ast.parse(Path(veltix_tx.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == veltix_tx._HOMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A name the front door does not have is an AttributeError that names it."""
    with pytest.raises(AttributeError, match="no_such_name"):
        veltix_tx.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_every_module_lists_its_names() -> None:
    """Every module of the wire floor has an __all__ of names it has."""
    for found in pkgutil.walk_packages(veltix_tx.wire.__path__, "veltix_tx.wire."):
        module = importlib.import_module(found.name)
        if found.ispkg:
            continue
        assert module.__all__
        assert all(hasattr(module, name) for name in module.__all__)
