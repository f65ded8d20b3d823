"""Exports to annotation tools: what their importers read is what was found, to the pixel."""

import json
from dataclasses import replace
from fractions import Fraction
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from exported import NAMES, scene, write_result
from filming import write_video
from oracles.label_studio_plain import read_brush
from unveil.exports.cvat import row_runs
from unveil.exports.formats import export
from unveil.exports.label_studio import brush
from unveil.exports.result import open_result


def hard_masks():
    """Masks that are hard on run lengths."""
    rng = np.random.default_rng(0)
    yield np.ones((1, 1), bool)
    yield np.zeros((3, 5), bool)
    yield np.ones((3, 5), bool)
    yield np.eye(17, dtype=bool)
    yield np.ones((300, 300), bool)  # 360,000 values in one run
    yield from (rng.random((13, 29)) < density for density in (0.1, 0.5, 0.9))


# --- CVAT ----------------------------------------------------------------------------------

TRACK = {"id", "label", "source", "group_id"}
SHAPE = {"frame", "keyframe", "outside", "occluded", "z_order"}
SHAPES = {
    "mask": SHAPE | {"rle", "left", "top", "width", "height"},
    "box": SHAPE | {"xtl", "ytl", "xbr", "ybr"},
}
TASK = {"name", "size", "mode", "start_frame", "stop_frame", "frame_filter", "labels"}


def read_cvat(path):
    """The tree of a file, once everything in it is named as the documented format names it."""
    root = ElementTree.parse(path).getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert {child.tag for child in task} == TASK | {"original_size"}
    for attribute in task.iter("attribute"):
        assert {c.tag for c in attribute} == {
            *("name", "mutable", "input_type", "default_value", "values")
        }
    known = {label.findtext("name") for label in task.iter("label")}
    for track in root.findall("track"):
        assert set(track.attrib) == TRACK and track.get("label") in known and len(track)
        for shape in track:
            assert set(shape.attrib) == SHAPES[shape.tag]
            assert [a.get("name") for a in shape] == ["object", "name"]
    return root


def imported_masks(root):
    """What CVAT imports: of a track of masks, the first; its run lengths are COCO's, transposed."""
    h, w = (int(root.findtext(f"meta/task/original_size/{x}")) for x in ("height", "width"))
    for track in root.findall("track"):
        first = track[0]
        left, top, width, height = (int(first.get(x)) for x in ("left", "top", "width", "height"))
        counts = [int(n) for n in first.get("rle").split(",")]
        tight = rle.decode(rle.frPyObjects({"size": [width, height], "counts": counts}, 1, 1))
        mask = np.zeros((h, w), bool)
        mask[top : top + height, left : left + width] = tight.T
        about = {a.get("name"): a.text or "" for a in first}
        yield int(first.get("frame")), int(about["object"]), about["name"], track, mask


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_cvat_imports_every_mask(which, request, tmp_path):
    names = NAMES if which == "dog" else {}
    result = open_result(request.getfixturevalue(which)).select(names=names)
    out = export(result, tmp_path / "cvat", "cvat")
    seen = np.zeros((len(result), result.height, result.width), np.uint16)
    for frame, id, name, track, mask in imported_masks(read_cvat(out / "annotations.xml")):
        assert mask.any() and not seen[frame][mask].any()
        assert name == names.get(id, "") and track.get("label") == names.get(id, "object")
        assert track.get("group_id") == str(id)
        assert [s.get("outside") for s in track] == ["0", "1"][: len(result) - frame]
        seen[frame][mask] = id
    assert np.array_equal(seen, np.stack(list(result.labels())))
    labels = json.loads((out / "labels.json").read_text())
    assert [label["name"] for label in labels] == list(result.kinds)


@pytest.mark.parametrize("mask", hard_masks())
def test_run_lengths_row_by_row(mask):
    runs = row_runs(mask)
    assert sum(runs) == mask.size and all(runs[1:])
    assert np.array_equal(np.repeat(np.arange(len(runs)) % 2, runs).reshape(mask.shape), mask)


def test_frames_are_numbered_as_in_the_video(dog, tmp_path):
    result = replace(open_result(dog), start=2.0, stride=3).select(every=2)
    first = round(2 * 3 * open_result(dog).fps)
    assert list(result.in_source()) == [first, first + 6, first + 12]
    root = read_cvat(export(result, tmp_path / "cvat", "cvat") / "annotations.xml")
    task = root.find("meta/task")
    assert task.findtext("frame_filter") == "step=6" and task.findtext("size") == "3"
    assert (task.findtext("start_frame"), task.findtext("stop_frame")) == (
        str(first),
        str(first + 12),
    )
    assert {int(s.get("frame")) for t in root.findall("track") for s in t} == {
        *(first, first + 6, first + 12)
    }


