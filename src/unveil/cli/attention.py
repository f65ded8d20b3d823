"""`unveil attention`."""

from dataclasses import dataclass, replace
from pathlib import Path

import tyro

from unveil.errors import InputError, WeightsError
from unveil.settings import SIZE, Settings

KINDS = {".png": "png", ".svg": "svg", ".mp4": "mp4"}
FRAMES, PLAYED = 6, 48
"""Frames that are looked at where nobody says: in a picture or page, in a movie."""


@dataclass(frozen=True)
class Attention:
    """Draw what a patch attends to: backbone, untrained block and trained block side by side."""

    source: tyro.conf.Positional[str]
    """A video file, a folder of images, or a glob pattern of images."""
    at: str
    """The patch: X,Y in px of the video, from its upper left corner, and if you like ,SECONDS (or
    mm:ss) for another frame than the first."""
    out: Path | None = None
    """The figure: .png, .svg, or .mp4, which plays."""
    html: Path | None = None
    """The figure as a page of one file, with heads one by one and the class token."""
    frames: int | None = None
    """How many frames to look at, spread over the video; 6, and 48 in a movie."""
    class_token: bool = False
    """The backbone's class token too, in the figure."""
    start: str | None = None
    """First moment used: seconds, mm:ss or hh:mm:ss."""
    end: str | None = None
    """Moment before which to stop."""
    backbone: str = Settings.backbone
    """A name of `unveil weights list`, a hub id (owner/model) or a local folder (./folder)."""
    block: Path | None = None
    """A block that `unveil train` wrote; by default the one shipped for the backbone."""
    size: int = SIZE
    """Short side in px of what the backbone sees."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; the best there is by default."""

    def run(self) -> int:
        """Look, draw, and say where the figure is."""
        kind = self._kind()
        x, y, time = point(self.at)
        from unveil.cli.progress import progress
        from unveil.cli.segment import seconds

        start = seconds(self.start)
        with progress("unveil") as show:
            show("reading the video", 0, None)
            from unveil.attention.block_file import load_block, shipped_block
            from unveil.figures.look import check_point, look, moments
            from unveil.video.source import open_video

            video = open_video(self.source, start=start, end=seconds(self.end))
            check_point(video, (x, y))
            frames = self.frames if self.frames is not None else PLAYED if kind == "mp4" else FRAMES
            when = moments(video, time, frames, start)
            path = self.block
            if path is None:
                try:
                    path = shipped_block(self.backbone)
                except WeightsError:
                    raise WeightsError(
                        f"no block was trained for backbone {self.backbone!r}, and the figure sets "
                        "one beside an untrained one: train it with 'unveil train' and pass "
                        "'--block PATH'"
                    ) from None
            show("loading the backbone", 0, None)
            from unveil.features.backbone import Backbone, check_size  # seconds by itself

            check_size(self.backbone, self.size)
            backbone = Backbone(self.backbone, self.device)
            block = load_block(path, self.backbone, backbone.channels)
            seen = look(video, (x, y), when, backbone, block, self.size, show)
            show("drawing", 0, None)
            from unveil.figures.film import write_film
            from unveil.figures.page import write_page
            from unveil.figures.sheet import draw_sheet
            from unveil.files import output_errors

            if self.out is not None and kind is not None:
                asked = tuple(p for p in seen.panels if self.class_token or p.name != "class")
                figure = replace(seen, panels=asked)
                with output_errors(self.out):
                    if kind == "mp4":
                        write_film(self.out, figure)
                    else:
                        draw_sheet(self.out, figure, kind)
            if self.html is not None:
                with output_errors(self.html):
                    write_page(self.html, seen)
        f, row, column = seen.at
        h, w = seen.grid
        print(
            f"{self.source}: patch {column + 1},{row + 1} of {w}x{h} at {seen.seconds[f]:.2f} s, "
            f"over {len(seen.seconds)} frame{'s' if len(seen.seconds) > 1 else ''}"
        )
        for written in (self.out, self.html):
            if written is not None:
                print(f"  figure    {written}")
        return 0

    def _kind(self) -> str | None:
        """What the figure is, by the end of its name; None where only a page is asked for."""
        if self.out is None:
            if self.html is None:
                raise InputError("no figure to write: give --out figure.png, --html FILE, or both")
            if self.class_token:
                raise InputError("--class-token is for --out; a page shows the class token always")
            return None
        if self.html is not None and self.html.absolute() == self.out.absolute():
            raise InputError(f"--out and --html are one file, {self.out}: give two names")
        kind = KINDS.get(self.out.suffix.lower())
        if kind is None:
            raise InputError(f"--out {self.out}: expected a name that ends in {', '.join(KINDS)}")
        return kind


def point(text: str) -> tuple[float, float, float | None]:
    """X,Y or X,Y,SECONDS as numbers. Raises InputError for anything else."""
    from unveil.cli.segment import seconds

    parts = text.split(",")
    try:
        if len(parts) not in (2, 3):
            raise ValueError
        x, y = float(parts[0]), float(parts[1])
    except ValueError:
        raise InputError(
            f"--at {text!r}: expected X,Y in px or X,Y,SECONDS, as 320,180,1.5"
        ) from None
    return x, y, seconds(parts[2]) if len(parts) == 3 else None
