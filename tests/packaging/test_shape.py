from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import pytest

from veltix_tx._version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCES = ("veltix_tx/wire/veltix/_codec", "veltix_tx/wire/_messages", "veltix_tx/net/session/_dispatch")
COMPILED = {f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}" for name in SOURCES}
PAGE = {f"veltix_tx/ops/page/{name}" for name in ("index.html", "style.css", "app.js")}
FLOOR = "veltix_tx/benchmark/peers/_floor.c"
DIST_INFO = f"veltix_tx-{__version__}.dist-info"


@pytest.fixture(scope="session")
def wheel_files(wheel: Path) -> set[str]:
    """Every file in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="session")
def sdist_files(sdist: Path) -> set[str]:
    """Every file in the source distribution, without its top folder."""
    with tarfile.open(sdist) as archive:
        return {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}


def test_no_init_in_the_plugin_folders(root: Path) -> None:
    """An __init__.py under twisted/ would hide Twisted itself from the checkout and overwrite it from the wheel."""
    assert [path.name for path in (root / "twisted").rglob("*.py")] == ["veltix_tx_plugin.py"]


def test_the_wheel_holds_the_package_and_the_plugin_and_nothing_else(wheel_files: set[str], tree: Path) -> None:
    """Every module of the package, the compiled codec, py.typed, the one plugin and the metadata: no tests, no caches.

    Of sources in C there is only that of the benchmark's floor, which is compiled when the benchmark is run with it.
    """
    package = {path.relative_to(tree).as_posix() for path in (tree / "veltix_tx").rglob("*") if path.is_file()}
    package = {name for name in package if not name.endswith((".c", ".h"))} | COMPILED | {FLOOR}
    assert {name for name in wheel_files if not name.startswith(DIST_INFO)} == package | {"twisted/plugins/veltix_tx_plugin.py"}
    assert "veltix_tx/py.typed" in package
    assert {name.removeprefix(f"{DIST_INFO}/") for name in wheel_files if name.startswith(DIST_INFO)} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
        "top_level.txt",
    }


def test_the_package_holds_code_and_the_type_marker_only(tree: Path) -> None:
    """Whatever lies in the package is a module, py.typed, the operator's page, the compiled codec's, or the floor's source."""
    found = {path.relative_to(tree).as_posix() for path in (tree / "veltix_tx").rglob("*") if path.is_file()}
    others = {name for name in found if not name.endswith(".py")}
    compiled = {f"{name}.{kind}" for name in SOURCES for kind in ("c", "pyi")}
    assert others == {"veltix_tx/py.typed", FLOOR, "veltix_tx/wire/veltix/_crc32.h", "veltix_tx/wire/_slots.h"} | compiled | PAGE


def test_the_wheel_is_of_this_python(wheel: Path) -> None:
    """A wheel with the compiled codec says for which Python and platform it is."""
    assert wheel.name.startswith(f"veltix_tx-{__version__}-cp{sys.version_info[0]}{sys.version_info[1]}-cp")


@pytest.mark.parametrize("name", [*(f"{name}.c" for name in SOURCES), FLOOR])
def test_c_compiles_without_a_warning(name: str, tree: Path, tmp_path: Path) -> None:
    """The compiler has nothing to say about the C sources, asked for every warning."""
    include = sysconfig.get_path("include")
    flags = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-O2", "-fPIC", "-isystem", include]
    command = [*shlex.split(os.environ.get("CC") or "cc"), *flags, "-c", str(tree / name), "-o", str(tmp_path / "made.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_compiler_the_package_installs_and_works(
    copy_tree: Callable[[Path], Path], run: Callable[..., str], tmp_path: Path
) -> None:
    """Where nothing can be compiled the wheel is made all the same, and Python's codec is in use."""
    source, unpacked = copy_tree(tmp_path / "source"), tmp_path / "unpacked"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source]
    run(*command, cwd=tmp_path, env=os.environ | {"CC": "false", "LDSHARED": "false"})
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        assert [name for name in archive.namelist() if "_codec" in name] == ["veltix_tx/wire/veltix/_codec.pyi"]
        archive.extractall(unpacked)
    show = "import sys; sys.path.insert(0, sys.argv[1]); from veltix_tx.wire.veltix import codec; print(codec.description())"
    unset = {name: value for name, value in os.environ.items() if name != "VELTIX_TX_CODEC"}
    assert run(sys.executable, "-c", show, unpacked, cwd=tmp_path, env=unset).startswith("codec: python")


def test_the_metadata_says_what_is_needed(wheel: Path) -> None:
    """Name, version, licence, Python and dependencies are in the wheel's metadata, the README as its description."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{DIST_INFO}/METADATA").decode())
        scripts = archive.read(f"{DIST_INFO}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == ("veltix-tx", __version__, "MIT")
    assert metadata["Requires-Python"] == ">=3.10"
    needed = {line.partition(">")[0] for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line}
    assert {name.strip() for name in needed} == {"Twisted", "zope.interface", "click", "msgspec", "tomli"}
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "veltix = veltix_tx.cli:main" in scripts


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "pyproject.toml",
        "setup.py",
        "MANIFEST.in",
        ".ci/run",
        ".ci/release",
        "twisted/plugins/veltix_tx_plugin.py",
        "veltix_tx/py.typed",
        "veltix_tx/wire/veltix/_codec.c",
        "veltix_tx/net/session/_dispatch.c",
        "veltix_tx/wire/_messages.c",
        "veltix_tx/wire/_slots.h",
        "veltix_tx/wire/veltix/_crc32.h",
        "tests/conftest.py",
        "tests/wire/veltix/vectors.json",
        "tests/packaging/test_shape.py",
    ],
)
def test_the_sdist_has_everything_to_build_test_and_read(sdist_files: set[str], name: str) -> None:
    """Whoever has the source distribution has the project."""
    assert name in sdist_files


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel_files: set[str], run: Callable[..., str], tmp_path: Path) -> None:
    """Who installs from the source distribution gets what the wheel holds."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, sdist, cwd=tmp_path)
    (built,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        assert {name for name in archive.namelist() if not name.endswith("/")} == wheel_files


def test_the_sdist_is_the_project(sdist_files: set[str], tree: Path) -> None:
    """Tests, examples, docs and code are in the source distribution file for file, and no caches."""
    for folder in ("veltix_tx", "twisted", "tests", "examples", "docs", ".ci"):
        files = {path.relative_to(tree).as_posix() for path in (tree / folder).rglob("*") if path.is_file()}
        assert files
        assert files - sdist_files == set()
    assert [name for name in sdist_files if "__pycache__" in name or name.endswith((".pyc", "dropin.cache"))] == []


def test_every_package_is_listed(root: Path) -> None:
    """A package that pyproject.toml does not list would be missing from the wheel; twisted itself is never listed."""
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {path.parent.relative_to(root).as_posix().replace("/", ".") for path in (root / "veltix_tx").rglob("__init__.py")}
    assert set(listed) == found | {"twisted.plugins"}


def test_an_editable_install_puts_the_checkout_on_the_path(root: Path) -> None:
    """Without this line setuptools would install a finder, and twistd would not see the plugin."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert settings["package-dir"] == {"": "."}
