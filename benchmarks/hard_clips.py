"""Eight clips that are hard, as a commit before and as this state segments them: pictures, figures.

    python benchmarks/hard_clips.py --out out/hard --commit cc3012d

Three real clips of the wheel that demo clips come from (Big Buck Bunny, © Blender Foundation,
CC BY 3.0), and five that Unveil renders, of which the truth is known. Default settings on both
sides. `hard.jpg` has three frames a clip, under each what was found before and what is found now;
the table has, of the rendered ones, J&F of all objects as `unveil evaluate` scores DAVIS-2017, and
J of the foreground. Goes on where it stopped.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image, ImageDraw

from paper_before import state_of
from unveil.features.demo_clips import fetch_clip
from unveil.metrics.overlap import Measured
from unveil.metrics.protocols import PROTOCOLS
from unveil.results.overlay import overlay
from unveil.synthetic.render import render
from unveil.video.source import open_video

ROOT = Path(__file__).parents[1]
REAL = {"bigbuckbunny": (0.0, 1.0), "bikes": (2.0, 3.0), "carphone": (2.0, 2.8)}
"""Seconds of each demo clip."""
RENDERED = {"calm": (3, 5), "occlusion": (1, 3), "return": (2, 3), "late": (4, 3), "crowd": (5, 6)}
"""Seed and number of objects of each scenario."""
FRAMES, HEIGHT, WIDTH = 24, 270, 480
SHOWN = 3  # frames a clip in the picture
TILE, TITLE, GAP = 230, 24, 10  # px
SEGMENT = "import sys; from unveil.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class HardClips:
    """Segment eight hard clips before and now."""

    out: Path = Path("out/hard")
    """Folder for hard.jpg, hard.md and the results of both states."""
    commit: str = "cc3012d"
    """The state before, any name that git knows."""


def main(wish: HardClips) -> None:
    with tempfile.TemporaryDirectory() as name:
        clips, truths = prepare(Path(name) / "clips")
        before = segment(state_of(wish.commit, Path(name)), clips, wish.out / "before")
        now = segment(ROOT / "src", clips, wish.out / "now")
        blocks, lines = [], ["| clip | objects | J&F | foreground J |", "|---|---|---|---|"]
        for clip, path in clips.items():
            frames = np.concatenate(list(open_video(path).chunks(16)))
            found = [read_masks(side / clip) for side in (before, now)]
            blocks.append(picture(clip, frames, found))
            cells = [figures(labels, truths.get(clip)) for labels in found]
            both = (f"{a} → {b}" if a else "" for a, b in zip(*cells, strict=True))
            lines.append(f"| {clip} | " + " | ".join(both) + " |")
    paste(blocks).save(wish.out / "hard.jpg", quality=80)
    text = "\n".join(lines) + "\n"
    (wish.out / "hard.md").write_text(text)
    print(text)


def prepare(folder: Path) -> tuple[dict[str, Path], dict[str, np.ndarray]]:
    """Sources of the clips by name, each a folder of pictures, and the truth of those rendered."""
    clips, truths = {}, {}
    for name, (start, end) in REAL.items():
        video = open_video(fetch_clip(name), start=start, end=end)
        clips[name] = write(folder / name, np.concatenate(list(video.chunks(16)))[:FRAMES])
    for scenario, (seed, objects) in RENDERED.items():
        made = render(seed, FRAMES, HEIGHT, WIDTH, objects=objects, scenario=scenario)
        clips[f"rendered-{scenario}"] = write(folder / f"rendered-{scenario}", made.frames)
        truths[f"rendered-{scenario}"] = made.labels
    return clips, truths


def write(folder: Path, frames: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{i:05d}.png", compress_level=1)
    return folder


def segment(source: Path, clips: dict[str, Path], out: Path) -> Path:
    """What the command line of a state makes of each clip, one after the other."""
    for name, path in clips.items():
        if (out / name / "run.json").is_file():
            continue
        command = [sys.executable, "-c", SEGMENT, "segment", str(path), "--out", str(out / name)]
        subprocess.run(command, env={**os.environ, "PYTHONPATH": str(source)}, check=True)
    return out


def read_masks(result: Path) -> np.ndarray:
    return np.stack([np.array(Image.open(p)) for p in sorted((result / "masks").glob("*.png"))])


def figures(labels: np.ndarray, truth: np.ndarray | None) -> tuple[str, str, str]:
    """How many objects were found; J&F and foreground J in percent where there is a truth."""
    found = str(len(np.unique(labels[labels > 0])))
    if truth is None:
        return found, "", ""
    measured = Measured(labels, truth)
    values = (PROTOCOLS["davis2017"], "J&F"), (PROTOCOLS["foreground"], "J")
    return found, *(f"{100 * p.score(measured)['values'][name]:.1f}" for p, name in values)


def picture(clip: str, frames: np.ndarray, found: list[np.ndarray]) -> Image.Image:
    """Frames of a clip side by side, and under them a row of each state, painted."""
    chosen = np.linspace(0, len(frames) - 1, SHOWN + 2).round().astype(int)[1:-1]
    rows = [frames[chosen], *(overlay(frames[chosen], labels[chosen]) for labels in found)]
    height = round(TILE * frames.shape[1] / frames.shape[2])
    block = Image.new("RGB", (TILE * SHOWN, TITLE + height * len(rows)), "white")
    ImageDraw.Draw(block).text((4, 4), f"{clip}: frames, before, now", "black", font_size=14)
    for r, row in enumerate(rows):
        for i, frame in enumerate(row):
            tile = Image.fromarray(frame).resize((TILE, height), Image.Resampling.LANCZOS)
            block.paste(tile, (TILE * i, TITLE + height * r))
    return block


def paste(blocks: list[Image.Image]) -> Image.Image:
    """Blocks one under the other in two columns, each under the shorter one so far."""
    tops = [0, 0]
    places = []
    for block in blocks:
        column = tops.index(min(tops))
        places.append(((TILE * SHOWN + GAP) * column, tops[column]))
        tops[column] += block.height + GAP
    page = Image.new("RGB", (2 * TILE * SHOWN + GAP, max(tops) - GAP), "white")
    for block, place in zip(blocks, places, strict=True):
        page.paste(block, place)
    return page


if __name__ == "__main__":
    main(tyro.cli(HardClips))
