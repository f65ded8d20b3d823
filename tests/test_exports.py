"""Exports: what other readers find in them is what was found, to the pixel."""

import csv
import json
import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from exported import NAMES, NTSC, many, scene, write_result
from unveil.cli import main
from unveil.errors import DataError, InputError, OutputError
from unveil.exports import place
from unveil.exports.formats import FORMATS, export
from unveil.exports.polygons import outline, outlines
from unveil.exports.result import open_result
from unveil.exports.spool import Spool
from unveil.segmentation.segmentation import Segmentation


@pytest.fixture(scope="module")
def nothing(tmp_path_factory):
    """A result in which nothing was found."""
    frames, labels = scene()
    return write_result(tmp_path_factory.mktemp("results") / "nothing", labels * 0, frames)


def stack(result):
    return np.stack(list(result.labels()))


def without(options, name):
    """Options that make a form do without pictures, where it has any."""
    if name == "rerun":
        pytest.importorskip("rerun", reason="rerun-sdk is 170 MB")
    return {**options, **({"images": False} if "images" in FORMATS[name].options else {})}


# --- the reader ----------------------------------------------------------------------------


def test_a_result_is_read_as_it_was_written(dog):
    frames, labels = scene()
    result = open_result(dog)
    assert np.array_equal(stack(result), labels)
    assert np.array_equal(np.stack(list(result.frames())), frames)
    assert (result.fps, result.name, len(result)) == (NTSC, "dog", 6)
    assert [(t.id, t.score, t.name, t.kind) for t in result.things] == [
        (1, 0.5, None, "object"),
        (2, 0.333, None, "object"),
        (3, 0.25, None, "object"),
    ]


def test_some_objects_of_some_frames_under_names(dog):
    frames, labels = scene()
    result = open_result(dog).select([3, 1], every=2, names={1: "dog"})
    assert np.array_equal(stack(result), np.where(labels == 2, 0, labels)[::2])
    assert np.array_equal(np.stack(list(result.frames())), frames[::2])
    assert list(result.names()) == ["00000", "00002", "00004"] and result.fps == NTSC / 2
    assert [(t.id, t.kind) for t in result.things] == [(1, "dog"), (3, "object")]
    assert result.kinds == ("dog", "object")


def test_names_and_classes_of_a_person_are_read(tmp_path):
    out = write_result(tmp_path / "dog", scene()[1])
    record = json.loads((out / "objects.json").read_text())
    record["annotations"][0]["name"] = "Rex"
    record["annotations"][1] |= {"name": "Ann", "category_id": 2}
    record["categories"].append({"id": 2, "name": "person"})
    (out / "objects.json").write_text(json.dumps(record))
    assert [(t.name, t.kind) for t in open_result(out).things] == [
        ("Rex", "Rex"),
        ("Ann", "person"),
        (None, "object"),
    ]


@pytest.mark.parametrize("names", [("a", "frame 2", "b.c", "0", "ü", "10")])
def test_frames_keep_their_names(tmp_path, names):
    out = write_result(tmp_path / "dog", scene()[1], names=names)
    assert tuple(open_result(out).names()) == names


def test_places_that_hold_no_result(tmp_path, dog):
    with pytest.raises(DataError, match=r"there is no run\.json"):
        open_result(tmp_path)
    out = write_result(tmp_path / "dog", scene()[1])
    (out / "masks" / "00003.png").unlink()
    with pytest.raises(DataError, match=r"00003\.png is missing"):
        stack(open_result(out))
    (out / "objects.json").write_text('{"videos": []}')
    with pytest.raises(DataError, match="segment the video again"):
        open_result(out)
    with pytest.raises(InputError, match="no object 9 in dog: it has 1, 2, 3"):
        open_result(dog).select([9])
    with pytest.raises(InputError, match="at least 1 frame"):
        open_result(dog).select(every=0)


