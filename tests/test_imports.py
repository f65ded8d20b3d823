"""Tracks of others as results: what comes back is what went out, and mistakes are named."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from exported import NAMES, NTSC, scene, write_result
from filming import write_video
from unveil.cli import main
from unveil.errors import DataError, InputError, OutputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.imports.result import import_result, read_tracks
from unveil.view.film import Film

FORMS = ("davis", "coco", "ytvis", "cvat")


def stack(result):
    return np.stack(list(result.labels()))


def without_pictures(name):
    return {} if name == "cvat" else {"images": False}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", ["dog", "crowd"])
def test_what_was_exported_comes_back(form, which, request, tmp_path):
    names = NAMES if which == "dog" else {7: "seven"}
    before = open_result(request.getfixturevalue(which)).select(names=names)
    place = export(before, tmp_path / form, form, **without_pictures(form))
    result = open_result(import_result(place, tmp_path / "out"))
    assert np.array_equal(stack(result), stack(before))
    ids = [thing.id for thing in before.things]
    assert [thing.id for thing in result.things] == ids
    assert list(result.names()) == list(before.names())
    if form != "davis":
        assert result.name == before.name
        assert [(t.name, t.kind) for t in result.things] == [
            (t.name, t.kind) for t in before.things
        ]
    if form in ("coco", "ytvis"):
        assert [t.score for t in result.things] == [t.score for t in before.things]
        assert result.fps == NTSC
    else:
        assert {t.score for t in result.things} == {1.0}


@pytest.mark.parametrize("form", ["davis", "coco", "ytvis"])
def test_pictures_that_lie_beside_are_the_video(form, dog, tmp_path):
    place = export(open_result(dog), tmp_path / form, form)
    out = import_result(place, tmp_path / "out")
    assert (out / "overlay.mp4").is_file() and (out / "contact.png").is_file()
    pictures = sorted(place.rglob("*.jpg"))
    frames = list(open_result(out).frames())
    assert len(frames) == len(pictures) == 6
    for frame, picture in zip(frames, pictures, strict=True):
        assert np.array_equal(frame, np.array(Image.open(picture)))


def test_a_video_is_given(dog, tmp_path):
    place = export(open_result(dog), tmp_path / "cvat", "cvat")
    out = import_result(place, tmp_path / "out", video=f"{dog}-frames")
    result = open_result(out)
    assert np.array_equal(np.stack(list(result.frames())), scene()[0])
    assert result.fps == 24  # of a folder of images; CVAT says none
    small = write_result(tmp_path / "cat", scene(4)[1], scene(4)[0])
    with pytest.raises(InputError, match="4 frames, dog 6 masks"):
        import_result(place, tmp_path / "no", video=f"{small}-frames")
    wide = write_result(tmp_path / "cow", scene(6, 64)[1], scene(6, 64)[0])
    with pytest.raises(InputError, match="is 83x64, the masks of dog 83x61"):
        import_result(place, tmp_path / "no", video=f"{wide}-frames")
    assert not (tmp_path / "no").exists()


def test_frames_of_cvat_are_found_in_their_video(dog, tmp_path):
    """A task of every second frame, read beside the whole video."""
    place = export(open_result(dog).select(every=2), tmp_path / "cvat", "cvat")
    result = open_result(import_result(place, tmp_path / "out", video=f"{dog}-frames"))
    assert np.array_equal(np.stack(list(result.frames())), scene()[0][::2])
    assert np.array_equal(stack(result), scene()[1][::2]) and result.fps == 12


def greys(tmp_path, suffix=".mp4", fps=30, t=40):
    """A video each of whose frames says its number by its brightness."""
    frames = np.repeat(np.arange(t, dtype=np.uint8), 61 * 83 * 3).reshape(t, 61, 83, 3) * 5
    return write_video(tmp_path / f"grey{suffix}", frames, None, Fraction(fps))


def numbers(result):
    """Which frames of that video are those of a result."""
    return [round(frame.mean() / 5) for frame in result.frames()]


def later(first):
    """A change that lets a task begin with a later frame of its video."""
    pattern = re.compile(r'((?: frame="|_frame>))(\d+)')
    return lambda text: pattern.sub(lambda m: f"{m[1]}{int(m[2]) + first}", text)


@pytest.mark.parametrize(
    ("suffix", "fps"), [(".mkv", 30), (".mkv", NTSC), (".mkv", 24), (".mp4", 30), (".avi", 25)]
)
def test_a_task_that_begins_later(suffix, fps, dog, tmp_path):
    """Matroska counts whole milliseconds: a frame may be shown before its time, or after it."""
    video = greys(tmp_path, suffix, fps)
    for first in range(1, 8):
        place = cvat_of(dog, tmp_path / f"{first}", later(first))
        out = import_result(place, tmp_path / f"{first}" / "out", video=video)
        result = open_result(out)
        assert numbers(result) == list(result.in_source()) == list(range(first, first + 6))
        assert json.loads((out / "run.json").read_text())["warnings"] == []


def test_a_task_that_begins_later_finds_its_video_afterwards(dog, tmp_path):
    """Without the video nobody knows when its frames are shown, but which ones they are."""
    video = greys(tmp_path)
    place = cvat_of(dog, tmp_path, later(10))
    out = import_result(place, tmp_path / "out")
    expected = list(range(10, 16))
    assert list(open_result(out).in_source()) == expected
    result = open_result(out, video)
    assert numbers(result) == list(result.in_source()) == expected
    assert result.start == pytest.approx(10 / 30)
    about = json.loads((out / "run.json").read_text())["video"]
    film = Film(out, about, 6, video)
    assert [round(film.frame(i).mean() / 5) for i in range(6)] == expected
    again = export(result, tmp_path / "again", "cvat") / "annotations.xml"
    assert "<start_frame>10</start_frame>" in again.read_text()


@pytest.mark.parametrize("form", ["coco", "ytvis", "davis"])
def test_masks_of_every_second_frame(form, tmp_path):
    """The rates of both tell it; of masks alone nobody knows."""
    video = greys(tmp_path, fps=24, t=11)
    before = open_result(write_result(tmp_path / "dog", scene(11)[1], fps=Fraction(24)))
    place = export(before.select(every=2), tmp_path / form, form, images=False)
    out = import_result(place, tmp_path / "out", video=video)
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    if form == "davis":
        assert numbers(open_result(out)) == list(range(6))
        assert warning.startswith("the video grey has more frames than there are masks")
    else:
        assert numbers(open_result(out)) == list(range(0, 11, 2))
        assert warning.startswith("grey.mp4 has 2 times as many frames a second")


def test_pictures_have_no_rate_of_their_own(tmp_path):
    """They count as 24 a second: half as many a second does not mean every second of them."""
    frames, labels = scene(4)
    dog = write_result(tmp_path / "dog", labels, frames, fps=Fraction(12))
    place = export(open_result(dog), tmp_path / "coco", "coco", images=False)
    out = import_result(place, tmp_path / "out", video=f"{dog}-frames")
    assert np.array_equal(np.stack(list(open_result(out).frames())), frames)
    assert json.loads((out / "run.json").read_text())["warnings"] == []


@pytest.mark.parametrize("step", [1, 2])
def test_pictures_are_those_that_the_masks_are_called_after(tmp_path, step):
    """Whatever the rates say, of which pictures have none."""
    frames, labels = scene(9)
    whole = write_result(tmp_path / "dog", labels, frames, fps=Fraction(24))
    names = [f"{i:05d}" for i in range(0, 4 * step, step)]
    coco = {
        "videos": [{"id": 1, "name": "dog", "fps": "12"}],
        "images": [
            {"id": i, "video_id": 1, "frame_index": i, "file_name": f"dog/{name}.png"}
            | {"height": labels.shape[1], "width": labels.shape[2]}
            for i, name in enumerate(names)
        ],
        "annotations": [],
        "categories": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    out = import_result(tmp_path / "coco.json", tmp_path / "out", video=f"{whole}-frames")
    shown = np.stack(list(open_result(out).frames()))
    assert np.array_equal(shown, frames[: 4 * step : step])


@pytest.mark.parametrize("form", FORMS)
def test_nothing_at_all(form, tmp_path):
    out = write_result(tmp_path / "nothing", scene()[1] * 0)
    place = export(open_result(out), tmp_path / form, form, **without_pictures(form))
    result = open_result(import_result(place, tmp_path / "out"))
    assert result.things == () and stack(result).shape == (6, 61, 83) and not stack(result).any()


@pytest.mark.slow
def test_an_imported_result_is_exported_and_scored(dog, tmp_path):
    place = export(open_result(dog).select(names=NAMES), tmp_path / "coco", "coco")
    out = import_result(place, tmp_path / "out" / "dog")
    davis = export(open_result(dog), tmp_path / "davis", "davis")
    call = ["evaluate", "davis2017", "--root", davis, "--predictions", tmp_path / "out"]
    assert main([*map(str, call), "--out", str(tmp_path / "scores")]) == 0
    scores = json.loads((tmp_path / "scores" / "results.json").read_text())
    assert scores["protocols"]["davis2017"]["mean"]["J&F"] == 1
    again = export(open_result(out), tmp_path / "cvat", "cvat")
    assert np.array_equal(stack(open_result(import_result(again, tmp_path / "x"))), scene()[1])


def test_it_is_said_that_it_cannot_be_cut_anew(dog, tmp_path, capsys):
    place = export(open_result(dog), tmp_path / "coco", "coco")
    out = import_result(place, tmp_path / "out")
    assert main(["recut", str(out)]) == 2
    assert "it has masks and no merge tree" in capsys.readouterr().err


# --- masks ---------------------------------------------------------------------------------


def write_masks(folder, labels):
    folder.mkdir(parents=True)
    for i, image in enumerate(labels):
        Image.fromarray(image).save(folder / f"{i}.png")
    return folder


def test_plain_masks_in_natural_order(tmp_path):
    labels = np.concatenate([scene()[1]] * 2)
    result = open_result(import_result(write_masks(tmp_path / "dog", labels), tmp_path / "out"))
    assert np.array_equal(stack(result), labels) and result.name == "dog"
    assert list(result.names())[9:] == ["9", "10", "11"]


def test_void_and_one_object(tmp_path):
    labels = scene()[1]
    void = np.where(labels == 2, 255, labels).astype(np.uint8)
    out = import_result(write_masks(tmp_path / "void", void), tmp_path / "a")
    assert np.array_equal(stack(open_result(out)), np.where(labels == 2, 0, labels))
    assert "void" in json.loads((out / "run.json").read_text())["warnings"][0]
    single = np.where(labels, 255, 0).astype(np.uint8)
    out = import_result(write_masks(tmp_path / "single", single), tmp_path / "b")
    assert np.array_equal(stack(open_result(out)), (labels > 0).astype(np.uint8))


def test_255_objects_go_through_davis(tmp_path):
    labels = np.arange(300, dtype=np.uint16).reshape(1, 15, 20) % 256
    before = open_result(write_result(tmp_path / "many", labels))
    place = export(before, tmp_path / "davis", "davis", images=False)
    assert np.array_equal(stack(open_result(import_result(place, tmp_path / "out"))), labels)


def test_masks_that_differ(tmp_path):
    folder = write_masks(tmp_path / "dog", scene()[1])
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(folder / "9.png")
    with pytest.raises(DataError, match=r"9\.png is 7x5, the first mask 83x61"):
        import_result(folder, tmp_path / "out")


# --- COCO ----------------------------------------------------------------------------------


def record(place, change):
    path = place / "annotations.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def coco_of(dog, tmp_path, change=lambda content: None):
    place = export(open_result(dog), tmp_path / "coco", "coco", images=False)
    record(place, change)
    return place


def test_polygons_and_other_names_of_tracks(dog, tmp_path):
    def change(content):
        for a in content["annotations"]:
            a["instance_id"] = a.pop("track_id")
        content["annotations"][0]["segmentation"] = [[0, 0, 4, 0, 4, 4, 0, 4]]

    result = open_result(import_result(coco_of(dog, tmp_path, change), tmp_path / "out"))
    assert (stack(result)[0][:4, :4] == 1).all() and (stack(result)[0] == 1).sum() == 16
    assert np.array_equal(stack(result)[1:], scene()[1][1:])


def test_overlaps_are_told_and_the_higher_score_is_in_front(dog, tmp_path):
    def change(content):
        for a in content["annotations"]:
            a["segmentation"] = [[0, 0, 4, 0, 4, 4, 0, 4]]

    out = import_result(coco_of(dog, tmp_path, change), tmp_path / "out")
    assert (stack(open_result(out))[:, :4, :4] == 1).all()
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    assert warning.startswith(f"{16 * (2 * 4 + 2)} pixels lie in two objects")


def test_ids_that_masks_have_no_room_for(dog, tmp_path):
    def change(content):
        for a in content["annotations"]:
            a["track_id"] = {1: 0, 2: 70_000, 3: 5}[a["track_id"]]

    out = import_result(coco_of(dog, tmp_path, change), tmp_path / "out")
    expected = np.array([0, 1, 3, 2])[scene()[1]]
    assert np.array_equal(stack(open_result(out)), expected)
    assert "they are 1 … 3 now" in json.loads((out / "run.json").read_text())["warnings"][0]


def test_one_video_of_several(dog, tmp_path):
    def change(content):
        video = {"id": 2, "name": "cat", "fps": "25"}
        content["videos"].append(video)
        for image in content["images"][3:]:
            image["video_id"] = 2

    place = coco_of(dog, tmp_path, change)
    with pytest.raises(DataError, match="2 videos: choose one with --name; it has dog, cat"):
        read_tracks(place)
    with pytest.raises(DataError, match="no video 'cow'"):
        read_tracks(place, "cow")
    result = open_result(import_result(place, tmp_path / "out", name="cat"))
    assert np.array_equal(stack(result), scene()[1][3:])
    assert (result.name, result.fps) == ("cat", Fraction(25))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("annotations"), "holds no annotations"),
        (lambda c: [a.pop("track_id") for a in c["annotations"]], "track_id: expected the id"),
        (lambda c: c["annotations"][0].update(track_id="1"), "expected a whole number, got '1'"),
        (lambda c: c["images"][1].update(width=9), "expected 61, 83 as the first"),
        (lambda c: c["images"].clear(), "no images"),
        (lambda c: c["images"][1].update(id=1), r"images\[1\].*: id: expected what no other has"),
        (lambda c: c["annotations"][0].update(image_id=99), "expected the id of an image, got 99"),
        (lambda c: c["annotations"][0]["segmentation"].update(size=[1, 1]), "size: expected"),
        (lambda c: c["annotations"].insert(0, None), r"annotations\[0\]: the record: expected"),
        (lambda c: c["annotations"][0].update(category_id=[1]), r"the id of a category, got \[1\]"),
        (lambda c: c["categories"][0].update(id={}), "the id of a category, got {}"),
    ],
)
def test_mistakes_of_coco(change, message, dog, tmp_path):
    with pytest.raises(DataError, match=message):
        import_result(coco_of(dog, tmp_path, change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- CVAT ----------------------------------------------------------------------------------


def cvat_of(dog, tmp_path, change):
    place = export(open_result(dog), tmp_path / "cvat", "cvat") / "annotations.xml"
    place.write_text(change(place.read_text()))
    return place


def with_polygon(points, frame=0):
    """A change that adds a track of one polygon."""
    shape = f'frame="{frame}" keyframe="1" outside="0" occluded="0" points="{points}" z_order="3"'
    track = f'<track id="900" label="cat"><polygon {shape}></polygon></track>'
    return lambda text: text.replace("</annotations>", f"{track}</annotations>")


def test_a_person_paints_in_cvat(dog, tmp_path):
    """What CVAT writes of new shapes has no number: tracks of polygons, and masks in groups."""
    tracks = """
      <track id="900" label="cat"><polygon frame="1" keyframe="1" outside="0" occluded="0"
        points="70.00,2.00;80.00,2.00;80.00,8.00;70.00,8.00" z_order="3"></polygon>
        <polygon frame="2" keyframe="1" outside="1" occluded="0"
        points="70.00,2.00;80.00,2.00;80.00,8.00;70.00,8.00" z_order="3"></polygon></track>
      <track id="901" label="cat" group_id="4"><mask frame="2" keyframe="1" outside="0"
        occluded="0" rle="0, 3" left="0" top="0" width="3" height="1" z_order="0"></mask></track>
      <track id="902" label="cat" group_id="4"><mask frame="3" keyframe="1" outside="0"
        occluded="0" rle="1, 2" left="0" top="0" width="3" height="1" z_order="0"></mask></track>
    </annotations>"""
    place = cvat_of(dog, tmp_path, lambda text: text.replace("</annotations>", tracks))
    result = open_result(import_result(place, tmp_path / "out"))
    labels = scene()[1].copy()
    labels[1, 2:8, 70:80] = 4
    labels[2, 0, :3] = 5
    labels[3, 0, 1:3] = 5
    assert np.array_equal(stack(result), labels)
    assert [t.kind for t in result.things] == ["object", "object", "object", "cat", "cat"]


def test_what_joins_the_tracks_of_a_group(dog, tmp_path):
    """Shapes of one frame and one label; what goes over several frames is an object of its own."""
    tracks, count = "", 0

    def add(label, *frames, group=4):
        nonlocal tracks, count
        shapes = "".join(
            f'<mask frame="{frame}" keyframe="1" outside="0" occluded="0" rle="0, 3" '
            f'left="{4 * count}" top="0" width="3" height="1" z_order="0"></mask>'
            for frame in frames
        )
        tracks += f'<track id="{900 + count}" label="{label}" group_id="{group}">{shapes}</track>'
        count += 1

    add("cat", 1, 2)
    add("cat", 1, 2)
    add("cat", 1)
    add("cat", 2)
    add("dog", 2)
    add("cat", 2, group=5)
    place = cvat_of(dog, tmp_path, lambda text: text.replace("</ann", f"{tracks}</ann"))
    result = open_result(import_result(place, tmp_path / "out"))
    labels = stack(result)
    assert labels[2, 0, ::4][:6].tolist() == [4, 5, 0, 6, 7, 8] and labels[1, 0, 8] == 6
    kinds = {thing.id: thing.kind for thing in result.things}
    assert kinds == dict.fromkeys((1, 2, 3), "object") | dict.fromkeys((4, 5, 6, 8), "cat") | {
        7: "dog"
    }


def test_a_task_of_images_has_the_size_of_its_video(dog, tmp_path):
    """CVAT says the size of videos alone."""
    size = re.compile("<original_size>.*</original_size>", re.DOTALL)
    place = cvat_of(dog, tmp_path, lambda text: size.sub("", text))
    out = import_result(place, tmp_path / "out", video=f"{dog}-frames")
    assert np.array_equal(stack(open_result(out)), scene()[1])
    with pytest.raises(DataError, match="give the video, or the folder of the images, with --vid"):
        import_result(place, tmp_path / "no")


def test_boxes_beside_masks_are_counted(dog, tmp_path):
    where = 'keyframe="1" occluded="0" xtl="1" ytl="1" xbr="5" ybr="5" z_order="0"'
    boxes = "".join(f'<box frame="{i}" outside="{i // 2}" {where}></box>' for i in range(3))
    track = f'<track id="900" label="cat">{boxes}</track>'
    place = cvat_of(dog, tmp_path, lambda text: text.replace("</ann", f"{track}</ann"))
    out = import_result(place, tmp_path / "out")
    (warning,) = json.loads((out / "run.json").read_text())["warnings"]
    assert warning.startswith("2 boxes or other shapes are no masks")
    assert np.array_equal(stack(open_result(out)), scene()[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:300], "cannot be read as XML"),
        (lambda text: "<svg></svg>", "no file of CVAT"),
        (lambda text: text.replace("</annotations>", "<image/></annotations>"), "single images"),
        (lambda text: text.replace("mask", "box"), "boxes or other shapes, and no mask"),
        (lambda text: text.replace("original_size", "size_"), "does not say the height"),
        (lambda text: text.replace('rle="', 'rle="5, '), "does not fit 83x61"),
        (lambda text: text.replace('left="', 'left="9'), "does not fit 83x61"),
        (lambda text: text.replace('frame="5"', 'frame="7"'), "a shape in frame 7, the task has 0"),
        (lambda text: text.replace('frame="5"', 'frame="x"'), "expected a whole number, got 'x'"),
        (lambda text: text.replace("stop_frame>5", "stop_frame>x"), "are no numbers"),
        (with_polygon("5,5;10,12"), "expected three points or more"),
        (with_polygon("5,5;10;12,3"), "does not fit 83x61"),
        (with_polygon("5,5;10,inf;12,3"), "expected three points or more"),
    ],
)
def test_mistakes_of_cvat(change, message, dog, tmp_path):
    with pytest.raises(DataError, match=message):
        import_result(cvat_of(dog, tmp_path, change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- the shell -----------------------------------------------------------------------------


def test_the_shell_imports(dog, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    export(open_result(dog), tmp_path / "coco", "coco")
    assert main(["import", "coco", "--out", "here"]) == 0
    assert "3 objects in 6 frames" in capsys.readouterr().out
    assert main(["export", "here", "--to", "csv"]) == 0
    assert main(["import", "coco"]) == 0 and (tmp_path / "out" / "coco" / "run.json").is_file()
    assert main(["import", "here"]) == 2
    assert "is a result of Unveil already" in capsys.readouterr().err


def test_a_video_is_called_after_the_folder_it_is_in(dog, tmp_path, monkeypatch):
    coco = export(open_result(dog), tmp_path / "cat", "coco", images=False)
    record(coco, lambda c: c.pop("videos") and [image.pop("video_id") for image in c["images"]])
    for here, source, name in (
        (dog, "masks", "dog"),
        (dog / "masks", ".", "dog"),
        (coco, "annotations.json", "cat"),
    ):
        monkeypatch.chdir(here)
        assert read_tracks(source).name == name


def test_places_that_hold_no_tracks(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").write_text("a")
    for place, message in (
        ("gone", "no such"),
        ("empty", "holds no masks"),
        ("a.txt", "is no .xml"),
    ):
        with pytest.raises(DataError, match=message):
            read_tracks(tmp_path / place)
    with pytest.raises(OutputError, match="is a file"):
        import_result(tmp_path / "empty", tmp_path / "a.txt")
