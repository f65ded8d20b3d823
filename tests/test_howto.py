"""The page of how-tos does what it says."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from filming import opened
from handmade import make_result
from unveil.cli import main

PAGE = (Path(__file__).parent.parent / "docs" / "howto.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder in which `out/dog` is a result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    make_result(tmp_path / "made", 9)
    (tmp_path / "out").mkdir()
    (tmp_path / "made" / "out").rename(tmp_path / "out" / "dog")
    return tmp_path


def test_the_blocks_run_one_after_the_other(place, capsys):
    pytest.importorskip("pandas")
    names: dict = {}
    blocks = re.findall(r"```(sh|python)\n(.*?)```", PAGE, flags=re.DOTALL)
    assert [kind for kind, _ in blocks] == ["sh", "sh", "python", "sh", "python", "sh"]
    for kind, text in blocks:
        if kind == "python":
            exec(compile(text, "howto.md", "exec"), names)
            continue
        for line in text.strip().splitlines():
            unveil, *arguments = shlex.split(line)
            assert unveil == "unveil" and main(arguments) == 0, capsys.readouterr().err
    assert yaml.safe_load((place / "training/yolo/data.yaml").read_text())["names"][0] == "dog"
    assert "yuva444p12le" in capsys.readouterr().out
    assert np.array_equal(opened(place / "film/alpha.mov")[0][0, ..., 3], names["opacity"])
    assert (place / "film/green-screen.mp4").is_file()
    assert (place / "tables/area.png").stat().st_size > 1000
    assert (place / "cvat/cvat/annotations.xml").is_file()