def test_a_video_that_is_gone_or_another(tmp_path):
    out = write_result(tmp_path / "dog", scene()[1], run={"video": {"source": "/gone.mp4"}})
    with pytest.raises(InputError, match=r"gone\.mp4; say where it is with --source"):
        export(open_result(out), tmp_path / "coco", "coco")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dog"]
    write_result(tmp_path / "cat", scene(4)[1], scene(4)[0])
    with pytest.raises(InputError, match="6 masks and its video 4 frames"):
        list(open_result(out, tmp_path / "cat-frames").frames())
    write_result(tmp_path / "cow", scene(6, 64)[1], scene(6, 64)[0])
    with pytest.raises(InputError, match="is 83x64, the result of dog 83x61"):
        list(open_result(out, tmp_path / "cow-frames").frames())
    out = write_result(tmp_path / "bare", scene()[1])
    with pytest.raises(InputError, match="frames in memory"):
        list(open_result(out).frames())


def test_a_spool_gives_back_what_was_put_in():
    with Spool() as spool:
        for frame in range(50):
            for id in (7, 300):
                if frame % id:
                    spool.add(id, frame, f"{id} ü {frame}\n")
        for id in (7, 300):
            expected = [(i, f"{id} ü {i}\n") for i in range(50) if i % id]
            assert list(spool.of(id)) == expected
        assert list(spool.of(1)) == []


