"""A result that can be looked at and not put right: it has masks and no merge tree.

Of `unveil import`, of a mode that keeps no tree, of another version of Unveil.
"""

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from unveil.address import as_path
from unveil.editing.edits import Edit, Point
from unveil.editing.scene import MAX_ID
from unveil.errors import DataError, InputError
from unveil.exports.result import OBJECTS, open_result
from unveil.fast.state import INSIDE
from unveil.progress import Progress
from unveil.results.folder import RUN
from unveil.results.writer import STATE
from unveil.view.film import Film
from unveil.view.lanes import colour_of, presence, run_lengths

_MASKS = 64  # frames whose labels are kept


class Look:
    """A result folder to look at, for any number of viewers: nothing is written.

    folder: of a result. why: why it cannot be put right, and what to do. source: the video, where
    it moved. Raises DataError where the folder holds no masks of Unveil.
    """

    saving = False

    def __init__(self, folder: Path, why: str, source: Path | None = None) -> None:
        self.folder, self.why = as_path(folder).absolute(), why
        self._result = open_result(self.folder)
        self.run = _read(self.folder / RUN)
        self._things, self._id = self._describe()
        self._lock = threading.Lock()
        self._labels: OrderedDict[int, np.ndarray] = OrderedDict()
        self.film = Film(self.folder, self._video(), len(self._result), source)
        self.attention = _NoAttention(why)

    def about(self) -> dict[str, Any]:
        """What does not change: the video, the warnings, why nothing can be edited."""
        return {
            **self.film.describe(),
            "grid": self.run.get("grid") or [1, 1],
            "shots": [],
            "evidence": False,
            "warnings": [*self.run.get("warnings", [])],
            "locked": self.why,
        }

    def scene(self, clusters: bool = True) -> dict[str, Any]:
        """The objects; there are no clusters beside them."""
        return {
            "version": 0,
            "objects": self._things,
            "clusters": [],
            "sliders": {
                "objects": None,
                "granularity": None,
                "min_score": 0.0,
                "keep_background": False,
            },
            "edits": 0,
            "undo": None,
            "redo": None,
            "saved": True,
        }

    def mask(self, version: int, frame: int) -> bytes:
        """The labels of a frame, as run lengths."""
        return run_lengths(self._of(frame))

    def clusters(self, version: int, frame: int) -> bytes:
        """Of no cluster anything is known."""
        return run_lengths(np.zeros_like(self._of(frame)))

    def edit(
        self, edit: Edit, frame: int | None = None, version: int | None = None
    ) -> dict[str, Any]:
        """Raises InputError, as `preview` and `save` do: it says why, and what to do."""
        raise InputError(self.why)

    def preview(self, edit: Edit, frame: int) -> bytes:
        """As `edit`."""
        raise InputError(self.why)

    def save(self, on_progress: Progress) -> dict[str, Any]:
        """As `edit`."""
        raise InputError(self.why)

    def close(self) -> None:
        """There is nothing to let go of."""

    def _video(self) -> dict[str, Any]:
        """What is known of the video, where run.json says little of it."""
        r = self._result
        size = {"name": r.name, "height": r.height, "width": r.width, "fps": str(r.fps)}
        return {"source": None, **(self.run.get("video") or {}), **size}

    def _of(self, frame: int) -> Integer[np.ndarray, "H W"]:
        if not 0 <= frame < len(self._result):
            raise InputError(f"there is no frame {frame}: the video has {len(self._result)}")
        with self._lock:
            if frame in self._labels:
                self._labels.move_to_end(frame)
                return self._labels[frame]
        found = self._result.read(frame)
        labels = self._id[np.minimum(found, len(self._id) - 1)]
        with self._lock:
            self._labels[frame] = labels
            while len(self._labels) > _MASKS:
                self._labels.popitem(last=False)
        return labels

    def _describe(self) -> tuple[list[dict[str, Any]], Integer[np.ndarray, " k"]]:
        """The objects for the page, and the id on it of every id in a mask."""
        things = self._result.things
        if len(things) > MAX_ID:
            raise DataError(f"{self.folder} has {len(things)} objects: more than {MAX_ID} to show")
        high = max((thing.id for thing in things), default=0)
        shown = {t.id: t.id if high <= MAX_ID else i for i, t in enumerate(things, 1)}
        table = np.zeros(high + 2, np.uint16)  # whatever else a mask holds is of no object
        table[list(shown)] = list(shown.values())
        said = {a["id"]: a for a in _read(self.folder / OBJECTS)["annotations"]}
        total = self._result.height * self._result.width
        described = []
        for thing in things:
            areas = [area or 0 for area in said[thing.id]["areas"]]
            id = shown[thing.id]
            named = thing.name or (f"object {thing.id}" if id != thing.id else "")
            described.append(
                {
                    "id": id,
                    "name": named,
                    "class": "" if thing.kind in ("object", named) else thing.kind,
                    "colour": said[thing.id].get("color") or colour_of(thing.id),
                    "fixed": False,
                    "score": 1.0 if thing.score is None else thing.score,
                    "granularity": 0.0,
                    "min_score": INSIDE,
                    **presence(np.array(areas, np.int64), total),
                }
            )
        return described, table


class _NoAttention:
    """No panels, for there is nothing to ask."""

    def __init__(self, why: str) -> None:
        self.lacks = why

    def panels(self) -> Mapping[str, Any]:
        return {}

    def picture(self, panel: str, point: Point, frame: int, head: int | None = None) -> bytes:
        raise InputError(self.lacks)


def why_locked(folder: Path) -> str:
    """Why the result of a folder cannot be put right, and what to do; empty where it can.

    Raises DataError where there is no result.
    """
    run = _read(folder / RUN)
    if "imported" in run:
        made = run["imported"]
        return (
            f"These masks were imported ({made.get('form', 'masks')}, {made['from']}), and have no "
            "merge tree to put them right by. Correct them where they come from and import them "
            "again, or let 'unveil segment' look at the video."
        )
    if (folder / STATE).exists():
        return ""
    settings = run.get("settings") or {}
    mode = f"--mode {settings.get('mode')}"
    if settings.get("model"):
        mode = "--model"
    if mode == "--mode fast":
        return f"{STATE} is no longer there: 'unveil segment' makes it anew from the video."
    return (
        f"This result was made with {mode}, which keeps no merge tree to put it right by: 'unveil "
        "segment' without it makes one that can be corrected."
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"), object_hook=_without_masks)
        if not isinstance(found, dict):
            raise ValueError("no object")
        return found
    except FileNotFoundError:
        raise DataError(f"no result of Unveil at {path.parent}: there is no {path.name}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read ({error}): segment the video again") from error


def _without_masks(record: dict[str, Any]) -> dict[str, Any] | None:
    """Run lengths are let go of while the file is read: only what is said of them counts here."""
    return None if "counts" in record else record