def test_boxes_are_tracks_that_leave_and_return(dog, tmp_path):
    result = open_result(dog).select(names=NAMES)
    root = read_cvat(export(result, tmp_path / "cvat", "cvat-boxes") / "annotations.xml")
    tracks = root.findall("track")
    assert [t.get("label") for t in tracks] == list(NAMES.values())
    told = [(int(s.get("frame")), s.get("outside")) for s in tracks[1]]
    assert told == [(0, "0"), (1, "0"), (2, "1"), (4, "0"), (5, "0")]
    for i, shape in enumerate(tracks[0]):
        ys, xs = np.nonzero(scene()[1][i] == 1)
        corners = [int(shape.get(x)) for x in ("xtl", "ytl", "xbr", "ybr")]
        assert corners == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.mark.parametrize(
    ("start", "end", "stride", "every", "gone"),
    [
        (None, None, 2, 1, None),  # to the end of the video
        (None, 6, 1, 1, 6),
        (3, 9, 1, 1, 9),
        (6, None, 1, 1, None),
        (1, 12, 2, 1, None),  # the next would be frame 13
        (3, 9, 1, 2, 9),
    ],
)
def test_boxes_end_with_the_result(start, end, stride, every, gone, tmp_path):
    """CVAT keeps a box to the end of the task, and refuses frames that a task does not have."""
    frames, labels = scene(12)
    video = write_video(tmp_path / "dog.mp4", frames, None, 30)
    about = {"start": start and start / 30, "end": end and end / 30, "stride": stride}
    run = {"video": {"source": str(video), **about}}
    folder = write_result(tmp_path / "dog", labels[:6], run=run, fps=Fraction(30, stride))
    result = open_result(folder).select(every=every)
    last = list(result.in_source())[-1]
    root = read_cvat(export(result, tmp_path / "cvat", "cvat-boxes") / "annotations.xml")
    for track in root.findall("track"):
        told = [(int(s.get("frame")), s.get("outside")) for s in track]
        expected = [(last, "0")] + ([] if gone is None else [(gone, "1")])
        assert told[-len(expected) :] == expected
        assert all(frame < 12 for frame, _ in told)


def test_datumaro_reads_boxes(dog, tmp_path):
    datumaro = pytest.importorskip("datumaro", reason="it wants an older NumPy than the tests")
    out = export(open_result(dog).select(names=NAMES), tmp_path / "cvat", "cvat-boxes")
    items = datumaro.Dataset.import_from(str(out / "annotations.xml"), "cvat")
    boxes = {}
    for item in items:
        for a in item.annotations:
            if not a.attributes["outside"]:
                boxes[item.attributes["frame"], int(a.attributes["object"])] = a.get_bbox()
    for (frame, id), box in boxes.items():
        found = rle.toBbox(rle.encode(np.asfortranarray(scene()[1][frame] == id)))
        assert list(box) == found.tolist()
    assert len(boxes) == 16


def test_names_that_xml_cannot_write(tmp_path):
    out = write_result(tmp_path / "dog", scene()[1])
    names = {1: 'a <b> & "c"', 2: "bell \a rings", 3: "tab\tand\nline"}
    result = open_result(out).select(names=names)
    root = read_cvat(export(result, tmp_path / "cvat", "cvat") / "annotations.xml")
    found = {int(t.get("group_id")): t.get("label") for t in root.findall("track")}
    assert found == {**names, 2: "bell � rings"}
    labels = json.loads((tmp_path / "cvat" / "labels.json").read_text())
    assert [label["name"] for label in labels] == list(found.values())


# --- Label Studio --------------------------------------------------------------------------


@pytest.mark.parametrize("mask", hard_masks())
def test_a_brush_read_bit_by_bit(mask):
    values = read_brush(brush(mask)).reshape(*mask.shape, 4)
    assert (values == np.where(mask, 255, 0)[..., None]).all()


