"""One long video looked at in stretches: what is found is what is found in one piece."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import weakref
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from test_cluster_fast import moving, scene
from test_segmenter import digests
from test_shots import BOUNDS, cut_video, pictures
from unveil.batch.job import Job, Limits, Outcome
from unveil.batch.ledger import Ledger, read
from unveil.batch.stretches import Look, looked_at
from unveil.cli import main
from unveil.errors import InputError, OutputError
from unveil.fast.groups import Grouper, Groups, join
from unveil.fast.stretches import LEAD, StretchGrouper, counted_through, read_groups, write_groups
from unveil.progress import Progress
from unveil.segmentation.segmenter import Segmenter
from unveil.settings import Settings
from unveil.types import Features
from unveil.video.source import open_video
from unveil.video.stretches import cut


def film(path: Path, frames: np.ndarray, uneven: bool = False) -> Path:
    """A video with frames that refer to each other over two dozen; uneven: times as they come."""
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.integers(20, 90, len(frames)) if uneven else np.full(len(frames), 40))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, {"g": "24", "bf": "3", "crf": "10"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.time_base = "yuv420p", Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts, picture.time_base = int(time), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def walk(t: int) -> np.ndarray:
    """A square that walks over what stands still: no frame is another, and no cut is seen."""
    frames = np.repeat(np.random.default_rng(0).integers(0, 60, (1, 18, 26, 3), np.uint8), t, 0)
    for i in range(t):
        frames[i, 4:12, i // 3 : i // 3 + 5] = 100 + 2 * i
    return frames


@pytest.fixture(params=["even.mp4", "uneven.mp4", "uneven.mkv", "even.mkv", "folder"])
def source(request, tmp_path) -> Path:
    path = tmp_path / request.param
    if request.param != "folder":
        return film(path, walk(61), "uneven" in request.param)
    from PIL import Image

    path.mkdir()
    for i, frame in enumerate(walk(61)):
        Image.fromarray(frame).save(path / f"{i}.png")
    return path


@pytest.mark.parametrize(
    "span", [{}, {"stride": 3}, {"start": 0.5, "end": 2.1}, {"start": 0.3, "stride": 2}]
)
def test_stretches_hold_each_frame_once(source, span):
    whole = np.concatenate(list(open_video(source, **span).chunks(64)))
    stretches = cut(source, 3, multiple=4, lead=4, **span)
    assert len(stretches) == 3
    assert [s.first for s in stretches] == [0, *np.cumsum([s.frames for s in stretches])[:-1]]
    assert all(s.first % 4 == 0 for s in stretches)
    for s in stretches:
        frames = np.concatenate(list(open_video(source, **s.span).chunks(64)))
        np.testing.assert_array_equal(frames, whole[s.first - s.lead : s.first + s.frames])


def test_a_short_video_has_fewer_stretches(tmp_path):
    (only,) = cut(walk(7), 4, multiple=8, lead=8)
    assert (only.first, only.frames, only.lead) == (0, 7, 0)
    assert [s.frames for s in cut(walk(17), 40, multiple=8, lead=8)] == [8, 8, 1]


def in_stretches(
    features: Features, frames: np.ndarray, bounds: list[int], chunk: int, folder: Path
) -> list[Groups]:
    """The groups of frames between bounds, each stretch by itself and through a file."""
    paths = []
    for first, stop in pairwise(bounds):
        lead = min(LEAD, first)
        grouper = StretchGrouper(lead=lead)
        blocks = []
        for i in range(first - lead, stop, chunk):
            part = slice(i, min(i + chunk, stop))
            some = Features(features.keys[part], 14, features.saliency[part])
            grouper.add(some, frames[part])
            blocks += grouper.pop()
        paths.append(folder / f"{first}.npz")
        assert write_groups(paths[-1], blocks + grouper.pop(flush=True)) == stop - first
    return list(counted_through(read_groups(path) for path in paths))


def same(one: Groups, other: Groups) -> None:
    for name, value in vars(other).items():
        assert (value is None) == (getattr(one, name) is None)
        if value is not None:
            np.testing.assert_array_equal(getattr(one, name), value, err_msg=name)


def whole(features: Features, frames: np.ndarray) -> Groups:
    grouper = Grouper()
    grouper.add(features, frames)
    return grouper.finish()


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [3, 8, 16])
def test_groups_of_stretches_are_those_of_one_piece(tmp_path, chunk):
    labels = moving(40)
    features, frames = scene(labels), pictures(40, 0)
    parts = in_stretches(features, frames, [0, 16, 24, 40], chunk, tmp_path)
    same(join(parts), whole(features, frames))


@pytest.mark.slow
@pytest.mark.parametrize("bounds", [[0, 8, 34], [0, 24, 34], [0, 8, 24, 34], [0, 16, 32, 34]])
def test_a_cut_within_a_stretch_or_at_its_begin_is_a_cut(tmp_path, bounds):
    features, frames, _ = cut_video()
    joined = join(in_stretches(features, frames, bounds, 5, tmp_path))
    assert joined.shots.tolist() == BOUNDS[:-1].tolist()
    same(joined, whole(features, frames))  # wherever they begin amid a shot


def test_a_block_is_let_go_of_once_it_is_written(tmp_path):
    alive: list[weakref.ref] = []

    def blocks():
        grouper, features, frames = Grouper(), scene(moving(40)), pictures(40, 0)
        for i in range(0, 40, 8):
            part = slice(i, i + 8)
            grouper.add(Features(features.keys[part], 14, features.saliency[part]), frames[part])
            (block,) = grouper.pop()
            assert sum(ref() is not None for ref in alive) <= 1
            alive.append(weakref.ref(block))
            yield block

    assert write_groups(tmp_path / "groups.npz", blocks()) == 40


@pytest.mark.slow
@pytest.mark.parametrize("speed", ["exact", "balanced"])
def test_a_result_from_stretches_is_that_of_one_piece(tmp_path, tiny_backbone, speed):
    if speed != "exact":
        pytest.importorskip("cv2")
    source = film(tmp_path / "clip.mp4", walk(43), uneven=True)
    segmenter = Segmenter(
        backbone=tiny_backbone, attention="cosine", size=16, precision="fp32", speed=speed
    )
    run = segmenter.segment_to(source, tmp_path / "one")
    assert len(list(segmenter.groups_of(source))) == 6  # no cut
    stretches = cut(source, 3, multiple=8, lead=LEAD)
    groups = counted_through(segmenter.groups_of(source, lead=s.lead, **s.span) for s in stretches)
    again = segmenter.segment_to(source, tmp_path / "three", groups=groups)
    one, three = digests(tmp_path / "one"), digests(tmp_path / "three")
    if speed != "exact":  # other frames share a forward pass, and a last bit may be another
        for name in ("state.npz", "evidence.npz", "keys.npy", "objects.json"):
            del one[name], three[name]
        ours, theirs = (
            json.loads((tmp_path / x / "objects.json").read_text()) for x in ("one", "three")
        )
        for mine, other in zip(ours["annotations"], theirs["annotations"], strict=True):
            assert mine.pop("score") == pytest.approx(other.pop("score"), abs=1e-3)
        assert ours == theirs
    assert one == three
    assert run.keys() == again.keys() and run["video"] == again["video"]


@pytest.mark.slow
@pytest.mark.parametrize("speed", ["balanced", "fast"])
def test_what_is_carried_along_flow_is_that_of_one_piece_up_to_rounding(
    tmp_path, tiny_backbone, speed
):
    """Every block ends with a key frame, and each stretch sees the block before it."""
    pytest.importorskip("cv2")
    source = film(tmp_path / "clip.mp4", walk(43), uneven=True)
    segmenter = Segmenter(backbone=tiny_backbone, size=16, precision="fp32", speed=speed)
    stretches = cut(source, 3, multiple=8, lead=LEAD)
    parts = counted_through(segmenter.groups_of(source, lead=s.lead, **s.span) for s in stretches)
    for one, other in zip(segmenter.groups_of(source), parts, strict=True):
        assert np.array_equal(one.ids, other.ids)
        torch.testing.assert_close(one.keys.float(), other.keys.float(), atol=1e-2, rtol=1e-3)
        torch.testing.assert_close(one.saliency, other.saliency, atol=1e-4, rtol=1e-4)


class DiesOnce(Look):
    """The real work, whose process is killed the first time that it is at the second stretch."""

    def do(self, job: Job, report: Progress):
        tried = self.out.parent / "tried"
        if job.name == "stretch-2" and not tried.exists():
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "never" in job.source and job.name == "stretch-2":
            print("the end is near", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(job, report)


@pytest.mark.slow  # two or three processes with a model
def test_processes_look_at_stretches_and_one_that_dies_is_replaced(tmp_path, tiny_backbone):
    source = str(film(tmp_path / "clip.mp4", walk(43)))
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    segmenter = Segmenter(settings)
    segmenter.segment_to(source, tmp_path / "one")
    told: list[tuple[str, int, int | None]] = []
    out = tmp_path / "three"
    with looked_at(
        source,
        out,
        settings,
        Limits(),
        at_once=3,
        threads=1,
        work=DiesOnce,
        on_progress=lambda *stage: told.append(stage),
        warn=pytest.fail,
    ) as groups:
        segmenter.segment_to(source, out, groups=groups)
    assert digests(tmp_path / "one") == digests(out)
    assert (tmp_path / "tried").exists()
    assert ("backbone", 43, 43) in told
    assert not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.stretches"))


class Noted(Look):
    """The real work, that notes what it looks at and stays at the third stretch."""

    def do(self, job: Job, report: Progress):
        with (self.out.parent / "noted").open("a") as file:
            file.write(f"{job.name}\n")
        if job.name == "stretch-3" and (self.out.parent / "stay").exists():
            time.sleep(600)
        return super().do(job, report)


DRIVER = """
import sys
from pathlib import Path
from test_stretches import Limits, Noted, Settings, looked_at
if __name__ == "__main__":
    source, out, backbone = sys.argv[1:]
    settings = Settings(backbone=backbone, attention="cosine", size=16)
    options = {"at_once": 3, "threads": 1, "work": Noted}
    with looked_at(source, Path(out), settings, Limits(), **options):
        pass
