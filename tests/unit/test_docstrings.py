"""Every public name has a docstring in numpydoc's form, and its examples hold."""

import doctest
import enum
import importlib
import inspect
import pkgutil
import typing

import pytest
from numpydoc.validate import validate

import syndiff

CHECKS = {
    *("GL01", "GL02", "GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),
    *("SS02", "SS04", "SS05", "PR01", "PR02", "PR03", "PR05", "RT01"),
}
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(syndiff.__path__, "syndiff.")
    # running the command line is not what this is about, and Typer's options carry their own help
    if name not in {"syndiff.__main__", "syndiff.commands.app", "syndiff.commands.where"}
]


def public_names(module):
    """The dotted names of a module's public functions and classes, and of what those hold."""
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if getattr(thing, "__module__", "") != module.__name__ or not callable(thing):
            continue
        if not inspect.isclass(thing):
            yield f"{module.__name__}.{name}"
        elif has_parameters(thing):
            yield f"{module.__name__}.{name}"
            yield from (f"{module.__name__}.{name}.{member}" for member in own_members(thing))


def has_parameters(thing):
    """Protocols, enumerations and plain exceptions are not called with anything of their own."""
    by_nature = issubclass(thing, (enum.Enum, Exception, tuple))
    return not by_nature and typing.Protocol not in thing.__bases__


def own_members(thing):
    for member, value in vars(thing).items():
        is_own = inspect.isfunction(value) and value.__qualname__ == f"{thing.__name__}.{member}"
        is_method = is_own or isinstance(value, (classmethod, property))
        if is_method and not member.startswith("_"):
            yield member


@pytest.mark.parametrize("module", MODULES)
def test_docstrings(module):
    complaints = [
        f"{name}: {code} {text}"
        for name in public_names(importlib.import_module(module))
        for code, text in validate(name)["errors"]
        if code in CHECKS
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("module", MODULES)
def test_examples(module):
    """Those without a data root; the others run in `tests/integration/test_notebook.py`."""
    runner = doctest.DocTestRunner()
    for found in doctest.DocTestFinder().find(importlib.import_module(module)):
        if 'data_root="data"' not in found.docstring and "sky/" not in found.docstring:
            runner.run(found)
    assert runner.failures == 0
