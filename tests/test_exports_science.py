"""Exports for science: arrays that NumPy and Zarr read again, and a plot."""

from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from exported import NAMES, NTSC, many, scene, write_result
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.results.palette import vivid_palette


def labels_of(which):
    return scene()[1] if which == "dog" else many()


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_numpy_reads_npz(which, request, tmp_path):
    names = NAMES if which == "dog" else {}
    result = open_result(request.getfixturevalue(which)).select(names=names)
    with np.load(export(result, tmp_path / "x.npz", "npz"), allow_pickle=False) as found:
        assert np.array_equal(found["labels"], labels_of(which))
        assert found["labels"].dtype == result.dtype
        assert found["ids"].tolist() == [thing.id for thing in result.things]
        assert found["names"].tolist() == [thing.name or "" for thing in result.things]
        assert found["scores"].tolist() == [thing.score for thing in result.things]
        assert found["frame_names"].tolist() == list(result.names())
        assert Fraction(*found["fps"].tolist()) == NTSC
        assert np.allclose(found["time_s"], np.arange(len(result)) / float(NTSC))


def test_evaluate_reads_npz(dog, tmp_path):
    from unveil.evaluate.predictions import read_prediction

    out = export(open_result(dog), tmp_path / "dog.npz", "npz")
    names = [f"{i:05d}" for i in range(6)]
    assert np.array_equal(read_prediction(out, names, (61, 83), "dog").labels, scene()[1])


@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_zarr_reads_zarr(which, request, tmp_path):
    zarr = pytest.importorskip("zarr")
    names = NAMES if which == "dog" else {}
    result = open_result(request.getfixturevalue(which)).select(names=names)
    array = zarr.open_array(export(result, tmp_path / "zarr", "zarr") / "labels.zarr", mode="r")
    assert np.array_equal(array[:], labels_of(which)) and array.dtype == result.dtype
    assert array.metadata.dimension_names == ("t", "y", "x")
    objects = {o["id"]: o["name"] for o in array.attrs["objects"]}
    assert objects == {thing.id: thing.name or "" for thing in result.things}
    assert Fraction(array.attrs["fps"]) == NTSC


def test_chunks_end_where_the_video_does(tmp_path):
    zarr = pytest.importorskip("zarr")
    labels = np.concatenate([scene()[1]] * 7)[:39]
    out = export(open_result(write_result(tmp_path / "x", labels)), tmp_path / "z", "zarr")
    array = zarr.open_array(out / "labels.zarr", mode="r")
    assert array.chunks == (16, 61, 83) and np.array_equal(array[:], labels)


@pytest.mark.parametrize("images", [True, False])
def test_ome_zarr_is_valid_and_holds_both(images, dog, tmp_path):
    zarr = pytest.importorskip("zarr")
    models = pytest.importorskip("ome_zarr_models.v05")
    result = open_result(dog).select(names=NAMES)
    out = export(result, tmp_path / "ome", "ome-zarr", images=images) / "video.ome.zarr"
    root = zarr.open_group(out, mode="r")
    label = models.ImageLabel.from_zarr(root["labels/objects"])
    assert models.Labels.from_zarr(root["labels"]).attributes.ome.labels == ["objects"]
    properties = root["labels/objects"].attrs["ome"]["image-label"]["properties"]
    assert {p["label-value"]: p["name"] for p in properties} == NAMES
    steps = label.attributes.ome.multiscales[0].datasets[0].coordinateTransformations
    assert steps[0].scale == [float(1 / NTSC), 1, 1]
    assert np.array_equal(root["labels/objects/0"][:], scene()[1])
    if images:
        models.Image.from_zarr(root)
        assert np.array_equal(root["0"][:].transpose(0, 2, 3, 1), scene()[0])


def test_ome_zarr_opens_in_its_reader(dog, tmp_path):
    reader = pytest.importorskip("ome_zarr.reader", reason="it brings dask and a client of S3")
    from ome_zarr.io import parse_url

    out = export(open_result(dog).select(names=NAMES), tmp_path / "ome", "ome-zarr")
    nodes = list(reader.Reader(parse_url(out / "video.ome.zarr"))())
    shapes = [[x.shape for x in node.data] for node in nodes if node.data]
    assert shapes == [[(6, 3, 61, 83)], [(6, 61, 83)]]
    (labels,) = [
        node for node in nodes if "color" in node.metadata and "properties" in node.metadata
    ]
    assert np.array_equal(np.asarray(labels.data[0]), scene()[1])
    assert labels.metadata["properties"][1]["name"] == "dog"


def test_arrays_of_nothing(tmp_path):
    zarr = pytest.importorskip("zarr")
    frames, labels = scene()
    result = open_result(write_result(tmp_path / "x", labels * 0, frames))
    assert not np.load(export(result, tmp_path / "x.npz", "npz"))["labels"].any()
    out = export(result, tmp_path / "ome", "ome-zarr")
    assert not zarr.open_array(out / "video.ome.zarr/labels/objects/0", mode="r")[:].any()
    export(result, tmp_path / "tracks.png", "plot")


def test_a_plot_shows_every_object(dog, tmp_path):
    names = {1: "dog, $5 a day", 2: "_hidden 💃", 3: "two\nlines"}
    result = open_result(dog).select(names=names)
    with Image.open(export(result, tmp_path / "tracks.png", "plot")) as image:
        assert image.format == "PNG" and image.size == (1200, 840)
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {tuple(vivid_palette()[id].tolist()) for id in names} <= colours
    svg = export(result, tmp_path / "tracks.svg", "plot-svg")
    text = svg.read_text()
    ElementTree.fromstring(text)
    for said in ("1 dog, $5 a day, 0.50", "2 _hidden 💃, 0.33", "3 two lines, 0.25", "time / s"):
        assert said in text


def test_a_line_is_broken_where_its_object_is_absent(monkeypatch, dog, tmp_path):
    from matplotlib.axes import Axes

    drawn = []
    real = Axes.plot
    monkeypatch.setattr(
        Axes, "plot", lambda self, x, y, **how: drawn.append((x, y)) or real(self, x, y, **how)
    )
    export(open_result(dog), tmp_path / "tracks.png", "plot")
    time, area = drawn[3]  # the second object's first panel
    assert np.isnan(area).tolist() == [False, False, True, False, False]
    seen = [(scene()[1][i] == 2).mean() * 100 for i in (0, 1, 4, 5)]
    assert np.allclose(area[~np.isnan(area)], seen)
    assert np.allclose(time[~np.isnan(time)], np.array([0, 1, 4, 5]) / float(NTSC), atol=1e-6)


@pytest.mark.slow
def test_a_plot_of_a_crowd(crowd, tmp_path):
    text = export(open_result(crowd), tmp_path / "x.svg", "plot-svg").read_text()
    assert "the first 24 of 300" in text
