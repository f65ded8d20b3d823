"""A source that does not wait, on a clock that the tests move."""

import json
import signal
import threading
import time
import weakref
from collections import Counter
from contextlib import contextmanager
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from benchmarking import benchmark
from filming import long_scene, write_video
from unveil.cli import main
from unveil.errors import InputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.segmentation import live as live_writing
from unveil.segmentation import refine
from unveil.segmentation.live import NEWEST, write_live
from unveil.segmentation.segmenter import Segmenter
from unveil.segmentation.stream import WARM_UP, Stream, in_blocks
from unveil.video import live_source
from unveil.video.live import Live
from unveil.video.live_source import LiveSource, open_live, paced
from unveil.video.source import open_video


def numbered(i: int) -> np.ndarray:
    return np.full((2, 3, 3), i % 256, np.uint8)


class Simulated(Live):
    """A camera of 25 frames a second and work that takes its time, without a thread or waiting."""

    def __init__(self, seconds: float, work: float, room: int = 8, fps: int = 25) -> None:
        super().__init__((), room, now=lambda: self.time)
        self.time, self.come, self.work, self.last = 0.0, 0, work, int(fps * seconds)
        self.fps = fps

    def until(self, moment: float) -> None:
        while self.come < self.last and self.come / self.fps <= moment:
            self.time = self.come / self.fps
            self.put(numbered(self.come))
            self.come += 1
        self.time = max(self.time, moment)
        self._ended = self.come == self.last

    def __iter__(self):
        while True:
            if not self._waiting:
                self.until(self.come / self.fps)
            if (frame := self.take()) is None:
                return
            yield frame

    def run(self) -> tuple[list[int], list[float], int]:
        """First number of each block, its delay, and the most frames that were ever held."""
        firsts, delays, held = [], [], 0
        for block in in_blocks(self):
            self.until(self.time + self.work * len(block))
            firsts.append(int(block[0, 0, 0, 0]))
            assert np.ptp(np.diff(block[:, 0, 0, 0].astype(int)) % 256) == 0
            delays.append(self.delay(len(block)))
            held = max(held, len(self._waiting) + len(self._out))
        return firsts, delays, held


def test_who_is_fast_enough_gets_every_frame():
    live = Simulated(10, work=0.03)
    firsts, delays, _ = live.run()
    assert live.dropped == 0 and firsts == [i % 256 for i in range(0, 250, 8)]
    assert max(delays) < 8 / 25 + 8 * 0.03 + 1e-6


@pytest.mark.parametrize("work", [0.1, 0.3, 2.0])
def test_who_is_too_slow_gets_the_newest_and_is_never_later_than_one_block(work):
    live = Simulated(60, work)
    _, delays, held = live.run()
    assert live.dropped > 0 and held <= 8
    assert max(delays[:-2]) <= 2 * 8 / 25 + 8 * work + 1e-6  # the last ones wait without a rival


def test_what_is_held_and_how_late_it_is_do_not_grow():
    live = Simulated(1200, work=0.6)
    _, delays, held = live.run()
    assert held <= 8 and max(delays[-50:-2]) <= max(delays[:50]) + 1e-6
    assert live.dropped + 8 * len(delays) >= 25 * 1200


def test_frames_come_through_the_thread_and_may_share_memory():
    buffer = np.zeros((2, 3, 3), np.uint8)

    def camera():
        for i in range(20):
            buffer[:] = i
            yield buffer

    live = Live(camera(), room=20)
    assert [int(frame[0, 0, 0]) for frame in live] == list(range(20))
    assert live.delay(20) >= 0


def test_what_the_source_raises_comes_after_the_frames_before_it():
    def camera():
        yield numbered(1)
        raise OSError("unplugged")

    frames = iter(Live(camera()))
    assert next(frames)[0, 0, 0] == 1
    with pytest.raises(OSError, match="unplugged"):
        next(frames)


