"""What others find in an export: readers of every form, none of them ours.

Each takes where the export lies and gives, as far as its form can say: `labels` [T, H, W], `boxes`
(frame, id) → (left, top, width, height), and `names` id → name or class.
"""

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from filming import opened
from oracles.label_studio_plain import read_brush


def coco(out, t, h, w):
    data = COCO(out / "annotations.json")
    labels, names = np.zeros((t, h, w), np.uint16), {}
    for a in data.anns.values():
        labels[data.imgs[a["image_id"]]["frame_id"]][data.annToMask(a) > 0] = a["track_id"]
        names[a["track_id"]] = data.cats[a["category_id"]]["name"]
    for image in data.imgs.values():
        with Image.open(out / "images" / image["file_name"]) as picture:
            assert picture.size == (w, h)
    return {"labels": labels, "names": names}


def ytvis(out, t, h, w):
    record = json.loads((out / "train.json").read_text())
    labels, names = np.zeros((t, h, w), np.uint16), {}
    kinds = {c["id"]: c["name"] for c in record["categories"]}
    for a in record["annotations"]:
        names[a["id"]] = kinds[a["category_id"]]
        for i, segment in enumerate(a["segmentations"]):
            if segment is not None:
                labels[i][rle.decode(segment) > 0] = a["id"]
    for name in record["videos"][0]["file_names"]:
        assert (out / "train" / "JPEGImages" / name).is_file()
    return {"labels": labels, "names": names}


def yolo(out, t, h, w):
    """Polygons say no id: an object is known by its class."""
    import cv2
    import yaml

    kinds = yaml.safe_load((out / "data.yaml").read_text())["names"]
    classes = np.zeros((t, h, w), np.uint16)
    files = sorted(out.glob("labels/*/*.txt"), key=lambda path: path.stem)
    assert len(files) == t == len(list(out.glob("images/*/*.jpg")))
    for i, file in enumerate(files):
        for line in file.read_text().splitlines():
            kind, *numbers = line.split()
            corners = np.array(numbers, float).reshape(-1, 2) * (w, h)
            filled = np.zeros((h, w), np.uint8)
            cv2.fillPoly(filled, [corners.astype(np.int32)], 1)
            classes[i][filled > 0] = int(kind) + 1
    return {"classes": classes, "kinds": [kinds[i] for i in range(len(kinds))]}


def yolo_tracks(out, t, h, w):
    boxes = {}
    for i, file in enumerate(sorted((out / "labels").iterdir())):
        for line in file.read_text().splitlines():
            _, x, y, width, height, id = map(float, line.split())
            box = [(x - width / 2) * w, (y - height / 2) * h, width * w, height * h]
            boxes[i, int(id)] = tuple(round(side) for side in box)
    return {"boxes": boxes}


def davis(out, t, h, w):
    (folder,) = (out / "Annotations_unsupervised" / "480p").iterdir()
    return {"labels": pictures(sorted(folder.iterdir()))}


def mot(out, t, h, w):
    import motmetrics

    boxes = {}
    if (out / "gt" / "gt.txt").stat().st_size:
        table = motmetrics.io.loadtxt(out / "gt" / "gt.txt", fmt="mot15-2D")
        for (frame, id), row in table.iterrows():
            boxes[frame - 1, id] = (row.X, row.Y, row.Width, row.Height)
    assert len(list((out / "img1").iterdir())) == t
    return {"boxes": boxes}


def mots(out, t, h, w):
    labels = np.zeros((t, h, w), np.uint16)
    for line in out.read_text().splitlines():
        frame, id, _, height, width, counts = line.split(" ")
        size = [int(height), int(width)]
        mask = rle.decode({"size": size, "counts": counts.encode()})
        labels[int(frame) - 1][mask > 0] = int(id) % 1000
    return {"labels": labels}


def mots_png(out, t, h, w):
    return {"labels": pictures(sorted(out.glob("*.png"))) % 1000}


def cvat(out, t, h, w):
    from test_exports_annotation import imported_masks, read_cvat

    labels, names = np.zeros((t, h, w), np.uint16), {}
    for frame, id, name, _, mask in imported_masks(read_cvat(out / "annotations.xml")):
        labels[frame][mask], names[id] = id, name or "object"
    return {"labels": labels, "names": names}


def cvat_boxes(out, t, h, w):
    from test_exports_annotation import read_cvat

    boxes, names = {}, {}
    for track in read_cvat(out / "annotations.xml").findall("track"):
        for shape in track:
            if shape.get("outside") == "0":
                x, y, right, bottom = (int(shape.get(k)) for k in ("xtl", "ytl", "xbr", "ybr"))
                id = int(track.get("group_id"))
                boxes[int(shape.get("frame")), id] = (x, y, right - x, bottom - y)
                names[id] = track.get("label")
    return {"boxes": boxes, "names": names}


def label_studio(out, t, h, w):
    labels, names = np.zeros((t, h, w), np.uint16), {}
    for i, task in enumerate(json.loads((out / "tasks.json").read_text())):
        for region in task["predictions"][0]["result"]:
            id = int(region["id"].removeprefix("object-"))
            brush = read_brush(region["value"]["rle"]).reshape(h, w, 4)
            labels[i][brush[..., 3] > 0] = id
            names[id] = region["value"]["brushlabels"][0]
    return {"labels": labels, "names": names}


