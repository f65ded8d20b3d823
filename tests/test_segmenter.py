"""The stages together, on a tiny random backbone: shapes, files and promises, not quality."""

import base64
import hashlib
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import unveil
from unveil.attention.block import Block
from unveil.attention.block_file import calibrated_tau, save_block, shipped_block
from unveil.cli.segment import say
from unveil.errors import InputError, WeightsError
from unveil.fast.state import State
from unveil.segmentation import refine
from unveil.segmentation.first_pass import rank
from unveil.segmentation.recut import recut
from unveil.segmentation.segmenter import Segmenter
from unveil.synthetic.render import render
from unveil.types import Clusters, Features

MODES = ["fast", "paper"]


@pytest.fixture(scope="module")
def options(tiny_backbone) -> dict:
    small = {"backbone": tiny_backbone, "size": 16, "precision": "fp32", "chunk": 3}
    return {**small, "attention": "cosine"}


@pytest.fixture(scope="module")
def segmenters(options) -> dict[str, Segmenter]:
    return {mode: Segmenter(mode=mode, **options) for mode in MODES}


def clip(t: int = 5, h: int = 17, w: int = 23) -> np.ndarray:
    """A bright square that walks over dark noise."""
    frames = np.random.default_rng(0).integers(0, 60, (t, h, w, 3), dtype=np.uint8)
    for i in range(t):
        frames[i, 4:12, (2 + 2 * i) % w : (2 + 2 * i) % w + 8] = 230
    return frames


def digests(folder) -> dict[str, str]:
    """A digest of every file of a result but run.json, which tells seconds."""
    files = [p for p in folder.rglob("*") if p.is_file() and p.name != "run.json"]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("t", [1, 2, 3, 7, 11])
def test_any_number_of_frames_keeps_its_size(segmenters, t, mode):
    got = segmenters[mode](clip(t))
    assert got.labels.shape == (t, 17, 23)
    assert set(np.unique(got.labels)) <= {0, *got.ids}
    assert len(got) >= 1
    assert all(0 <= got.scores[i] <= 1 for i in got.ids)
    assert got.frames.shape == (t, 17, 23, 3)
    assert (got.state is not None) == (mode == "fast")
    if mode == "paper":
        assert got.labels.min() >= 1  # it has no background


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_the_chunk_size_changes_nothing(segmenters, mode):
    a, b = segmenters[mode], Segmenter(segmenters[mode].settings, chunk=11)
    np.testing.assert_array_equal(a(clip(19)).labels, b(clip(19)).labels)


@pytest.mark.parametrize("mode", MODES)
def test_streaming_to_a_folder_equals_saving_what_is_in_memory(segmenters, tmp_path, mode):
    segmenter = segmenters[mode]
    run = segmenter.segment_to(clip(), tmp_path / "a")
    segmenter(clip()).save(tmp_path / "b")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    names = {"overlay.mp4", "objects.json", "contact.png", "masks/00000.png", "masks/00004.png"}
    assert names | ({"state.npz"} if mode == "fast" else set()) <= set(digests(tmp_path / "a"))
    written = json.loads((tmp_path / "a" / "run.json").read_text())
    assert written["video"]["frames"] == run["video"]["frames"] == 5
    assert written["settings"] == segmenter.settings.plain()
    assert {"decode", "backbone", "clustering", "refine", "write"} <= set(written["seconds"])
    assert written["peak_memory_mb"] > 0
    assert ("state.npz" in written["output"]["files"]) == (mode == "fast")


def test_the_same_input_gives_the_same_bytes(options, tmp_path):
    for name in "ab":
        Segmenter(seed=5, **options).segment_to(clip(11), tmp_path / name)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


