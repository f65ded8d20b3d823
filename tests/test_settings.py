"""Settings say what is wrong with them before any work begins."""

import subprocess
import sys
from pathlib import Path

import pytest

from unveil.errors import InputError
from unveil.settings import Settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"tau": 0.5}, "tau means nothing in fast mode"),
        ({"key_every": 5}, "key_every means nothing in fast mode"),
        ({"mode": "paper", "objects": 3}, "objects means nothing in paper mode"),
        ({"mode": "paper", "granularity": 0.0}, "granularity means nothing in paper mode"),
        ({"mode": "paper", "keep_background": True}, "keep_background means nothing"),
        ({"mode": "paper", "tau": 0.0}, "tau: expected more than 0"),
        ({"tau": "calibrated"}, "tau means nothing in fast mode"),
        (
            {"mode": "paper", "attention": "cosine", "tau": "calibrated"},
            "a calibrated tau means nothing with cosine rows",
        ),
        ({"mode": "paper", "key_every": 0}, "key_every: expected at least 1"),
        ({"block": Path("b.st"), "attention": "cosine"}, "a block means nothing with cosine rows"),
        ({"objects": 3, "granularity": 0.5}, "either objects or granularity"),
        ({"objects": 0}, "objects: expected at least 1"),
        ({"granularity": 1.5}, "granularity: expected 0 … 1"),
        ({"chunk": 0}, "chunk: expected at least 1"),
    ],
)
def test_what_would_be_ignored_or_makes_no_sense_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        Settings(**changes)


@pytest.mark.parametrize("name", ["mode", "attention", "precision", "tau"])
def test_a_choice_that_there_is_not_is_said(name):
    mode = "mode='paper', " if name == "tau" else ""
    code = f"from unveil.settings import Settings; Settings({mode}{name}='x')"  # no type checker
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"InputError: {name}: expected" in done.stderr


def test_run_json_holds_what_the_mode_uses():
    fast, paper = Settings().plain(), Settings(mode="paper").plain()
    assert {"objects", "granularity", "keep_background"} <= set(fast)
    assert not {"tau", "key_every"} & set(fast)
    assert (fast["attention"], paper["attention"]) == ("cosine", "block")
    assert Settings(block=Path("b.st")).rows == "block"
    assert Settings(mode="paper", attention="cosine").rows == "cosine"
    assert paper["tau"] == 1.0 and paper["key_every"] == 10
    assert "objects" not in paper
