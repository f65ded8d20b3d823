"""The pictures of README and gallery: what `make demo` shows, and two rendered clips.

    python benchmarks/gallery.py --out out/gallery      # demo.jpg, gallery.jpg

Only of Big Buck Bunny (© Blender Foundation, CC BY 3.0) and of what Unveil renders itself.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import tyro
from PIL import Image

WIDTH = 1400  # px


@dataclass(frozen=True)
class Gallery:
    """Draw the pictures."""

    out: Path = Path("out/gallery")
    """Folder for demo.jpg and gallery.jpg."""


def main(wish: Gallery) -> None:
    from unveil import Clip, Segmenter
    from unveil.features.demo_clips import SPANS, fetch_clip
    from unveil.synthetic.render import render

    segmenter = Segmenter()
    start, end = SPANS["bigbuckbunny"]
    demo = segmenter(fetch_clip("bigbuckbunny"), start=start, end=end)
    found = []
    for scenario in ("occlusion", "return"):
        frames = render(seed=3, frames=12, height=270, width=480, scenario=scenario).frames
        found.append(segmenter(Clip(frames, Fraction(12), f"rendered: {scenario}")))
    wish.out.mkdir(parents=True, exist_ok=True)
    sheets = [sheet(x, wish.out / f"{i}") for i, x in enumerate((demo, *found))]
    sheets[0].save(wish.out / "demo.jpg", quality=88)
    page = Image.new("RGB", (WIDTH, sum(s.height for s in sheets[1:])), "white")
    top = 0
    for picture in sheets[1:]:
        page.paste(picture, (0, top))
        top += picture.height
    page.save(wish.out / "gallery.jpg", quality=88)


def sheet(found, folder: Path) -> Image.Image:
    """The contact sheet of a segmentation, as wide as the README shows it."""
    with Image.open(found.save(folder) / "contact.png") as picture:
        whole = picture.convert("RGB")
    height = round(whole.height * WIDTH / whole.width)
    return whole.resize((WIDTH, height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(tyro.cli(Gallery))
