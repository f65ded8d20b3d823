"""The viewer's server: what it tells, what it does, and whom it refuses."""

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from handmade import frames_of, make_result
from handmade import patches as patches_of
from test_segmenter import digests
from unveil.attention.block import random_block
from unveil.attention.block_file import save_block
from unveil.attention.maps import attention_of
from unveil.cli import main
from unveil.editing.log import read
from unveil.errors import DataError, InputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.fast.state import State
from unveil.imports.result import import_result
from unveil.results.heat import BRIGHTEST, heat
from unveil.segmentation.recut import recut
from unveil.settings import Settings
from unveil.types import Features
from unveil.video.access import Frames
from unveil.video.source import read_clip

uvicorn = pytest.importorskip("uvicorn", reason="the viewer's server is not installed")
from unveil.view.desk import Desk  # noqa: E402
from unveil.view.serve import PORT, _bound  # noqa: E402
from unveil.view.session import Session, run_lengths  # noqa: E402
from viewing import unrolled, viewer  # noqa: E402

T, H, W = 20, 72, 128
SPLIT = {"edit": "split", "of": 1, "sides": [[[0, 0.219, 0.5]], [[0, 0.406, 0.5]]]}
PROMOTE = {"edit": "promote", "at": [0, 0.844, 0.778]}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return make_result(tmp_path_factory.mktemp("result"), T)


