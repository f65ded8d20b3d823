"""Results cut anew: as if they had been cut so at first, with no model and no half result."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from test_segmenter import clip, digests
from unveil.cli import main
from unveil.errors import DataError, InputError
from unveil.segmentation.recut import recut
from unveil.segmentation.segmenter import Segmenter


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of images."""
    folder = tmp_path_factory.mktemp("source") / "square"
    folder.mkdir()
    for i, frame in enumerate(clip(11)):
        Image.fromarray(frame).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="module")
def segmenter(tiny_backbone) -> Segmenter:
    return Segmenter(backbone=tiny_backbone, size=16, precision="fp32", chunk=4)


@pytest.fixture
def result(segmenter, source, tmp_path):
    segmenter.segment_to(source, tmp_path / "out", end=0.4)
    return tmp_path / "out"


@pytest.mark.slow
@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"objects": 3},
        {"granularity": 0.9, "min_score": 0.3},
        {"objects": 4, "keep_background": True},
    ],
)
def test_a_new_cut_equals_a_first_one(segmenter, source, result, tmp_path, wishes):
    first = Segmenter(segmenter.settings, **wishes)
    wanted = first.segment_to(source, tmp_path / "first", end=0.4)
    before = digests(result)
    run = recut(result, out=tmp_path / "other", **wishes)
    assert digests(result) == before
    recut(result, **wishes)
    assert digests(result) == digests(tmp_path / "other") == digests(tmp_path / "first")
    assert run["settings"] == wanted["settings"] and run["objects"] == wanted["objects"]
    written = json.loads((result / "run.json").read_text())
    assert written["settings"] == wanted["settings"]
    assert "cut" in written["seconds"] and "backbone" not in written["seconds"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "other", "out"]


def test_the_video_may_have_moved_but_must_be_the_same(segmenter, source, tmp_path):
    video = tmp_path / "here"
    shutil.copytree(source, video)
    segmenter.segment_to(video, tmp_path / "out")
    before = digests(tmp_path / "out")
    video.rename(tmp_path / "there")
    with pytest.raises(InputError, match=r"cannot be read: no such .*--source"):
        recut(tmp_path / "out", objects=2)
    (tmp_path / "there" / "10.png").unlink()
    with pytest.raises(InputError, match="has 10 frames, not the 11"):
        recut(tmp_path / "out", objects=2, source=tmp_path / "there")
    small = tmp_path / "small"
    small.mkdir()
    Image.new("RGB", (20, 10)).save(small / "00.png")
    with pytest.raises(InputError, match=r"is 20x10, the video of .* was 23x17"):
        recut(tmp_path / "out", objects=2, source=small)
    assert digests(tmp_path / "out") == before
    recut(tmp_path / "out", objects=2, source=source)
    written = json.loads((tmp_path / "out" / "run.json").read_text())
    assert written["video"]["source"] == str(source)
    recut(tmp_path / "out", objects=1)


def test_what_cannot_be_cut_is_said(segmenter, source, result, tmp_path, capsys):
    with pytest.raises(DataError, match="no result of Unveil"):
        recut(tmp_path / "nothing", objects=2)
    with pytest.raises(InputError, match="either objects or granularity"):
        recut(result, objects=2, granularity=0.5)
    Segmenter(segmenter.settings, mode="paper", attention="cosine").segment_to(
        source, tmp_path / "paper"
    )
    with pytest.raises(DataError, match="--mode fast"):
        recut(tmp_path / "paper", objects=2)
    segmenter.segment_to(clip(), tmp_path / "array")
    with pytest.raises(InputError, match="frames in memory"):
        recut(tmp_path / "array", objects=2)
    (result / "run.json").write_text('{"video": {}}')
    assert main(["recut", str(result), "--objects", "2"]) == 2
    assert "segment the video again" in capsys.readouterr().err


def test_the_command_says_where_the_pictures_are(result, capsys):
    command = ["recut", str(result), "--objects", "2", "--keep-background"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "2 objects in 10 frames of 23x17" in said and "contact.png" in said
    masks = [np.array(Image.open(p)) for p in sorted((result / "masks").iterdir())]
    assert set(np.unique(masks)) - {0} == {1, 2}


@pytest.mark.slow
def test_no_model_is_loaded(result):
    code = (
        "import sys; from unveil.cli import main; "
        f"main(['recut', {str(result)!r}, '--objects', '2']); print('transformers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