@pytest.mark.parametrize(("mode", "stage"), [("fast", "sharpen"), ("paper", "nearest")])
def test_an_error_half_way_leaves_no_folder(segmenters, tmp_path, monkeypatch, mode, stage):
    def broken(*args):
        raise RuntimeError("stage failed")

    monkeypatch.setattr(f"unveil.segmentation.refine.{stage}", broken)
    with pytest.raises(RuntimeError, match="stage failed"):
        segmenters[mode].segment_to(clip(), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", MODES)
def test_progress_reaches_its_end(segmenters, mode):
    seen = {}
    show = lambda stage, done, total: seen.update({stage: (done, total)})  # noqa: E731
    segmenters[mode](clip(), on_progress=show)
    assert seen["backbone"] == (5, 5)
    assert seen["writing"] == (5, 5)
    assert seen["clustering"][0] == seen["clustering"][1]


def test_wishes_reach_the_cut(segmenters, options):
    fast = segmenters["fast"].settings
    whole = Segmenter(fast, keep_background=True, objects=4)(clip())
    assert set(whole.ids) <= {1, 2, 3, 4} and len(whole) > 2
    sure = Segmenter(fast, keep_background=True, min_score=0.6)(clip())
    assert sure.scores == {id: s for id, s in whole.scores.items() if s >= 0.6} != whole.scores
    assert len(Segmenter(fast, objects=2)(clip())) <= 2
    cuts = [Segmenter(fast, keep_background=True, granularity=g) for g in (0.0, 1.0)]
    coarse, fine = (len(cut(clip())) for cut in cuts)
    assert coarse <= 2 < fine  # the foreground and the background


def test_a_segmentation_is_cut_anew_as_if_it_had_been_cut_so(segmenters):
    segmenter = segmenters["fast"]
    anew = segmenter(clip()).recut(objects=3, keep_background=True)
    straight = Segmenter(segmenter.settings, objects=3, keep_background=True)(clip())
    np.testing.assert_array_equal(anew.labels, straight.labels)
    assert anew.scores == straight.scores
    assert anew.run["settings"] == straight.run["settings"]
    with pytest.raises(InputError, match="either objects or granularity"):
        anew.recut(objects=3, granularity=0.5)
    with pytest.raises(InputError, match="only fast mode keeps one"):
        segmenters["paper"](clip()).recut(objects=3)


def stream(segmenter: Segmenter, feed: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """All frames and labels of a stream, and how many frames had waited at most for theirs."""
    given = 0

    def camera():
        nonlocal given
        for some in feed:
            given += 1 if some.ndim == 3 else len(some)
            yield some

    shown, labels, late = [], [], 0
    for frames, ids in segmenter.stream(camera()):
        late = max(late, given - sum(map(len, shown)) - 1)
        shown.append(frames)
        labels.append(ids)
    return np.concatenate(shown), np.concatenate(labels), late


@pytest.mark.slow
def test_a_stream_labels_every_frame_in_time_however_it_comes(segmenters):
    video = clip(45)
    segmenter = Segmenter(segmenters["fast"].settings, keep_background=True)
    shown, labels, late = stream(segmenter, list(video))
    np.testing.assert_array_equal(shown, video)
    assert labels.shape == (45, 17, 23) and labels.min() >= 1
    assert late <= 23
    _, other, _ = stream(segmenter, [video[:1], video[1:20], *video[20:26], video[26:]])
    np.testing.assert_array_equal(labels, other)


def test_a_camera_may_use_its_buffer_again(segmenters):
    video = clip(19)

    def camera():
        buffer = np.empty_like(video[0])
        for frame in video:
            buffer[:] = frame
            yield buffer

    shown = [frames for frames, _ in segmenters["fast"].stream(camera())]
    np.testing.assert_array_equal(np.concatenate(shown), video)


def test_objects_of_a_synthetic_stream_keep_their_ids(default_backbone):
    clip = render(seed=0, frames=40, objects=2)
    segmenter = Segmenter(backbone=default_backbone, size=168)
    _, labels, late = stream(segmenter, list(clip.frames))
    assert late <= 23
    both, either = (labels > 0) & (clip.labels > 0), (labels > 0) | (clip.labels > 0)
    assert both.sum() / either.sum() > 0.7
    for i in (1, 2):
        seen = [x[y == i] for x, y in zip(labels, clip.labels, strict=True) if (y == i).any()]
        names = {int(np.bincount(ids).argmax()) for ids in seen}
        assert len(names) == 1 and names != {0}


def test_a_stream_goes_on_for_ever(segmenters):
    def endless():
        while True:
            yield from clip(8)

    steps = zip(range(5), segmenters["fast"].stream(endless()), strict=False)
    assert sum(len(frames) for _, (frames, _) in steps) >= 5 * 8


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        ([np.zeros((4, 5), np.uint8)], "expected uint8"),
        ([np.zeros((4, 5, 3))], "expected uint8"),
        ([np.zeros((0, 0, 3), np.uint8)], r"of at least one pixel, got uint8 \[0, 0, 3\]"),
        ([np.zeros((4, 5, 4), np.uint8)], r"expected uint8 \[H, W, 3\] .*, got uint8 \[4, 5, 4\]"),
        (["frame.png"], "expected uint8 .*, got str"),
        ([*clip(8), clip(1, 18)[0]], r"expected \[17, 23, 3\], got \[18, 23, 3\]"),
    ],
)
def test_a_stream_of_something_else(untyped, segmenters, feed, said):
    with pytest.raises(InputError, match=said):
        list(segmenters["fast"].stream(feed))


def test_paper_mode_cannot_stream(segmenters):
    with pytest.raises(InputError, match="needs the whole video at once"):
        segmenters["paper"].stream(clip())


def test_ids_go_by_saliency_and_skip_empty_clusters():
    labels = torch.tensor([[[0, 0, 2], [2, 3, 3]]])
    saliency = torch.tensor([[[0.1, 0.1, 0.3], [0.3, 0.1, 0.1]]])
    features = Features(torch.zeros(1, 2, 3, 4), 14, saliency)
    found = rank(Clusters(labels, torch.zeros(4, 5)), features)
    assert found.ids.tolist() == [[[2, 2, 1], [1, 3, 3]]]
    assert found.ids.dtype == np.uint8
    assert found.scores == {1: 0.6429, 2: 0.375, 3: 0.375}


