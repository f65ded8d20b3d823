"""Masks of any method, in every form, and what is said of those that cannot be scored."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from unveil.errors import DataError
from unveil.evaluate.predictions import fingerprint, locate, read_prediction
from unveil.metrics import PROTOCOLS, Measured
from unveil.segmentation.segmentation import Segmentation
from unveil.synthetic.layouts import write_masks

NAMES = ("00000", "00001", "00002")


@pytest.fixture
def labels() -> np.ndarray:
    """Three frames of 11x13 with objects 1, 2 and 5; 2 comes late."""
    labels = np.zeros((3, 11, 13), np.uint8)
    labels[:, 1:4, 2:6] = 1
    labels[1:, 5:9, 7:12] = 2
    labels[:, 9:, :3] = 5
    return labels


def read(root, names=NAMES, size=(11, 13)):
    return read_prediction(locate(root, "dog"), names, size, "dog")


def objects_of(labels):
    return {(labels == i).tobytes() for i in np.unique(labels) if i}


def write_palette(root, labels):
    write_masks(root / "dog", labels)


def write_unveil(root, labels):
    scores = {1: 0.9, 2: 0.25, 5: 0.5}
    Segmentation(labels, scores, name="dog", frame_names=NAMES).save(root / "dog")


def write_objects(root, labels):
    write_unveil(root, labels)
    shutil.rmtree(root / "dog/masks")


def write_npz(root, labels):
    np.savez_compressed(root / "dog.npz", labels=labels.astype(np.int64))


def write_layers(root, labels):
    masks = np.stack([labels == i for i in (2, 1, 5)])
    np.savez(root / "dog.npz", masks=masks, scores=np.array([0.25, 0.9, 0.5]))


FORMS = [write_palette, write_unveil, write_objects, write_npz, write_layers]


@pytest.mark.parametrize("write", FORMS, ids=lambda f: f.__name__)
def test_every_form_gives_the_same_objects(write, labels, tmp_path):
    write(tmp_path, labels)
    prediction = read(tmp_path)
    assert prediction.labels.shape == labels.shape
    assert objects_of(prediction.labels) == objects_of(labels)
    if write not in (write_palette, write_npz):
        scores = {
            (prediction.labels == i).tobytes(): prediction.scores[i] for i in prediction.scores
        }
        assert scores == {(labels == i).tobytes(): s for i, s in ((1, 0.9), (2, 0.25), (5, 0.5))}
    else:
        assert prediction.scores == {}


def test_where_masks_overlap_the_higher_score_is_seen(tmp_path):
    masks = np.zeros((2, 1, 3, 5), bool)
    masks[0, :, :, :3], masks[1, :, :, 2:] = True, True
    np.savez(tmp_path / "dog.npz", masks=masks, scores=[0.2, 0.7])
    labels = read(tmp_path, names=("a",), size=(3, 5)).labels
    assert labels[0, 0].tolist() == [1, 1, 2, 2, 2]


def test_proposals_that_overlap_keep_their_whole_masks_for_video_ap(tmp_path):
    """The same from arrays and from run lengths: AP sees both, what needs labels the upper one."""
    masks = np.zeros((3, 2, 4, 5), bool)
    masks[0, :, :2], masks[1, :, :, :3], masks[2] = True, True, True
    scores = [0.5, 0.9, 0.7]
    np.savez(tmp_path / "dog.npz", masks=masks, scores=scores)
    (tmp_path / "json").mkdir()
    names = [f"dog/{n}.jpg" for n in NAMES[:2]]
    record = {
        "videos": [{"id": 4, "height": 4, "width": 5, "file_names": names}],
        "annotations": [
            {"video_id": 4, "score": s, "segmentations": [run_lengths(x) for x in track]}
            for s, track in zip(scores, masks, strict=True)
        ],
    }
    (tmp_path / "json/dog.json").write_text(json.dumps(record))
    truth = np.zeros((2, 4, 5), np.uint8)
    truth[:, :2], truth[0, 3, 4] = 1, 255
    for root in (tmp_path, tmp_path / "json"):
        read_back = read(root, names=NAMES[:2], size=(4, 5))
        # Object 1 covers 2 rows of 4: met whole by proposal 1, of which no pixel is on top.
        assert set(np.unique(read_back.labels)) == {2, 3}
        measured = Measured(read_back.labels, truth, read_back.scores, read_back.tracks)
        ids, iou = measured.overlapping
        assert ids.tolist() == [1, 2, 3]
        # Of 20 object pixels; void leaves 39 of the 40 that there are.
        assert iou[:, 0].tolist() == pytest.approx([1, 12 / (24 + 20 - 12), 20 / 39])
        values = PROTOCOLS["video-ap"].score(measured)["values"]
        # By score: proposal 2 misses, 3 hits at IoU 0.5, 1 hits above it.
        assert values["AP50"] == pytest.approx(1 / 2)
        assert values["AP"] == pytest.approx((1 / 2 + 9 * 1 / 3) / 10)
        assert values["AR10"] == 1


def run_lengths(mask):
    """Uncompressed COCO run lengths: column by column, from background on; None for no pixel."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return {"size": list(mask.shape), "counts": runs} if mask.any() else None


