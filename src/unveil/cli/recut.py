"""`unveil recut`."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Recut:
    """Cut a result into other objects, from its merge tree: no model, no features."""

    folder: tyro.conf.Positional[Path]
    """A result of `unveil segment`."""
    objects: int | None = None
    """The best so many; by default as many as the video seems to have. Where it has fewer they are
    cut further, what parts most clearly first."""
    granularity: float | None = None
    """0, all foreground is one object, 0.5, objects are whole, 1, every part is one."""
    keep_background: bool = False
    """All clusters become objects, the background's too."""
    min_score: float | None = None
    """Objects of a lower score are none."""
    out: Path | None = None
    """The folder of the new result; in the place of the old one by default."""
    source: Path | None = None
    """The video, where it is no longer where it was."""
    edits: Path | None = None
    """A log of edits to do instead of the folder's own (edits.jsonl)."""

    def run(self) -> int:
        """Cut, paint, and say where the pictures are."""
        from unveil.cli.progress import progress
        from unveil.cli.segment import say
        from unveil.segmentation.recut import recut

        with progress(self.folder.name) as show:
            run = recut(
                self.folder,
                objects=self.objects,
                granularity=self.granularity,
                keep_background=self.keep_background,
                min_score=self.min_score,
                out=self.out,
                source=self.source,
                edits=self.edits,
                on_progress=show,
            )
        say(str(self.folder), self.out or self.folder, run)
        return 0
