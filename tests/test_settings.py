"""Settings say what is wrong with them before any work begins."""

import re
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import unveil
from unveil.errors import InputError, UnveilError
from unveil.settings import RELEASED, Settings, cut_wishes
from unveil.training.losses import LossSettings
from unveil.training.objects_recipe import ObjectsRecipe
from unveil.training.recipe import Recipe
from unveil.training.scenes import SceneSettings


def test_like_the_released_code_is_what_its_details_say():
    released = Settings(mode="paper", like="released")
    assert released == Settings(mode="paper", like="released", **RELEASED)
    plain = released.plain()
    assert (plain["size"], plain["last_frame"]) == ((320, 480), "copied")
    assert Settings(mode="paper", like="released", size=224).size == 224, "said, so kept"
    assert Settings(mode="paper").plain()["last_frame"] == "own"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"like": "released"}, "like means nothing in fast mode"),
        ({"tau": 0.5}, "tau means nothing in fast mode"),
        ({"key_every": 5}, "key_every means nothing in fast mode"),
        ({"mode": "paper", "objects": 3}, "objects means nothing in paper mode"),
        ({"mode": "paper", "granularity": 0.0}, "granularity means nothing in paper mode"),
        ({"mode": "paper", "keep_background": True}, "keep_background means nothing"),
        (
            {"mode": "paper", "tau": 0.0},
            "tau: expected a number of more than 0 nats or calibrated, got 0.0",
        ),
        ({"tau": "calibrated"}, "tau means nothing in fast mode"),
        (
            {"mode": "paper", "attention": "cosine", "tau": "calibrated"},
            "a calibrated tau means nothing with cosine rows",
        ),
        ({"mode": "paper", "key_every": 0}, "key_every: expected a whole number of at least 1"),
        ({"block": Path("b.st"), "attention": "cosine"}, "a block means nothing with cosine rows"),
        ({"objects": 3, "granularity": 0.5}, "either objects or granularity"),
        ({"objects": 0}, "objects: expected a whole number of at least 1"),
        ({"granularity": 1.5}, "granularity: expected a number in 0 … 1"),
        ({"min_score": -1.0}, "min_score: expected a number in 0 … 1"),
        ({"mode": "paper", "min_score": 0.2}, "min_score means nothing in paper mode"),
        ({"chunk": 0}, "chunk: expected a whole number of at least 1"),
    ],
)
def test_what_would_be_ignored_or_makes_no_sense_is_said(changes, said):
    with pytest.raises(InputError, match=said):
        Settings(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"objects": "3"}, "objects: expected a whole number of at least 1, got '3'"),
        ({"objects": True}, "objects: expected a whole number of at least 1, got True"),
        ({"objects": 2.0}, "objects: expected a whole number of at least 1, got 2.0"),
        ({"granularity": float("nan")}, "granularity: expected a number in 0 … 1, got nan"),
        ({"keep_background": 1}, "keep_background: expected True or False, got 1"),
        ({"size": -3}, "size: expected a whole number of at least 1 px or 2 of them, got -3"),
        ({"size": 0}, "size: expected a whole number of at least 1 px or 2 of them, got 0"),
        ({"size": (224,)}, "size: expected .* or 2 of them, got (224,)"),
        ({"size": (224, 0)}, "size: expected .* or 2 of them, got (224, 0)"),
        ({"size": np.zeros((99, 99))}, "size: expected .*, got ndarray"),
        ({"seed": "x"}, "seed: expected a whole number in 0 … 9223372036854775807, got 'x'"),
        ({"seed": -1}, "seed: expected a whole number in 0 … 9223372036854775807, got -1"),
        ({"chunk": 1.5}, "chunk: expected a whole number of at least 1 frame, got 1.5"),
        ({"mode": "paper", "tau": "x"}, "tau: expected .* nats or calibrated, got 'x'"),
        ({"mode": "paper", "tau": float("inf")}, "tau: expected .* nats or calibrated, got inf"),
        ({"mode": "paper", "key_every": 2.0}, "key_every: expected a whole number .*, got 2.0"),
        ({"mode": "x"}, "mode: expected fast or paper or kmeans, got 'x'"),
        ({"attention": 3}, "attention: expected cosine or block, got 3"),
        ({"precision": None}, "precision: expected auto or bf16 or fp32 or int8, got None"),
        ({"backbone": None}, "backbone: expected text, got None"),
        ({"device": 0}, "device: expected text, got 0"),
        ({"block": 1}, "block: expected a path, got 1"),
    ],
)
def test_what_a_setting_does_not_take_is_said_in_one_form(untyped, changes, said):
    pattern = re.escape(said).replace(r"\.\*", ".*")
    with pytest.raises(InputError, match=f"^{pattern}$"):
        Settings(**changes)