@pytest.fixture
def copy(result, tmp_path):
    shutil.copytree(result, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture(scope="module")
def shown(result):
    """A viewer of the result for tests that change nothing."""
    with viewer(result) as v:
        yield v


def mask_of(folder, frame: int) -> np.ndarray:
    return np.array(Image.open(folder / "masks" / f"{frame:05d}.png"))


def test_it_tells_of_the_video_and_its_objects(shown):
    about, scene = shown.json("api/about"), shown.json("api/scene")
    assert (about["frames"], about["height"], about["width"], about["fps"]) == (T, H, W, 12)
    assert [(o["id"], o["score"], o["seen"]) for o in scene["objects"]] == [(1, 1.0, [[0, T]])]
    assert scene["saved"] and scene["undo"] is None
    assert len(scene["clusters"]) == 2
    assert shown.json("api/state")["phase"] == "ready"


def test_frames_and_masks_are_those_of_the_result(shown, result):
    for frame in (7, 0, 19, 18, 3):
        status, body, headers = shown.ask(f"api/frame/{frame}.jpg")
        assert status == 200 and headers["content-type"] == "image/jpeg"
        picture = np.array(Image.open(io.BytesIO(body))).astype(int)
        assert np.abs(picture - frames_of(T)[frame]).mean() < 12
        labels = shown.labels(f"api/mask/0/{frame}", H, W)
        np.testing.assert_array_equal(labels, mask_of(result, frame))
    clusters = shown.labels("api/clusters/0/3", H, W)
    assert not clusters[mask_of(result, 3) > 0].any() and len(np.unique(clusters)) == 3
    assert shown.ask("api/frame/20.jpg")[0] == 409
    assert shown.ask("api/mask/99/0")[0] == 410


def test_a_press_is_answered_as_the_figure_draws_it(copy, tmp_path):
    block = random_block(24, 3, seed=5)
    save_block(block, tmp_path / "block", backbone=Settings.backbone)
    run = json.loads((copy / "run.json").read_text())
    run["settings"]["block"] = str(tmp_path / "block")
    (copy / "run.json").write_text(json.dumps(run))
    state, kept = State.load(copy / "state.npz"), np.load(copy / "keys.npy")
    patches = np.bincount(state.groups.ravel())
    features = Features(torch.from_numpy(kept["key"].astype(np.float32))[None, None], 1)
    weight = torch.from_numpy(patches).float()[None, None]
    at = (0, 0, int(state.groups[2, 4, 4]))
    with viewer(copy) as v:
        said = v.json("api/panels")
        heads = {panel["name"]: panel["heads"] for panel in said["panels"]}
        assert heads == {"cosine": 0, "class": 0, "untrained": 3, "trained": 3}
        for panel, head, of in (
            ("cosine", None, None),
            ("untrained", 1, random_block(24, 3)),
            ("trained", None, block),
            ("trained", 2, block),
        ):
            wanted = attention_of(features, at, of, head, weight)[0, 0].numpy()
            ask = f"api/heat/{panel}/7.png?at=2&x=0.28&y=0.5"
            status, body, _ = v.ask(ask + (f"&head={head}" if head is not None else ""))
            assert status == 200
            scale = float(wanted.min()), float(np.quantile(wanted, BRIGHTEST))
            colours = heat(wanted[state.groups[7]], *scale)
            picture = np.array(Image.open(io.BytesIO(body))).astype(int)
            assert np.abs(picture - colours).max() <= 2
        status, body, _ = v.ask("api/heat/class/7.png?at=2&x=0.28&y=0.5")
        light = np.array(Image.open(io.BytesIO(body))).sum(-1)
        assert light[patches_of(T)[7] == 1].mean() > 2 * light[patches_of(T)[7] == 0].mean()
        assert v.ask("api/heat/trained/7.png?at=2&x=0.2&y=0.5&head=3")[0] == 409
        assert v.ask("api/heat/trained/99.png?at=2&x=0.2&y=0.5")[0] == 409
        assert v.ask("api/heat/nothing/7.png?at=2&x=0.2&y=0.5")[0] == 410
        assert v.ask("api/heat/cosine/7.png?at=2&x=left&y=0.5")[0] == 410


def test_results_without_keys_or_a_block_show_what_they_have(copy, shown):
    said = shown.json("api/panels")
    assert [panel["name"] for panel in said["panels"]] == ["cosine", "class"]
    assert "No block" in said["lacks"]
    (copy / "keys.npy").unlink()
    with viewer(copy) as v:
        said = v.json("api/panels")
        assert "segment the video again" in said["lacks"]
        for panel in said["panels"]:
            status, body, _ = v.ask(f"api/heat/{panel['name']}/4.png?at=0&x=0.3&y=0.5")
            assert status == 200 and Image.open(io.BytesIO(body)).size == (16, 9)
        v.json("api/edit", PROMOTE)
        v.json("api/save", {})
        v.wait()
    assert not (copy / "keys.npy").exists()
    np.save(copy / "keys.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"keys\.npy holds no keys"):
        Session(copy)
    (copy / "keys.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"keys\.npy is no keys"):
        Session(copy)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (1100, 1000)])
def test_run_lengths_read_back(size):
    rng = np.random.default_rng(0)
    for labels in (
        np.zeros(size, np.uint16),
        np.full(size, 4095, np.uint16),
        rng.integers(0, 3, size).astype(np.uint16),
    ):
        np.testing.assert_array_equal(unrolled(run_lengths(labels), *size), labels)


def test_edits_are_on_the_disk_before_they_are_answered(copy):
    with viewer(copy) as v:
        assert not (copy / "edits.jsonl").exists()  # who only looks changes nothing
        scene = v.json("api/edit", SPLIT)
        assert [o["id"] for o in scene["objects"]] == [1, 2] and not scene["saved"]
        assert len(read(copy / "edits.jsonl").edits) == 1
        labels = v.labels(f"api/mask/{scene['version']}/0", H, W)
        assert labels[36, 28] == 1 and labels[36, 52] == 2
        scene = v.json("api/edit", {"edit": "undo"})
        assert [o["id"] for o in scene["objects"]] == [1] and scene["redo"]["edit"] == "split"
        assert scene["saved"]
        status, body, _ = v.ask("api/edit", {"edit": "undo"})
        assert (status, json.loads(body)["error"]) == (409, "there is nothing to undo")
        for said, why in (
            ({"edit": "drop", "of": 9}, "there is no object 9"),
            ({"edit": "explode"}, "no edit 'explode'"),
        ):
            status, body, _ = v.ask("api/edit", said)
            assert status == 409 and why in json.loads(body)["error"]
        assert len(read(copy / "edits.jsonl").edits) == 2
    # Opened again it is where it was.
    with viewer(copy) as v:
        assert v.json("api/edit", {"edit": "redo"})["edits"] == 1
        assert v.json("api/scene")["objects"][1]["id"] == 2


def test_an_edit_of_a_scene_that_is_gone_is_refused(copy):
    with viewer(copy) as v:
        first = v.json("api/edit?frame=0&version=0", PROMOTE)["version"]
        for version in (0, first + 1):
            status, body, _ = v.ask(f"api/edit?frame=0&version={version}", {"edit": "undo"})
            assert status == 409 and "in another tab" in json.loads(body)["error"]
        assert v.ask("api/edit?version=last", {"edit": "undo"})[0] == 400
        assert v.json(f"api/edit?version={first}", {"edit": "undo"})["edits"] == 0


def test_a_preview_shows_what_an_edit_would_do_and_does_nothing(copy):
    with viewer(copy) as v:
        status, body, _ = v.ask("api/preview", {"edit": SPLIT, "frame": 3})
        assert status == 200 and set(np.unique(unrolled(body, H, W))) == {0, 1, 2}
        assert v.json("api/scene")["version"] == 0 and not (copy / "edits.jsonl").exists()


def test_the_frame_looked_at_is_painted_with_the_edit_and_is_as_it_would_be_anyway(copy):
    slide = {"edit": "settings", "granularity": 0.7}
    with viewer(copy) as v:
        status, tried, _ = v.ask("api/preview", {"edit": slide, "frame": 3})
        assert status == 200
        for frame in (3, 5):  # as it was tried, and one that was not
            scene = v.json(f"api/edit?frame={frame}", slide)
            _, ahead, _ = v.ask(f"api/mask/{scene['version']}/{frame}")
            assert base64.b64decode(scene["mask"]) == ahead
            assert frame != 3 or ahead == tried
            v.json("api/edit", {"edit": "undo"})
            again = v.json("api/edit", {"edit": "redo"})
            assert v.ask(f"api/mask/{again['version']}/{frame}")[1] == ahead
            v.json("api/edit", {"edit": "undo"})
        # Tried on another scene, it is no longer that.
        v.ask("api/preview", {"edit": {"edit": "drop", "of": 2}, "frame": 3})
        v.json("api/edit", SPLIT)
        scene = v.json("api/edit?frame=3", {"edit": "drop", "of": 2})
        assert set(np.unique(v.labels(f"api/mask/{scene['version']}/3", H, W))) == {0, 1}
        assert v.ask("api/edit?frame=much", SPLIT)[0] == 400


def test_saving_writes_what_recut_would_and_goes_on(copy, tmp_path):
    with viewer(copy) as v:
        for edit in (SPLIT, PROMOTE, {"edit": "rename", "of": 3, "name": "still"}):
            v.json("api/edit", edit)
        recut(copy, out=tmp_path / "wanted")
        v.json("api/save", {})
        v.wait()
        assert digests(copy) == digests(tmp_path / "wanted")
        scene = v.json("api/scene")
        assert scene["saved"] and len(scene["objects"]) == 3
        labels = v.labels(f"api/mask/{scene['version']}/4", H, W)
        np.testing.assert_array_equal(labels, mask_of(copy, 4))
        with pytest.raises(InputError, match="open in another viewer"):
            Session(copy)
        assert not v.json("api/edit", {"edit": "drop", "of": 1})["saved"]
        assert len(read(copy / "edits.jsonl").edits) == 4
        v.json("api/save", {})
        v.wait()
        assert set(np.unique(mask_of(copy, 4))) == {0, 2, 3}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "wanted"]
    Session(copy).close()


