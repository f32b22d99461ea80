from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from veltix_tx._version import __version__

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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
    """Every module of the package, py.typed, the one plugin and the metadata: no tests, no examples, no caches."""
    package = {path.relative_to(tree).as_posix() for path in (tree / "veltix_tx").rglob("*") if path.is_file()}
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
    """Whatever lies in the package is a module or py.typed."""
    assert {path.suffix for path in (tree / "veltix_tx").rglob("*") if path.is_file()} == {".py", ".typed"}


def test_the_wheel_is_pure(wheel: Path) -> None:
    """One wheel serves every Python and platform."""
    assert wheel.name == f"veltix_tx-{__version__}-py3-none-any.whl"


def test_the_metadata_says_what_is_needed(wheel: Path) -> None:
    """Name, version, licence, Python and dependencies are in the wheel's metadata, the README as its description."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = Parser().parsestr(archive.read(f"{DIST_INFO}/METADATA").decode())
        scripts = archive.read(f"{DIST_INFO}/entry_points.txt").decode()
    assert (metadata["Name"], metadata["Version"], metadata["License-Expression"]) == ("veltix-tx", __version__, "MIT")
    assert metadata["Requires-Python"] == ">=3.10"
    needed = {line.partition(">")[0] for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line}
    assert {name.strip() for name in needed} == {"Twisted", "zope.interface", "click"}
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
        "twisted/plugins/veltix_tx_plugin.py",
        "veltix_tx/py.typed",
        "tests/conftest.py",
        "tests/wire/vectors.json",
        "tests/packaging/test_shape.py",
    ],
)
def test_the_sdist_has_everything_to_build_test_and_read(sdist_files: set[str], name: str) -> None:
    """Whoever has the source distribution has the project."""
    assert name in sdist_files


def test_the_sdist_makes_the_same_wheel(sdist: Path, wheel_files: set[str], tmp_path: Path) -> None:
    """Who installs from the source distribution gets what the wheel holds."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, sdist]
    subprocess.run([str(word) for word in command], check=True, cwd=tmp_path)
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
