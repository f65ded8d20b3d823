"""Results out: what is written, and that it appears whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from unveil.errors import InputError, OutputError
from unveil.results import coco as objects
from unveil.results.extents import Extent, extents
from unveil.results.folder import check_out
from unveil.results.mask_file import MaskFile
from unveil.results.overlay import overlay, paint
from unveil.results.palette import davis_palette
from unveil.results.writer import Writer
from unveil.segmentation.segmentation import Segmentation
from unveil.video.source import read_clip

NTSC = Fraction(30000, 1001)


def scene(t=5, h=37, w=53, dtype=np.uint8):
    """Object 1 moves, object 7 is there from frame 2 on; frames of noise."""
    labels = np.zeros((t, h, w), dtype)
    for i in range(t):
        labels[i, 5:20, i : i + 11] = 1
        if i >= 2:
            labels[i, 25:, w - 9 :] = 7
    frames = np.random.default_rng(0).integers(0, 255, (t, h, w, 3), np.uint8)
    return frames, labels


def segmentation(t=5, **other):
    frames, labels = scene(t)
    keep = {"scores": {1: 0.9, 7: 0.25}, "fps": NTSC, "name": "cat", "frames": frames, **other}
    return Segmentation(labels, **keep)


def entries(folder):
    return sorted(p.name for p in folder.iterdir())


def writer(out, name="cat"):
    return Writer(out, name=name, fps=NTSC, height=37, width=53)


# --- what is written -----------------------------------------------------------------------


def test_masks_come_back_from_their_file(tmp_path):
    _, labels = scene()
    written = [objects.encode(image) for image in labels]
    file = MaskFile(tmp_path)
    for i, masks in enumerate(written):
        file.add(i, masks)
    assert sorted(file) == [1, 7] and len(file) == 2
    for id in file:
        assert file[id] == {i: masks[id] for i, masks in enumerate(written) if id in masks}
    file.close()
    assert entries(tmp_path) == []


def test_objects_are_written_one_by_one_as_json_in_order(tmp_path):
    text = (segmentation().save(tmp_path / "cat") / "objects.json").read_text()
    whole = json.dumps(json.loads(text), separators=(",", ":"), sort_keys=True)
    assert text == whole + "\n"


def test_what_is_written_is_not_held(tmp_path):
    """A mask of 200 runs is some 400 bytes of run lengths, an object and its numbers as much."""
    labels = np.arange(40 * 80).reshape(1, 40, 80).astype(np.uint8) % 5
    with Writer(tmp_path / "cat", name="cat", fps=NTSC, height=40, width=80) as out:
        out.write(None, labels, ["first"])
        out.painted()
        tracemalloc.start()
        for i in range(100):
            out.write(None, labels, [str(i)])
            out.painted()
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert held < 100 * 400


def test_a_folder_with_everything(tmp_path):
    s = segmentation(run={"seed": 3, "path": Path("x"), "seconds": {"all": np.float32(0.5)}})
    out = s.save(tmp_path / "new" / "cat")
    assert out == tmp_path / "new" / "cat"
    assert entries(out) == ["contact.png", "masks", "objects.json", "overlay.mp4", "run.json"]
    assert entries(out / "masks") == [f"{i:05d}.png" for i in range(5)]
    clip = read_clip(out / "overlay.mp4")
    assert (len(clip), clip.fps) == (5, NTSC)
    run = json.loads((out / "run.json").read_text())
    assert (run["seed"], run["path"], run["seconds"]) == (3, "x", {"all": 0.5})
    assert run["output"]["frames"] == 5 and run["output"]["objects"] == 2
    assert run["output"]["files"] == entries(out)
    assert entries(tmp_path / "new") == ["cat"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_are_davis_palette_pngs(tmp_path, dtype):
    _, labels = scene(dtype=dtype)
    names = ("a", "frame 2", "b.c", "0", "ü")
    out = Segmentation(labels, {1: 1.0, 7: 1.0}, frame_names=names).save(tmp_path / "cat")
    for name, expected in zip(names, labels, strict=True):
        with Image.open(out / "masks" / f"{name}.png") as image:
            assert image.mode == "P" and image.size == (53, 37)
            assert np.array_equal(np.array(image.getpalette()).reshape(-1, 3), davis_palette())
            assert np.array_equal(np.array(image), expected)


def test_more_ids_than_a_palette_has(tmp_path):
    _, labels = scene(dtype=np.uint16)
    labels[4, 0, 0] = 300
    with writer(tmp_path / "cat") as w:
        w.write(None, labels[:3], ["0", "1", "2"])
        w.write(None, labels[3:], ["3", "4"])
        out = w.finish({1: 1.0, 7: 1.0, 300: 1.0}, {})
    for i in range(5):
        with Image.open(out / "masks" / f"{i}.png") as image:
            assert image.mode == "I;16"
            assert np.array_equal(np.array(image), labels[i])
    assert json.loads((out / "run.json").read_text())["output"]["masks"].startswith("16-bit")


def test_objects_json(tmp_path):
    s = segmentation()
    content = json.loads((s.save(tmp_path / "cat") / "objects.json").read_text())
    (video,) = content["videos"]
    assert (video["width"], video["height"], video["length"]) == (53, 37, 5)
    assert all((tmp_path / "cat" / name).is_file() for name in video["file_names"])
    assert [a["id"] for a in content["annotations"]] == [1, 7]
    for record, score in zip(content["annotations"], (0.9, 0.25), strict=True):
        assert record["score"] == score and record["video_id"] == video["id"]
        assert record["category_id"] == content["categories"][0]["id"]
        for i, rle in enumerate(record["segmentations"]):
            mask = s.labels[i] == record["id"]
            if not mask.any():
                assert rle is record["areas"][i] is record["bboxes"][i] is None
                continue
            assert np.array_equal(objects.decode(rle), mask)
            assert record["areas"][i] == mask.sum() == coco.area(rle)
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
            assert record["bboxes"][i] == box
    assert [x is None for x in content["annotations"][1]["areas"]] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_equal_pycocotools(seed):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 40, 2)
    coarse = rng.integers(0, 4, (-(-h // 3), -(-w // 3)))
    labels = (coarse.repeat(3, 0).repeat(3, 1)[:h, :w] * 90).astype(np.uint16)
    masks = objects.encode(labels)
    assert sorted(masks) == [i for i in np.unique(labels) if i]
    for id, mask in masks.items():
        expected = coco.encode(np.asfortranarray(labels == id, np.uint8))
        assert mask.counts == expected["counts"]
        assert mask.area == coco.area(expected)
        assert list(mask.box) == coco.toBbox(expected).tolist()


@pytest.mark.parametrize(("seed", "dtype"), enumerate([np.uint8, np.uint16] * 3))
def test_extents_are_those_of_the_pixels(seed, dtype):
    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, 23, 2)
    labels = rng.choice(np.array([0, 0, 1, 2, 200], dtype), (h, w))
    if dtype == np.uint16:
        labels[labels == 2] = 300
    want = {}
    for id in np.unique(labels[labels > 0]).tolist():
        y, x = np.where(labels == id)
        box = (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
        want[id] = (tuple(map(int, box)), len(x), pytest.approx((x.mean() + 0.5, y.mean() + 0.5)))
    assert {i: (e.box, e.area, e.centre) for i, e in extents(labels).items()} == want
    assert extents(labels[:, ::-1]).keys() == want.keys()  # what does not lie in one piece


def test_extents_of_full_and_empty_labels():
    assert extents(np.zeros((3, 5), np.uint8)) == {}
    (full,) = extents(np.full((3, 5), 7, np.uint8)).values()
    assert full == Extent((0, 0, 5, 3), 15, (2.5, 1.5))


def test_run_lengths_of_full_and_empty_labels():
    assert objects.encode(np.zeros((3, 5), np.uint8)) == {}
    (mask,) = objects.encode(np.full((3, 5), 9, np.uint8)).values()
    assert (mask.area, mask.box) == (15, (0, 0, 5, 3))
    assert objects.decode({"size": [3, 5], "counts": mask.counts}).all()


def test_same_input_same_bytes_in_any_chunks(tmp_path):
    s = segmentation(t=21)
    one = s.save(tmp_path / "one" / "cat")
    with writer(tmp_path / "two" / "cat") as w:
        for i in range(21):
            w.write(s.frames[i : i + 1], s.labels[i : i + 1], s.frame_names[i : i + 1])
        two = w.finish(s.scores, {})
    files = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert len(files) == 21 + 4
    for file in files:
        assert (one / file).read_bytes() == (two / file).read_bytes(), file


def test_without_frames_there_are_no_pictures(tmp_path, caplog):
    out = segmentation(frames=None).save(tmp_path / "cat")
    assert entries(out) == ["masks", "objects.json", "run.json"]
    assert "no overlay.mp4" in caplog.text


def test_an_object_without_a_pixel_is_left_out(tmp_path):
    out = segmentation(scores={1: 1.0, 5: 1.0, 7: 1.0}).save(tmp_path / "cat")
    records = json.loads((out / "objects.json").read_text())["annotations"]
    assert [a["id"] for a in records] == [1, 7]


def test_further_files_belong_to_the_result(tmp_path):
    frames, labels = scene()
    for _ in range(2):
        with writer(tmp_path / "cat") as w:
            w.write(frames, labels, "abcde")
            (w.path / "tree.npz").write_bytes(b"tree")
            w.finish({1: 1.0, 7: 1.0}, {})
    assert "tree.npz" in entries(tmp_path / "cat")


def test_overlay_paints_every_frame():
    frames, labels = scene()
    painted = overlay(frames, labels, 0.3)
    assert np.array_equal(painted, [paint(f, x, 0.3) for f, x in zip(frames, labels, strict=True)])
    assert np.array_equal(segmentation().overlay(0.3), painted)
    with pytest.raises(InputError, match="as many labels as frames"):
        overlay(frames, labels[1:])


# --- whole or not at all -------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_error_inside_leaves_nothing(tmp_path, error):
    frames, labels = scene()
    with pytest.raises(error), writer(tmp_path / "new" / "deep" / "cat") as w:
        w.write(frames, labels, "abcde")
        raise error
    assert entries(tmp_path) == []


def test_leaving_without_finish_leaves_nothing(tmp_path):
    with writer(tmp_path / "cat") as w:
        w.write(*scene(), "abcde")
    assert entries(tmp_path) == []


def test_an_error_inside_keeps_the_earlier_result(tmp_path):
    out = segmentation().save(tmp_path / "cat")
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    with pytest.raises(ValueError), writer(out) as w:
        w.write(*scene(3), "abc")
        raise ValueError
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before
    assert entries(tmp_path) == ["cat"]


def test_an_earlier_result_is_replaced(tmp_path):
    segmentation(t=7).save(tmp_path / "cat")
    out = segmentation(t=4, frames=None).save(tmp_path / "cat")
    assert len(entries(out / "masks")) == 4
    assert "overlay.mp4" not in entries(out)
    assert entries(tmp_path) == ["cat"]


def test_what_is_not_ours_is_not_replaced(tmp_path):
    out = tmp_path / "cat"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputError, match=r"not from Unveil \(thesis\.tex\)"):
        writer(out)
    (out / "run.json").write_text('{"seed": 1}')  # another program's
    with pytest.raises(OutputError, match="not from Unveil"):
        writer(out)
    mine = segmentation().save(tmp_path / "dog")
    (mine / "notes.txt").write_text("the tail is missing")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        segmentation().save(mine)
    assert (mine / "notes.txt").exists() and entries(tmp_path) == ["cat", "dog"]


def test_an_empty_folder_and_a_link_may_be_filled(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    segmentation().save(tmp_path / "link")
    assert "masks" in entries(tmp_path / "real") and (tmp_path / "link").is_symlink()


def test_places_where_no_result_can_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="is a file: choose"):
        check_out(tmp_path / "file")
    with pytest.raises(OutputError, match=r"file is a file"):
        check_out(tmp_path / "file" / "cat")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="folder inside it"):
        check_out(".")
    with pytest.raises(OutputError):
        check_out("/")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OutputError, match="permission denied; choose"):
        check_out(tmp_path / "locked" / "cat")


def test_a_read_only_disk(tmp_path):
    with pytest.raises(OutputError, match="cannot write the result to /proc/cat: "):
        writer("/proc/cat").__enter__()


@pytest.mark.slow
@pytest.mark.parametrize("limit", [600, 6_000, 30_000])
def test_a_full_disk(tmp_path, limit):
    """A limit on the size of files fails just as a full disk does: in masks, movie or JSON."""
    code = """
        import resource, sys
        import numpy as np
        from fractions import Fraction
        from unveil.errors import OutputError
        from unveil.results.writer import Writer
        out, limit = sys.argv[1], int(sys.argv[2])
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 3, (20, 64, 64)).astype(np.uint8)
        if limit > 600:
            labels[:] = labels[:, :1, :1]
        frames = rng.integers(0, 255, (20, 64, 64, 3), np.uint8)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            with Writer(out, name="cat", fps=Fraction(24), height=64, width=64) as writer:
                for i in range(20):
                    writer.write(frames[i:i+1], labels[i:i+1], [str(i)])
                writer.finish({1: 1.0, 2: 1.0}, {})
        except OutputError as e:
            print(e)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "new" / "cat", str(limit)],
        capture_output=True,
        text=True,
    )
    assert "disk is full; free some space" in done.stdout, done
    assert str(tmp_path / "new" / "cat") in done.stdout
    assert entries(tmp_path) == []