"""


@pytest.mark.slow
def test_what_was_looked_at_before_kill_9_is_not_looked_at_again(tmp_path, tiny_backbone, caplog):
    source = str(film(tmp_path / "clip.mp4", walk(43)))
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    out, noted = tmp_path / "out", tmp_path / "noted"
    (tmp_path / "stay").touch()
    (tmp_path / "driver.py").write_text(DRIVER)
    here = os.pathsep.join((str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")))
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), source, str(out), tiny_backbone],
        env={**os.environ, "PYTHONPATH": here},
    )
    folder, deadline = tmp_path / "out.stretches", time.monotonic() + 180
    try:
        while read(folder).states["done"] < 2:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        driver.kill()
        driver.wait()
    (tmp_path / "stay").unlink()
    noted.unlink()
    segmenter = Segmenter(settings)
    segmenter.segment_to(source, tmp_path / "one")
    told: list[tuple[str, int, int | None]] = []
    with looked_at(  # also where other workers would cut it otherwise
        source,
        out,
        settings,
        Limits(),
        at_once=2,
        threads=1,
        work=Noted,
        on_progress=lambda *stage: told.append(stage),
    ) as groups:
        segmenter.segment_to(source, out, groups=groups)
    assert noted.read_text().split() == ["stretch-3"]
    assert "2 of 3 stretches were looked at by an earlier run" in caplog.text
    assert told[0] == ("backbone", 32, 43)
    assert digests(tmp_path / "one") == digests(out)
    assert not folder.exists()


class Fakes:
    """A crew that looks at nothing, and is interrupted at the second task."""

    def __init__(self, count: int, work, limits: Limits, logs: Path, most: int = 1) -> None:
        self.out, self.given, self.most = work.out, [], most
        self.idle = True

    def free(self) -> int:
        return int(self.idle)

    def give(self, task) -> str:
        self.given.append(task)
        self.idle = False
        if len(self.given) > self.most:
            raise KeyboardInterrupt
        (self.out / f"{task.job.name}.npz").touch()
        return "nobody"

    def wait(self, seconds: float) -> list:
        self.idle = True
        return [(self.given[-1], Outcome(frames=int(self.given[-1].job.frames)))]

    def underway(self) -> int:
        return 0

    def close(self) -> None:
        pass


def test_stretches_of_another_video_or_other_settings_are_not_taken(
    tmp_path, tiny_backbone, caplog
):
    source = film(tmp_path / "clip.mp4", walk(43))
    folder = tmp_path / "out.stretches"

    def done(again: bool = False, most: int = 9, **other) -> int:
        """How many were there already."""
        caplog.clear()
        settings = Settings(backbone=tiny_backbone, **{"size": 16, **other})

        def hire(*about) -> Fakes:
            return Fakes(*about, most)

        options = {"at_once": 3, "hire": hire, "again": again}
        with (
            pytest.raises(KeyboardInterrupt),
            looked_at(str(source), tmp_path / "out", settings, Limits(), **options),
        ):
            raise KeyboardInterrupt
        assert "kept in" in caplog.text and folder.is_dir()
        found = re.search(r"(\d) of 3 stretches were looked at", caplog.text)
        return int(found[1]) if found else 0

    assert [done(most=1), done(most=1), done()] == [0, 1, 2]
    assert done() == 3
    assert done(size=20) == 0 and "begun anew" in caplog.text
    assert done(size=20) == 3 and done(size=20, again=True) == 0
    assert "begun anew" not in caplog.text  # it is asked for, and no other video
    os.utime(source, (1, 1))
    assert done(size=20) == 0
    with Ledger(folder), pytest.raises(OutputError, match="another run looks at stretches"):
        done(size=20)
    (folder / "stretches.json").unlink()
    with pytest.raises(OutputError, match=r"out\.stretches is in the way"):
        done()


@pytest.mark.slow
def test_a_stretch_that_fails_for_good_is_named(tmp_path, tiny_backbone):
    source = str(film(tmp_path / "never.mp4", walk(20)))
    settings = Settings(backbone=tiny_backbone, attention="cosine", size=16)
    (tmp_path / "tried").touch()
    options = {"at_once": 2, "threads": 1, "work": DiesOnce}
    with (
        pytest.raises(InputError, match=r"frames 8 to 19 of .*never.mp4 could not.* SIGKILL"),
        looked_at(source, tmp_path / "out", settings, Limits(tries=1), **options),
    ):
        pytest.fail("there are no groups")
    assert "the end is near" in (tmp_path / "out.log").read_text()
    there = ["never.mp4", "out.log", "out.stretches", "tried"]
    assert sorted(p.name for p in tmp_path.iterdir()) == there


def test_what_makes_no_sense_is_said(tmp_path, tiny_backbone, capsys):
    source = str(film(tmp_path / "clip.mp4", walk(20)))
    command = ["segment", source, "-o", str(tmp_path / "out"), "--backbone", tiny_backbone]
    command += ["--attention", "cosine", "--size", "16"]
    assert main([*command, "--jobs", "2", "--mode", "paper"]) == 2
    assert "leave out --mode and --model, or --jobs" in capsys.readouterr().err
    assert main([*command, "--timeout", "9"]) == 2
    assert "--jobs 2" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 2
    assert "--resume is for several videos, or for the stretches" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clip.mp4"]


def test_a_file_that_does_not_tell_its_times_is_not_cut(tmp_path):
    whole = film(tmp_path / "clip.mp4", walk(9))
    raw = tmp_path / "raw.h264"
    with av.open(str(whole)) as container, raw.open("wb") as file:
        stream = container.streams.video[0]
        bits = av.BitStreamFilterContext("h264_mp4toannexb", stream)
        for packet in container.demux(stream):
            for part in bits.filter(packet if packet.size else None):
                file.write(bytes(part))
    with pytest.raises(InputError, match="leave out --jobs"):
        cut(raw, 2)
