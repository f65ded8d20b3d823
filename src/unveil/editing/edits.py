"""What a person can do to a result: one value an edit, one readable line in the log.

    {"edit": "split", "of": 2, "sides": [[[12, 0.31, 0.5]], [[12, 0.48, 0.52]]]}
    {"edit": "rename", "of": [12, 0.31, 0.5], "name": "left dancer"}

An object is named by its id, or by a point that lies on it: frame, and x and y as shares of the
frame's width and height. Points survive where ids do not, in a result made anew.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from unveil.errors import InputError

Number = float | int
Point = tuple[int, Number, Number]
"""Frame, and x and y from 0, the left and upper edge, to 1."""
Target = int | Point
"""An object: its id, or a point on it."""
_DIGITS = 5  # of a coordinate: a tenth of a pixel of the widest video
_LONGEST = 100  # characters of a name
_MOST = 10_000  # points of a stroke


@dataclass(frozen=True)
class Promote:
    """The cluster at a point is an object; an object there is one for good."""

    at: Point

    def __post_init__(self) -> None:
        _set(self, at=_point(self.at))


@dataclass(frozen=True)
class Merge:
    """Two or more objects are one; it keeps the id of the first."""

    objects: tuple[Target, ...]

    def __post_init__(self) -> None:
        _set(self, objects=_targets(self.objects, "merge"))


@dataclass(frozen=True)
class Join:
    """Objects that are never seen together are one in time; it keeps the id of the first."""

    objects: tuple[Target, ...]

    def __post_init__(self) -> None:
        _set(self, objects=_targets(self.objects, "join"))


@dataclass(frozen=True)
class Split:
    """An object is several: so many of its own subtree, or one a side of points clicked.

    into: pieces of the subtree, where no sides are given. sides: points of each piece; the first
    side keeps the id.
    """

    of: Target
    into: int | None = None
    sides: tuple[tuple[Point, ...], ...] | None = None

    def __post_init__(self) -> None:
        _set(self, of=_target(self.of))
        if (self.into is None) == (self.sides is None):
            raise InputError("split: give either into, a number of pieces, or sides, their points")
        if self.into is not None:
            _whole("into", self.into, 2)
        else:
            sides = tuple(tuple(map(_point, side)) for side in _list("sides", self.sides))
            if len(sides) < 2 or not all(sides):
                raise InputError("sides: expected at least two, each with a point")
            _set(self, sides=sides)


@dataclass(frozen=True)
class Drop:
    """An object is none."""

    of: Target

    def __post_init__(self) -> None:
        _set(self, of=_target(self.of))


@dataclass(frozen=True)
class Rename:
    """An object has a name; an empty one takes it away."""

    of: Target
    name: str

    def __post_init__(self) -> None:
        _set(self, of=_target(self.of), name=_text("name", self.name))


@dataclass(frozen=True)
class Class:
    """An object is of a class; an empty one takes it away."""

    of: Target
    class_: str

    def __post_init__(self) -> None:
        _set(self, of=_target(self.of), class_=_text("class", self.class_))


@dataclass(frozen=True)
class Colour:
    """An object is painted in a colour, #rrggbb."""

    of: Target
    colour: str

    def __post_init__(self) -> None:
        if not isinstance(self.colour, str) or not re.fullmatch(r"#[0-9a-fA-F]{6}", self.colour):
            raise InputError(f"colour: expected #rrggbb, got {self.colour!r}")
        _set(self, of=_target(self.of), colour=self.colour.lower())


@dataclass(frozen=True)
class Cut:
    """From a frame on an object is another one."""

    of: Target
    frame: int

    def __post_init__(self) -> None:
        _set(self, of=_target(self.of), frame=_whole("frame", self.frame, 0))


@dataclass(frozen=True)
class Brush:
    """A stroke in one frame belongs to an object, or does not; its groups carry it along.

    points: x and y along the stroke. radius: as a share of the frame's height. add: or erase.
    carry: to the frames in which its groups are seen too.
    """

    of: Target
    frame: int
    points: tuple[tuple[Number, Number], ...]
    radius: Number
    add: bool = True
    carry: bool = True

    def __post_init__(self) -> None:
        points = tuple(_pair(p) for p in _list("points", self.points))
        if not 1 <= len(points) <= _MOST:
            raise InputError(f"points: expected 1 … {_MOST}, got {len(points)}")
        radius = _number("radius", self.radius)
        if not 0 < radius <= 1:
            raise InputError(f"radius: expected a share of the height, up to 1, got {radius}")
        for name in ("add", "carry"):
            _flag(name, getattr(self, name))
        frame = _whole("frame", self.frame, 0)
        _set(self, of=_target(self.of), frame=frame, points=points, radius=radius)