def test_masks_of_other_edits_are_not_shown_as_saved(copy):
    def saved(*edits):
        with viewer(copy) as v:
            for edit in edits:
                v.json("api/edit", edit)
            scene = v.json("api/scene")
            ids = [0, *(thing["id"] for thing in scene["objects"])]
            labels = v.labels(f"api/mask/{scene['version']}/0", H, W)
            assert np.unique(labels).tolist() == ids  # whatever the masks are of
            return scene["saved"]

    def save():
        with viewer(copy) as v:
            v.json("api/save", {})
            v.wait()

    assert not saved(PROMOTE)
    save()
    assert saved()
    # As many edits, but others; however old the files are.
    assert not saved({"edit": "undo"}, SPLIT)
    for name in ("edits.jsonl", "run.json"):
        os.utime(copy / name, (0, 0))
    assert not saved()
    # Without a log the masks of its edits are still there.
    (copy / "edits.jsonl").unlink()
    assert not saved()
    save()
    assert saved() and "edits" not in json.loads((copy / "run.json").read_text())
    assert np.unique(mask_of(copy, 0)).tolist() == [0, 1]


def test_results_of_before_there_was_a_digest_go_by_count_and_time(copy):
    with viewer(copy) as v:
        v.json("api/edit", PROMOTE)
        v.json("api/save", {})
        v.wait()
    run = json.loads((copy / "run.json").read_text())
    del run["edits_sha256"]
    (copy / "run.json").write_text(json.dumps(run))
    for time, saved in ((1, True), (3, False)):
        os.utime(copy / "edits.jsonl", (time, time))
        os.utime(copy / "run.json", (2, 2))
        with viewer(copy) as v:
            assert v.json("api/scene")["saved"] == saved


