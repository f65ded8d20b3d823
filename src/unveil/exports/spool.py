"""Records that come frame by frame and are wanted object by object, kept on disk meanwhile."""

import tempfile
from array import array
from collections import defaultdict
from collections.abc import Iterator


class Spool:
    """Pieces of text by object; 24 bytes of memory a piece, the rest in a temporary file.

    with Spool() as spool:
        spool.add(1, 0, "…")
        for frame, text in spool.of(1): ...
    """

    def __enter__(self) -> "Spool":
        self._file = tempfile.TemporaryFile()
        self._places: dict[int, array] = defaultdict(lambda: array("q"))
        self._end = 0
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def add(self, id: int, frame: int, text: str) -> None:
        """Keep what is to be said of an object in a frame; frames come in order."""
        data = text.encode()
        self._file.write(data)
        self._places[id].extend((frame, self._end, len(data)))
        self._end += len(data)

    def of(self, id: int) -> Iterator[tuple[int, str]]:
        """The frames of an object and what was said of it there."""
        places = self._places.get(id, array("q"))
        for i in range(0, len(places), 3):
            frame, start, length = places[i : i + 3]
            self._file.seek(start)
            yield frame, self._file.read(length).decode()
