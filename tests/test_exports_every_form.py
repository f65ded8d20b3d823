"""What every form has to bear: odd results, names, places and disks, and readers of others."""

import os
import resource
import sys

import numpy as np
import pytest
from pycocotools import mask as rle

from exported import many, scene, write_result
from reading import READERS
from unveil.errors import OutputError
from unveil.exports.formats import FORMATS, export
from unveil.exports.place import MARK
from unveil.exports.result import open_result

HOSTILE = {1: 'a "big" dog\'s <toy> & co; 50 %', 2: "../up/ 💃\\:*?", 3: " " + "long, " * 60 + "\t"}
EXTRAS = {
    "parquet": ("pyarrow", "parquet"),
    "zarr": ("zarr", "zarr"),
    "ome-zarr": ("zarr", "zarr"),
    "rerun": ("rerun", "rerun"),
}
"""Form → the library that it needs, and the extra that brings it."""
MODULES = ("pyarrow", "zarr", "rerun", "supervision", "cv2", "pandas", "yaml", "skimage", "yt_dlp")


@pytest.fixture(autouse=True)
def installed(request):
    """Forms whose library is too large for the tests are tested where it is."""
    if request.node.callspec.params["form"] == "rerun" and "extras" not in request.node.name:
        pytest.importorskip("rerun", reason="rerun-sdk is 170 MB")


def of_id(labels, frame, id):
    """The box of an object as pycocotools has it."""
    box = rle.toBbox(rle.encode(np.asfortranarray(labels[frame] == id)))
    return tuple(int(side) for side in box)


def check(found, labels, kinds, exact=True):
    """Hold what a reader found against what there is."""
    there = {(i, id) for i, x in enumerate(labels) for id in np.unique(x).tolist() if id}
    seen = {id for _, id in there}
    if "labels" in found:
        assert np.array_equal(found["labels"], labels)
    if "boxes" in found:
        assert found["boxes"] == {(i, id): of_id(labels, i, id) for i, id in there}
    if "names" in found:
        assert {id: found["names"][id] for id in seen} == {id: kinds[id] for id in seen}
    if "kinds" in found:
        numbers = {id: found["kinds"].index(kind) + 1 for id, kind in kinds.items()}
        wanted = np.array([0, *(numbers.get(i + 1, 0) for i in range(max(kinds, default=0)))])
        assert np.array_equal(found["classes"], wanted[labels])
    if "seen" in found:
        assert ((found["seen"] != (labels > 0)).mean() <= (0 if exact else 0.005)).all()
    if "each" in found:
        assert set(found["each"]) == set(kinds)
        for id, mask in found["each"].items():
            assert (mask != (labels == id)).mean() <= (0 if exact else 0.005)


def results():
    """Name → labels, frames of noise, and names."""
    frames, labels = scene()  # an object leaves and returns, one has holes, one is a pixel
    rng = np.random.default_rng(1)
    one = np.zeros((2, 31, 45), np.uint8)
    one[:, 17, 22] = 7
    crowd = many(2)
    tiny = np.ones((1, 1, 1), np.uint8)
    sized = {"one pixel": one, "a pixel that fills its frame": tiny, "300 ids": crowd}
    return {
        "names of every kind": (labels, frames, HOSTILE),
        "nothing": (labels * 0, frames, {}),
        **{
            name: (x, rng.integers(0, 256, (*x.shape, 3), np.uint8), {})
            for name, x in sized.items()
        },
        "even sides": (labels[:, :60, :82], frames[:, :60, :82], {}),
    }


