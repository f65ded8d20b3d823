"""`unveil segment --live`: labels while the source goes on."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unveil.cli.progress import count, progress
from unveil.errors import InputError
from unveil.settings import Settings


def segment_live(
    source: str, out: Path, span: dict[str, Any], stretch: float | None, settings: Settings
) -> None:
    """Segment a source at its own pace until it ends, its `end` is there, or Ctrl-C."""
    if stretch is not None and not stretch >= 1:
        raise InputError(
            f"--stretch: expected at least 1 second, got {stretch:g}: results are called by whole "
            "seconds"
        )
    with progress(source) as show:
        show("loading the backbone", 0, None)
        from unveil.segmentation.live import STRETCH, LiveRun, check_empty
        from unveil.segmentation.segmenter import Segmenter
        from unveil.video.live import Live
        from unveil.video.live_source import open_live

        check_empty(out)

        def tell(done: LiveRun) -> None:
            late = f"{done.delays.latest:.1f} s late, {done.dropped} of {done.came} dropped"
            show("live, frames", done.frames, None, late)

        segmenter = Segmenter(settings)
        with open_live(source, **span) as opened:
            live = Live(opened.frames)
            show("live, frames", 0, None)
            with _ended_by_ctrl_c(live.end):
                done = segmenter.segment_live(
                    live, opened, out, stretch=stretch or STRETCH, on_block=tell
                )
    if not done.results:
        raise InputError(f"{source} ended before a frame of it was labelled")
    size = f"{opened.width}x{opened.height}"
    objects, frames = count(len(done.ids), "object"), count(done.frames, "frame")
    print(f"{source}: {objects} in {frames} of {size}")
    print(f"  results   {count(len(done.results), 'folder')}, the first is {done.results[0]}")
    print(f"  dropped   {done.dropped} of {count(done.came, 'frame')}")
    print(f"  delay     {done.delays.mean:.2f} s in the mean, {done.delays.most:.2f} s at most")


@contextmanager
def _ended_by_ctrl_c(end: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C end the source, and a second one everything."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def once(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        end()

    signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