# --- COCO and YouTube-VIS ------------------------------------------------------------------


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_pycocotools_reads_coco(which, request, tmp_path, capsys):
    result = open_result(request.getfixturevalue(which))
    names = NAMES if which == "dog" else {}
    result = result.select(names=names)
    out = export(result, tmp_path / "coco", "coco", images=which == "dog")
    coco = COCO(out / "annotations.json")
    labels = stack(result)
    seen = np.zeros_like(labels)
    for image in coco.dataset["images"]:
        for a in coco.imgToAnns[image["id"]]:
            mask = coco.annToMask(a).astype(bool)
            assert a["area"] == mask.sum() and not seen[image["frame_id"]][mask].any()
            assert a["bbox"] == rle.toBbox(a["segmentation"]).tolist()
            assert coco.cats[a["category_id"]]["name"] == names.get(a["track_id"], "object")
            seen[image["frame_id"]][mask] = a["track_id"]
        if which == "dog":
            with Image.open(out / "images" / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
    assert np.array_equal(seen, labels)
    assert len(coco.anns) == sum(len(np.unique(x)) - 1 for x in labels)


def test_youtube_vis_is_read_by_its_own_reader(dog, tmp_path):
    from unveil.datasets.ytvis import open_ytvis

    result = open_result(dog)
    out = export(result, tmp_path / "ytvis", "ytvis")
    (sequence,) = open_ytvis(out, 2019).sequences
    assert np.array_equal(sequence.truth(), stack(result))
    assert sequence.frames().shape == (6, 61, 83, 3)
    record = json.loads((out / "train.json").read_text())
    assert [a["id"] for a in record["annotations"]] == [1, 2, 3]
    gone = [x is None for x in record["annotations"][1]["segmentations"]]
    assert gone == [False, False, True, True, False, False]
    assert [x is None for x in record["annotations"][1]["areas"]] == gone
    assert record["annotations"][1]["bboxes"][5] == [50, 45, 16, 16]


def test_youtube_vis_of_many_ids(crowd, tmp_path):
    result = open_result(crowd)
    out = export(result, tmp_path / "ytvis", "ytvis", images=False)
    record = json.loads((out / "train.json").read_text())
    seen = np.zeros((3, 60, 95), np.uint16)
    for a in record["annotations"]:
        for i, x in enumerate(a["segmentations"]):
            seen[i][rle.decode(x).astype(bool)] = a["id"]
    assert np.array_equal(seen, many())


# --- pictures beside the annotations -------------------------------------------------------

PICTURES = {
    "coco": "images/*",
    "yolo": "images/*/*",
    "ytvis": "train/JPEGImages/*/*",
    "davis": "JPEGImages/480p/*/*",
    "mot": "img1/*",
    "label-studio": "images/*",
}


def of_jpegs(tmp_path, change=lambda i, path: None):
    """A result whose video is a folder of JPEG files, and these."""
    frames, labels = scene()
    files = [tmp_path / "shot" / f"{i:05d}.jpg" for i in range(len(frames))]
    files[0].parent.mkdir()
    for i, (file, frame) in enumerate(zip(files, frames, strict=True)):
        Image.fromarray(frame).save(file, quality=60)
        change(i, file)
    run = {"video": {"source": str(files[0].parent)}}
    return open_result(write_result(tmp_path / "dog", labels, run=run)), files


@pytest.mark.parametrize("form", PICTURES)
def test_frames_that_are_jpeg_files_are_copied(form, tmp_path):
    result, files = of_jpegs(tmp_path)
    out = export(result.select(every=2), tmp_path / "x", form)
    copies = sorted(out.glob(PICTURES[form]), key=lambda path: path.name)
    assert [p.read_bytes() for p in copies] == [p.read_bytes() for p in files[::2]]


def test_jpeg_files_that_are_not_the_frame_as_it_lies_are_encoded(tmp_path):
    """One is to be turned, one is grey, one is no JPEG whatever its name says."""
    y, x = np.mgrid[:61, :83]
    other = np.stack((3 * x, 4 * y, x + y), -1).astype(np.uint8)

    def change(i, path):
        turned = Image.Exif()
        turned[0x0112] = 3
        if i == 1:
            Image.fromarray(other).save(path, quality=60, exif=turned)
        if i == 2:
            Image.fromarray(other[..., 0]).save(path, quality=60)
        if i == 3:
            Image.fromarray(other).save(path, "PNG")

    result, files = of_jpegs(tmp_path, change)
    out = export(result, tmp_path / "coco", "coco")
    for i, (file, frame) in enumerate(zip(files, result.frames(), strict=True)):
        copy = out / "images" / file.name
        assert (copy.read_bytes() == file.read_bytes()) == (i not in (1, 2, 3))
        with Image.open(copy) as picture:
            assert (picture.format, picture.mode) == ("JPEG", "RGB")
            apart = np.abs(np.asarray(picture).astype(int) - frame)
        assert i not in (1, 2, 3) or apart.mean() < 3


def test_a_folder_with_fewer_pictures_than_masks(tmp_path):
    result, files = of_jpegs(tmp_path)
    files[-1].unlink()
    with pytest.raises(InputError, match="6 masks and its video 5 frames"):
        export(result, tmp_path / "coco", "coco")
    assert export(result.select(every=2), tmp_path / "coco", "coco").is_dir()


# --- DAVIS, MOT, MOTS ----------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_reads_davis_and_finds_no_fault(dog, tmp_path, capsys):
    out = export(open_result(dog), tmp_path / "davis", "davis")
    masks = out / "Annotations_unsupervised" / "480p"
    call = ["evaluate", "davis2017", "--root", out, "--predictions", masks]
    assert main([*map(str, call), "--out", str(tmp_path / "scores")]) == 0
    scores = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert scores["protocols"]["davis2017"]["mean"]["J&F"] == 1
    for i, expected in enumerate(scene()[1]):
        with Image.open(masks / "dog" / f"{i:05d}.png") as image:
            assert image.mode == "P" and np.array_equal(np.array(image), expected)


def test_evaluate_still_reads_a_result(dog, tmp_path):
    from unveil.evaluate.predictions import read_prediction

    names = [f"{i:05d}" for i in range(6)]
    for file in (dog / "masks", dog / "objects.json"):
        found = read_prediction(file, names, (61, 83), "dog")
        assert np.array_equal(found.labels, scene()[1])


def test_davis_of_many_ids(crowd, tmp_path):
    out = export(open_result(crowd), tmp_path / "davis", "davis", images=False)
    for i, expected in enumerate(many()):
        path = out / "Annotations_unsupervised" / "480p" / "crowd" / f"{i:05d}.png"
        with Image.open(path) as image:
            assert np.array_equal(np.array(image), expected)


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_motmetrics_reads_boxes(which, request, tmp_path):
    mm = pytest.importorskip("motmetrics")
    result = open_result(request.getfixturevalue(which))
    out = export(result, tmp_path / "mot", "mot", images=which == "dog")
    table = mm.io.loadtxt(out / "gt" / "gt.txt", fmt="mot15-2D")
    count = 0
    for i, labels in enumerate(result.labels(), 1):
        for id in np.unique(labels)[1:].tolist():
            ys, xs = np.nonzero(labels == id)
            row = table.loc[(i, id)]
            assert (xs.min(), ys.min()) == (row.X, row.Y)
            assert (row.Width, row.Height) == (np.ptp(xs) + 1, np.ptp(ys) + 1)
            count += 1
    assert len(table) == count
    about = (out / "seqinfo.ini").read_text()
    assert f"seqLength={len(result)}\n" in about and f"name={which}\n" in about


def test_a_line_of_mot_counts_from_one(dog, tmp_path):
    out = export(open_result(dog), tmp_path / "mot", "mot")
    assert "1,3,4,51,1,1,1,1,1\n" in (out / "gt" / "gt.txt").read_text()
    assert sorted(p.name for p in (out / "img1").iterdir())[0] == "000001.jpg"


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_mots_in_both_forms(which, request, tmp_path):
    result = open_result(request.getfixturevalue(which))
    labels = stack(result)
    seen = np.zeros_like(labels)
    text = export(result, tmp_path / "mots.txt", "mots")
    for line in text.read_text().splitlines():
        frame, id, kind, h, w, counts = line.split(" ")
        mask = rle.decode({"size": [int(h), int(w)], "counts": counts.encode()}).astype(bool)
        seen[int(frame) - 1][mask] = int(id) - 2000
        assert kind == "2"
    assert np.array_equal(seen, labels)
    pictures = export(result, tmp_path / "mots-png", "mots-png")
    for i, expected in enumerate(labels, 1):
        with Image.open(pictures / f"{i:06d}.png") as image:
            numbers = np.array(image)
        assert image.mode == "I;16" and np.array_equal(numbers % 1000 * (numbers > 0), expected)
        assert set(np.unique(numbers // 1000)) <= {0, 2}


def test_trackeval_scores_mots(dog, tmp_path):
    """A result against itself is without fault; where two ids change places it is not."""
    reason = "it brings a second OpenCV beside the headless one"
    trackeval = pytest.importorskip("trackeval", reason=reason)
    text = export(open_result(dog), tmp_path / "mots.txt", "mots").read_text()
    late = re.compile(r"^([6-9]|\d\d) (2001|2002) ", re.MULTILINE)
    swapped = late.sub(lambda m: f"{m[1]} {4003 - int(m[2])} ", text)
    for path, content in (
        ("truth/dog/gt/gt.txt", text),
        ("found/same/data/dog.txt", text),
        ("found/swapped/data/dog.txt", swapped),
    ):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(content)
    config = {"GT_FOLDER": str(tmp_path / "truth"), "TRACKERS_FOLDER": str(tmp_path / "found")}
    config |= {"SEQ_INFO": {"dog": len(open_result(dog))}, "SKIP_SPLIT_FOL": True}
    reader = trackeval.datasets.MOTSChallenge(config | {"PRINT_CONFIG": False})
    scores = []
    for tracker in ("same", "swapped"):
        data = reader.get_preprocessed_seq_data(
            reader.get_raw_seq_data(tracker, "dog"), "pedestrian"
        )
        assert data["num_gt_ids"] == 3 and data["num_tracker_dets"] == len(text.splitlines())
        scores.append(float(trackeval.metrics.HOTA().eval_sequence(data)["HOTA"].mean()))
    assert scores[0] == 1 and scores[1] < 0.95


def test_ids_that_mots_pictures_have_no_room_for(tmp_path):
    labels = scene()[1].astype(np.uint16)
    out = write_result(tmp_path / "dog", np.where(labels == 3, 1000, labels))
    with pytest.raises(InputError, match="ids below 1000, dog has 1000"):
        export(open_result(out), tmp_path / "mots-png", "mots-png")


# --- YOLO ----------------------------------------------------------------------------------


def fill(polygon, h, w):
    """A polygon filled as OpenCV fills it: the rim too, holes by the even-odd rule."""
    from skimage.draw import line
    from skimage.draw import polygon as inside

    mask = np.zeros((h, w), bool)
    x, y = polygon[:, 0], polygon[:, 1]
    for i in range(len(x)):
        mask[line(y[i - 1], x[i - 1], y[i], x[i])] = True
    mask[inside(y, x, (h, w))] = True
    return mask


def shapes():
    """Masks that are hard to outline, without separate parts."""
    rng = np.random.default_rng(0)
    yield np.ones((1, 1), bool)
    yield np.ones((1, 9), bool)
    yield np.eye(7, dtype=bool)
    yield np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    yield np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]], bool)
    yield np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    from skimage.measure import label

    for density in (0.5, 0.7, 0.9):
        for _ in range(20):
            parts = label(rng.random((17, 23)) < density, connectivity=2)
            yield parts == 1 + rng.integers(parts.max())


