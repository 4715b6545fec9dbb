"""Records on disk: frozen dataclasses as JSON, with one reader that checks every value."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union

if TYPE_CHECKING:
    from typing import NoReturn, Self

    from syndiff.errors import SyndiffError

__all__ = ["RecordError", "dump_record", "load_record", "parse_record", "plain_content"]

T = TypeVar("T")

_Reader = Callable[[Any], Any]

_VERSION = "format_version"
"""Key that holds the `FORMAT` of a record whose class has one."""

_KINDS = {str: "a text", bool: "true or false", int: "an integer", float: "a number"}


class RecordError(ValueError):
    """A value that is not what a record holds there.

    Parameters
    ----------
    problem : str
        What is wrong with it.
    path : str
        Its place in the file, for example ``.skycells[3].name``.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem, path)
        self.problem, self.path = problem, path

    def __str__(self) -> str:
        return f"{self.path.removeprefix('.') or 'it'} {self.problem}"

    def under(self, part: str) -> Self:
        """Return the same error of a value that is a part of another one.

        Parameters
        ----------
        part : str
            Which part, for example ``[3]``.

        Returns
        -------
        RecordError
            With the longer path.
        """
        return type(self)(self.problem, part + self.path)


class _VersionError(RecordError):
    """A record of another format version."""


def dump_record(record: object, *, indent: int | None = None, sort_keys: bool = False) -> bytes:
    """Return a record as JSON.

    Parameters
    ----------
    record : dataclass
        Of texts, numbers, dictionaries, tuples and further dataclasses. A class variable FORMAT is
        written as ``format_version``.
    indent : int, optional
        Of each level; None for one line.
    sort_keys : bool
        Write keys in the order of their letters, not as declared.

    Returns
    -------
    bytes
        What `load_record` reads.

    Raises
    ------
    ValueError
        If a number is not finite.
    TypeError
        If a value can't be written.
    """
    separators = (",", ":") if indent is None else None
    return json.dumps(
        record,
        default=_fields_of,
        indent=indent,
        sort_keys=sort_keys,
        separators=separators,
        allow_nan=False,
    ).encode()


def plain_content(record: object) -> dict[str, Any]:
    """Return a record as dictionaries and lists, for formats that hold JSON among other things.

    Parameters
    ----------
    record : dataclass
        As for `dump_record`.

    Returns
    -------
    dict
        What `parse_record` reads.
    """
    content: dict[str, Any] = json.loads(dump_record(record))
    return content


def load_record(
    kind: type[T], text: bytes, source: object, *, error: type[SyndiffError], remedy: str
) -> T:
    """Return the record that JSON on disk holds.

    Parameters
    ----------
    kind : dataclass
        Class of the record.
    text : bytes
        JSON.
    source : object
        Its path, for messages.
    error : type
        What to raise.
    remedy : str
        What a user can do about a file that can't be read.

    Returns
    -------
    dataclass
        The record.

    Raises
    ------
    SyndiffError
        The given one: of another format version, or damaged.
    """
    try:
        return parse_record(kind, json.loads(text, parse_constant=_refuse_constant))
    except _VersionError as problem:
        raise error(f"{source} {problem.problem}: {remedy}") from problem
    except (ValueError, RecursionError) as problem:
        raise error(f"{source} is damaged ({problem}): {remedy}") from problem


def parse_record(kind: type[T], content: object) -> T:
    """Return the record for plain content.

    Parameters
    ----------
    kind : dataclass
        Class of the record; the types of its fields say what is read: lists become tuples,
        dictionaries with the fields of a dataclass become one.
    content : object
        What JSON holds.

    Returns
    -------
    dataclass
        The record.

    Raises
    ------
    RecordError
        If a value is missing, of another type or not known; or of another format version.
    ValueError
        If the class itself refuses a value.
    """
    read: _Reader = _reader(kind)  # type: ignore[arg-type]  # a class can be hashed
    record: T = read(content)
    return record