def test_a_result_that_cannot_be_written_is_said_and_nothing_is_lost(copy, result, monkeypatch):
    with viewer(copy) as v:
        v.json("api/edit", SPLIT)
        before = digests(copy)
        clip = result.parent / "clip.mp4"
        v.desk.session.run["video"]["source"] = str(clip.with_name("gone.mp4"))
        v.json("api/save", {})
        state = v.wait()
        assert "say where it is with --source" in state["error"]
        assert digests(copy) == before
        assert v.json("api/edit", {"edit": "drop", "of": 2})["edits"] == 2


def test_only_the_token_and_names_of_this_machine_are_answered(shown):
    assert shown.ask("")[0] == 200
    assert shown.ask("", token="")[0] == shown.ask("", token="another")[0] == 403
    assert shown.ask("api/scene", token="another")[0] == 403
    for host, status in (
        ("localhost", 200),
        (f"127.0.0.1:{shown.port}", 200),
        ("[::1]:80", 200),
        ("evil.example", 421),
        (f"evil.example:{shown.port}", 421),
        ("localhost.evil.example", 421),
        ("", 421),
    ):
        assert shown.ask("api/state", host=host)[0] == status, host
    edit = {"edit": "drop", "of": 1}
    assert shown.ask("api/edit", edit, origin="http://evil.example")[0] == 403
    assert shown.ask("api/edit", edit, origin="null")[0] == 403
    assert shown.ask("api/edit", edit, content_type="text/plain")[0] == 415
    assert shown.ask("api/edit", b"x" * (1 << 21))[0] == 413
    assert shown.ask("api/edit", b"{")[0] == 400
    assert shown.ask("api/preview", {"frame": 1})[0] == 400
    assert len(shown.json("api/scene")["objects"]) == 1


def test_no_path_of_a_request_reaches_the_file_system(shown):
    for path in (
        "../pyproject.toml",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/session.py",
        "page/index.html",
        "session.py",
        "__init__.py",
        "/etc/passwd",
        "api/frame/../../run.json",
        "api/frame/%2e%2e.jpg",
        "style.css%00.html",
    ):
        status, body, _ = shown.ask(path)
        assert status in (404, 403), path
        assert b"root:" not in body and b"import" not in body
    status, body, headers = shown.ask("style.css")
    assert status == 200 and headers["content-type"].startswith("text/css")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_needs_nothing_from_elsewhere(shown):
    _, body, _ = shown.ask("")
    for name in ("main.js", "style.css", "stage.js", "side.js", "dom.js"):
        _, more, _ = shown.ask(name)
        body += more
    text = body.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in text and "https:" not in text and "//cdn" not in text