@dataclass(frozen=True)
class Wishes:
    """Where the sliders stand: of the whole video, or of one object.

    granularity: 0 … 1, how fine. objects: so many instead. min_score: what an object's score is
    at least; of one object, how sure its patches have to be, 0.5 as found. keep_background: all
    clusters are objects.
    """

    of: Target | None = None
    granularity: Number | None = None
    objects: int | None = None
    min_score: Number | None = None
    keep_background: bool | None = None

    def __post_init__(self) -> None:
        if self.of is not None:
            _set(self, of=_target(self.of))
            if self.objects is not None or self.keep_background is not None:
                raise InputError("settings of one object are granularity and min_score")
        if self.granularity is not None and self.objects is not None:
            raise InputError("settings: give either objects or granularity, not both")
        for name in ("granularity", "min_score"):
            if (value := getattr(self, name)) is not None:
                value = _number(name, value)
                if not 0 <= value <= 1:
                    raise InputError(f"{name}: expected 0 … 1, got {value}")
                _set(self, **{name: value})
        if self.objects is not None:
            _whole("objects", self.objects, 1)
        if self.keep_background is not None:
            _flag("keep_background", self.keep_background)
        said = ("granularity", "objects", "min_score", "keep_background")
        if all(getattr(self, name) is None for name in said):
            raise InputError(f"settings: give one of {', '.join(said)}")


@dataclass(frozen=True)
class Undo:
    """The last edit that stands is taken back; where none stands, nothing happens."""


@dataclass(frozen=True)
class Redo:
    """The last edit that was taken back stands again; where there is none, nothing happens."""


Edit = (
    Promote | Merge | Join | Split | Drop | Rename | Class | Colour | Cut | Brush | Wishes
    | Undo | Redo
)  # fmt: skip
KINDS: dict[str, type[Edit]] = {
    "promote": Promote,
    "merge": Merge,
    "join": Join,
    "split": Split,
    "drop": Drop,
    "rename": Rename,
    "class": Class,
    "colour": Colour,
    "cut": Cut,
    "brush": Brush,
    "settings": Wishes,
    "undo": Undo,
    "redo": Redo,
}
"""What the log calls each."""
_OLD = {"least_score": "min_score"}  # fields in logs of before, and what they are called now
_NAMES = {kind: name for name, kind in KINDS.items()}


def plain(edit: Edit) -> dict[str, Any]:
    """An edit as JSON holds it; what is not said is left out."""
    said: dict[str, Any] = {"edit": _NAMES[type(edit)]}
    for f in fields(edit):
        value = getattr(edit, f.name)
        if value is not None:
            said[f.name.rstrip("_")] = value
    return said


def parse(said: Any) -> Edit:
    """The edit that JSON holds. Raises InputError for what is none."""
    if not isinstance(said, Mapping) or "edit" not in said:
        raise InputError(f"expected an object with an edit, got {said!r}")
    kind = KINDS.get(said["edit"]) if isinstance(said["edit"], str) else None
    if kind is None:
        raise InputError(f"no edit {said['edit']!r}: there are {', '.join(KINDS)}")
    names = {f.name.rstrip("_"): f.name for f in fields(kind)}
    given = {
        _OLD.get(str(name), str(name)): value for name, value in said.items() if name != "edit"
    }
    if unknown := sorted(set(given) - set(names)):
        raise InputError(f"{said['edit']} knows no {', '.join(unknown)}: it takes {_words(names)}")
    try:
        return kind(**{names[name]: _frozen(value) for name, value in given.items()})
    except TypeError:
        raise InputError(f"{said['edit']} takes {_words(names)}, got {_words(given)}") from None


def standing(edits: tuple[Edit, ...]) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    """The edits that stand once every undo and redo is done, and those that may be redone.

    The next to be redone is the last one. An edit after an undo ends what could be redone.
    """
    done: list[Edit] = []
    undone: list[Edit] = []
    for edit in edits:
        if isinstance(edit, Undo):
            if done:
                undone.append(done.pop())
        elif isinstance(edit, Redo):
            if undone:
                done.append(undone.pop())
        else:
            done.append(edit)
            undone.clear()
    return tuple(done), tuple(undone)


def _frozen(value: Any) -> Any:
    """Lists as tuples, also within each other."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _set(edit: Edit, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(edit, name, value)


def _words(names: Any) -> str:
    return ", ".join(names) or "nothing"


def _list(name: str, value: Any) -> list | tuple:
    if not isinstance(value, list | tuple):
        raise InputError(f"{name}: expected a list, got {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name}: expected a number, got {value!r}")
    return round(float(value), _DIGITS)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name}: expected a whole number, {least} or more, got {value!r}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected true or false, got {value!r}")
    return value


def _pair(value: Any) -> tuple[float, float]:
    if len(_list("point", value)) != 2:
        raise InputError(f"point: expected x and y, got {value!r}")
    x, y = (_number("point", v) for v in value)
    return x, y


def _point(value: Any) -> Point:
    if len(_list("point", value)) != 3:
        raise InputError(f"point: expected frame, x and y, got {value!r}")
    x, y = _pair(value[1:])
    if not (0 <= x <= 1 and 0 <= y <= 1):
        raise InputError(f"point: expected x and y in 0 … 1, got {value!r}")
    return _whole("frame", value[0], 0), x, y


def _target(value: Any) -> Target:
    return _whole("object", value, 1) if not isinstance(value, list | tuple) else _point(value)


def _targets(value: Any, what: str) -> tuple[Target, ...]:
    targets = tuple(map(_target, _list("objects", value)))
    if len(targets) < 2:
        raise InputError(f"{what}: expected at least two objects, got {len(targets)}")
    return targets


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not (value + "a").isprintable():
        raise InputError(f"{name}: expected at most {_LONGEST} characters on one line")
    return value.strip()