def test_numbers_of_numpy_and_paths_as_text_are_taken_as_what_they_mean(untyped):
    s = Settings(objects=np.int64(3), block="b.st", size=[224, np.int32(336)], seed=np.uint8(7))
    assert (s.objects, s.block, s.size, s.seed) == (3, Path("b.st"), (224, 336), 7)
    assert type(s.objects) is type(s.seed) is type(s.size[1]) is int
    assert type(Settings(granularity=np.float32(0.5)).granularity) is float


@pytest.mark.parametrize("kind", [Settings, Recipe, ObjectsRecipe, LossSettings, SceneSettings])
def test_every_field_of_what_can_be_set_is_checked(untyped, kind):
    for name in (field.name for field in fields(kind)):
        with pytest.raises(UnveilError, match=f"{name}: expected .*, got <object object"):
            kind(**{name: object()})


FRAMES = np.zeros((3, 4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: cut_wishes("3", None, False), "objects: expected a whole number of .*, got '3'"),
        (lambda: cut_wishes(None, None, 1), "keep_background: expected True or False, got 1"),
        (
            lambda: unveil.open_video(FRAMES, start="1:10"),
            "start: expected a number .*, got '1:10'",
        ),
        (lambda: unveil.open_video(FRAMES, end=True), "end: expected a number .* 0 s, got True"),
        (lambda: unveil.open_video(FRAMES, stride=2.0), "stride: expected a whole .*, got 2.0"),
        (lambda: unveil.Clip(FRAMES, "24"), "fps: expected a number of more than 0, got '24'"),
        (lambda: unveil.Clip(FRAMES, 0.0), "fps: expected a number of more than 0, got 0.0"),
        (lambda: unveil.Clip(FRAMES[:, :0]), "frames: expected .* one pixel, got uint8 .3, 0, 5"),
        (lambda: unveil.Segmenter("fast"), "settings: expected Settings, got 'fast'"),
        (lambda: unveil.Segmenter(objects="3"), "objects: expected a whole number of .*, got '3'"),
        (lambda: unveil.Segmenter(colour=3), "no such setting: 'colour'"),
    ],
)
def test_what_a_function_does_not_take_is_said_in_the_same_form(untyped, call, said):
    with pytest.raises(InputError, match=f"^{said}"):
        call()


def test_a_rate_as_a_float_is_the_fraction_that_it_means(untyped):
    assert unveil.Clip(FRAMES, 29.97).fps == Fraction(2997, 100)
    assert unveil.Clip(FRAMES, 25).fps == Fraction(25)
    assert unveil.Clip(FRAMES, 0.3).fps == Fraction(3, 10)
    assert unveil.Clip(FRAMES, 1 / 3600).fps == Fraction(1, 3600)
    assert unveil.Clip(FRAMES, 0.0007).fps == Fraction(7, 10000)


def test_run_json_holds_what_the_mode_uses():
    fast, paper = Settings().plain(), Settings(mode="paper").plain()
    assert {"objects", "granularity", "keep_background"} <= set(fast)
    assert not {"tau", "key_every"} & set(fast)
    assert (fast["attention"], paper["attention"]) == ("cosine", "block")
    assert Settings(block=Path("b.st")).rows == "block"
    assert Settings(mode="paper", attention="cosine").rows == "cosine"
    assert paper["tau"] == 1.0 and paper["key_every"] == 10
    assert "objects" not in paper
