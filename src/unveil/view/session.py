"""One result that is open in the viewer: what is on the page, and what a person does to it.

Nothing is kept in the browser: every edit is on the disk before it is answered, so a page may be
closed, or opened again, at any moment.
"""

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer
from PIL import Image

from unveil.address import as_path
from unveil.editing.board import Board, Sliders
from unveil.editing.edits import Edit, Redo, Undo, plain, standing
from unveil.editing.log import Log, Pen, digest, read
from unveil.editing.scene import Scene, apply, start
from unveil.editing.stroke import Painted, draw
from unveil.errors import DataError, InputError
from unveil.progress import Progress
from unveil.results.folder import EDITS, RUN
from unveil.results.writer import STATE
from unveil.segmentation import refine
from unveil.segmentation.edited import board_of, found_in
from unveil.segmentation.recut import cut_of, open_again, read_run, write_anew
from unveil.timing import Clock
from unveil.view.attention import Attention
from unveil.view.film import Film
from unveil.view.lanes import colour_of, presence, run_lengths, unroll
from unveil.view.look import Look, why_locked

_STEPS = 24  # scenes kept, for undo; older ones are played again
_MASKS = 64  # frames whose masks are kept


@dataclass(frozen=True)
class Painting:
    """A scene that the page may ask the masks of: its version, and whether the disk holds it."""

    version: int
    scene: Scene
    saved: bool


@dataclass(frozen=True)
class Trial:
    """What an edit would make of a scene, and the mask of the frame looked at, as last tried."""

    of: Scene
    edit: Edit
    scene: Scene
    frame: int
    mask: bytes