def test_more_masks_than_frames_are_fine_and_missing_ones_are_named(labels, tmp_path):
    write_palette(tmp_path, labels)
    assert len(read(tmp_path, names=NAMES[:2]).labels) == 2
    (tmp_path / "dog/00001.png").unlink()
    with pytest.raises(DataError, match=r"dog: 1 of 3 frames have no mask, first 00001.png"):
        read(tmp_path)


def test_a_wrong_size_a_wrong_length_and_nothing_at_all_are_named(labels, tmp_path):
    with pytest.raises(DataError, match=r"no masks of dog .*dog.npz, dog/masks/\*.png"):
        read(tmp_path)
    write_npz(tmp_path, labels)
    with pytest.raises(DataError, match=r"dog.npz: masks of dog are 13x11, the ground truth 13x12"):
        read(tmp_path, size=(12, 13))
    with pytest.raises(DataError, match=r"dog.npz: masks for 3 frames of dog, expected 2"):
        read(tmp_path, names=NAMES[:2])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"labels": np.zeros((3, 11, 13))}, "whole numbers .* got float64"),
        ({"labels": np.zeros((11, 13), int)}, r"whole numbers .* got int64 \[11, 13\]"),
        ({"labels": np.full((3, 11, 13), -1)}, "ids in 0 … 65535, got -1"),
        ({"masks": np.zeros((2, 3, 11, 13), np.float32)}, "masks. bool .* got float32"),
        ({"masks": np.full((2, 3, 11, 13), 2, np.uint8)}, "masks. bool"),
        ({"masks": np.zeros((2, 3, 11, 13), bool), "scores": np.ones(3)}, r"scores. \[2\]"),
        ({"other": np.zeros(3)}, "got other"),
    ],
)
def test_arrays_that_are_no_masks_are_refused(arrays, says, tmp_path):
    np.savez(tmp_path / "dog.npz", **arrays)
    with pytest.raises(DataError, match=rf"dog.npz: .*{says}"):
        read(tmp_path)


def test_broken_files_are_named(labels, tmp_path):
    (tmp_path / "dog.npz").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"dog.npz cannot be read"):
        read(tmp_path)
    (tmp_path / "dog.npz").unlink()
    (tmp_path / "dog.json").write_text("[1")
    with pytest.raises(DataError, match=r"dog.json is not JSON"):
        read(tmp_path)
    (tmp_path / "dog.json").write_text(json.dumps({"videos": []}))
    with pytest.raises(DataError, match=r"dog.json: videos: name: expected one .* got 0 of 0"):
        read(tmp_path)
    write_palette(tmp_path, labels)
    Image.fromarray(labels[0].astype(np.float32)).save(tmp_path / "dog/00000.tif")
    (tmp_path / "dog/00000.png").unlink()
    with pytest.raises(DataError, match=r"00000.tif holds floating point"):
        read(tmp_path)


def test_the_fingerprint_follows_the_files(labels, tmp_path):
    write_unveil(tmp_path, labels)
    place = locate(tmp_path, "dog")
    before = fingerprint(place)
    assert before == fingerprint(place)
    os.utime(tmp_path / "dog/masks/00001.png", (1, 1))
    changed = fingerprint(place)
    os.utime(tmp_path / "dog/objects.json", (1, 1))
    assert len({before, changed, fingerprint(place)}) == 3