def test_a_video_that_moved_is_asked_for(copy, result, tmp_path):
    run = json.loads((copy / "run.json").read_text())
    run["video"]["source"] = str(tmp_path / "gone.mp4")
    (copy / "run.json").write_text(json.dumps(run))
    make_result(tmp_path / "short", 9)
    with viewer(copy) as v:
        state = v.json("api/state")
        assert state["phase"] == "source" and "gone.mp4" in state["error"]
        assert v.ask("api/frame/0.jpg")[0] == 409
        for wrong, why in (
            (tmp_path / "none.mp4", "no such file"),
            (tmp_path / "short" / "clip.mp4", "no longer be read"),
        ):
            status, body, _ = v.ask("api/source", {"source": str(wrong)})
            assert status == 409 and why in json.loads(body)["error"], body
        assert v.json("api/source", {"source": str(result.parent / "clip.mp4")})["phase"] == "ready"
        assert v.ask("api/frame/0.jpg")[0] == 200
        v.json("api/edit", PROMOTE)
        v.json("api/save", {})
        v.wait()
    assert json.loads((copy / "run.json").read_text())["video"]["source"].endswith("clip.mp4")
    with viewer(copy, source=result.parent / "clip.mp4") as v:
        assert v.json("api/state")["phase"] == "ready"


def looked_at(folder, why: str, objects: list[tuple], **options) -> None:
    """That a folder is shown, and that every edit of it is refused in these words."""
    before = digests(folder)
    with viewer(folder, **options) as v:
        about, scene = v.json("api/about"), v.json("api/scene")
        assert why in about["locked"] and scene["saved"] and scene["clusters"] == []
        assert [(o["id"], o["name"], o["class"], o["seen"]) for o in scene["objects"]] == objects
        assert v.ask("api/frame/19.jpg")[0] == 200 and v.ask("api/frame/20.jpg")[0] == 409
        np.testing.assert_array_equal(v.labels("api/mask/0/7", H, W), mask_of(folder, 7))
        assert v.ask("api/mask/0/20")[0] == 409
        assert not v.labels("api/clusters/0/7", H, W).any()
        assert v.json("api/panels")["panels"] == []
        for path, said in (
            ("api/edit", {"edit": "drop", "of": 1}),
            ("api/preview", {"edit": {"edit": "drop", "of": 1}, "frame": 0}),
            ("api/save", {}),
        ):
            status, body, _ = v.ask(path, said)
            assert status == 409 and why in json.loads(body)["error"]
        with viewer(folder, **options) as second:  # nothing is written: two may look
            assert second.json("api/state")["phase"] == "ready"
    assert digests(folder) == before


FORMS = {"ytvis": "YouTube-VIS", "coco": "COCO", "cvat": "CVAT", "davis": "DAVIS masks"}


@pytest.mark.parametrize("form", FORMS)
def test_an_imported_result_is_only_looked_at(form, result, tmp_path):
    """The result as it comes back from each form, its object named."""
    named = open_result(result).select(names={1: "square"})
    pictures = {} if form == "cvat" else {"images": False}
    place = export(named, tmp_path / form, form, **pictures)
    video = result.parent / "clip.mp4"
    imported = import_result(place, tmp_path / "imported", video=video)
    name = "" if form == "davis" else "square"  # masks say no name
    looked_at(imported, f"imported ({FORMS[form]}", [(1, name, "", [[0, T]])])


def test_masks_without_their_video_are_shown_if_wanted(result, tmp_path):
    place = export(open_result(result), tmp_path / "davis", "davis", images=False)
    out = import_result(place, tmp_path / "out")
    with viewer(out) as v:
        assert v.json("api/state") | {"phase": "source", "masks_only": True} == v.json("api/state")
        assert v.json("api/source", {"source": None})["phase"] == "ready"
        picture = np.array(Image.open(io.BytesIO(v.ask("api/frame/3.jpg")[1])))
        assert picture.shape == (H, W, 3) and picture.std() < 1
        np.testing.assert_array_equal(v.labels("api/mask/0/3", H, W), mask_of(result, 3))
    source = result.parent / "clip.mp4"
    looked_at(out, "no merge tree", [(1, "", "", [[0, T]])], source=source)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"mode": "paper"}, "made with --mode paper, which keeps no merge tree"),
        ({"mode": "fast", "model": "/x/slots.safetensors"}, "made with --model, which"),
        ({"mode": "fast"}, "'unveil segment' makes it anew"),
    ],
)
def test_a_result_without_a_state_is_only_looked_at(copy, settings, why):
    (copy / "state.npz").unlink()
    run = json.loads((copy / "run.json").read_text())
    run["settings"] |= settings
    (copy / "run.json").write_text(json.dumps(run))
    looked_at(copy, why, [(1, "", "", [[0, T]])])