def label_studio_video(out, t, h, w):
    """A key frame is shown in its own frame; if it is enabled, up to the next one too."""
    (task,) = json.loads((out / "tasks.json").read_text())
    boxes, names = {}, {}
    for region in task["predictions"][0]["result"]:
        id = int(region["id"].removeprefix("object-"))
        names[id] = region["value"]["labels"][0]
        sequence = region["value"]["sequence"]
        stops = [key["frame"] for key in sequence[1:]] + [t + 4]  # the video may go on
        for key, stop in zip(sequence, stops, strict=True):
            sides = [key[x] for x in ("x", "y", "width", "height")]
            box = np.round(np.array(sides) / 100 * (w, h, w, h)).astype(int)
            for frame in range(key["frame"], stop if key["enabled"] else key["frame"] + 1):
                boxes[frame - 1, id] = tuple(box.tolist())
    return {"boxes": boxes, "names": names}


def table(out, t, h, w):
    import pandas

    read = pandas.read_parquet if out.suffix == ".parquet" else pandas.read_csv
    rows = read(out).to_dict("records")
    sides = ("left_px", "top_px", "width_px", "height_px")
    return {
        "boxes": {(r["frame"], r["id"]): tuple(r[side] for side in sides) for r in rows},
        "names": {r["id"]: r["class"] for r in rows},
    }


def npz(out, t, h, w):
    with np.load(out, allow_pickle=False) as found:
        names = dict(zip(found["ids"].tolist(), found["classes"].tolist(), strict=True))
        return {"labels": found["labels"], "names": names}


def zarr(out, t, h, w):
    import zarr

    array = zarr.open_array(out / "labels.zarr", mode="r")
    return {"labels": array[:], "names": {o["id"]: o["class"] for o in array.attrs["objects"]}}


def ome_zarr(out, t, h, w):
    import zarr

    group = zarr.open_group(out / "video.ome.zarr", mode="r")["labels/objects"]
    about = group.attrs["ome"]["image-label"].get("properties", [])
    return {"labels": group["0"][:], "names": {o["label-value"]: o["class"] for o in about}}


def drawing(out, t, h, w):
    if out.suffix == ".svg":
        ElementTree.parse(out)
    else:
        with Image.open(out) as image:
            image.load()
    return {}


def alpha_pictures(out, t, h, w):
    return {"seen": pictures(sorted(out.glob("*.png")))[..., 3] > 127}


def alpha_movie(out, t, h, w):
    frames, about = opened(out)
    assert about["pixels"].startswith("yuva4") and about["size"] == (h, w) and len(frames) == t
    return {"seen": frames[..., 3] > 127}


def movie(out, t, h, w):
    frames, about = opened(out, "rgb24")
    assert len(frames) == t and about["size"] == (h + h % 2, w + w % 2)
    return {}


def alpha_movies(out, t, h, w):
    files = [path for path in out.iterdir() if path.suffix in (".mov", ".webm")]
    ids = [int(path.stem.split()[0]) for path in files]
    seen = [alpha_movie(path, t, h, w)["seen"] for path in files]
    return {"each": dict(zip(ids, seen, strict=True))}


def cutouts(out, t, h, w):
    labels = np.zeros((t, h, w), np.uint16)
    with (out / "cutouts.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            picture = np.asarray(Image.open(out / row["file"]))
            x, y, width, height = (
                int(row[f"{side}_px"]) for side in ("left", "top", "width", "height")
            )
            part = labels[int(row["frame_name"]), y : y + height, x : x + width]
            part[picture[..., 3] > 127] = int(row["id"])
    return {"labels": labels}


_OF_BOXES = ("centers", "half_sizes", "class_ids")


def rerun(out, t, h, w):
    from rerun.chunk import RrdReader

    labels, boxes, names, pictures = np.full((t, h, w), 0xFFFF, np.uint16), {}, {}, set()
    for chunk in RrdReader(out).stream():
        for row in chunk.to_record_batch().to_pylist():
            of = {key.partition(":")[2]: value for key, value in row.items()}
            if chunk.entity_path == "/video":
                for known in of["context"][0]:
                    about = known["class_description"]["info"]
                    names[about["id"]] = about["label"].removesuffix(f" {about['id']}")
            elif chunk.entity_path == "/video/objects":
                values = bytes(of["buffer"][0])
                kind = np.uint8 if len(values) == h * w else np.uint16
                labels[row["frame"]] = np.frombuffer(values, kind).reshape(h, w)
            elif chunk.entity_path == "/video/boxes":
                for centre, half, id in zip(*(of[x] or [] for x in _OF_BOXES), strict=True):
                    sides = (centre[0] - half[0], centre[1] - half[1], 2 * half[0], 2 * half[1])
                    boxes[row["frame"], id] = tuple(round(side) for side in sides)
            elif chunk.entity_path == "/video/frame":
                with Image.open(io.BytesIO(bytes(of["blob"][0]))) as picture:
                    assert picture.size == (w, h)
                pictures.add(row["frame"])
    assert pictures == set(range(t))
    return {"labels": labels, "boxes": boxes, "names": names}


def pictures(paths: list[Path]) -> np.ndarray:
    """Pictures of one size, one after the other."""
    return np.stack([np.asarray(Image.open(path)) for path in paths])


READERS = {
    "coco": coco,
    "yolo": yolo,
    "yolo-tracks": yolo_tracks,
    "ytvis": ytvis,
    "davis": davis,
    "mot": mot,
    "mots": mots,
    "mots-png": mots_png,
    "cvat": cvat,
    "cvat-boxes": cvat_boxes,
    "label-studio": label_studio,
    "label-studio-video": label_studio_video,
    "csv": table,
    "parquet": table,
    "plot": drawing,
    "plot-svg": drawing,
    "rerun": rerun,
    "npz": npz,
    "zarr": zarr,
    "ome-zarr": ome_zarr,
    "prores": alpha_movie,
    "prores-each": alpha_movies,
    "webm": alpha_movie,
    "webm-each": alpha_movies,
    "rgba-png": alpha_pictures,
    "cutouts": cutouts,
    "green-screen": movie,
    "blur": movie,
}