@pytest.mark.slow
def test_ctrl_c_leaves_nothing(tmp_path):
    code = """
        import itertools, sys
        import numpy as np
        from fractions import Fraction
        from unveil.results.writer import Writer
        frames, labels = np.zeros((8, 64, 64, 3), np.uint8), np.ones((8, 64, 64), np.uint8)
        with Writer(sys.argv[1], name="cat", fps=Fraction(24), height=64, width=64) as writer:
            for i in itertools.count(0, 8):
                writer.write(frames, labels, [str(j) for j in range(i, i + 8)])
                print(i, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "new" / "cat"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.stdout.readline().strip() != "80":
        assert process.poll() is None, process.stderr.read()
    (partial,) = (tmp_path / "new").iterdir()
    assert len(entries(partial / "masks")) > 16
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert entries(tmp_path) == []


def test_a_failed_rename_keeps_the_earlier_result(tmp_path, monkeypatch):
    out = segmentation(t=3).save(tmp_path / "cat")
    real = Path.rename

    def rename(self, target):
        if ".partial-" in self.name:
            raise PermissionError(13, "no")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OutputError, match="permission denied"):
        segmentation(t=5).save(out)
    assert len(entries(out / "masks")) == 3 and entries(tmp_path) == ["cat"]


# --- arguments -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros((5, 37, 50), np.uint8)}, "labels: expected"),
        ({"labels": np.zeros((5, 37, 53), np.int64)}, "labels: expected"),
        ({"frames": np.zeros((4, 37, 53, 3), np.uint8)}, "frames: expected"),
        ({"frame_names": "abcd"}, "expected 5 names"),
        ({"frame_names": "abcda"}, "there twice"),
        ({"frame_names": ["a", "b", "c", "d", "../e"]}, "cannot name a mask"),
    ],
)
def test_chunks_that_do_not_fit(tmp_path, change, message):
    frames, labels = scene()
    chunk = {"frames": frames, "labels": labels, "frame_names": "abcde"} | change
    with pytest.raises(InputError, match=message), writer(tmp_path / "cat") as w:
        w.write(**chunk)
    assert entries(tmp_path) == []


class Name(str):
    """A name that counts how often it is looked up."""

    looked_up = 0

    def __hash__(self) -> int:
        Name.looked_up += 1
        return super().__hash__()


def test_a_name_is_looked_up_as_often_in_a_long_video(tmp_path):
    frames, labels = scene()
    cost = []
    with writer(tmp_path / "cat") as w:
        for chunk in range(6):
            before = Name.looked_up
            w.write(frames, labels, [Name(f"{chunk}-{i}") for i in range(5)])
            cost.append(Name.looked_up - before)
        assert max(cost) == cost[0]
        with pytest.raises(InputError, match="'0-4' cannot name a mask, or is there twice"):
            w.write(frames, labels, [Name(f"{i}-4") for i in (6, 7, 8, 9, 0)])


def test_frames_come_always_or_never(tmp_path):
    frames, labels = scene()
    with pytest.raises(InputError, match="every chunk"), writer(tmp_path / "cat") as w:
        w.write(frames, labels, "abcde")
        w.write(None, labels, "fghij")


@pytest.mark.parametrize("scores", [{1: 1.0}, {1: 1.0, 7: 1.5}, {1: 1.0, 7: float("nan")}])
def test_scores_that_do_not_fit(tmp_path, scores):
    with pytest.raises(InputError, match="score"):
        segmentation(scores=scores).save(tmp_path / "cat")
    assert entries(tmp_path) == []


def test_no_frame_no_result(tmp_path):
    with pytest.raises(InputError, match="no frame was written"), writer(tmp_path / "cat") as w:
        w.finish({}, {})
    assert entries(tmp_path) == []
