"""Sphinx: ``sphinx-build -W --keep-going docs OUT`` makes the same pages as HTML, without a network."""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import is_dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx.domains import ObjType
from sphinx.domains.python import PythonDomain
from sphinx.pycode import ModuleAnalyzer
from zope.interface.interface import InterfaceClass

from veltix_tx import __version__

sys.path.insert(0, str(Path(__file__).resolve().parent))
from tables.names import pages_of_names

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "veltix_tx"
author = "The veltix_tx authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.zopeext.autointerface"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"veltix_tx {__version__}"
html_show_copyright = html_show_sphinx = html_copy_source = False
toc_object_entries_show_parents = "hide"

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

suppress_warnings = ["ref.python"]  # ``type[...]`` is none of the attributes called type
nitpicky = True  # a name in a docstring that leads nowhere is a warning
_OURS = "FlowControl|Taggable|Workers|Application|SharedState|ConnectionContext|AdmissionControl|Authenticate|WireOptions"
_OURS += "|StepFailed|ServedMethod|Caller|FrameType|CredentialsSource|GivenUpIds|RoomHandlers|Classifier|Chain|PlainWire|Supervisor"
_OURS += "|(Client|Server)(Endpoint|Settings|Changes)"
_THEIRS = "IReactorTime|IStream(Client|Server)Endpoint|Random|PurePath|InitVar|Unpack"
_THEIRS += "|CannotListenError|NotConnectingError|IAddress|Certificate"
nitpick_ignore_regex = [
    ("py:.*", r"(typing|twisted|zope|collections|dataclasses|enum|pathlib|random|types|prometheus_client)\..*"),
    ("py:(class|exc)", rf"({_THEIRS})"),
    ("py:obj", r"typing\.Literal.*"),
    ("py:(class|exc)", rf"(veltix_tx\..*\.)?({_OURS})"),  # in signatures: types of the rooms below, not public
    ("py:(class|obj)", r"(veltix_tx\..*\.)?[A-Z]{1,2}"),  # in signatures: type variables
]


def _signature(
    app: Sphinx, what: str, name: str, thing: object, options: object, signature: str | None, annotation: str | None
) -> tuple[str | None, str | None]:
    """Leave out what users do not pass: constructors of classes whose docstrings have no ``Args:``, and private parameters."""
    if what in ("class", "exception") and not is_dataclass(thing) and "Args:" not in (thing.__doc__ or ""):
        return "", ""
    return re.sub(r", \*, _\w+: [^,)]+(?=\))", "", signature or "").replace("<factory>", "..."), annotation


def _attributes(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Show the attributes of a private base with a class's own: those of both sides with a server's settings."""
    for base in thing.__mro__[1:] if inspect.isclass(thing) else ():
        if base.__name__.startswith("_") and "Attributes:" in lines:
            at = lines.index("Attributes:") + 1
            lines[at:at] = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2].splitlines()


def setup(app: Sphinx) -> None:
    """Set what no setting does."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _attributes, priority=400)  # before napoleon reads them
    for entry in chain(*pages_of_names().values()):
        if inspect.isclass(entry.thing):
            analyzer = ModuleAnalyzer.for_module(entry.thing.__module__)
            analyzer.analyze()
            analyzer.tagorder.clear()  # members stand in the order of their page
            analyzer.overloads.clear()  # which are for type checkers: readers get one signature, with its defaults
    InterfaceClass.__repr__ = lambda self: f"~{self.__identifier__}"  # in annotations, which Sphinx writes as their repr() is
    PythonDomain.object_types["interface"] = ObjType("interface", "class", "obj")  # of zopeext, where links to classes look
    app.registry.js_files[:] = [each for each in app.registry.js_files if each[0]]  # zopeext's script needs jQuery
