"""The benchmark that asks slot models whether they know their clips by heart."""

from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from benchmarking import benchmark
from training_runs import write_clips
from unveil.slots.model_file import load_model
from unveil.slots.settings import SlotSettings
from unveil.training.clips import TrainingClip, find_clips
from unveil.training.features import Cache, ClipFeatures
from unveil.training.loop import train
from unveil.training.sampling import Sample, generator, hold_out
from unveil.training.slots_losses import SlotLossSettings
from unveil.training.slots_method import SlotMethod
from unveil.training.slots_recipe import SlotRecipe
from unveil.training.watcher import Watcher


@pytest.fixture(scope="module")
def by_heart():
    return benchmark("by_heart")


def test_other_windows_share_no_frame_with_the_first_few(by_heart):
    starts = (0, 1, 9, 2, 4, 20, 11, 30)
    frames = tuple((i, i + 1, i + 2) for i in starts)
    clip = ClipFeatures(TrainingClip(Path(), ""), Path(), (1, 1), frames)
    assert [starts[i] for i in by_heart.others(clip)] == [20, 30]
    assert by_heart.spread(range(9), 3) == [0, 4, 8] and by_heart.spread([5, 6], 4) == [5, 6]


@pytest.mark.slow
def test_the_table_says_the_errors_on_three_kinds_of_windows(
    by_heart, tiny_backbone, tmp_path, capsys
):
    videos = write_clips(tmp_path / "videos", clips=4, frames=30)
    shape = SlotSettings(slots=3, width=8, decoder_width=16, similarity=False)
    recipe = SlotRecipe(
        "savi", tiny_backbone, (16, 20), windows=4, steps=2, batch=2, validation=1, lr=1e-2,
        model=shape, losses=SlotLossSettings(similarity=0.0), precision="fp32",
    )  # fmt: skip
    cache, fabric = Cache(tmp_path / "cache", 10**9), Fabric(accelerator="cpu", devices=1)
    model = train(videos, SlotMethod(recipe), tmp_path / "run", fabric, cache, Watcher())
    by_heart.main(videos, (model,), windows=12, each=2, cache=cache.folder)
    said, row = (
        line
        for line in capsys.readouterr().out.splitlines()
        if "clips" in line[:12] or "savi" in line
    )
    assert said.startswith("3 clips trained on") and said.endswith("1 held out;")
    name, windows, steps, *errors = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, windows, steps) == ("savi", "4", "2")

    found = [
        cache.get(c, by_heart.replace(recipe, windows=12), lambda: None) for c in find_clips(videos)
    ]
    trained, held = hold_out(found, 1, recipe.seed)
    module = load_model(model).eval()

    def mean(shown):
        total = 0.0
        for clip, window in shown:
            own = generator(recipe.seed, "shown", clip.clip.digest, window)
            with torch.no_grad():
                losses = SlotMethod(recipe).losses(
                    module, [Sample(clip, window, own)], torch.device("cpu")
                )
            total += float(losses["reconstruction"])
        return f"{total / len(shown):.3f}"

    assert errors[0] == mean([(c, i) for c in trained for i in (0, 3)])
    assert errors[2] == mean([(c, i) for c in held for i in range(12)])
    assert len({*errors}) > 1
