"""What the viewer is about at the moment: segmenting, showing a result, writing it."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unveil.errors import InputError, UnveilError, unforeseen
from unveil.progress import Progress
from unveil.view.look import Look
from unveil.view.session import Session, open_folder

log = logging.getLogger(__name__)
Make = Callable[[Progress], None]


class Stopped(Exception):
    """The viewer was closed while a video was being segmented."""


class Desk:
    """Holds the session, and the long work before and after it, in a thread of its own.

    folder: of the result. source: the video, where it moved. make: segments the video into the
    folder first; the page shows how far it is. Raises what `open_folder` raises, where nothing has
    to be made.
    """

    def __init__(self, folder: Path, source: Path | None = None, make: Make | None = None) -> None:
        self._folder, self._source = folder, source
        self._session: Session | Look | None = None
        self._work: threading.Thread | None = None
        self._progress: dict[str, Any] = {}
        self._error = ""
        self._saves = 0
        self._stopped = threading.Event()
        if make is None:
            self._session = open_folder(folder, source)
        else:
            self._start("segmenting", lambda report: self._make(make, report))

    @property
    def session(self) -> Session | Look:
        """The session. Raises InputError while there is none yet."""
        if self._session is None:
            raise InputError("the video is being segmented: wait until it is done")
        return self._session

    @property
    def locked(self) -> str:
        """Why nothing can be put right, empty where it can."""
        return self._session.why if isinstance(self._session, Look) else ""

    def notes(self) -> list[str]:
        """What has to be said at the shell as well."""
        session = self._session
        if session is None:
            return []
        found = [f"only to look at: {self.locked}"] if self.locked else []
        return found + ([f"the page will ask: {session.film.error}"] if session.film.error else [])

    def state(self) -> dict[str, Any]:
        """What the page has to show: segmenting, failed, source, saving or ready."""
        working = self._work is not None and self._work.is_alive()
        s = self._session
        phase = "ready"
        if s is None:
            phase = "segmenting" if working else "failed"
        elif s.film.error:
            phase = "source"
        elif working:
            phase = "saving"
        return {
            "phase": phase,
            "name": self._folder.name,
            "progress": self._progress if working else None,
            "error": self._error or (s.film.error if s else ""),
            "saves": self._saves,
            "masks_only": isinstance(s, Look),
        }

    def find_source(self, source: str | None) -> None:
        """Take the video from elsewhere, or show masks without any where none is given.

        Raises InputError where it is not there, is another, or masks need its pictures.
        """
        session = self.session
        if source is not None:
            session.film.find(str(source))
        elif isinstance(session, Look):
            session.film.do_without()
        else:
            raise InputError("the masks follow the edges of the pictures: say where the video is")

    def save(self) -> None:
        """Begin to write the result. Raises InputError while other work goes on."""
        if self._work is not None and self._work.is_alive():
            raise InputError("wait until the work that goes on is done")
        session = self.session
        if self.locked:
            raise InputError(self.locked)

        def write(report: Progress) -> None:
            session.save(report)
            self._saves += 1

        self._start("saving", write)

    def wait(self) -> None:
        """Until nothing is written any more: a result that was to be saved is saved."""
        if self._work is not None and self._session is not None:
            self._work.join()

    def close(self) -> None:
        """Let go of the folder; a video that is being segmented is left, and nothing of it."""
        self._stopped.set()
        if self._work is not None:
            self._work.join()
        if self._session is not None:
            self._session.close()

    def _make(self, make: Make, report: Progress) -> None:
        make(report)
        self._session = open_folder(self._folder, self._source)

    def _start(self, what: str, work: Callable[[Progress], None]) -> None:
        def report(stage: str, done: int, total: int | None) -> None:
            self._progress = {"stage": stage, "done": done, "total": total}
            if self._stopped.is_set() and self._session is None:
                raise Stopped

        def run() -> None:
            try:
                work(report)
            except Stopped:
                pass
            except UnveilError as error:
                self._error = str(error)
            except Exception as error:  # the page has to say it, nobody looks at the terminal
                log.exception("%s failed", what)
                self._error = f"{what} failed: {unforeseen(error)}"

        self._error, self._progress = "", {"stage": what, "done": 0, "total": None}
        self._work = threading.Thread(target=run, name=f"unveil-{what}", daemon=True)
        self._work.start()
