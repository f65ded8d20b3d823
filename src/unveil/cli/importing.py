"""`unveil import`."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Import:
    """Make a result of tracks that others made: DAVIS masks, COCO, YouTube-VIS or CVAT."""

    source: tyro.conf.Positional[Path]
    """A folder of masks, a .json of COCO or YouTube-VIS, an .xml of CVAT, or a folder with one."""
    out: Path | None = None
    """The folder of the result; out/NAME by default."""
    video: Path | None = None
    """The video that the tracks are of; by default the pictures that lie beside them."""
    name: str | None = None
    """The video that is meant, where there are several."""

    def run(self) -> int:
        """Read, write, and say where the result lies."""
        import json

        from unveil.cli.progress import count, progress
        from unveil.imports.result import import_result
        from unveil.results.folder import OUTPUT, RUN

        place = self.source.absolute()
        out = self.out or Path("out") / (self.name or place.stem)
        with progress(place.name) as show:
            folder = import_result(
                self.source, out, video=self.video, name=self.name, on_progress=show
            )
        run = json.loads((folder / RUN).read_text(encoding="utf-8"))
        for warning in run["warnings"]:
            print(f"note: {warning}")
        about = run[OUTPUT]
        found, frames = count(about["objects"], "object"), count(about["frames"], "frame")
        print(f"{folder}: {found} in {frames}")
        return 0
