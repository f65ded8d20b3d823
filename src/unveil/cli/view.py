"""`unveil view`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from unveil.cli.segment import check_early
from unveil.errors import InputError
from unveil.settings import Settings


@dataclass(frozen=True)
class View:
    """Look at a result in the browser, and put it right by hand."""

    target: tyro.conf.Positional[Path]
    """The folder of a result, or a video, which is segmented first."""
    out: Path | None = None
    """Where the result of a video goes; out/NAME by default."""
    source: Path | None = None
    """The video of a result, where it is no longer where it was."""
    port: int = 8731
    """The port; one in use moves on to the next."""
    host: str = "127.0.0.1"
    """The address to listen at; others than this machine can reach only what you give here."""
    browser: bool = True
    """Open the browser."""
    settings: Settings = field(default_factory=Settings)
    """How a video is segmented."""

    def run(self) -> int:
        """Serve the page until Ctrl-C."""
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError:
            raise InputError(
                "the viewer needs a small server: pip install 'unveil[view]'"
            ) from None
        from unveil.view.serve import serve

        folder, make = self._job()
        serve(
            folder,
            source=self.source,
            make=make,
            host=self.host,
            port=self.port,
            browser=self.browser,
            say=_say,
        )
        return 0

    def _job(self) -> tuple[Path, Callable[..., None] | None]:
        """The folder to show, and what makes it where it has to be made."""
        if (self.target / "run.json").is_file():
            if self.out is not None or self.settings != Settings():
                raise InputError(f"{self.target} is a result already: leave out --out and settings")
            return self.target, None
        from unveil.results.folder import check_out
        from unveil.video.source import open_video

        _check_no_result(self.target)
        video = open_video(self.target)
        out = self.out or Path("out") / video.name
        if self.source is not None:
            raise InputError("--source is of a result; give a video itself as the target")
        if (out / "run.json").is_file():
            raise InputError(
                f"{out} holds a result already: 'unveil view {out}' shows it; another one goes to "
                "another folder with --out"
            )
        check_out(out)
        check_early(self.settings)

        def make(report: Any) -> None:
            from unveil.segmentation.segmenter import Segmenter

            report("loading the model", 0, None)
            Segmenter(self.settings).segment_to(self.target, out, on_progress=report)

        return out, make


def _check_no_result(target: Path) -> None:
    """Raise InputError for a folder of results, or of a part of one, which is no video."""
    if not target.is_dir():
        return
    if target.name == "masks" and (target.parent / "run.json").is_file():
        raise InputError(f"{target} holds the masks of a result: 'unveil view {target.parent}'")
    inside = sorted(p.parent for p in target.glob("*/run.json"))
    if inside:
        few = ", ".join(p.name for p in inside[:3]) + (" …" if len(inside) > 3 else "")
        raise InputError(
            f"{target} holds {len(inside)} result{'s' if len(inside) > 1 else ''} ({few}): choose "
            f"one, 'unveil view {inside[0]}'"
        )
    if not any(target.iterdir()):
        raise InputError(f"{target} is empty: give the folder of a result, or a video")


def _say(text: str) -> None:
    print(text, flush=True)
