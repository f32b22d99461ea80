"""The reference has every public name and no other; the code decides what is public, by ``__all__`` and underscores."""

from __future__ import annotations

import inspect
import re
from pkgutil import resolve_name

from zope.interface import implementedBy
from zope.interface.interface import InterfaceClass

_FOR_ROOMS = {"veltix_tx.VeltixServerFactory", "veltix_tx.VeltixClientFactory", "veltix_tx.VeltixProtocol"}
_FOR_ROOMS |= {"veltix_tx.app.router.Router", "veltix_tx.app.hub.Hub", "veltix_tx.app.plugins.Plugins"}
"""Classes that other rooms of the package call, too: their pages list what is for users."""


def _entries(generate):
    return [entry for entries in generate.names.pages_of_names().values() for entry in entries]


def _members_of(thing):
    """Return what a class and its bases have, by name."""
    return {name: member for each in reversed(getattr(thing, "__mro__", ())) for name, member in vars(each).items()}


def _own_members(kind):
    """Return the public methods and properties that a class has from this package, and from no library's class or interface."""
    ours = [each for each in kind.__mro__ if each.__module__.startswith("veltix_tx")]
    found = {name for each in ours for name, member in vars(each).items() if _is_called(member) and not name.startswith("_")}
    theirs = [each for each in implementedBy(kind).flattened() if not each.__module__.startswith("veltix_tx")]
    return (
        found
        - {name for each in kind.__mro__ if each not in ours for name in dir(each)}
        - {name for each in theirs for name in each}
    )


def _is_called(member):
    return inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))


def test_every_public_name_is_on_a_page(generate):
    """What a public module has in ``__all__`` is on a page of the API reference, under that name or as the same object."""
    entries = _entries(generate)
    names = {f"{entry.home}.{entry.name}" for entry in entries}
    things = [entry.thing for entry in entries]

    for home in generate.names.PUBLIC_MODULES:
        module = resolve_name(home)
        missing = [name for name in module.__all__ if name != "__version__" and f"{home}.{name}" not in names]
        assert [name for name in missing if not any(getattr(module, name) is thing for thing in things)] == [], home


def test_every_name_on_a_page_is_public(generate):
    """What a page lists is in its module's ``__all__``; members are there and have no underscore; nothing is listed twice."""
    entries = _entries(generate)
    names = [f"{entry.home}.{entry.name}" for entry in entries]

    assert sorted(names) == sorted(set(names))
    for entry in entries:
        assert entry.name in resolve_name(entry.home).__all__, entry
        get = entry.thing.get if isinstance(entry.thing, InterfaceClass) else _members_of(entry.thing).get
        assert [name for name in entry.members if name.startswith("_") or get(name) is None] == [], entry
        assert len(entry.members) == len(set(entry.members)), entry


def test_every_public_member_is_on_the_page_of_its_class(generate):
    """A method or property without an underscore is for users, and listed; so are all members of an interface."""
    for title, entries in generate.names.pages_of_names().items():
        for entry in () if title.startswith("The drop-in") else entries:  # upstream's names have tables of their own
            thing = entry.thing
            if isinstance(thing, InterfaceClass):
                assert set(thing.names()) == set(entry.members), entry
            elif inspect.isclass(thing) and f"{entry.home}.{entry.name}" not in _FOR_ROOMS and not hasattr(thing, "describe"):
                attributes = re.findall(r"^ +(\w+): ", thing.__doc__.partition("Attributes:")[2], re.MULTILINE)
                assert _own_members(thing) - {*entry.members, *attributes} == set(), entry