def _fields_of(record: object) -> dict[str, Any]:
    """Return the fields of a dataclass, its version first; refuse what else JSON can't hold."""
    if not dataclasses.is_dataclass(record):
        raise TypeError(f"{record!r} of {type(record).__name__} can't be stored as JSON")
    version = getattr(record, "FORMAT", None)
    content = {} if version is None else {_VERSION: version}
    return content | {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is no number")


def _refuse(value: object, expected: str) -> NoReturn:
    text = repr(value)
    raise RecordError(f"is {text[:60]}{'...' * (len(text) > 60)}, expected {expected}")


@functools.cache
def _reader(kind: Any) -> _Reader:  # noqa: ANN401 - any annotation
    """Return what turns plain content into a value of a type, made once for each type."""
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    reader: _Reader | None = None
    if kind is Any:
        reader = _read_anything
    elif kind in _KINDS:
        reader = functools.partial(_read_value, kind)
    elif kind is types.NoneType:
        reader = _read_none
    elif origin is Literal:
        reader = functools.partial(_read_choice, parts)
    elif origin in {Union, types.UnionType}:
        reader = functools.partial(_read_union, tuple(map(_reader, parts)))
    elif origin is tuple and parts[-1] is Ellipsis:
        reader = functools.partial(_read_list, _reader(parts[0]))
    elif origin is tuple:
        reader = functools.partial(_read_items, tuple, tuple(map(_reader, parts)))
    elif origin is dict:
        reader = functools.partial(_read_dict, _reader(parts[1]))
    return reader or _class_reader(kind)


def _class_reader(kind: Any) -> _Reader:  # noqa: ANN401 - whatever is no type of the above
    """Return what makes a dataclass, or a NamedTuple, of plain content."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        readers = {f.name: _reader(hints[f.name]) for f in dataclasses.fields(kind) if f.init}
        return functools.partial(_read_fields, kind, readers)
    if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_make"):
        hints = typing.get_type_hints(kind)
        return functools.partial(_read_items, kind._make, tuple(map(_reader, hints.values())))
    raise TypeError(f"{kind} is no type that records can hold")


def _read_anything(value: object) -> object:
    return value


def _read_value(kind: type, value: object) -> object:
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    _refuse(value, _KINDS[kind])


def _read_none(value: object) -> None:
    if value is not None:
        _refuse(value, "null")


def _read_choice(choices: tuple[object, ...], value: object) -> object:
    if value not in choices:
        _refuse(value, " or ".join(map(repr, choices)))
    return value


def _read_union(readers: tuple[_Reader, ...], value: object) -> object:
    """Return what the first reader makes of a value that takes it."""
    failures = []
    for reader in readers:
        try:
            return reader(value)
        except RecordError as error:
            failures.append(error)
    # The error of the alternative that matched most of the content is the useful one.
    raise max(failures, key=lambda error: len(error.path))


def _read_list(item: _Reader, value: object) -> tuple[object, ...]:
    if not isinstance(value, list):
        _refuse(value, "a list")
    return tuple([_part(item, one, f"[{k}]") for k, one in enumerate(value)])


def _read_items(make: Callable[..., object], items: tuple[_Reader, ...], value: object) -> object:
    if not isinstance(value, list) or len(value) != len(items):
        _refuse(value, f"a list of {len(items)}")
    pairs = enumerate(zip(items, value, strict=True))
    return make([_part(item, one, f"[{k}]") for k, (item, one) in pairs])


def _read_dict(item: _Reader, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        _refuse(value, "an object")
    return {key: _part(item, one, f".{key}") for key, one in value.items()}


def _read_fields(kind: Any, readers: dict[str, _Reader], value: object) -> object:  # noqa: ANN401
    if not isinstance(value, dict):
        _refuse(value, "an object")
    version = getattr(kind, "FORMAT", None)
    if version is not None and value.get(_VERSION) != version:
        if _VERSION not in value:
            raise RecordError(f"has no {_VERSION}")
        raise _VersionError(f"has format {value[_VERSION]}, this version reads {version}")
    keys = value.keys() - {_VERSION} if version is not None else value.keys()
    if keys != readers.keys():
        for key in sorted(readers.keys() - keys):
            raise RecordError(f"has no {key!r}")
        raise RecordError(f"has {min(keys - readers.keys())!r}, which is not known")
    return kind(**{key: _part(read, value[key], f".{key}") for key, read in readers.items()})


def _part(read: _Reader, value: object, part: str) -> object:
    try:
        return read(value)
    except RecordError as error:
        raise error.under(part) from None
