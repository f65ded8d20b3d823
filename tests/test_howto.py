"""The page of how-tos does what it says."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from pycocotools.coco import COCO

from filming import opened
from handmade import make_result
from unveil.cli import main
from unveil.exports.result import open_result

PAGE = (Path(__file__).parent.parent / "docs" / "howto.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which `out/dog` is a result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    make_result(tmp_path / "made", 9)
    (tmp_path / "out").mkdir()
    (tmp_path / "made" / "out").rename(tmp_path / "out" / "dog")
    (tmp_path / "made" / "clip.mp4").rename(tmp_path / "dog.mp4")
    run = tmp_path / "out" / "dog" / "run.json"
    about = json.loads(run.read_text())
    about["output"]["name"] = "dog"
    about["video"]["source"] = str(tmp_path / "dog.mp4")
    run.write_text(json.dumps(about))
    return tmp_path


def correct(place: Path) -> None:
    """What a person does in CVAT: takes one mask out, and paints another, over two frames."""
    tree = ElementTree.parse(place / "cvat" / "cvat" / "annotations.xml")
    root = tree.getroot()
    gone = next(t for t in root.iter("track") if t[0].get("frame") == "3")
    root.remove(gone)
    for frame in (4, 5):
        text = f"""<track id="{900 + frame}" label="hat" group_id="77"><mask frame="{frame}"
            keyframe="1" outside="0" occluded="0" rle="0, 20" left="3" top="2" width="5" height="4"
            z_order="0"><attribute name="object">77</attribute></mask></track>"""
        root.append(ElementTree.fromstring(text))
    (place / "corrected").mkdir()
    tree.write(place / "corrected" / "annotations.xml")


@pytest.mark.slow
def test_the_blocks_run_one_after_the_other(place, capsys, monkeypatch):
    pytest.importorskip("pandas")
    uvicorn = pytest.importorskip("uvicorn")
    served: list = []  # nobody sits at the page: that it comes up is enough
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.append(self))
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    names: dict = {}
    blocks = re.findall(r"```(sh|python)\n(.*?)```", PAGE, flags=re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "sh", "python", "sh", "python", *["sh"] * 4]
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "howto.md", "exec"), names)
            continue
        if "unveil import" in text:
            correct(place)
        for line in text.strip().splitlines():
            unveil, *arguments = shlex.split(line)
            assert unveil == "unveil" and main(arguments) == 0, capsys.readouterr().err
    assert yaml.safe_load((place / "training/yolo/data.yaml").read_text())["names"][0] == "dog"
    assert "yuva444p12le" in capsys.readouterr().out
    assert np.array_equal(opened(place / "film/alpha.mov")[0][0, ..., 3], names["opacity"])
    assert (place / "film/green-screen.mp4").is_file()
    assert (place / "tables/area.png").stat().st_size > 1000
    before, after = (
        np.stack(list(open_result(place / "out" / name).labels()))
        for name in ("dog", "dog-corrected")
    )
    apart = before != after
    assert (after[4:6, 2:6, 3:8] == 77).all() and apart[3].any() and not apart[[0, 1, 2, 6]].any()
    assert len(served) == 1
    scores = json.loads((place / "scores" / "results.json").read_text())
    assert 0.5 < scores["protocols"]["davis2017"]["mean"]["J&F"] < 1
    assert COCO(place / "fiftyone/coco/annotations.json").anns
