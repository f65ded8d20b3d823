"""The results that a batch finds: of which video they are, and made with what.

found = look_through(done, ledger, settings)
found.refused, found.otherwise      # what to say of each job whose result is not what was asked for

Sources are compared as `run.json` has them, in full. A video that is no longer where it was may
have been moved: that is in doubt, and no error.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unveil.address import as_address, as_path
from unveil.batch.job import Job, Outcome
from unveil.batch.ledger import Ledger
from unveil.batch.sources import OPTIONS
from unveil.errors import InputError
from unveil.results.folder import RUN
from unveil.settings import Settings
from unveil.video.listing import images_in

_OF_HERE = {"device", "chunk"}
"""Settings that say how it is done, not what is found."""


@dataclass
class Found:
    """What was found of jobs that have a result.

    refused: what to say of those whose place has the result of another video, by name. otherwise:
    what is other than was asked for, in words. fresh: results that the ledger did not know as done.
    """

    refused: dict[str, str] = field(default_factory=dict)
    otherwise: dict[str, str] = field(default_factory=dict)
    fresh: int = 0


def look_through(
    done: Iterable[Job], ledger: Ledger, settings: Settings, address: str | None = None
) -> Found:
    """Hold results against what was asked for; the ledger takes in those that it does not know.

    One that failed may have been segmented by itself since. address: where results lie if not
    beside the ledger, which then tells of their sources.
    """
    found = Found()
    for job in done:
        entry = ledger.book.videos.get(job.name)
        if address is not None:
            run = {"video": {"source": entry and entry.source}}
        else:
            run = _run(ledger.path.parent / job.name)
        if (other := other_source(job, run)) is not None:
            found.refused[job.name] = taken(job, address or ledger.path.parent, other)
            continue
        if words := ", ".join(otherwise(job, run, settings)):
            found.otherwise[job.name] = words
        if entry is None or entry.state != "done":
            with suppress(OSError, ValueError, KeyError, TypeError):  # of another version, imported
                ledger.found(job, outcome_of(run, ledger.path.parent / job.name))
                found.fresh += 1
    return found


def outcome_of(run: Mapping[str, Any], folder: Path | None = None) -> Outcome:
    """What a result says of itself. run: its run.json. folder: where it lies, for its scores."""
    video, scores = run["video"], []
    if folder is not None:
        objects = json.loads((folder / "objects.json").read_text(encoding="utf-8"))
        scores = [thing["score"] for thing in objects["annotations"]]
    return Outcome(
        frames=video["frames"],
        height=video["height"],
        width=video["width"],
        scores=tuple(scores),
        warnings=tuple(run["warnings"]),
    )


def _run(folder: Path) -> dict[str, Any]:
    """What run.json says; nothing where it cannot be read or `unveil segment` did not write it."""
    try:
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        return run if isinstance(run.get("video"), dict) and "imported" not in run else {}
    except (OSError, ValueError, AttributeError):
        return {}


def other_source(job: Job, run: Mapping[str, Any]) -> str | None:
    """The source of a result, where that is another video than the job's for certain."""
    source = _source(run)
    return None if source is None or _is_same(source, job.source) is not False else source


def taken(job: Job, out: Path | str, other: str) -> str:
    """What to say of a job whose place has the result of another source."""
    return (
        f"{out}/{job.name} holds the result of {other}, and not of {job.source}: choose another "
        "--out, or replace it with --again"
    )


def otherwise(job: Job, run: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """What is, or may be, other about a result than was asked for, in words."""
    source = _source(run)
    if source is not None and _is_same(source, job.source) is None:
        yield f"is of {source}, not of {job.source}"
    video, span = run.get("video") or {}, {**job.span, "start": job.start or None}
    for name, asked in span.items():
        if name in video and (video[name] or None) != asked:
            yield f"has {name} {_said(video[name])}, not {_said(asked)}"
    for name, (made, asked) in _settings(job, run, settings).items():
        if made != asked:
            yield f"was made with {name} {_said(made)}, not {_said(asked)}"


def _settings(job: Job, run: Mapping[str, Any], settings: Settings) -> dict[str, tuple[Any, Any]]:
    """The settings that a result and a job both have, and that a person did not change since."""
    if not isinstance(made := run.get("settings"), dict):
        return {}
    try:
        asked = json.loads(json.dumps(replace(settings, **job.options).plain()))
    except InputError:
        return {}  # said when its turn comes
    made, asked = {"model": None, **made}, {"model": None, **asked}
    unlike = set(_OF_HERE)
    if asked["model"] is not None:
        unlike |= {"backbone", "size"}  # the model's own are used
    if asked.get("tau") == "calibrated":
        unlike.add("tau")
    if "recut" in run:
        unlike |= set(OPTIONS)
    return {k: (made[k], asked[k]) for k in asked if k in made and k not in unlike}


def _source(run: Mapping[str, Any]) -> str | None:
    source = (run.get("video") or {}).get("source")
    return source if isinstance(source, str) else None


def _is_same(made: str, asked: str) -> bool | None:
    """Whether two sources are one video; None where that cannot be told."""
    addresses = as_address(made), as_address(asked)
    if None not in addresses:
        (one, _, ticket), (other, _, another) = (str(a).partition("?") for a in addresses)
        if one == other:
            return True if ticket == another else None
        return False if one.partition(":")[0] == other.partition(":")[0] else None
    if addresses != (None, None):
        return None
    its, ours = as_path(made).absolute(), as_path(asked).absolute()
    if its == ours:
        return True
    try:
        if its.samefile(ours):
            return True
        return None if _extent(its) == _extent(ours) else False
    except (OSError, InputError):  # one of them is gone
        return None


def _extent(path: Path) -> list[tuple[str, int]]:
    """The bytes of a file, or of each image of a folder."""
    if path.is_file():
        return [("", path.stat().st_size)]
    return [(image.name, image.stat().st_size) for image in images_in(path)]


def _said(value: Any) -> str:
    return "unset" if value is None else str(value)
