"""The synthetic benchmark as files, in the layout of any of the datasets."""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from unveil.errors import InputError
from unveil.results.folder import OUTPUT, RUN, ResultFolder
from unveil.synthetic.layouts import LAYOUTS, Annotated, write_layout
from unveil.synthetic.render import benchmark, render

MADE_BY = "unveil data make"


def is_made(root: Path) -> bool:
    """Whether a folder is one that `make_benchmark` wrote."""
    try:
        return json.loads((root / RUN).read_text()).get("made_by") == MADE_BY
    except (OSError, ValueError, AttributeError):
        return False


def make_benchmark(
    out: Path,
    layout: str,
    *,
    sequences: int,
    frames: int,
    height: int,
    width: int,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Render the benchmark and write it to out, which appears whole or not at all.

    layout: a name of `unveil.synthetic.layouts.LAYOUTS`. Clips are called after their scenarios:
    `calm-0`, `occlusion-1`, … Raises OutputError where out holds something else.
    """
    if sequences < 1:
        raise InputError(f"sequences: expected at least 1, got {sequences}")
    if seed < 0:
        raise InputError(f"seed: expected a number from 0 on, got {seed}")
    if layout not in LAYOUTS:
        raise InputError(f"no layout {layout!r}; there are {', '.join(LAYOUTS)}")

    def clips() -> Iterator[Annotated]:
        for i, recipe in enumerate(benchmark(sequences, seed)):
            clip = render(frames=frames, height=height, width=width, **recipe)
            yield Annotated(f"{recipe['scenario']}-{i}", *clip)
            if on_progress is not None:
                on_progress(i + 1, sequences)

    with ResultFolder(out) as folder:
        write_layout(layout, folder.path, clips())
        files = sorted({p.name for p in folder.path.iterdir()} | {RUN})
        about = {
            "made_by": MADE_BY,
            "unveil": version("unveil"),
            "layout": layout,
            "sequences": sequences,
            "frames": frames,
            "height": height,
            "width": width,
            "seed": seed,
            OUTPUT: {"files": files},
        }
        (folder.path / RUN).write_text(json.dumps(about, indent=2) + "\n")
        return folder.commit()