def test_more_than_255_clusters_need_two_bytes():
    labels = torch.arange(300).reshape(1, 15, 20)
    features = Features(torch.zeros(1, 15, 20, 4), 14, torch.full((1, 15, 20), 1 / 300))
    found = rank(Clusters(labels, torch.zeros(300, 5)), features)
    assert found.ids.dtype == np.uint16
    assert len(found.scores) == 300


def test_the_one_call(tiny_backbone):
    got = unveil.segment(clip(), backbone=tiny_backbone, size=16, stride=2)
    assert len(got.labels) == 3
    assert isinstance(got.state, State)
    first = next(iter(got))
    assert first.masks.dtype == bool
    np.testing.assert_array_equal(first.masks, got[first.id].masks)
    np.testing.assert_array_equal(first.masks, got.masks(first.id))
    assert got[first.id].score == first.score
    assert got.overlay().shape == got.frames.shape
    with pytest.raises(InputError, match="no object 99"):
        got[99]


def test_one_count_of_objects_everywhere(segmenters, tmp_path, monkeypatch, capsys):
    """What is found but keeps no pixel at full resolution is counted nowhere."""
    segmenter = Segmenter(segmenters["fast"].settings, objects=4, keep_background=True)
    real, shown = refine.labels, segmenter(clip()).ids
    left = len(shown) - 1

    def labels(*found):
        got = real(*found)
        return np.where(got == shown[-1], shown[0], got)

    monkeypatch.setattr(refine, "labels", labels)
    run = segmenter.segment_to(clip(), tmp_path / "a")
    kept = json.loads((tmp_path / "a/run.json").read_text())
    listed = json.loads((tmp_path / "a/objects.json").read_text())["annotations"]
    found = segmenter(clip())
    say("clip", tmp_path / "a", run)
    assert f"clip: {left} object" in capsys.readouterr().out
    assert run["objects"] == kept["objects"] == kept["output"]["objects"] == len(listed) == left
    assert len(found) == len(list(found)) == found.run["objects"] == left
    again = found.recut(objects=4, keep_background=True)
    assert again.run["objects"] == len(again) == left
    (tmp_path / "in").mkdir()
    for i, frame in enumerate(clip()):
        Image.fromarray(frame).save(tmp_path / f"in/{i}.png")
    more = {"objects": 4, "keep_background": True, "source": tmp_path / "in"}
    assert recut(tmp_path / "a", **more)["objects"] == left


def test_weights_that_are_missing_are_said(options):
    with pytest.raises(WeightsError, match="no block was trained for backbone"):
        Segmenter(**(options | {"attention": "block"}))


def test_a_calibrated_tau_is_that_of_the_block_in_use(options, default_backbone, tmp_path):
    own = {**options, "attention": "block", "mode": "paper", "block": tmp_path / "b"}
    torch.manual_seed(0)
    save_block(Block(16, 2), tmp_path / "b", backbone=options["backbone"], scale=0.001)
    got, published = (Segmenter(**own, tau=tau)(clip()) for tau in ("calibrated", None))
    assert got.run["settings"]["tau"] == calibrated_tau(tmp_path / "b")
    assert published.run["settings"]["tau"] == 1.0
    assert len(published) < len(got)
    shipped = Segmenter(backbone=default_backbone, mode="paper", tau="calibrated")
    assert shipped.settings.tau == calibrated_tau(shipped_block(default_backbone))
    save_block(Block(16, 2), tmp_path / "b", backbone=options["backbone"])
    with pytest.raises(WeightsError, match="no scale of its rows; give tau yourself"):
        Segmenter(**own, tau="calibrated")


def test_a_segmentation_says_in_a_few_lines_what_it_is():
    labels = np.zeros((5, 17, 23), np.uint8)
    labels[1:3, 4:12, 2:10], labels[2:, 0, 0] = 3, 7
    found = unveil.Segmentation(labels, {3: 0.912, 7: 0.5}, name="<dog>", frames=clip(5))
    assert repr(found).splitlines() == [
        "Segmentation of <dog>: 2 objects in 5 frames of 23x17, frames kept",
        "    3  score 0.91",
        "    7  score 0.50",
    ]
    assert next(repr(x) for x in found) == "Object 3: score 0.91, in frames 1 … 2"
    many = unveil.Segmentation(labels, {i: 0.5 for i in range(1, 31)})
    assert len(repr(many).splitlines()) == 12 and repr(many).endswith("… and 20 more")


def test_a_notebook_shows_frames_over_their_objects():
    labels = np.zeros((5, 17, 23), np.uint8)
    labels[1:3, 4:12, 2:10] = 3
    shown = unveil.Segmentation(labels, {3: 0.9}, name="<dog>", frames=clip(5))._repr_html_()
    assert "<dog>" not in shown and "&lt;dog&gt;" in shown
    data = base64.b64decode(re.search(r'src="data:image/jpeg;base64,([^"]+)"', shown)[1])
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG" and picture.width >= 5 * 23
    assert unveil.Segmentation(labels, {3: 0.9})._repr_html_().startswith("<pre>Segmentation of")