def test_the_thread_ends_with_the_iteration():
    go = threading.Event()

    def camera():
        yield numbered(0)
        go.wait(5)
        yield numbered(1)
        raise AssertionError("read on after the iteration had ended")

    frames = iter(Live(camera()))
    next(frames)
    frames.close()
    go.set()
    for thread in threading.enumerate():
        if thread.name == "unveil-live":
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("speed", ["exact", "balanced", "fast"])
def test_a_stream_of_it_is_that_of_its_frames(tiny_backbone, speed):
    """Stages side by side say what they say one after the other."""
    if speed == "fast":
        pytest.importorskip("cv2", reason="unveil[fast] is not installed")
    frames = long_scene(43)[0]
    segmenter = Segmenter(backbone=tiny_backbone, size=64, precision="fp32", speed=speed)
    want = list(segmenter.stream(frames))
    live = Live(iter(frames), room=len(frames))
    seen, before = [], torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for shown, labels in segmenter.stream(live):
            assert live.delay(len(shown)) >= 0 and torch.get_num_threads() == 1
            seen.append((shown, labels))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(*(zip(*x, strict=True) for x in (seen, want)), strict=True):
        assert np.array_equal(np.concatenate(ours), np.concatenate(theirs))
    assert live.dropped == 0


@pytest.mark.slow
def test_a_stream_of_it_may_be_broken_off_and_may_break(tiny_backbone):
    plugged = threading.Event()

    def camera(fault=None):
        yield from long_scene(40)[0]
        if fault is not None:
            raise fault
        plugged.wait(60)

    segmenter = Segmenter(backbone=tiny_backbone, size=64, precision="fp32")
    before = threading.active_count()
    steps = segmenter.stream(Live(camera(), room=50))
    assert sum(len(next(steps)[0]) for _ in range(5)) == 40
    start = time.monotonic()
    steps.close()  # at once, though no frame comes any more
    assert time.monotonic() - start < 30
    plugged.set()
    with pytest.raises(OSError, match="unplugged"):
        list(segmenter.stream(Live(camera(OSError("unplugged")), room=50)))
    for thread in threading.enumerate():
        if thread.name.startswith("unveil"):
            thread.join(5)
    assert threading.active_count() <= before


@pytest.mark.slow
def test_stages_work_side_by_side_and_none_runs_ahead_of_the_others(tiny_backbone, monkeypatch):
    """So what is late stays late by no more than what the three have in hand."""
    inside, all_three, begun = set(), threading.Event(), Counter()

    def watched(owner, name):
        work = getattr(owner, name)

        def stage(*some, **more):
            begun[name] += 1
            inside.add(name)
            if len(inside) == 3:
                all_three.set()
            all_three.wait(2)
            try:
                return work(*some, **more)
            finally:
                inside.discard(name)

        monkeypatch.setattr(owner, name, stage)

    segmenter = Segmenter(backbone=tiny_backbone, size=16, precision="fp32")
    for owner, name in ((segmenter.backbone, "encode"), (Stream, "add"), (refine, "sharpen")):
        watched(owner, name)
    frames = long_scene(120)[0]
    ahead = []
    for done, _ in enumerate(segmenter.stream(Live(iter(frames), room=len(frames))), 1):
        ahead.append(begun["encode"] - done)
    assert all_three.is_set() and len(ahead) == 15
    # While a block is handed out the next one is cut, and the one after that encoded; as the first
    # is, those that it waited for are cut already.
    assert ahead[0] <= WARM_UP and max(ahead[1:]) <= 2


def test_no_room_and_delays_of_frames_never_shown():
    with pytest.raises(InputError, match="room: expected at least 1 frame, got 0"):
        Live((), room=0)
    with pytest.raises(InputError, match="frames: expected"):
        Live(()).delay(1)


def test_frames_know_their_number_in_the_source():
    live = Simulated(20, work=0.3)
    numbers = []
    for block in in_blocks(live):
        live.until(live.time + live.work * len(block))
        numbers += live.shown(len(block)).numbers
        assert [n % 256 for n in numbers[-len(block) :]] == block[:, 0, 0, 0].tolist()
    assert live.came == 500 and len(numbers) == 500 - live.dropped and numbers == sorted(numbers)


def test_what_waits_is_handed_out_when_it_is_ended():
    live = Live(iter(()), room=9)
    for i in range(3):
        live.put(numbered(i))
    live.end()
    assert [live.take()[0, 0, 0] for _ in range(3)] == [0, 1, 2] and live.take() is None


def test_a_file_is_played_at_its_own_pace():
    clock, slept = [10.0], []

    def sleep(seconds):
        slept.append(round(seconds, 6))
        clock[0] += seconds

    frames = paced(((i / 10, numbered(i)) for i in range(4)), lambda: clock[0], sleep)
    next(frames)
    next(frames)
    clock[0] += 0.25  # work that takes longer than two frames
    assert [int(f[0, 0, 0]) for f in frames] == [2, 3] and slept == [0.1]