class Session:
    """A result folder, open for one viewer; close it to let another in.

    folder: of a result in fast mode. source: the video, where it moved. board: of its state, where
    it was read already. Raises DataError where the
    folder is no such result, InputError where another viewer has it open or an edit of its log
    cannot be done. Memory: the state, a few frames and scenes; it does not grow with what is
    looked at.
    """

    def __init__(
        self, folder: Path, source: Path | None = None, board: Board | None = None
    ) -> None:
        self.folder = as_path(folder).absolute()
        self.run = read_run(self.folder)
        self.board: Board = board_of(self.folder) if board is None else board
        self.attention = Attention(self.board, self.run)
        self._lock = threading.RLock()
        self._painter = ThreadPoolExecutor(1, "unveil-painter")
        self._held = _hold(self.folder)
        try:
            self._open(source)
        except BaseException:
            os.close(self._held)
            raise

    def _open(self, source: Path | None) -> None:
        self.log: Log = read(self.folder / EDITS, cut_of(self.run))
        self.warnings = [*self.run.get("warnings", [])]
        if self.log.dropped:
            self.warnings.append("the last edit was half written when a crash came; it is left out")
        self._pen = Pen(self.folder / EDITS, self.log)
        self._scenes: dict[int, Scene] = {}  # by how many edits stand
        self._trial: Trial | None = None
        self._done: tuple[Edit, ...] = ()
        self._version = 0
        self._saved = standing(self.log.edits)[0] if self._is_saved() else None
        self._scene = self._at(standing(self.log.edits)[0])
        self._paintings: OrderedDict[int, Painting] = OrderedDict()
        self._masks: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._coming: tuple[tuple[int, int], Future[bytes]] | None = None
        self.saving = False
        self._remember()
        self.film = Film(self.folder, self.run["video"], self.board.frames, source)

    def close(self) -> None:
        """Let go of the folder."""
        self._painter.shutdown(cancel_futures=True)
        self._pen.close()
        os.close(self._held)

    def about(self) -> dict[str, Any]:
        """What does not change: the video, its grid, the warnings."""
        shots = getattr(self.board.state, "shots", None)
        return {
            **self.film.describe(),
            "grid": [self.board.height, self.board.width],
            "shots": [] if shots is None else [int(x) for x in np.asarray(shots).ravel()],
            "evidence": self.board.evidence is not None,
            "warnings": self.warnings,
            "locked": "",
        }

    def scene(self, clusters: bool = True) -> dict[str, Any]:
        """What edits change: objects, clusters, sliders, and what can be undone.

        clusters: those of the background, which take as long as all the rest; None without.
        """
        with self._lock:
            said = self._describe(self._scene, self._version)
            said["clusters"] = self._of_clusters(self._scene) if clusters else None
            return said

    def edit(
        self, edit: Edit, frame: int | None = None, version: int | None = None
    ) -> dict[str, Any]:
        """Do one edit, on the disk and on the page. Raises InputError where it cannot be done.

        frame: looked at, whose mask is wanted next: it is painted while the disk writes. version:
        of the scene that the edit was made on, which has to be the one of now.
        """
        with self._lock:
            if self.saving:
                raise InputError("the result is being written: wait until it is there")
            self._check_there()
            if version not in (None, self._version):
                raise InputError(
                    "this was changed or saved in another tab: look at it as it is now, and do it "
                    "again"
                )
            done, undone = standing(self.log.edits)
            if isinstance(edit, Undo | Redo) and not (done if isinstance(edit, Undo) else undone):
                raise InputError(f"there is nothing to {plain(edit)['edit']}")
            edits = (*self.log.edits, edit)
            scene = self._at(standing(edits)[0])
            coming = None if frame is None else self._begin(scene, frame)
            self._pen.write(edit)
            self.log = replace(self.log, edits=edits)
            self._scene, self._version, self._trial = scene, self._version + 1, None
            if frame is not None and coming is not None:
                self._coming = (self._version, frame), coming
            self._remember()
            return self.scene(clusters=False)

    def preview(self, edit: Edit, frame: int) -> bytes:
        """The labels of a frame as an edit would make them; nothing is kept but for that edit."""
        with self._lock:
            of = self._scene
            scene = self._tried(of, edit)
        mask = run_lengths(self._paint(scene, frame))
        with self._lock:
            self._trial = Trial(of, edit, scene, frame, mask)
        return mask

    def mask(self, version: int, frame: int) -> bytes:
        """The labels of a frame, as run lengths. Raises KeyError for a version that is gone."""
        key = (version, frame)
        with self._lock:
            painting = self._paintings[version]
            if key in self._masks:
                self._masks.move_to_end(key)
                return self._masks[key]
            coming = self._coming[1] if self._coming and self._coming[0] == key else None
        if coming is not None:
            mask = coming.result()
        else:
            labels = self._read(frame) if painting.saved else None
            mask = run_lengths(self._paint(painting.scene, frame) if labels is None else labels)
        with self._lock:
            self._masks[key] = mask
            while len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return mask

    def clusters(self, version: int, frame: int) -> bytes:
        """The clusters of a frame that are of no object, as run lengths."""
        with self._lock:
            scene = self._paintings[version].scene
        near = _clusters(scene, self.board)[frame][self.board.of_patch[frame]].astype(np.uint16)
        share = (near > 0).astype(np.float32)
        picture = self.film.frame(frame)
        labels = refine.sharpen(near[None], share[None], picture[None])[0]
        labels[unroll(self.mask(version, frame), labels.shape) > 0] = 0
        return run_lengths(labels)

    def save(self, on_progress: Progress) -> dict[str, Any]:
        """Write the result anew, whole or not at all; returns what its run.json says."""
        with self._lock:
            if self.saving:
                raise InputError("the result is being written already")
            self._check_there()
            self.saving = True
        try:
            video = open_again(self.folder, self.run["video"], None)
            found = found_in(self.board, self._scene, self.log)
            wishes = self.log.cut
            args = (self.folder, video, found, self.run, wishes, self.log, Clock(), on_progress)
            with self._lock:
                self._pen.close()
            run = write_anew(*args, carried=True)
            with self._lock:
                held = _hold(self.folder)
                os.close(self._held)
                self._held, self.run = held, run
                self._saved = standing(self.log.edits)[0]
                self.log = read(self.folder / EDITS, self.log.cut)
                self._pen = Pen(self.folder / EDITS, self.log)
                self._version += 1
                self._remember()
            return run
        finally:
            self.saving = False

    def _check_there(self) -> None:
        """Raise InputError where another program replaced the folder, which takes no edit now."""
        try:
            same = os.path.samestat(os.fstat(self._held), os.stat(self.folder / STATE))
        except FileNotFoundError:
            same = False
        if not same:
            raise InputError(
                f"{self.folder} was replaced or removed by another program: start the viewer anew"
            )

    def _tried(self, of: Scene, edit: Edit) -> Scene:
        """The scene after an edit: that of the last trial, where it was the same."""
        trial = self._trial
        if trial is not None and trial.of is of and trial.edit == edit:
            return trial.scene
        return apply(of, self.board, edit)

    def _begin(self, scene: Scene, frame: int) -> Future[bytes]:
        """The mask of a frame, begun in a thread of its own, or known from the last trial."""
        trial = self._trial
        if trial is not None and trial.scene is scene and trial.frame == frame:
            known: Future[bytes] = Future()
            known.set_result(trial.mask)
            return known
        return self._painter.submit(lambda: run_lengths(self._paint(scene, frame)))

    def _paint(self, scene: Scene, frame: int) -> Integer[np.ndarray, "H W"]:
        cell = self.board.of_patch[frame]
        near, share = scene.near[frame][cell], scene.weighed(frame)[cell]
        share = np.where(near > 0, share, 0).astype(np.float32)
        picture = self.film.frame(frame)
        labels = refine.sharpen(near.astype(np.uint16)[None], share[None], picture[None])[0]
        return draw(labels, _strokes(scene, frame))

    def _read(self, frame: int) -> np.ndarray | None:
        """The mask that the folder holds; None where it cannot be read."""
        try:
            frames = self.film.frames
            names = frames.video.frame_name(frame) if frames else f"{frame:05d}"
            with Image.open(self.folder / "masks" / f"{names}.png") as image:
                return np.array(image).astype(np.uint16)
        except OSError:
            return None

    def _is_saved(self) -> bool:
        """Whether the folder's masks are those of the log, by what run.json says of its edits.

        One that says no digest says how many they were: then the log has to be older, too.
        """
        done, _ = standing(self.log.edits)
        if done and "edits_sha256" in self.run:
            return bool(self.run["edits_sha256"] == digest(self.log))
        log, run = self.folder / EDITS, self.folder / RUN
        older = not done or log.stat().st_mtime <= run.stat().st_mtime
        return self.run.get("edits", 0) == len(done) and older

    def _at(self, done: tuple[Edit, ...]) -> Scene:
        """The scene of the edits that stand, from the nearest one that is remembered."""
        same = 0
        for a, b in zip(done, self._done, strict=False):
            if a != b:
                break
            same += 1
        self._scenes = {n: scene for n, scene in self._scenes.items() if n <= same}
        known = max(self._scenes, default=0)
        scene = self._scenes.get(known) or start(self.board, Sliders(**self.log.cut))
        self._scenes.setdefault(known, scene)
        try:
            for i, edit in enumerate(done[known:], known + 1):
                scene = self._tried(scene, edit)
                self._scenes[i] = scene
                self._scenes.pop(i - _STEPS, None)
        except InputError as error:
            if i == len(done):
                raise
            raise InputError(f"{self.folder / EDITS}: edit {i} of those that stand: {error}") from (
                error
            )
        finally:
            self._done = done[: max(self._scenes, default=0)]
        return scene

    def _remember(self) -> None:
        saved = self._saved == standing(self.log.edits)[0]
        self._paintings[self._version] = Painting(self._version, self._scene, saved)
        while len(self._paintings) > 3:
            self._paintings.popitem(last=False)

    def _describe(self, scene: Scene, version: int) -> dict[str, Any]:
        done, undone = standing(self.log.edits)
        areas = scene.areas(self.board)
        scores = scene.scores(self.board, areas)
        total = self.board.height * self.board.width
        objects = [
            {
                "id": id,
                "name": thing.name,
                "class": thing.class_,
                "colour": thing.colour or colour_of(id),
                "fixed": thing.fixed,
                "score": scores[id],
                "granularity": thing.granularity,
                "min_score": thing.min_score,
                **presence(areas[:, id], total),
            }
            for id, thing in sorted(scene.things.items())
        ]
        sliders = scene.sliders
        return {
            "version": version,
            "objects": objects,
            "sliders": {
                "objects": sliders.objects,
                "granularity": sliders.granularity,
                "min_score": sliders.min_score or 0.0,
                "keep_background": sliders.keep_background,
            },
            "edits": len(done),
            "undo": plain(done[-1]) if done else None,
            "redo": plain(undone[-1]) if undone else None,
            "saved": self._saved == done,
        }

    def _of_clusters(self, scene: Scene) -> list[dict[str, Any]]:
        cells = _clusters(scene, self.board)
        scores = self.board.clusters(scene.sliders.granularity).scores
        k = int(cells.max()) + 1
        t = self.board.frames
        at = np.arange(t)[:, None] * k + cells
        areas = np.bincount(at.ravel(), self.board.patches.ravel(), minlength=t * k).reshape(t, k)
        total = self.board.height * self.board.width
        found = []
        for id in np.argsort(-areas.sum(0), kind="stable").tolist():
            if id and areas[:, id].any():
                frame = int(areas[:, id].argmax())
                inside = cells[frame][self.board.of_patch[frame]] == id
                found.append(
                    {
                        "id": id,
                        "score": scores[id],
                        "at": [frame, *_middle(inside)],
                        **presence(areas[:, id].astype(np.int64), total),
                    }
                )
        return found


