"""Objects in the tools that one looks at them with."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exported import NAMES, NTSC, scene, write_result
from filming import long_scene
from unveil.errors import OutputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.segmentation.segmentation import Segmentation

SCORES = {1: 0.5, 2: 0.25, 3: 0.125}


def test_layers_of_napari():
    frames, labels = scene()
    found = Segmentation(labels, SCORES, NTSC, "dog", frames=frames)
    (pictures, about, kind), (ids, said, other) = found.to_napari()
    assert (kind, other) == ("image", "labels") and about == {"name": "dog", "rgb": True}
    assert np.array_equal(pictures, frames) and np.array_equal(ids, labels)
    assert said["features"]["index"] == [0, 1, 2, 3]
    assert said["features"]["score"][1:] == [0.5, 0.25, 0.125]
    assert "napari" not in sys.modules
    assert [layer[2] for layer in Segmentation(labels, SCORES).to_napari()] == ["labels"]


def test_detections_of_supervision():
    supervision = pytest.importorskip("supervision")
    labels = scene()[1]
    labels[5] = 0
    every = list(Segmentation(labels, SCORES).to_supervision())
    assert len(every) == 6 and len(every[5]) == 0
    for found, truth in zip(every, labels, strict=True):
        assert isinstance(found, supervision.Detections)
        seen = np.zeros_like(truth)
        for box, mask, score, kind, id, data in found:
            seen[mask] = id
            ys, xs = np.nonzero(mask)
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert score == SCORES[id] and kind == 0 and data["class_name"] == "object"
        assert np.array_equal(seen, truth)


def test_a_missing_supervision(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(OutputError, match=r"pip install 'unveil\[supervision\]'"):
        next(iter(Segmentation(scene()[1], SCORES).to_supervision()))


def test_rerun_reads_its_recording(tmp_path):
    pytest.importorskip("rerun", reason="rerun-sdk is 170 MB")
    frames, labels = scene()
    result = open_result(write_result(tmp_path / "dog", labels, frames)).select(names=NAMES)
    out = export(result, tmp_path / "dog.rrd", "rerun")
    call = [sys.executable, "-m", "rerun", "rrd", "print", "-vv", str(out)]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for path in ("/video/frame", "/video/objects", "/video/boxes", "/area/3"):
        assert path in done.stdout


@pytest.mark.slow
def test_fiftyone_makes_the_data_set_of_the_how_to(tmp_path):
    """As the page prints it, in a process and with a database of its own."""
    for module in ("fiftyone.core", "fiftyone.db"):
        if importlib.util.find_spec("fiftyone") is None or importlib.util.find_spec(module) is None:
            pytest.skip("its installation fetches a database")
    labels = long_scene()[1]
    result = open_result(write_result(tmp_path / "dog", labels, long_scene()[0]))
    export(result.select(names=NAMES), tmp_path / "fiftyone" / "coco", "coco")
    page = (Path(__file__).parent.parent / "docs" / "howto.md").read_text(encoding="utf-8")
    (printed,) = re.findall(r"```text\n(import fiftyone\n.*?)```", page, flags=re.DOTALL)
    told = """
import json
found = fiftyone.load_dataset("dog")
for sample in found:
    for one in sample.ground_truth.detections:
        box = [round(v * n) for v, n in zip(one.bounding_box, (83, 61, 83, 61))]
        print(json.dumps([sample.filepath, one.track_id, one.label, box, one.mask.tolist()]))
"""
    env = {**os.environ, "FIFTYONE_DO_NOT_TRACK": "1", "HOME": str(tmp_path)}
    env |= {"FIFTYONE_DATABASE_DIR": str(tmp_path / "database"), "PYTHONWARNINGS": "ignore"}
    call = [sys.executable, "-c", printed + told]
    done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seen = np.zeros_like(labels)
    for line in done.stdout.splitlines():
        if line.startswith("["):
            path, id, name, (x, y, w, h), mask = json.loads(line)
            part = seen[int(Path(path).stem), y : y + h, x : x + w]
            part[np.array(mask) > 0] = id
            assert name == NAMES[id]
    assert np.array_equal(seen, labels)


def test_fiftyone_reads_coco(tmp_path, monkeypatch):
    """By the importer that `Dataset.from_dir` uses, which needs no database."""
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "1")
    reason = "its installation fetches a database"
    reader = pytest.importorskip("fiftyone.utils.coco", reason=reason)
    frames, labels = scene()
    result = open_result(write_result(tmp_path / "dog", labels, frames)).select(names=NAMES)
    out = export(result, tmp_path / "coco", "coco")
    where = {"data_path": "images", "labels_path": "annotations.json"}
    importer = reader.COCODetectionDatasetImporter(str(out), label_types="segmentations", **where)
    seen = np.zeros_like(labels)
    with importer:
        for path, _, found in importer:
            for mask in found.detections:
                x, y = (round(v * side) for v, side in zip(mask.bounding_box, (83, 61)))  # noqa: B905
                h, w = mask.mask.shape
                seen[int(Path(path).stem), y : y + h, x : x + w][mask.mask > 0] = mask.track_id
                assert mask.label == NAMES[mask.track_id]
    assert np.array_equal(seen, labels)
