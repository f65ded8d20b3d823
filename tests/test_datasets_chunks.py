"""Videos in chunks of a few frames, cut to the square in their middle: read, segmented, scored."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch.nn.functional import interpolate

from unveil.batch.workers import Workers
from unveil.cli import main
from unveil.cli.evaluate import Evaluate
from unveil.datasets import in_chunks, open_dataset
from unveil.datasets.chunks import nearest, square
from unveil.errors import DataError
from unveil.evaluate.scoring import find, read
from unveil.metrics import PROTOCOLS, Measured
from unveil.synthetic.layouts import write_masks

HERE = Workers(jobs=1)
LENGTH, HEIGHT, WIDTH = 8, 22, 35


def discs(objects: int, frames: range, seed: int) -> np.ndarray:
    """Masks of moving squares, bool [objects, T, H, W], none where they are not in `frames`."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((objects, LENGTH, HEIGHT, WIDTH), bool)
    for i, mask in enumerate(masks):
        top, left = rng.integers(2, 8), 4 + 12 * i
        for t in frames:
            mask[t, top : top + 9, left + t // 2 : left + t // 2 + 8] = True
    return masks


@pytest.fixture
def root(tmp_path) -> Path:
    """YouTube-VIS with two videos of eight frames; the second shows its object from frame 4 on."""
    videos, annotations = [], []
    masks = {"a": discs(2, range(LENGTH), 0), "b": discs(1, range(4, LENGTH), 1)}
    for number, (name, objects) in enumerate(masks.items(), 1):
        files = [f"{name}/{5 * t:05d}.jpg" for t in range(LENGTH)]
        about = {"height": HEIGHT, "width": WIDTH, "length": LENGTH}
        videos.append({"id": number, "file_names": files, **about})
        for t, file in enumerate(files):
            picture = tmp_path / "data/train/JPEGImages" / file
            picture.parent.mkdir(parents=True, exist_ok=True)
            shades = np.where(objects.any(0)[t], 200, 40 + 5 * t).astype(np.uint8)
            Image.fromarray(np.repeat(shades[..., None], 3, 2)).save(picture, quality=95)
        for mask in objects:
            runs = [coco.encode(np.asfortranarray(x)) if x.any() else None for x in mask]
            said = [r and {"size": r["size"], "counts": r["counts"].decode()} for r in runs]
            own = {"id": len(annotations) + 1, "video_id": number, "category_id": 1}
            annotations.append({**own, "iscrowd": 0, "segmentations": said})
    truth = {"videos": videos, "annotations": annotations, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "data/train.json").write_text(json.dumps(truth))
    return tmp_path / "data"


def theirs(stack: np.ndarray, chunk: int, side: int) -> list[np.ndarray]:
    """The chunks of masks [T, H, W], as VideoSAUR cuts and scales them."""
    found = []
    for start in range(0, len(stack) - chunk + 1, chunk):
        x = torch.from_numpy(stack[start : start + chunk].astype(np.uint8))[:, None]
        h, w = x.shape[-2:]
        least = min(h, w)
        top, left = round((h - least) / 2.0), round((w - least) / 2.0)
        x = x[..., top : top + least, left : left + least]
        found.append(interpolate(x, size=(side, side), mode="nearest-exact")[:, 0].numpy())
    return found


@pytest.mark.parametrize(("chunk", "side"), [(3, 13), (4, 22), (6, 40)])
def test_chunks_are_those_of_the_published_evaluation(root, chunk, side):
    whole = open_dataset("ytvis2021", root)
    found = in_chunks(whole, chunk, side)
    count = LENGTH // chunk
    assert [s.name for s in found.sequences] == [f"{v}_{i}" for v in "ab" for i in range(count)]
    assert found.split.endswith(
        f"chunks of {chunk} frames, the square in the middle at {side}x{side} px"
    )
    for video, first in zip(whole.sequences, (0, count), strict=True):
        want = theirs(video.truth(), chunk, side)
        for i, sequence in enumerate(found.sequences[first : first + count]):
            assert np.array_equal(sequence.truth(), want[i])
            names = video.frame_names()[chunk * i : chunk * (i + 1)]
            assert sequence.frame_names() == names == tuple(p.stem for p in sequence.frame_files())
            frames = sequence.frames()
            assert frames.shape == (chunk, side, side, 3) and frames.dtype == np.uint8
            shown = sequence.truth() > 0  # objects are bright; blurred at their rims
            if shown.any():
                assert frames[shown].mean() > 160 and frames[~shown].mean() < 100


def test_what_is_not_asked_for_stays_as_it_is(root):
    whole = open_dataset("ytvis2021", root).sequences[0]
    (chunk, *_) = in_chunks(open_dataset("ytvis2021", root), count=5).sequences
    assert chunk.name == "a_0" and np.array_equal(chunk.truth(), whole.truth()[:5])
    assert np.array_equal(chunk.frames(), whole.frames()[:5])
    (crop, _) = in_chunks(open_dataset("ytvis2021", root), side=HEIGHT).sequences
    assert crop.name == "a" and np.array_equal(crop.truth(), square(whole.truth()))
    assert np.array_equal(crop.frames(), whole.frames()[:, :, 6 : 6 + HEIGHT])


@pytest.mark.parametrize(("size", "side"), [(320, 224), (720, 224), (7, 5), (5, 11), (480, 479)])
def test_the_nearest_pixel_is_that_of_pytorch(size, side):
    grid = np.arange(size * size, dtype=np.int32).reshape(1, size, size)
    want = interpolate(
        torch.from_numpy(grid)[None].double(), size=(side, side), mode="nearest-exact"
    )
    assert np.array_equal(nearest(grid, side), want[0].numpy().astype(np.int32))


def test_chunks_that_make_no_sense(root):
    whole = open_dataset("ytvis2021", root)
    for wrong, said in (
        ({"count": 0}, "frames of a chunk: expected at least 1, got 0"),
        ({"side": -1}, "px of a square: expected at least 1, got -1"),
        ({"count": LENGTH + 1}, "2 videos shorter than that left out"),
    ):
        with pytest.raises(DataError, match=said):
            in_chunks(whole, **wrong)


def scored(command: Evaluate, code: int = 0) -> dict:
    assert command.run() == code
    return json.loads(command.json.read_text())


@pytest.mark.slow
def test_masks_of_whole_videos_are_cut_like_the_truth(root, tmp_path, capsys):
    masks, whole = tmp_path / "masks", open_dataset("ytvis2021", root)
    masks.mkdir()
    for s in whole.sequences:
        np.savez(masks / f"{s.name}.npz", labels=np.roll(s.truth(), 2, axis=2))
    command = Evaluate(
        "ytvis2021", root, masks, out=tmp_path / "out", json=tmp_path / "o.json", workers=HERE,
        in_chunks=4, crop=15,
    )  # fmt: skip
    record = scored(command)
    records = []
    for s in whole.sequences:
        pairs = theirs(np.roll(s.truth(), 2, axis=2), 4, 15), theirs(s.truth(), 4, 15)
        for labels, truth in zip(*pairs, strict=True):
            if truth.any():  # as there, chunks without an object do not count
                records.append(PROTOCOLS["videosaur"].score(Measured(labels, truth)))
    assert len(records) == 3 and record["empty"] == ["b_0"] and not record["failures"]
    want = PROTOCOLS["videosaur"].mean(records)
    assert record["protocols"]["videosaur"]["mean"] == pytest.approx(want, abs=1e-12)
    assert 0.3 < want["mBO"] < 0.95
    assert "on 3 of 4 sequences, 1 without an object" in capsys.readouterr().out
    assert "1 without an object" in (tmp_path / "out/results.md").read_text()
    assert "1 without an object" in (tmp_path / "out/index.html").read_text()
    assert scored(command) == record


def test_masks_of_chunks_are_taken_before_those_of_whole_videos(root, tmp_path):
    whole = open_dataset("ytvis2021", root)
    chunks = in_chunks(whole, 4, 15).sequences
    for s in (*whole.sequences, chunks[1]):
        truth = s.truth()
        np.savez(tmp_path / f"{s.name}.npz", labels=truth if s is chunks[1] else 0 * truth)
    for chunk, own in zip(chunks, (False, True, False, False), strict=True):
        truth, prediction = read(chunk, *find(chunk, tmp_path))
        assert prediction.labels.shape == truth.shape == (4, 15, 15)
        assert prediction.labels.any() == own
    with pytest.raises(DataError, match="no masks of a in"):
        find(chunks[0], tmp_path / "a")


def test_masks_of_whole_videos_are_cut_where_all_of_a_video_is_one_chunk(root, tmp_path):
    whole = open_dataset("ytvis2021", root)
    chunk = in_chunks(whole, None, 15).sequences[0]
    np.savez(tmp_path / "a.npz", labels=chunk.whole.truth())
    for expected in (chunk.whole.truth().shape, (LENGTH, 15, 15)):
        with np.load(tmp_path / "a.npz") as given:
            assert given["labels"].shape == expected
        truth, prediction = read(chunk, *find(chunk, tmp_path))
        assert np.array_equal(prediction.labels, truth) and truth.shape == (LENGTH, 15, 15)
        np.savez(tmp_path / "a.npz", labels=truth)  # then those of the chunk
    np.savez(tmp_path / "a.npz", labels=np.zeros((LENGTH - 1, 15, 15), np.uint8))
    with pytest.raises(DataError, match=f"masks for {LENGTH - 1} frames of a, expected {LENGTH}"):
        read(chunk, *find(chunk, tmp_path))
    np.savez(tmp_path / "a.npz", labels=np.zeros((LENGTH, 7, 9), np.uint8))
    with pytest.raises(DataError, match="masks of a are 9x7, the ground truth 35x22"):
        read(chunk, *find(chunk, tmp_path))


def test_a_proposal_that_a_chunk_shows_nothing_of_is_none_of_its_own(root, tmp_path):
    """Else it would be a false positive there, which masks as pictures do not have."""
    whole = open_dataset("ytvis2021", root)
    for s in whole.sequences:
        early = s.truth() == 1
        early[4:] = False  # wrong of a video whose object goes on, right of none
        masks = np.stack([*(s.truth() == i for i in np.unique(s.truth()) if i), early])
        np.savez(tmp_path / f"{s.name}.npz", masks=masks)
    for chunk, count in zip(in_chunks(whole, 4, 15).sequences, (3, 2, 0, 1), strict=True):
        truth, prediction = read(chunk, *find(chunk, tmp_path))
        assert len(prediction.tracks) == count, chunk.name
        if truth.any():
            assert len(Measured(prediction.labels, truth, {}, prediction.tracks).overlapping[0])


def test_a_chunk_called_like_a_video_is_refused(root):
    whole = open_dataset("ytvis2021", root)
    a, b = whole.sequences
    named = replace(whole, sequences=(a, replace(b, name="a_1")))
    assert len(in_chunks(named, LENGTH).sequences) == 2, "a_0 alone"
    with pytest.raises(DataError, match="a_1 is a video, and chunk 1 of a would be called so too"):
        in_chunks(named, 4)


def test_a_video_that_cannot_be_read_does_not_end_the_others(tmp_path, capsys):
    for name in ("cat", "dog"):
        write_masks(tmp_path / "masks" / name, np.pad(np.ones((4, 6, 6), np.uint8), 2)[2:-2])
        write_masks(tmp_path / "theirs" / name, np.pad(np.ones((4, 6, 6), np.uint8), 2)[2:-2])
    (tmp_path / "frames").mkdir()
    shutil.rmtree(tmp_path / "masks" / "cat")
    (tmp_path / "masks" / "cat").mkdir()
    command = Evaluate(
        "folder", tmp_path, tmp_path / "theirs", json=tmp_path / "o.json", workers=HERE,
        protocol="miou", in_chunks=2,
    )  # fmt: skip
    record = scored(command, code=1)
    assert [f["sequence"] for f in record["failures"]] == ["cat"]
    assert record["protocols"]["miou"]["mean"]["mIoU"] == 1
    assert "cat: a sequence without ground truth" in capsys.readouterr().err


def test_a_list_of_results_of_whole_videos_keeps_what_overlaps(root, tmp_path):
    truth = json.loads((root / "train.json").read_text())
    kept = ("video_id", "segmentations")
    results = [{"score": 0.5, **{k: a[k] for k in kept}} for a in truth["annotations"]]
    masks = tmp_path / "theirs"
    masks.mkdir()
    (masks / "results.json").write_text(json.dumps([*results, results[0]]))
    command = Evaluate(
        "ytvis2021", root, masks, json=tmp_path / "o.json", workers=HERE, in_chunks=4, crop=15
    )
    record = scored(command)
    rows = record["protocols"]["video-ap"]["rows"]
    assert [len(r["detail"]["scores"]) for r in rows] == [3, 3, 1]
    assert [max(map(max, r["detail"]["iou"])) for r in rows] == [1, 1, 1]
    assert record["protocols"]["videosaur"]["mean"]["FG-ARI"] == pytest.approx(1)


@pytest.mark.slow
def test_chunks_are_segmented_each_on_its_own(root, tiny_backbone, tmp_path):
    out = tmp_path / "out"
    line = ["evaluate", "ytvis2021", "--root", str(root), "--out", str(out)]
    line += ["--mode", "kmeans", "--objects", "3", "--backbone", tiny_backbone, "--size", "24"]
    assert main([*line, "--in-chunks", "4", "--crop", "24"]) == 0
    record = json.loads((out / "results.json").read_text())
    assert not record["failures"] and record["empty"] == ["b_0"]
    assert record["dataset"]["sequences"] == ["a_0", "a_1", "b_0", "b_1"]
    with Image.open(out / "predictions/a_1/masks/00020.png") as mask:
        assert mask.size == (24, 24)
    assert main(line) == 0  # whole videos beside them, under names of their own
    record = json.loads((out / "results.json").read_text())
    assert record["dataset"]["sequences"] == ["a", "b"] and record["empty"] == []