SLOW = {"prores-each", "webm-each", "label-studio", "cutouts", "plot", "plot-svg"}
"""Forms that take more than seconds for 300 objects."""
CASES = [
    pytest.param(form, what, marks=pytest.mark.slow if what == "300 ids" and form in SLOW else ())
    for what in results()
    for form in FORMATS
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "what"), CASES)
def test_another_reader_finds_what_was_found(form, what, tmp_path):
    labels, frames, names = results()[what]
    folder = write_result(tmp_path / "it's a 💃, 1", labels, frames)
    result = open_result(folder).select(names=names)
    shown = []
    out = export(
        result,
        tmp_path / "to" / FORMATS[form].file,
        form,
        on_progress=lambda *x: shown.append(x),
        **({"val": 0.0} if form == "yolo" else {}),
    )
    assert out.is_file() == FORMATS[form].is_file and shown[-1] == (form, len(labels), len(labels))
    assert [p.name for p in (tmp_path / "to").iterdir()] == [FORMATS[form].file]
    kinds = {thing.id: names.get(thing.id, "object") for thing in result.things}
    check(READERS[form](out, *labels.shape), labels, kinds, exact="webm" not in form)


@pytest.mark.skipif(sys.platform == "darwin", reason="files have names of UTF-8 there")
@pytest.mark.parametrize("form", FORMATS)
def test_names_that_are_no_text(form, tmp_path):
    """Files may have names of any bytes, and so may what a person types in a shell."""
    name = os.fsdecode(b"\xe9t\xe9")
    frames, labels = scene(2)
    folder = write_result(tmp_path / name, labels, frames, names=(f"{name}-0", f"{name}-1"))
    result = open_result(folder).select(names={1: name})
    out = export(result, tmp_path / "to" / FORMATS[form].file, form)
    if form == "davis":
        val = (out / "ImageSets" / "2017" / "val.txt").read_bytes()
        assert val == b"\xe9t\xe9\n" and (out / "JPEGImages" / "480p" / name).is_dir()
    if form.startswith("label-studio"):
        text = (out / "tasks.json").read_text(encoding="utf-8")
        assert "%E9t%E9" in text and "\ufffdt\ufffd" in text


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0, 40])
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_leaves_nothing(form, limit, dog, tmp_path):
    """A limit on the size of files fails as a full disk does: at once, or on the way."""
    assert FORMATS[form].write
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OutputError, match="disk is full; free some space"):
            export(open_result(dog), tmp_path / "new" / FORMATS[form].file, form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_there_stays_unless_it_is_an_export(form, dog, tmp_path):
    place = tmp_path / FORMATS[form].file
    if FORMATS[form].is_file:
        place.write_text("mine")
        mine = place
    else:
        place.mkdir()
        mine = place / "thesis.tex"
        mine.write_text("mine")
        with pytest.raises(OutputError, match="not an export of Unveil"):
            export(open_result(dog), place, form, again=True)
    with pytest.raises(OutputError, match="is there already: replace it with --again"):
        export(open_result(dog), place, form)
    assert mine.read_text() == "mine" and [p.name for p in tmp_path.iterdir()] == [place.name]
    if not FORMATS[form].is_file:
        (place / MARK).write_text("{}")
    export(open_result(dog), place, form, again=True)
    assert mine == place or not mine.exists()
    assert [p.name for p in tmp_path.iterdir()] == [place.name]


@pytest.mark.parametrize("form", FORMATS)
def test_without_extras_it_works_or_says_what_to_install(form, dog, tmp_path, monkeypatch):
    for module in [name for name in sys.modules if name.split(".")[0] in MODULES]:
        monkeypatch.delitem(sys.modules, module)
    for module in MODULES:
        monkeypatch.setitem(sys.modules, module, None)
    place = tmp_path / FORMATS[form].file
    if form not in EXTRAS:
        assert export(open_result(dog), place, form).exists()
        return
    library, extra = EXTRAS[form]
    with pytest.raises(OutputError, match=rf"needs {library}: pip install 'unveil\[{extra}\]'"):
        export(open_result(dog), place, form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_ctrl_c_leaves_nothing(form, dog, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(open_result(dog), tmp_path / "new" / "x", form, on_progress=stop)
    assert list(tmp_path.iterdir()) == []