@pytest.fixture(scope="module")
def dog_mp4(tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "dog.mp4"
    write_video(path, long_scene()[0])
    return path


@pytest.fixture
def at_once(monkeypatch):
    """Nothing waits for the time of a frame."""
    monkeypatch.setattr(live_source, "paced", lambda timed: (frame for _, frame in timed))


@pytest.mark.parametrize("span", [{}, {"start": 0.2, "end": 0.6, "stride": 2}])
def test_files_and_cameras_give_the_same_frames(dog_mp4, at_once, monkeypatch, span):
    @contextmanager
    def opened(source):
        with av.open(str(dog_mp4)) as container:
            yield container

    monkeypatch.setattr(live_source, "opened", opened)
    want = open_video(dog_mp4, **span)
    for source, name in ((dog_mp4, "dog"), ("camera:0", "camera-0"), ("http://x/a.mkv?b", "a")):
        with open_live(source, **span) as got:
            about = (got.name, got.fps, got.height, got.width)
            assert about == (name, want.fps, want.height, want.width)
            assert np.array_equal(np.stack(list(got.frames)), np.stack(list(want)))
    with pytest.raises(InputError, match="showed no picture"), open_live("camera:0", start=9.0):
        pass


def labelled(live: Simulated):
    """Blocks as a segmenter would label them, in the time that it would take."""
    for block in in_blocks(live):
        live.until(live.time + live.work * len(block))
        labels = np.zeros(block.shape[:3], np.uint8)
        labels[:, 0, 0] = 1 + (live.time > 1800)
        yield block, labels


def simulated_run(out, seconds, work, fps, stretch, on_block=lambda done: None):
    live = Simulated(seconds, work, fps=fps)
    source = LiveSource("yard", Fraction(fps), 2, 3, iter(()))
    scores = {1: 0.5, 2: 0.25}

    def run(frames, objects):
        return {"video": {"source": None, "frames": frames}, "settings": {}, "objects": objects}

    done = write_live(labelled(live), live, source, out, scores, run, stretch, on_block)
    return live, done


def test_a_result_a_stretch_with_frames_at_their_time(tmp_path):
    newest = []
    live, done = simulated_run(
        tmp_path / "out",
        40,
        0.2,
        5,
        20.0,
        lambda _: newest.append((tmp_path / "out" / NEWEST).stat()),
    )
    assert newest and not (tmp_path / "out" / NEWEST).exists()
    assert (done.came, done.dropped) == (200, live.dropped) and 0 <= done.dropped < 200
    live, done = simulated_run(tmp_path / "slow", 40, 0.5, 5, 20.0)
    assert done.dropped > 0 and done.frames == 200 - done.dropped and done.ids == {1}
    folders = sorted((tmp_path / "slow").iterdir())
    assert folders == done.results and folders[0].name == "00-00-00" and len(folders) == 2
    missing = 0
    for folder in folders:
        run = json.loads((folder / "run.json").read_text())
        names = sorted(p.stem for p in (folder / "masks").iterdir())
        assert int(names[0]) == run["live"]["first_frame"] and len(names) == run["video"]["frames"]
        missing += run["live"]["dropped"]
        assert 0 < run["live"]["delay_s"]["mean"] <= run["live"]["delay_s"]["most"] < 8
        with av.open(str(folder / "overlay.mp4")) as movie:
            times = [frame.time for frame in movie.decode(video=0)]
        assert times == pytest.approx([(int(n) - int(names[0])) / 5 for n in names])
        assert export(open_result(folder), folder.with_suffix(".csv"), "csv").is_file()
    assert 0 < missing <= done.dropped


def test_no_result_takes_the_place_of_another(tmp_path):
    for fps, stretch in ((Fraction(254, 10), 1.0), (10, 1.25)):
        out = tmp_path / str(stretch)
        _, done = simulated_run(out, 12, 0.01, fps, stretch)
        assert len(done.results) == len(set(done.results)) > 5
        frames = [json.loads((p / "run.json").read_text())["video"]["frames"] for p in done.results]
        assert sum(frames) == done.frames
    with pytest.raises(InputError, match=r"stretch: expected at least 1 s, got 0\.5"):
        simulated_run(tmp_path / "none", 5, 0.1, 10, 0.5)


@pytest.mark.slow
def test_ten_hours_hold_no_more_than_one_stretch(tmp_path, monkeypatch):
    """What is held of frames is held by a writer or by what waits."""
    made, most = [], 0
    writer = live_writing._writer

    def counted(*arguments):
        made.append(weakref.ref(new := writer(*arguments)))
        return new

    def look(done):
        nonlocal most
        most = max(most, sum(one() is not None for one in made))

    monkeypatch.setattr(live_writing, "_writer", counted)
    live, done = simulated_run(tmp_path / "out", 36_000, 60.0, 1, 1800.0, look)
    assert done.came == 36_000 and len(made) == len(done.results) == 20 and most <= 2
    assert len(live._waiting) + len(live._out) == 0
    assert done.frames == 36_000 - done.dropped and done.frames > 500
    assert done.delays.most <= 2 * 8 + 8 * 60.0 + 1e-6


def test_an_error_leaves_the_stretches_before_it(tmp_path):
    with pytest.raises(ZeroDivisionError):
        simulated_run(tmp_path / "out", 60, 0.1, 5, 20.0, lambda done: 1 / (done.frames < 130))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["00-00-00"]
    with pytest.raises(ZeroDivisionError):
        simulated_run(tmp_path / "none", 60, 0.5, 5, 20.0, lambda done: 1 / 0)
    assert not (tmp_path / "none").exists()


def test_at_the_shell(dog_mp4, tmp_path, tiny_backbone, at_once, capsys):
    out = tmp_path / "out"
    call = ["segment", str(dog_mp4), "-o", str(out), "--live", "--speed", "balanced"]
    call += ["--backbone", tiny_backbone, "--size", "32"]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "1 folder, the first is" in said and "s in the mean" in said and "dropped" in said
    run = json.loads((out / "00-00-00" / "run.json").read_text())
    assert run["settings"]["speed"] == "balanced" and run["video"]["source"] is None
    assert run["live"]["dropped"] + run["video"]["frames"] <= 24
    assert main(call) == 2
    assert "not empty: choose another folder" in capsys.readouterr().err


def test_ctrl_c_ends_it_whole(dog_mp4, tmp_path, tiny_backbone, monkeypatch, capsys):
    def camera():
        while True:
            time.sleep(0.002)
            yield np.zeros((16, 16, 3), np.uint8)

    endless = LiveSource("yard", Fraction(5), 16, 16, camera())

    @contextmanager
    def open_endless(*_, **__):
        yield endless

    monkeypatch.setattr(live_source, "open_live", open_endless)
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(live_writing, "_show", once(lambda: signal.raise_signal(signal.SIGINT)))
    call = [
        "segment",
        "camera:0",
        "-o",
        str(tmp_path / "out"),
        "--live",
        "--backbone",
        tiny_backbone,
    ]
    assert main([*call, "--size", "16"]) == 0
    assert signal.getsignal(signal.SIGINT) == before
    assert all((p / "run.json").is_file() for p in (tmp_path / "out").iterdir())
    assert "the first is" in capsys.readouterr().out


def once(do):
    left = [do]
    return lambda *_: left.pop()() if left else None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--live", "--jobs", "2"], "--jobs means nothing with --live"),
        (["--live", "--again"], "--again means nothing with --live"),
        (["--live", "--stretch", "0"], "--stretch: expected at least 1 second, got 0"),
        (["--live", "--stretch", "0.5"], "--stretch: expected at least 1 second, got 0.5"),
        (["b.mp4", "--live"], "--live is for one source"),
        (["--stretch", "5"], "--stretch is for --live"),
        (["--live", "--mode", "kmeans"], "a live source needs fast mode"),
    ],
)
def test_what_means_nothing_there_is_said(dog_mp4, tmp_path, tiny_backbone, options, said, capsys):
    call = ["segment", str(dog_mp4), *options, "-o", str(tmp_path / "out")]
    assert main([*call, "--backbone", tiny_backbone, "--size", "16"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_benchmark_plays_a_sequence_to_and_fro_at_its_pace():
    pictures = np.stack([numbered(i) for i in range(3)])
    times, frames = zip(*benchmark("live").to_and_fro(pictures, 5, 1.2), strict=True)
    assert times == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 1, 2, 1, 0, 1]