@pytest.mark.parametrize("mask", shapes())
def test_outlines_go_around_every_part_and_hole(mask):
    from skimage.measure import euler_number, label

    rings = outlines(mask)
    assert len(rings) == 2 * label(mask, connectivity=2).max() - euler_number(mask, 2)
    for ring in rings:
        assert mask[ring[:, 1], ring[:, 0]].all()
        step = np.abs(ring - np.roll(ring, 1, axis=0))
        assert ((step[:, 0] == 0) | (step[:, 1] == 0) | (step[:, 0] == step[:, 1])).all()
    hull = np.concatenate(rings)
    ys, xs = np.nonzero(mask)
    assert (hull.min(0) == (xs.min(), ys.min())).all()
    assert (hull.max(0) == (xs.max(), ys.max())).all()


def test_an_empty_mask_has_no_outline():
    assert outlines(np.zeros((3, 4), bool)) == [] and outline(np.zeros((3, 4), bool)).size == 0


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_yolo_polygons_filled_again(which, request, tmp_path):
    cv2 = pytest.importorskip("cv2", reason="the readers of YOLO fill polygons with OpenCV")
    result = open_result(request.getfixturevalue(which)).select(
        names=NAMES if which == "dog" else {}
    )
    h, w = result.height, result.width
    out = export(result, tmp_path / "yolo", "yolo", images=False, val=0.4)
    worst = 1.0
    for name, labels in zip(result.names(), result.labels(), strict=True):
        (file,) = out.glob(f"labels/*/{name}.txt")
        ids = np.unique(labels)[1:].tolist()
        lines = file.read_text().splitlines()
        assert len(lines) == len(ids)
        for id, line in zip(ids, lines, strict=True):
            kind, *numbers = line.split()
            assert result.kinds[int(kind)] == next(t.kind for t in result.things if t.id == id)
            polygon = np.array(numbers, float).reshape(-1, 2)
            assert len(polygon) >= 3 and (polygon >= 0).all() and (polygon <= 1).all()
            for whole in (np.trunc, np.round):
                filled = np.zeros((h, w), np.uint8)
                cv2.fillPoly(filled, [whole(polygon * (w, h)).astype(np.int32)], 1)
                mask = labels == id
                worst = min(worst, (mask & (filled > 0)).sum() / (mask | (filled > 0)).sum())
    assert worst == 1


