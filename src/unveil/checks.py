"""What a person gives, held against what is expected: one place, one form of message.

    check("size", -3, Annotated[int, Within(1, unit="px")])
    # InputError: size: expected a whole number of at least 1 px, got -3

What is expected is said by annotations, so that a new field is checked without a word more.
"""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from unveil.address import plain_place
from unveil.errors import InputError, UnveilError

_WORDS: Mapping[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    float | int: "a number",
    str: "text",
    Path: "a path",
    dict: "a table",
}
_LONGEST = 60  # characters of a value that a message shows


@dataclass(frozen=True)
class Within:
    """The numbers that are taken: from least to most; not least itself where they are above it."""

    least: float | int = -math.inf
    most: float | int = math.inf
    unit: str = ""
    above: bool = False

    def __contains__(self, value: float | int) -> bool:
        return (self.least < value if self.above else self.least <= value) and value <= self.most

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.most < math.inf:
            return f"in {self.least} … {self.most}{unit}"
        return f"of {'more than' if self.above else 'at least'} {self.least}{unit}"


def require(condition: bool, what: str, expected: str, got: object) -> None:
    """Raise InputError, saying what was expected and what came, unless the condition holds."""
    if not condition:
        raise InputError(f"{what}: expected {expected}, got {got}")


def check(what: str, value: Any, hint: Any, error: type[UnveilError] = InputError) -> Any:
    """The value as its annotation has it: numbers of NumPy as Python's, text as the path it names.

    what: what messages call it. hint: bool, int, float, str, Path, None, Literal, tuple, unions of
    them, numbers Annotated with `Within`; of other kinds an instance. True is no number, and nan
    and infinity are none. Raises `error` for any other value.
    """
    try:
        return _fit(value, hint)
    except ValueError:
        raise error(f"{what}: expected {_words(hint)}, got {_shown(value)}") from None


def check_fields(self: Any, where: str = "", error: type[UnveilError] = InputError) -> None:
    """Hold every field of a dataclass against its annotation; for `__post_init__`, frozen or not.

    where: said before the name of a field. Raises `error` as `check` does.
    """
    hints = get_type_hints(type(self), include_extras=True)
    for field in dataclasses.fields(self):
        value = check(where + field.name, getattr(self, field.name), hints[field.name], error)
        object.__setattr__(self, field.name, value)


def check_field(kind: type, name: str, value: Any) -> Any:
    """A value held against the annotation of a field. Raises InputError as `check` does."""
    return check(name, value, get_type_hints(kind, include_extras=True)[name])


def _fit(value: Any, hint: Any) -> Any:
    """The value as an annotation has it. Raises ValueError where it does not fit."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated:
        value = _fit(value, inside[0])
        if any(isinstance(x, Within) and value not in x for x in inside[1:]):
            raise ValueError
        return value
    if origin in (Union, UnionType):
        return _first(value, inside)
    if origin is Literal:
        if not isinstance(value, str) or value not in inside:
            raise ValueError
        return value
    if origin is tuple:
        return _fit_tuple(value, inside)
    return _fit_plain(value, hint)


def _fit_plain(value: Any, kind: Any) -> Any:
    if kind in (int, float):
        number = Integral if kind is int else Real
        if isinstance(value, bool) or not isinstance(value, number) or not math.isfinite(value):
            raise ValueError
        return kind(value)
    if kind is Path and isinstance(value, str | os.PathLike) and str(value):
        return Path(plain_place(os.fspath(value)))
    if not isinstance(value, kind):
        raise ValueError
    return value


def _fit_tuple(value: Any, inside: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError
    if inside[-1] is Ellipsis:
        inside = inside[:1] * len(value)
    if len(inside) != len(value):
        raise ValueError
    return tuple(map(_fit, value, inside))


def _first(value: Any, hints: tuple[Any, ...]) -> Any:
    """The value as the first of some annotations that it fits has it."""
    for hint in hints:
        try:
            return _fit(value, hint)
        except ValueError:
            pass
    raise ValueError


def _words(hint: Any, beside: tuple[Any, ...] = ()) -> str:
    """What an annotation takes, in words; that a value may be left out is not said."""
    origin, inside = get_origin(hint), get_args(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin is Annotated:
        return " ".join([_words(inside[0]), *(str(x) for x in inside[1:])])
    if origin in (Union, UnionType):
        return " or ".join(_words(x, inside) for x in inside if x is not NoneType)
    if origin is Literal:
        return " or ".join(map(str, inside))
    if origin is tuple:
        many = "any number of" if inside[-1] is Ellipsis else str(len(inside))
        if inside[0] in beside:
            return f"{many.removesuffix(' of')} of them"
        return f"{many} values, each {_words(inside[0])}"
    return hint.__name__


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST and "\n" not in text else type(value).__name__