@pytest.mark.parametrize("mask", hard_masks())
def test_label_studio_reads_a_brush(mask):
    reason = "label-studio-sdk wants another OpenCV than the tests"
    sdk = pytest.importorskip("label_studio_sdk.converter.brush", reason=reason)
    values = sdk.decode_rle(brush(mask)).reshape(*mask.shape, 4)
    assert (values == np.where(mask, 255, 0)[..., None]).all()


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_label_studio_tasks(which, request, tmp_path):
    names = NAMES if which == "dog" else {}
    result = open_result(request.getfixturevalue(which)).select(names=names)
    out = export(result, tmp_path / "ls", "label-studio", images=which == "dog")
    tasks = json.loads((out / "tasks.json").read_text())
    config = ElementTree.parse(out / "config.xml").getroot()
    tags = {tag.get("name"): tag for tag in config.iter() if tag.get("name")}
    known = [label.get("value") for label in config.iter("Label")]
    assert known == list(result.kinds) and len(tasks) == len(result)
    for task, labels, name in zip(tasks, result.labels(), result.names(), strict=True):
        assert task["data"]["image"] == f"/data/local-files/?d=images/{name}.jpg"
        if which == "dog":
            with Image.open(out / "images" / f"{name}.jpg") as picture:
                assert picture.size == (result.width, result.height)
        seen = np.zeros_like(labels)
        (prediction,) = task["predictions"]
        for region in prediction["result"]:
            assert tags[region["from_name"]].tag == "BrushLabels"
            assert tags[region["from_name"]].get("toName") == region["to_name"]
            assert tags[region["to_name"]].get("value") == "$image"
            id = int(region["id"].removeprefix("object-"))
            assert region["value"]["brushlabels"] == [names.get(id, "object")]
            assert region["meta"]["text"] == [names.get(id, f"object {id}")]
            size = region["original_height"], region["original_width"], 4
            if which == "dog" or id < 10:
                mask = read_brush(region["value"]["rle"]).reshape(size)[..., 3] > 0
                assert np.array_equal(mask, labels == id)
            seen[labels == id] = id
        assert np.array_equal(seen, labels)


def test_label_studio_video(dog, tmp_path):
    result = open_result(dog).select(names=NAMES)
    out = export(result, tmp_path / "ls", "label-studio-video")
    (task,) = json.loads((out / "tasks.json").read_text())
    regions = task["predictions"][0]["result"]
    assert [r["value"]["labels"] for r in regions] == [[name] for name in NAMES.values()]
    told = [(k["frame"], k["enabled"]) for k in regions[1]["value"]["sequence"]]
    assert told == [(1, True), (2, False), (5, True), (6, False)]
    for i, key in enumerate(regions[0]["value"]["sequence"]):
        box = np.array([key[x] for x in ("x", "y", "width", "height")]) / 100 * (83, 61, 83, 61)
        found = rle.toBbox(rle.encode(np.asfortranarray(scene()[1][i] == 1)))
        assert np.allclose(box, found) and key["time"] == pytest.approx(i / float(result.fps))
    config = ElementTree.parse(out / "config.xml").getroot()
    assert config.find("Video").get("value") == "$video"
    assert config.find("VideoRectangle").get("toName") == "video"


def served(address):
    """The file below its folder that Label Studio looks for, as Django reads an address."""
    return parse_qs(urlsplit(address).query)["d"][0]


@pytest.mark.parametrize("name", ["R&B", "50%50", "take #2", "a+b", "it's 💃, or not"])
def test_label_studio_finds_files_of_any_name(name, tmp_path):
    frames, labels = scene(2)
    names = tuple(f"{name} {i}" for i in range(2))
    result = open_result(write_result(tmp_path / name, labels, frames, names=names))
    out = export(result, tmp_path / "images", "label-studio")
    for task in json.loads((out / "tasks.json").read_text()):
        assert (out / served(task["data"]["image"])).is_file()
    out = export(result, tmp_path / "video", "label-studio-video")
    (task,) = json.loads((out / "tasks.json").read_text())
    assert served(task["data"]["video"]) == f"{name}.mp4"


@pytest.mark.parametrize("form", ["label-studio", "label-studio-video"])
def test_label_studio_finds_its_tasks_valid(form, dog, tmp_path):
    reason = "label-studio-sdk wants another OpenCV than the tests"
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason=reason)
    out = export(open_result(dog).select(names=NAMES), tmp_path / "ls", form)
    reader = interface.LabelInterface((out / "config.xml").read_text())
    for task in json.loads((out / "tasks.json").read_text()):
        assert reader.validate_prediction(task["predictions"][0], return_errors=True) == []