def _clusters(scene: Scene, board: Board) -> Integer[np.ndarray, "t l"]:
    """The cluster of every cell that is of no object, 0 for the others."""
    of_group = board.clusters(scene.sliders.granularity).near
    return np.where((scene.hard() == 0) & (board.patches > 0), of_group[board.group], 0)


def _middle(inside: np.ndarray) -> tuple[float, float]:
    """x and y of the patch of a mask that lies nearest to the mean of all."""
    rows, columns = np.nonzero(inside)
    i = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    h, w = inside.shape
    return round(float((columns[i] + 0.5) / w), 5), round(float((rows[i] + 0.5) / h), 5)


def _strokes(scene: Scene, frame: int) -> tuple[Painted, ...]:
    return tuple(s for s in scene.strokes if s.frame == frame)


def _hold(folder: Path) -> int:
    """An open file that no other viewer can hold meanwhile. Raises InputError where one does."""
    import fcntl  # not there on Windows

    file = os.open(folder / STATE, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise InputError(
            f"{folder} is open in another viewer: close that one first, or go on in it"
        ) from error
    return file


def open_folder(folder: Path, source: Path | None = None) -> Session | Look:
    """A result to put right; to look at only, where it has no state that this program knows."""
    folder = as_path(folder).absolute()
    if why := why_locked(folder):
        return Look(folder, why, source)
    try:
        board = board_of(folder)
    except DataError as error:
        return Look(folder, f"It cannot be put right: {error}.", source)
    return Session(folder, source, board)
