"""Rows of the table of methods that an earlier run wrote, and joining them with those of a new one.

A machine comes without the models of earlier trainings, whose scores are still right: they stay on
the page and name the code that scored them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

_MACHINE = re.compile(
    r"- Machine: (?P<machine>.+)\. Scored by the code of (?P<code>.+?)"
    r"(, but for rows that name another)?\."
)
_KEPT = re.compile(r"- Rows of the code of (?P<codes>.+?): (?P<machine>.+)\.")
_FRAMES = re.compile(r"- Of every video the first (\d+) frames, .*")
_FACTS = (_MACHINE, _KEPT, _FRAMES)
_NAMED = "; code of "


@dataclass(frozen=True)
class Line:
    """A row as it stands on the page. code: the commit that scored it; None for the present one."""

    name: str
    trained: str
    cells: tuple[str, ...]
    code: str | None = None

    def __str__(self) -> str:
        name = self.name if self.code is None else f"{self.name}{_NAMED}{self.code}"
        return "| " + " | ".join((name, self.trained, *self.cells)) + " |"

    @property
    def known_by(self) -> tuple[str, str]:
        """What tells rows apart: a method, and what it was trained on."""
        return self.name, self.trained

    @property
    def kind(self) -> tuple[str, str]:
        """What rows stand together by: a method, whatever its size, and real or rendered clips."""
        clips = re.search(r"\w+ clips", self.trained)
        return self.name.split(",")[0], clips[0] if clips else ""


@dataclass(frozen=True)
class Section:
    """What the page says of one set: of which videos, in which columns, row by row."""

    about: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Page:
    """A page that was written before. frames: of every video. machines: those that the rows were
    scored on, by commit."""

    frames: int | None = None
    sections: dict[str, Section] = field(default_factory=dict)
    machines: dict[str, str] = field(default_factory=dict)


def read_page(file: Path) -> Page:
    """What a page says, every row with the commit that scored it.

    Raises SystemExit where it is not there, or does not say of which code and how many frames it
    is, for such rows cannot stand beside others.
    """
    if not file.is_file():
        raise SystemExit(f"--keep: there is no page {file} to keep rows of")
    before, *parts = file.read_text().split("\n## ")
    facts = {way: [m for x in before.splitlines() if (m := way.fullmatch(x))] for way in _FACTS}
    if not facts[_MACHINE] or not facts[_FRAMES]:
        raise SystemExit(f"--keep: {file} says no code or no frames: it is not of this command")
    machine = facts[_MACHINE][0]
    sections = {}
    for part in parts:
        title, _, text = part.partition("\n")
        rows = [x.strip("| ").split(" | ") for x in text.splitlines() if x.startswith("| ")]
        if rows and rows[0][:2] == ["method", "trained on"]:
            lines = tuple(_line(row, machine["code"]) for row in rows[2:])
            about = next(x for x in text.splitlines() if x)
            sections[title] = Section(about, tuple(rows[0][2:]), lines)
    named = {line.code for s in sections.values() for line in s.lines if line.code}
    machines = dict.fromkeys(sorted(named), machine["machine"])
    for kept in facts[_KEPT]:
        machines |= dict.fromkeys(kept["codes"].split(", "), kept["machine"])
    return Page(int(facts[_FRAMES][0][1]), sections, {k: machines[k] for k in named})


def _line(cells: Sequence[str], code: str) -> Line:
    name, _, named = cells[0].partition(_NAMED)
    return Line(name, cells[1], tuple(cells[2:]), named or code)


def joined(made: Section, kept: Section) -> Section:
    """A section with the rows of a run, and those of the page that the run did not make.

    A row that was made takes the place of the one of its name and training; a new one stands after
    the last of its kind, or else after the one made before it. Raises SystemExit where the two are
    of other videos or columns.
    """
    for what in ("about", "heads"):
        if getattr(made, what) != getattr(kept, what):
            raise SystemExit(
                f"--keep: {what} of the page is {getattr(kept, what)!r}, of this run "
                f"{getattr(made, what)!r}: such rows cannot stand beside each other"
            )
    lines, last = list(kept.lines), -1
    for line in made.lines:
        places = [i for i, x in enumerate(lines) if x.known_by == line.known_by]
        if places:
            last = places[0]
            lines[last] = line
            continue
        alike = [i for i, x in enumerate(lines) if x.kind == line.kind]
        last = (alike[-1] if alike else last) + 1
        lines.insert(last, line)
    return replace(made, lines=tuple(lines))


def of_other_code(lines: Iterable[Line], machines: dict[str, str]) -> list[str]:
    """What is said of rows that name a commit: which machine scored them, where it is known."""
    codes = sorted({line.code for line in lines if line.code in machines})
    by_machine: dict[str, list[str]] = {}
    for code in codes:
        by_machine.setdefault(machines[code], []).append(code)
    return [f"- Rows of the code of {', '.join(c)}: {m}." for m, c in by_machine.items()]
