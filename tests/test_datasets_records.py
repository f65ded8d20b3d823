"""Records of others are checked before they are believed: what is wrong is named, in one form."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from unveil.datasets import check_dataset, open_dataset
from unveil.datasets.records import Source, read_tracks, read_videos
from unveil.datasets.run_lengths import checked_run_lengths
from unveil.errors import DataError
from unveil.evaluate.predictions import locate, read_prediction
from unveil.synthetic.layouts import write_masks
from unveil.text import read_json, read_text

H, W, T = 5, 7, 3
FORM = re.compile(
    r"^(?P<file>\S+): (?P<record>.+?): (?P<field>.+?): expected .+, got .+; .+$", re.S
)


def run_lengths(mask: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


def mask() -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[1:3, 2:4] = True
    return mask


def content() -> dict:
    """Two videos of three frames, an object in each, absent in the middle frame."""
    names = [[f"v{i}/{t:05d}.jpg" for t in range(T)] for i in (1, 2)]
    size = {"height": H, "width": W}
    segmentations = [run_lengths(mask()), None, run_lengths(mask())]
    return {
        "videos": [{"id": i, **size, "file_names": n} for i, n in enumerate(names, 1)],
        "annotations": [
            {"id": i, "video_id": i, "category_id": 1, "segmentations": list(segmentations)}
            for i in (1, 2)
        ],
    }


def write(root, changed: dict, name: str = "train.json"):
    root.mkdir(exist_ok=True)
    (root / name).write_text(json.dumps(changed))
    return root


def truth(root) -> np.ndarray:
    return open_dataset("ytvis2019", root).sequences[0].truth()


def test_records_that_are_right_are_read(tmp_path):
    expected = np.stack([mask(), np.zeros((H, W), bool), mask()])
    assert np.array_equal(truth(write(tmp_path / "a", content())), expected)


def of_annotation(**changes):
    return lambda c: c["annotations"][0].update(changes)


def without(part: str, field: str):
    return lambda c: c[part][0].pop(field)


def of_segmentation(value):
    def change(c):
        c["annotations"][0]["segmentations"][2] = value

    return change


WRONG = {
    "video ids twice": (lambda c: c["videos"][1].update(id=1), r"videos\[1\] .*id: .*1 again"),
    "names twice": (
        lambda c: c["videos"][1].update(file_names=[f"v1/{t:05d}.jpg" for t in range(T)]),
        r"file_names: .*'v1' again, as in videos\[0\]",
    ),
    "annotation ids twice": (lambda c: c["annotations"][1].update(id=1), "1 again"),
    "frames named alike": (
        lambda c: c["videos"][0]["file_names"].__setitem__(1, "v1/00000.png"),
        r"file_names\[1\]: .*'00000' again",
    ),
    "a video id as text": (of_annotation(video_id="1"), r"video_id: .*whole number, got '1'"),
    "an id as text": (lambda c: c["videos"][0].update(id="1"), r"id: .*whole number.*got '1'"),
    "an id that is true": (lambda c: c["videos"][0].update(id=True), "got True"),
    "a video that is not there": (of_annotation(video_id=9), "video_id: .*got 9"),
    "no id": (without("videos", "id"), r"videos\[0\]: id: .*got nothing"),
    "an annotation without id": (without("annotations", "id"), r"annotations\[0\]: id"),
    "no video id": (without("annotations", "video_id"), "video_id: .*got nothing"),
    "no height": (without("videos", "height"), "height: .*got nothing"),
    "a width of none": (lambda c: c["videos"][0].update(width=0), "width: .*from 1, got 0"),
    "no file names": (without("videos", "file_names"), "file_names: .*a list, got nothing"),
    "empty file names": (lambda c: c["videos"][0].update(file_names=[]), "at least one frame"),
    "a file name that is none": (lambda c: c["videos"][0].update(file_names=[3]), "got 3"),
    "a file name elsewhere": (
        lambda c: c["videos"][0].update(file_names=["../v1/0.jpg"]),
        r"got '../v1/0.jpg'",
    ),
    "a frame in no folder": (
        lambda c: c["videos"][0].update(file_names=["0.jpg"]),
        r"expected FOLDER/FRAME.jpg, got '0.jpg'",
    ),
    "no segmentations": (without("annotations", "segmentations"), "a list, got nothing"),
    "null for segmentations": (of_annotation(segmentations=None), "a list, got None"),
    "too few": (of_annotation(segmentations=[None]), "expected 3, one a frame.*got 1"),
    "too many": (of_annotation(segmentations=[None] * 4), "expected 3, one a frame.*got 4"),
    "a mask as text": (of_segmentation("mask"), r"segmentations\[2\]: .*got 'mask'"),
    "no size": (of_segmentation({"counts": [35]}), "size: .*got nothing"),
    "another size": (of_segmentation({"size": [7, 5], "counts": [35]}), r"got \[7, 5\]"),
    "no counts": (of_segmentation({"size": [H, W]}), "counts: .*got nothing"),
    "a short sum": (
        of_segmentation({"size": [H, W], "counts": [6, 2]}),
        r"segmentations\[2\].counts: expected a sum of 35 .*got 8",
    ),
    "a long sum": (of_segmentation({"size": [H, W], "counts": [6, 3000]}), "got 3006"),
    "a negative run": (of_segmentation({"size": [H, W], "counts": [40, -5]}), "got .40, -5"),
    "runs that are no numbers": (of_segmentation({"size": [H, W], "counts": ["35"]}), "COCO"),
    "compressed, a short sum": (
        of_segmentation({"size": [H, W], "counts": run_lengths(mask()[:, :5])["counts"]}),
        "a sum of 35 .*got 25",
    ),
    "compressed, a long sum": (
        of_segmentation({"size": [H, W], "counts": run_lengths(np.ones((9, 9)))["counts"]}),
        "a sum of 35 .*got 81",
    ),
    "compressed and cut off": (of_segmentation({"size": [H, W], "counts": "o"}), "got 'o'"),
    "no compressed runs": (of_segmentation({"size": [H, W], "counts": "~\u00e9"}), "COCO"),
    "a polygon of two points": (of_segmentation([[0, 0, 1, 1]]), "three points"),
    "an odd polygon": (of_segmentation([[0, 0, 1, 1, 2, 2, 3]]), "three points"),
    "a flat polygon": (of_segmentation([0, 0, 1, 1, 2, 2]), "three points"),
    "a polygon out of this world": (of_segmentation([[0, 0, 9, 10**400, 9, 9]]), "three points"),
    "a score that is none": (of_annotation(score=10**400), "score: .*a finite number"),
    "a score for one of two": (of_annotation(score=0.5), "score: .*as the others.*got nothing"),
    "no list of videos": (lambda c: c.update(videos=3), "videos: expected a list of records"),
    "a video that is no record": (lambda c: c["videos"].append([]), r"videos\[2\]"),
    "an annotation that is none": (lambda c: c["annotations"].append(None), "got None"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_whatever_is_wrong_in_a_ground_truth_is_named_in_one_form(fault, tmp_path):
    change, says = WRONG[fault]
    changed = content()
    change(changed)
    root = write(tmp_path / "a", changed)
    with pytest.raises(DataError, match=says) as raised:
        truth(root)
    assert FORM.match(str(raised.value))["file"] == str(root / "train.json")
    assert not all(f.ok or "frames" in f.what for f in check_dataset("ytvis2019", root))


OF_PREDICTIONS = sorted(
    set(WRONG)
    # What belongs to the other video, or only to ground truths, whose order tells objects apart.
    - {"an annotation without id", "annotation ids twice", "a video that is not there"}
    - {"a frame in no folder"}
)


@pytest.mark.parametrize("fault", OF_PREDICTIONS)
def test_whatever_is_wrong_in_a_prediction_is_named_the_same_way(fault, tmp_path):
    change, says = WRONG[fault]
    changed = content()
    change(changed)
    root = write(tmp_path / "a", changed, "v1.json")
    with pytest.raises(DataError, match=says) as raised:
        read_prediction(locate(root, "v1"), ("00000", "00001", "00002"), (H, W), "v1")
    assert FORM.match(str(raised.value))["file"] == str(root / "v1.json")


def test_a_list_of_results_is_checked_too(tmp_path):
    names = tuple(f"{t:05d}" for t in range(T))
    for change, says in (
        ({"video_id": "1"}, r"results\[0\]: video_id: expected a whole number, got '1'"),
        ({"segmentations": [None]}, "expected 3, one a frame.*got 1"),
        ({"score": float("nan")}, "score: expected a finite number, got nan"),
    ):
        result = {"video_id": 1, "score": 0.5, "segmentations": [None] * T, **change}
        (tmp_path / "results.json").write_text(json.dumps([result]))
        with pytest.raises(DataError, match=says):
            read_prediction(locate(tmp_path, "v1"), names, (H, W), "v1", video_id=1)


def test_scores_beside_masks_need_an_id_and_a_score_each(tmp_path):
    write_masks(tmp_path / "v1" / "masks", np.stack([mask()] * T).astype(np.uint8))
    names = tuple(f"{t:05d}" for t in range(T))
    for annotations, says in (
        ([{"video_id": 1, "score": 1.0}], "id: .*got nothing"),
        ([{"id": 1, "video_id": 1}], "score: .*got nothing"),
        ([{"id": 1, "video_id": 1, "score": "0.5"}], r"score: .*got '0.5'"),
        ([{"id": 1, "video_id": 1, "score": 1.0}] * 2, "1 again"),
    ):
        (tmp_path / "v1/objects.json").write_text(json.dumps({"annotations": annotations}))
        with pytest.raises(DataError, match=says):
            read_prediction(locate(tmp_path, "v1"), names, (H, W), "v1")


def test_polygons_are_filled_as_coco_fills_them(tmp_path):
    polygons = [[1.0, 1.0, 6.0, 1.0, 6.0, 4.0, 1.0, 4.0], [0, 0, 2, 0, 0, 2]]
    changed = content()
    of_segmentation(polygons)(changed)
    of_annotation(segmentations=[None, [], polygons])(changed)
    labels = truth(write(tmp_path / "a", changed))
    expected = np.any([coco.decode(r) for r in coco.frPyObjects(polygons, H, W)], axis=0)
    assert not labels[:2].any() and np.array_equal(labels[2], expected)
    assert labels[2, 1:4, 1:6].all() and labels.sum() < 20


def test_a_size_in_floats_is_the_same_size(tmp_path):
    changed = content()
    of_segmentation({"size": [float(H), float(W)], "counts": [6, 2, 27]})(changed)
    assert truth(write(tmp_path / "a", changed))[2].sum() == 2


@pytest.mark.parametrize("seed", range(20))
def test_run_lengths_that_fill_the_picture_pass_whatever_they_show(seed):
    def fault(*said):
        raise AssertionError(said)

    rng = np.random.default_rng(seed)
    shape = (1 + seed % 7, 1 + seed * 13 % 200)
    drawn = rng.random(shape) < rng.random()
    counts = np.diff(np.flatnonzero(np.diff(drawn.T.ravel(), prepend=False, append=2)), prepend=0)
    for record in (run_lengths(drawn), {"size": list(shape), "counts": counts.tolist()}):
        rle = checked_run_lengths(record, *shape, "it", fault)
        assert np.array_equal(coco.decode(rle), drawn)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_is_read_in_whatever_unicode_it_is(encoding, tmp_path):
    (tmp_path / "list.txt").write_bytes("dog\r\nklein-größer\n".encode(encoding))
    assert read_text(tmp_path / "list.txt").splitlines() == ["dog", "klein-größer"]
    (tmp_path / "a.json").write_bytes(json.dumps(content()).encode(encoding))
    assert read_json(tmp_path / "a.json") == content()


def test_what_is_no_text_or_no_json_is_named(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"gr\xf6\xdfer")
    with pytest.raises(DataError, match=r"list.txt is no text .*save it as UTF-8"):
        read_text(tmp_path / "list.txt")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"deep.json is not JSON"):
        read_json(tmp_path / "deep.json")
    with pytest.raises(DataError, match=r"gone.json cannot be read \(No such file"):
        read_json(tmp_path / "gone.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_davis_may_carry_a_byte_order_mark(encoding, tmp_path):
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_bytes("dog\ncows\n".encode(encoding))
    names = [s.name for s in open_dataset("davis2017", tmp_path).sequences]
    assert names == ["dog", "cows"]


def davis(root, suffix: str):
    """Two sequences without any list, frames in files of a suffix."""
    for name in ("cows", "dog"):
        write_masks(
            root / "Annotations_unsupervised/480p" / name, np.stack([mask()] * T).astype(np.uint8)
        )
        folder = root / "JPEGImages/480p" / name
        folder.mkdir(parents=True)
        for t in range(T):
            Image.fromarray(np.full((H, W, 3), 10 * t, np.uint8)).save(folder / f"{t:05d}{suffix}")
    return root


def test_named_sequences_need_no_list(tmp_path):
    root = davis(tmp_path, ".jpg")
    with pytest.raises(DataError, match=r"without a list, name the sequences with --sequences"):
        open_dataset("davis2017", root)
    dataset = open_dataset("davis2017", root, sequences=["dog"])
    assert [s.name for s in dataset.sequences] == ["dog"] and dataset.split == "no list"
    with pytest.raises(DataError, match=r"no sequence cat .*it has cows, dog"):
        open_dataset("davis2017", root, sequences=["cat"])
    with pytest.raises(DataError, match=r"ImageSets/2017/train.txt"):
        open_dataset("davis2017", root, sequences=["dog"], split="train")


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_frames_that_pass_a_check_can_be_read_whatever_they_end_in(suffix, tmp_path):
    root = davis(tmp_path, suffix)
    (root / "ImageSets").mkdir()
    (root / "ImageSets/val.txt").write_text("dog\n")
    assert all(f.ok for f in check_dataset("davis2017", root))
    frames = open_dataset("davis2017", root).sequences[0].frames()
    assert frames.mean((1, 2, 3)).round().tolist() == [0, 10, 20]


def test_a_frame_that_is_there_twice_is_named(tmp_path):
    root = davis(tmp_path, ".png")
    Image.fromarray(mask()).save(root / "JPEGImages/480p/dog/00001.jpg")
    with pytest.raises(DataError, match=r"00001.png and 00001.jpg have the same name"):
        open_dataset("davis2017", root, sequences=["dog"]).sequences[0].frames()
    (root / "ImageSets").mkdir()
    (root / "ImageSets/val.txt").write_text("dog\n")
    assert not all(f.ok for f in check_dataset("davis2017", root))


def test_plain_folders_are_read_in_natural_order(tmp_path):
    """Frames 1, 2, 10 in time, and sequences the same."""
    for name in ("clip10", "clip2"):
        for t, number in enumerate((1, 2, 10)):
            for kind, picture in (
                ("frames", np.full((H, W), 100 * t)),
                ("masks", mask() * (t + 1)),
            ):
                folder = tmp_path / kind / name
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
    dataset = open_dataset("folder", tmp_path)
    assert [s.name for s in dataset.sequences] == ["clip2", "clip10"]
    sequence = dataset.sequences[0]
    assert sequence.frame_names() == ("1", "2", "10")
    assert sequence.truth().max((1, 2)).tolist() == [1, 2, 3]
    assert sequence.frames().max((1, 2, 3)).tolist() == [0, 100, 200]
    found = read_prediction(locate(tmp_path / "masks", "clip2"), ("1", "2", "10"), (H, W), "clip2")
    assert found.labels.max((1, 2)).tolist() == [1, 2, 3]


def test_the_readers_can_be_used_alone(tmp_path):
    source = Source(tmp_path / "x.json", "write it again")
    (first, _) = read_videos(source, content())
    assert (first.name, first.shape) == ("v1", (T, H, W))
    tracks = read_tracks(source, content(), ids=True)
    assert [frame for frame, _ in tracks[0].masks(first.shape)] == [0, 2]