def test_a_state_of_another_version_is_only_looked_at_and_its_edits_are_kept(copy):
    with viewer(copy) as v:
        v.json("api/edit", PROMOTE)
    np.savez(copy / "state.npz", format=1)
    looked_at(copy, "was written by another version; segment anew", [(1, "", "", [[0, T]])])
    assert len(read(copy / "edits.jsonl").edits) == 1


def test_ids_beyond_what_the_page_has_room_for_are_shown_by_their_names(copy):
    (copy / "state.npz").unlink()
    record = json.loads((copy / "objects.json").read_text())
    record["annotations"][0]["id"] = 60_000
    (copy / "objects.json").write_text(json.dumps(record))
    mask = mask_of(copy, 2).astype(np.uint16)
    Image.fromarray(mask * 60_000).save(copy / "masks" / "00002.png")
    with viewer(copy) as v:
        (thing,) = v.json("api/scene")["objects"]
        assert (thing["id"], thing["name"]) == (1, "object 60000")
        np.testing.assert_array_equal(v.labels("api/mask/0/2", H, W), mask)


def test_masks_that_are_missing_are_named(copy):
    (copy / "state.npz").unlink()
    (copy / "masks" / "00002.png").unlink()
    with viewer(copy) as v:
        status, body, _ = v.ask("api/mask/0/2")
        assert status == 409 and "00002.png is missing" in json.loads(body)["error"]
    (copy / "objects.json").unlink()
    with pytest.raises(DataError, match=r"there is no objects\.json"):
        Desk(copy)


def test_a_second_viewer_on_one_folder_is_told(copy):
    with viewer(copy), pytest.raises(InputError, match="open in another viewer"):
        Desk(copy)
    Desk(copy).close()


def test_a_video_is_segmented_first_and_the_page_told_how_far(result, tmp_path):
    import threading

    go = threading.Event()

    def make(report):
        report("backbone", 3, 20)
        go.wait(20)
        shutil.copytree(result, tmp_path / "made")

    with viewer(tmp_path / "made", make=make) as v:
        state = v.wait("segmenting")
        assert v.ask("api/scene")[0] == 409
        while not (state := v.json("api/state"))["progress"]["done"]:
            pass
        assert state["progress"] == {"stage": "backbone", "done": 3, "total": 20}
        go.set()
        v.wait()
        assert len(v.json("api/scene")["objects"]) == 1

    def broken(report):
        raise InputError("no video in it")

    with viewer(tmp_path / "never", make=broken) as v:
        assert v.wait("failed")["error"] == "no video in it"


def test_closed_while_a_video_is_segmented_it_leaves_nothing(tmp_path):
    from unveil.results.folder import ResultFolder

    def make(report):
        with ResultFolder(tmp_path / "made") as result:
            (result.path / "masks").mkdir()
            while True:
                report("backbone", 3, 20)

    with viewer(tmp_path / "made", make=make) as v:
        while not v.json("api/state")["progress"]["done"]:
            pass
    assert not v.desk._work.is_alive() and list(tmp_path.iterdir()) == []


def test_no_edit_is_lost_to_a_folder_that_was_replaced(copy):
    with viewer(copy) as v:
        v.json("api/edit", PROMOTE)
        recut(copy)
        v.json("api/save", {})
        v.desk.wait()
        assert "was replaced or removed" in v.json("api/state")["error"]
        status, body, _ = v.ask("api/edit", {"edit": "drop", "of": 1})
        assert status == 409 and "was replaced or removed" in json.loads(body)["error"]
    assert len(read(copy / "edits.jsonl").edits) == 1


