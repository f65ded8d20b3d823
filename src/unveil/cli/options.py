"""How options are shown: what an option takes and its default, and nothing where it has none.

`unveil segment --help` says `--end STR`, not `--end {None}|STR … (default: None)`.
"""

import ast
import dataclasses
import difflib
import inspect
import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from unveil.address import as_address, as_path
from unveil.errors import InputError

ALIASES = {"out": ("-o",), "like": ("--as",)}
"""Other names of options, in every command."""
BARE = {"ray": ("local", "ADDRESS")}
"""Options that may stand without a value: what they are then, and what is shown of one."""
REGISTRY = ConstructorRegistry()
"""How tyro makes commands out of the dataclasses here."""


def _may_be_bare(bare: str, metavar: str) -> PrimitiveConstructorSpec[str | None]:
    """A text option that may stand without a value, and is `bare` then."""
    return PrimitiveConstructorSpec(
        nargs=(0, 1),
        metavar=f"[{metavar}]",
        instance_from_str=lambda given: given[0] if given else bare,
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [] if value is None else [value],
    )


def _spec_of_paths(read: Callable[[str], Path]) -> PrimitiveConstructorSpec[Path]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda given: read(given[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


MAY_BE_ADDRESS = _spec_of_paths(as_path)
"""Of an option that may be an address: s3://bucket/out, file:///out."""


@REGISTRY.primitive_rule
def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Path] | None:
    """A path, which may be given as file:///…; addresses of other places are refused."""
    return _spec_of_paths(_here) if info.type is Path else None


def _here(given: str) -> Path:
    if address := as_address(given):
        raise InputError(
            f"{address} is an address, and a path of this machine is expected there: fetch what "
            "lies there first, or write it here and copy it"
        )
    return as_path(given)


@REGISTRY.struct_rule
def _command(info: StructTypeInfo) -> StructConstructorSpec | None:
    """A command or its settings, with what is shown of each option."""
    if not dataclasses.is_dataclass(info.type) or not info.type.__module__.startswith("unveil."):
        return None  # tyro wraps what it is given in classes of its own
    hints, words = get_type_hints(info.type, include_extras=True), _docs(info.type)
    return StructConstructorSpec(
        instantiate=info.type,
        fields=tuple(
            StructFieldSpec(
                name=field.name,
                type=_shown(field, hints[field.name]),
                default=_default(field),
                helptext=words.get(field.name),
            )
            for field in dataclasses.fields(info.type)
        ),
    )


def _shown(field: dataclasses.Field, hint: Any) -> Any:
    """A type with how its option is shown."""
    aliases = ALIASES.get(field.name)
    if field.name in BARE:
        hint = Annotated[hint, _may_be_bare(*BARE[field.name])]
    if field.default is None:
        about = tyro.conf.arg(metavar=_metavar(hint), help_behavior_hint="", aliases=aliases)
    elif field.default is False:
        about = tyro.conf.arg(help_behavior_hint="", aliases=aliases)
    elif tyro.conf.Positional in getattr(hint, "__metadata__", ()):
        about = tyro.conf.arg(metavar=field.name.upper(), help_behavior_hint="")
    elif aliases:
        about = tyro.conf.arg(aliases=aliases)
    else:
        return hint
    return Annotated[hint, about]


def _metavar(hint: Any) -> str:
    """What an option takes: INT, FLOAT|{calibrated}, …; that it may be left out is no choice."""
    if get_origin(hint) is Annotated:
        named = [m for m in hint.__metadata__ if isinstance(m, PrimitiveConstructorSpec)]
        return named[0].metavar if named else _metavar(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return "|".join(_metavar(part) for part in get_args(hint) if part is not NoneType)
    if get_origin(hint) is Literal:
        return "{" + ",".join(map(str, get_args(hint))) + "}"
    return hint.__name__.upper()


def _default(field: dataclasses.Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return tyro.MISSING


def _docs(kind: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass, by name, on one line each."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    words = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = after.value if isinstance(after, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                words[field.target.id] = " ".join(text.value.split())
    return words


def mistyped(arguments: Sequence[str], commands: Sequence[str]) -> str | None:
    """What to say of a first argument that is no command; None where it is one, or an option."""
    if not arguments or arguments[0].startswith("-") or arguments[0] in commands:
        return None
    near = difflib.get_close_matches(arguments[0], commands, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(commands)}"
    return f"no command {arguments[0]!r}: {hint}"