@pytest.mark.parametrize("mask", shapes())
def test_polygons_filled_by_opencv(mask):
    cv2 = pytest.importorskip("cv2", reason="the readers of YOLO fill polygons with OpenCV")
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [outline(mask).astype(np.int32)], 1)
    union = (mask | (filled > 0)).sum()
    assert (mask & (filled > 0)).sum() / union >= 0.98


def test_supervision_reads_yolo(dog, tmp_path):
    supervision = pytest.importorskip("supervision")
    out = export(open_result(dog), tmp_path / "yolo", "yolo", val=0.0)
    found = supervision.DetectionDataset.from_yolo(
        images_directory_path=str(out / "images" / "train"),
        annotations_directory_path=str(out / "labels" / "train"),
        data_yaml_path=str(out / "data.yaml"),
        force_masks=True,
    )
    labels = dict(zip(open_result(dog).names(), stack(open_result(dog)), strict=True))
    assert found.classes == list(open_result(dog).kinds) and len(found) == len(labels)
    for path, _, detections in found:  # in the order in which the disk lists them
        expected = labels[Path(path).stem]
        ids = np.unique(expected[expected > 0])
        assert len(detections) == len(ids)
        for id, mask in zip(ids, detections.mask, strict=True):
            assert np.array_equal(mask, expected == id)


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_ultralytics_loads_yolo(which, request, tmp_path, monkeypatch):
    """By the data set that it trains on, masks drawn as it draws them."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    reason = "it wants torchvision, which has no small build for CPUs"
    loader = pytest.importorskip("ultralytics.data.dataset", reason=reason)
    from ultralytics.data.utils import check_det_dataset, polygon2mask

    labels = {"dog": scene, "crowd": lambda: (None, many())}[which]()[1]
    frames = np.zeros((*labels.shape, 3), np.uint8)
    out = write_result(tmp_path / "result", labels, frames)
    names = NAMES if which == "dog" else {}
    result = open_result(out).select(names=names)
    place = export(result, tmp_path / "yolo", "yolo", val=0.34)
    about = check_det_dataset(str(place / "data.yaml"), autodownload=False)
    assert list(about["names"].values()) == list(result.kinds)
    seen, (h, w) = {}, labels.shape[1:]
    for part in ("train", "val"):
        data = loader.YOLODataset(img_path=about[part], data=about, task="segment", augment=False)
        for one in data.labels:
            truth = labels[int(Path(one["im_file"]).stem)]
            ids = np.unique(truth[truth > 0]).tolist()
            assert one["shape"] == (h, w) and len(one["segments"]) == len(ids)
            kinds = {thing.id: result.kinds.index(thing.kind) for thing in result.things}
            assert one["cls"].ravel().astype(int).tolist() == [kinds[id] for id in ids]
            for id, polygon in zip(ids, one["segments"], strict=True):
                drawn = polygon2mask((h, w), [(polygon * (w, h)).ravel()]) > 0
                union = (drawn | (truth == id)).sum()
                assert (drawn & (truth == id)).sum() >= 0.98 * union
            seen[Path(one["im_file"]).stem] = part
    assert sorted(seen) == list(result.names()) and len(set(seen.values())) == 2


def test_yolo_has_a_split_and_names(dog, nothing, tmp_path):
    import yaml

    result = open_result(dog).select(names=NAMES)
    out = export(result, tmp_path / "yolo", "yolo", val=0.34)
    about = yaml.safe_load((out / "data.yaml").read_text())
    assert about["names"] == dict(enumerate(NAMES.values()))
    for part, count in (("train", 4), ("val", 2)):
        pictures = sorted(p.stem for p in (out / about[part]).iterdir())
        assert pictures == sorted(p.stem for p in (out / "labels" / part).iterdir())
        assert len(pictures) == count
    out = export(open_result(nothing), tmp_path / "none", "yolo", val=0.0)
    about = yaml.safe_load((out / "data.yaml").read_text())
    assert about["val"] == "images/train" and about["names"] == {0: "object"}
    assert {p.read_text() for p in (out / "labels/train").iterdir()} == {""}
    with pytest.raises(InputError, match="share of the frames"):
        export(result, tmp_path / "no", "yolo", val=1.0)


def test_yolo_tracks(dog, tmp_path):
    result = open_result(dog)
    out = export(result, tmp_path / "tracks", "yolo-tracks")
    for name, labels in zip(result.names(), result.labels(), strict=True):
        found = {}
        for line in (out / "labels" / f"{name}.txt").read_text().splitlines():
            kind, x, y, w, h, id = line.split()
            x, w = (float(v) * 83 for v in (x, w))
            y, h = (float(v) * 61 for v in (y, h))
            found[int(id)] = np.round([x - w / 2, y - h / 2, w, h]).tolist()
            assert kind == "0"
        for id, box in found.items():
            assert box == rle.toBbox(rle.encode(np.asfortranarray(labels == id))).tolist()
        assert sorted(found) == np.unique(labels)[1:].tolist()


# --- tables --------------------------------------------------------------------------------


def test_csv_and_parquet_say_the_same(dog, tmp_path):
    pandas = pytest.importorskip("pandas")
    result = open_result(dog).select(every=2, names=NAMES)
    table = pandas.read_csv(
        export(result, tmp_path / "tracks.csv", "csv"), dtype={"frame_name": str}
    )
    assert table.id.tolist() == [1, 2, 3, 1, 3, 1, 2, 3]
    assert table.frame.tolist() == [0, 0, 0, 2, 2, 4, 4, 4]
    assert np.allclose(table.time_s, table.frame / float(NTSC), atol=1e-6)
    assert table.name.tolist() == [NAMES[i] for i in table.id]
    labels = scene()[1]
    for row in table.itertuples():
        ys, xs = np.nonzero(labels[row.frame] == row.id)
        assert row.area_px == len(xs) and row.left_px == xs.min() and row.top_px == ys.min()
        assert abs(row.centre_x_px - xs.mean() - 0.5) < 1e-3
        assert abs(row.centre_y_px - ys.mean() - 0.5) < 1e-3
    pytest.importorskip("pyarrow")
    same = pandas.read_parquet(export(result, tmp_path / "tracks.parquet", "parquet"))
    pandas.testing.assert_frame_equal(same, table, check_dtype=False)


def test_tables_of_nothing(nothing, tmp_path):
    result = open_result(nothing)
    with export(result, tmp_path / "tracks.csv", "csv").open() as file:
        assert len(list(csv.reader(file))) == 1
    parquet = pytest.importorskip("pyarrow.parquet")
    out = export(result, tmp_path / "tracks.parquet", "parquet")
    assert parquet.read_table(out).num_rows == 0


# --- every form ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "rerun"])  # says when
def test_same_result_same_bytes(name, dog, tmp_path):
    options = without({}, name)
    one, two = (
        export(open_result(dog), tmp_path / x / FORMATS[name].file, name, **options) for x in "ab"
    )
    files = [one] if one.is_file() else [p for p in one.rglob("*") if p.is_file()]
    for file in files:
        other = two / file.relative_to(one)
        if file.suffix == ".mov":
            assert same_but_for_rounding(file, other)
        else:
            assert file.read_bytes() == other.read_bytes(), file


def same_but_for_rounding(one: Path, two: Path) -> bool:
    """Whether two ProRes movies have the same opacity, and colours but for coarser or finer steps.

    FFmpeg's encoder looks beyond the edge of pictures whose width is no multiple of 16, at whatever
    lies there, and chooses the steps of its rightmost slices by that.
    """
    pairs = []
    for path in (one, two):
        with av.open(str(path)) as movie:
            frames = [f.to_ndarray(format="rgba").astype(int) for f in movie.decode(video=0)]
        pairs.append(np.stack(frames))
    apart = np.abs(pairs[0] - pairs[1])
    return not apart[..., 3].any() and apart.mean() < 0.5


def test_what_is_there_is_not_replaced_unless_it_is_said(dog, tmp_path):
    result = open_result(dog)
    for name in ("coco", "csv"):
        out = export(result, tmp_path / FORMATS[name].file, name, **without({}, name))
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(OutputError, match="is there already: replace it with --again"):
            export(result, out, name, **without({}, name))
        export(result.select([1]), out, name, again=True, **without({}, name))
        assert sorted(tmp_path.rglob("*")) == before
    assert len((tmp_path / "tracks.csv").read_text().splitlines()) == 7
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match="not an export of Unveil"):
        export(result, tmp_path / "mine", "coco", again=True)
    with pytest.raises(OutputError, match="is a file: choose another"):
        export(result, tmp_path / "tracks.csv" / "coco", "coco")
    (tmp_path / "empty").mkdir()
    assert export(result, tmp_path / "empty", "coco").is_dir()


def test_a_failed_rename_keeps_the_earlier_export(dog, tmp_path, monkeypatch):
    out = export(open_result(dog), tmp_path / "coco", "coco", images=False)
    before = (out / "annotations.json").read_bytes()
    real = type(out).rename

    def rename(self, target):
        if ".partial-" in self.name:
            raise PermissionError(13, "no")
        return real(self, target)

    monkeypatch.setattr(type(out), "rename", rename)
    with pytest.raises(OutputError, match="permission denied"):
        export(open_result(dog).select([1]), out, "coco", again=True, images=False)
    assert (out / "annotations.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["coco"]


@pytest.mark.parametrize("form", ["coco", "csv"])
def test_an_export_where_a_link_points(form, dog, tmp_path):
    """The link stays, as that to a result does."""
    place, link = tmp_path / "there" / FORMATS[form].file, tmp_path / "link"
    result = open_result(dog)
    export(result, place, form, **without({}, form))
    link.symlink_to(place)
    export(result.select([1]), link, form, again=True, **without({}, form))
    assert link.is_symlink() and sorted(p.name for p in tmp_path.iterdir()) == ["link", "there"]
    assert [p.name for p in place.parent.iterdir()] == [place.name]
    found = place / "annotations.json" if form == "coco" else place
    assert '"track_id":2' not in found.read_text() and "\n2," not in found.read_text()


def test_forms_and_options_that_are_not_there(dog, tmp_path):
    with pytest.raises(InputError, match="no format 'coko' to export to; there are coco, "):
        export(open_result(dog), tmp_path / "x", "coko")
    with pytest.raises(InputError, match="val means nothing to coco: leave it out, or export to y"):
        export(open_result(dog), tmp_path / "x", "coco", val=0.5)


def test_a_segmentation_exports_itself(tmp_path):
    frames, labels = scene()
    keep = {"scores": {1: 0.5, 2: 0.25, 3: 0.125}, "name": "a/b: c", "frames": frames}
    found = Segmentation(labels, fps=Fraction(25), **keep)
    out = found.export(tmp_path / "davis", "davis", objects=[1], every=3, names={1: "dog"})
    masks = sorted((out / "Annotations_unsupervised/480p/a_b_ c").iterdir())
    assert [p.name for p in masks] == ["00000.png", "00003.png"]
    assert np.array_equal(np.array(Image.open(masks[1])), labels[3] == 1)
    assert json.loads((out / place.MARK).read_text())["objects"] == {"1": "dog"}
    with pytest.raises(InputError, match="no pictures"):
        Segmentation(labels, {1: 1.0}).export(tmp_path / "coco", "coco")


# --- the shell -----------------------------------------------------------------------------


def test_the_shell_exports_to_several_forms(dog, tmp_path, capsys):
    call = ["export", dog, "--to", "coco", "--to", "csv", "--out", tmp_path / "x"]
    call += ["--objects", "1,3", "--every", "2", "--name", "1=dog", "--name", "3=a=b"]
    assert main([*map(str, call), "--no-images"]) == 0
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["coco", "tracks.csv"]
    coco = COCO(tmp_path / "x" / "coco" / "annotations.json")
    assert [c["name"] for c in coco.dataset["categories"]] == ["dog", "a=b"]
    assert len(coco.imgs) == 3 and {a["track_id"] for a in coco.anns.values()} == {1, 3}
    assert main([*map(str, call), "--no-images"]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_shell_puts_exports_beside_the_result(tmp_path, capsys):
    out = write_result(tmp_path / "dog", scene()[1])
    assert main(["export", str(out), "--to", "mots"]) == 0
    assert (tmp_path / "dog-export" / "mots.txt").is_file()
    assert str(tmp_path / "dog-export" / "mots.txt") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to export to"),
        (["--to", "coko"], "no format 'coko'"),
        (["--to", "fiftyone"], "FiftyOne reads coco as it is"),
        (["--to", "csv", "--objects", "a"], "expected ids such as 1,3"),
        (["--to", "csv", "--objects", "9"], "no object 9"),
        (["--to", "csv", "--name", "dog"], "such as 1=dog"),
        (["--to", "csv", "--name", "9=dog"], "no object 9"),
        (["--to", "csv", "--val", "0.5"], "val means nothing to csv"),
        (["--to", "csv", "--no-images"], "images means nothing to csv"),
        (["--to", "csv", "--every", "0"], "at least 1 frame"),
    ],
)
def test_mistakes_at_the_shell(arguments, message, dog, tmp_path, capsys):
    assert main(["export", str(dog), *arguments, "--out", str(tmp_path / "x")]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