def test_a_port_in_use_moves_on_to_the_next_and_none_is_said(monkeypatch):
    with _bound("127.0.0.1", PORT) as first, _bound("127.0.0.1", PORT) as second:
        assert first.getsockname()[1] < second.getsockname()[1] < PORT + 50
    monkeypatch.setattr("unveil.view.serve._TRIES", 1)
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(InputError, match="no free port"),
    ):
        _bound("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InputError, match="no address of this machine"):
        _bound("203.0.113.7", 0)
    with pytest.raises(InputError, match="0 … 65535"):
        _bound("127.0.0.1", 70000)


def test_folders_that_cannot_be_shown_are_said(copy, tmp_path, capsys):
    assert main(["view", str(tmp_path / "nothing"), "--no-browser"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    for folder, why in (
        (copy / "masks", f"holds the masks of a result: 'unveil view {copy}'"),
        (tmp_path, f"holds 1 result (out): choose one, 'unveil view {copy}'"),
        (tmp_path / "none", "is empty: give the folder of a result, or a video"),
    ):
        folder.mkdir(exist_ok=True)
        assert main(["view", str(folder), "--no-browser"]) == 2
        assert why in capsys.readouterr().err
    assert main(["view", str(copy), "--source", str(tmp_path / "gone.mp4"), "--no-browser"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    (copy / "edits.jsonl").write_text("hello\n")
    assert main(["view", str(copy), "--no-browser"]) == 2
    assert "edits.jsonl, line 1: expected the header" in capsys.readouterr().err
    assert main(["view", str(copy), "--out", "x"]) == 2
    assert "is a result already" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(copy):
    code = (
        "import sys; sys.modules['starlette'] = None\n"
        f"from unveil.cli import main; sys.exit(main(['view', {str(copy)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'unveil[view]'" in done.stderr


@pytest.mark.slow
def test_the_command_prints_its_address_and_ends_with_ctrl_c(copy):
    import signal

    code = f"from unveil.cli import main; import sys; sys.exit(main(['view', {str(copy)!r}]))"
    env_browser = {"BROWSER": "/nothing/there"}
    run = subprocess.Popen(
        [sys.executable, "-u", "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **env_browser, "DISPLAY": ""},
    )
    try:
        assert "the viewer is at http://localhost:" in run.stdout.readline()
        assert "Ctrl-C" in run.stdout.readline()
        assert "no browser could be opened" in run.stdout.readline()
    finally:
        run.send_signal(signal.SIGINT)
        assert run.wait(20) in (0, 130)
        run.stdout.close()


@pytest.mark.parametrize("span", [{}, {"start": 0.5, "end": 1.3}, {"stride": 3}])
def test_frames_in_any_order_are_those_of_a_pass(result, span):
    path = result.parent / "clip.mp4"
    wanted = read_clip(path, **span).frames
    frames = Frames(path, len(wanted), **span)
    for i in np.random.default_rng(0).permutation(len(wanted)):
        np.testing.assert_array_equal(frames[int(i)], wanted[i])
    # A file whose packets do not count as many: from the beginning, and the same.
    slow = Frames(path, len(wanted), **span)
    slow._times = None
    np.testing.assert_array_equal(slow[len(wanted) - 1], wanted[-1])
    np.testing.assert_array_equal(slow[0], wanted[0])
    with pytest.raises(InputError, match="there is no frame"):
        frames[len(wanted)]


def test_frames_of_a_folder_of_images(tmp_path):
    for i, frame in enumerate(frames_of(5)):
        Image.fromarray(frame).save(tmp_path / f"{i}.png")
    frames = Frames(tmp_path, 3, stride=2)
    np.testing.assert_array_equal(frames[2], frames_of(5)[4])
    np.testing.assert_array_equal(frames[0], frames_of(5)[0])


def test_memory_does_not_grow_with_what_is_looked_at(copy):
    session = Session(copy)
    try:
        session.film.frames._room = 4
        for frame in range(T):
            session.film.picture(frame)
            session.mask(0, frame)
        assert len(session.film.frames._kept) <= 4 and len(session._masks) <= 64
    finally:
        session.close()
