"""What a patch attends to: exact maps, the frames that are chosen, the figure in each form."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from unveil.attention.block import Block, random_block
from unveil.attention.block_file import save_block
from unveil.attention.maps import attention_of
from unveil.attention.rows import block_rows, cosine_rows
from unveil.cli import main
from unveil.cli.attention import point
from unveil.errors import InputError
from unveil.figures.look import moments, panels_of, spread
from unveil.results.heat import MARK, heat_maps, mark
from unveil.results.movie import Movie
from unveil.types import Clip, Features
from unveil.video.source import open_video, read_clip

H, W, FRAMES, FPS = 40, 60, 12, 6


def features(t: int = 3, h: int = 4, w: int = 5, c: int = 12) -> Features:
    g = torch.Generator().manual_seed(0)
    return Features(torch.randn(t, h, w, c, generator=g), 14, torch.rand(t, h, w, generator=g))


@pytest.fixture
def command(tmp_path, tiny_backbone) -> list[str]:
    """All but --at and --out of a command on a video of 2 s."""
    movie = Movie(tmp_path / "in.mp4", Fraction(FPS), H, W)
    for i in range(FRAMES):
        frame = np.full((H, W, 3), 40, np.uint8)
        frame[10:25, 3 * i : 3 * i + 15] = (200, 90, 30)
        movie.write(frame, np.zeros((H, W), np.uint8))
    movie.close()
    save_block(Block(16, 2), tmp_path / "block", backbone=tiny_backbone)
    options = ["--backbone", tiny_backbone, "--block", str(tmp_path / "block"), "--size", "20"]
    return ["attention", str(tmp_path / "in.mp4"), *options]


@pytest.mark.parametrize("at", [(0, 0, 0), (1, 2, 3), (2, 3, 4)])
def test_the_map_of_a_patch_is_its_row(at):
    f, block = features(), random_block(12, 3, seed=4)
    t, y, x = at
    place = (t * 4 + y) * 5 + x
    for got, rows in (
        (attention_of(f, at), cosine_rows(f, 1)),
        (attention_of(f, at, block), block_rows(f, block, 1)),
    ):
        assert got.shape == (3, 4, 5)
        torch.testing.assert_close(got.flatten(), rows(0, 3)[place])


def test_heads_are_attention_written_out_and_their_mean_is_the_map():
    f, block = features(), random_block(12, 3, centred=True, seed=4)
    heads = torch.stack([attention_of(f, (1, 2, 3), block, i) for i in range(3)])
    torch.testing.assert_close(heads.mean(0), attention_of(f, (1, 2, 3), block))
    x = f.keys - f.keys.mean((0, 1, 2))
    q = block.norm1(x[1, 2, 3]) @ block.attention.qkv.weight[4:8].T
    k = block.norm1(x) @ block.attention.qkv.weight[16:20].T
    torch.testing.assert_close(heads[1], (k @ q / 2).flatten().softmax(0).view(3, 4, 5))


@pytest.mark.parametrize("block", [None, random_block(12, 3, centred=True, seed=4)])
def test_a_group_attends_as_its_patches_would_were_they_all_alike(block):
    f, patches = features(), torch.arange(1.0, 61.0).view(3, 4, 5)
    keys = f.keys.flatten(0, 2).repeat_interleave(patches.flatten().int(), 0)
    apart = attention_of(Features(keys[None, None], 1), (0, 0, 0), block)[0, 0]
    first = patches.flatten().cumsum(0).long() - 1
    together = attention_of(f, (0, 0, 0), block, patches=patches)
    torch.testing.assert_close(together.flatten(), apart[first])
    assert float((together * patches).sum()) == pytest.approx(1, abs=1e-5)


def test_patches_and_heads_that_are_not_there():
    f, block = features(), random_block(12, 3)
    for at in ((3, 0, 0), (0, 4, 0), (0, 0, -1)):
        with pytest.raises(InputError, match="3 frames of 4x5 patches"):
            attention_of(f, at)
    with pytest.raises(InputError, match="no head 3: the block has 3"):
        attention_of(f, (0, 0, 0), block, 3)
    with pytest.raises(InputError, match="has no heads"):
        attention_of(f, (0, 0, 0), head=0)


def test_a_random_block_is_its_seed_s_and_leaves_others_alone():
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    one, two, other = random_block(12, 3), random_block(12, 3), random_block(12, 3, seed=1)
    assert torch.equal(torch.rand(3), want)
    weight = one.attention.qkv.weight
    assert torch.equal(weight, two.attention.qkv.weight)
    assert not torch.equal(weight, other.attention.qkv.weight)


def test_the_panels_are_the_backbone_s_the_untrained_and_the_trained():
    f, block = features(), random_block(12, 3, seed=9)
    panels = {p.name: p for p in panels_of(f, (1, 0, 0), block)}
    assert list(panels) == ["cosine", "class", "untrained", "trained"]
    assert np.array_equal(panels["class"].maps, f.saliency.numpy())
    assert np.array_equal(panels["trained"].maps, attention_of(f, (1, 0, 0), block).numpy())
    assert not np.allclose(panels["trained"].maps, panels["untrained"].maps)
    assert [len(p.heads) for p in panels.values()] == [0, 0, 3, 3]


@pytest.mark.parametrize("count", [1, 2, 5, 6, 7, 100])
@pytest.mark.parametrize("wanted", [1, 2, 6])
def test_frames_are_spread_and_the_pressed_one_is_among_them(count, wanted):
    for kept in range(count):
        chosen = spread(count, wanted, kept)
        assert kept in chosen and len(chosen) == min(wanted, count)
        assert list(chosen) == sorted(set(chosen))
        assert chosen[0] >= 0 and chosen[-1] < count
    assert spread(100, 6, 0) == (0, 20, 40, 59, 79, 99)


def test_a_time_means_the_frame_that_is_shown_then():
    clip = Clip(np.zeros((20, 8, 8, 3), np.uint8), Fraction(10))
    for time, want in ((None, 0), (0.0, 0), (0.35, 3), (0.3, 3), (1.99, 19)):
        when = moments(open_video(clip), time, 4)
        assert when.indices[when.pressed] == want
    when = moments(open_video(clip, start=1.0, end=1.5), 1.2, 9, start=1.0)
    assert when.indices == (0, 1, 2, 3, 4) and when.pressed == 2
    assert when.seconds == (1.0, 1.1, 1.2, 1.3, 1.4)
    with pytest.raises(InputError, match=r"no frame at 2 s: .* from 0.00 s to 2.00 s"):
        moments(open_video(clip), 2.0, 4)
    with pytest.raises(InputError, match=r"no frame at 0.5 s: .* from 1.00 s"):
        moments(open_video(clip, start=1.0), 0.5, 4, start=1.0)
    with pytest.raises(InputError, match="at least 1, got 0"):
        moments(open_video(clip), None, 0)


def test_maps_share_a_scale_over_frames_and_the_ring_is_round_its_patch():
    maps = np.zeros((2, 10, 10), np.float32)
    maps[1, 5:] = 1
    colours = heat_maps(maps).astype(int)
    assert (colours[0] == colours[1, 0, 0]).all() and colours[1, 9, 9].sum() > 600
    picture = Image.new("RGB", (200, 100))
    mark(picture, (1, 7), (5, 10))
    rows, columns = np.nonzero((np.asarray(picture) == MARK).all(-1))
    assert abs(rows.mean() - 30) < 1.5 and abs(columns.mean() - 150) < 1.5


@pytest.mark.slow
def test_a_figure_shows_the_pressed_frame_s_patch_in_each_form(tmp_path, command, capsys):
    for name in ("a.png", "b.png", "a.svg", "b.svg"):
        out = ["--at", "30,15,1", "--out", str(tmp_path / "new" / name)]
        assert main([*command, *out]) == 0, capsys.readouterr().err
    new = tmp_path / "new"
    assert sorted(p.name for p in new.iterdir()) == ["a.png", "a.svg", "b.png", "b.svg"]
    for kind in ("png", "svg"):  # the same command, the same bytes
        assert (new / f"a.{kind}").read_bytes() == (new / f"b.{kind}").read_bytes()
    with Image.open(new / "a.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    red = np.nonzero(np.abs(pixels - MARK).sum(-1) < 30)
    # Six columns over 2 s: the frame at 1 s, the seventh of twelve, stands in the fourth.
    column = (red[1].mean() / 150 - 1.25) / 1.96
    assert 3 < column < 4 and red[0].max() < pixels.shape[0] / 4
    text = (new / "a.svg").read_text()
    assert text.count("<image") == 6 * 4
    assert "patch 4,2 of 7x5 at 1.00 s, over 6 frames" in capsys.readouterr().out


def test_the_class_token_is_one_more_row(tmp_path, command):
    out = ["--at", "1,1", "--frames", "2", "--class-token", "--out", str(tmp_path / "a.svg")]
    assert main([*command, *out]) == 0
    assert (tmp_path / "a.svg").read_text().count("<image") == 2 * 5


def test_a_movie_takes_as_long_as_the_video(tmp_path, command):
    movies = {"all": [], "some": ["--frames", "4"]}
    for name, options in movies.items():
        assert (
            main([*command, "--at", "30,15", "--out", str(tmp_path / f"{name}.mp4"), *options]) == 0
        )
    whole, some = (read_clip(tmp_path / f"{name}.mp4") for name in movies)
    assert (len(whole), len(some)) == (FRAMES, 4)
    assert len(whole) / whole.fps == len(some) / some.fps == FRAMES / FPS
    assert np.abs(whole.frames[0].astype(int) - whole.frames[-1]).mean() > 1


def test_the_page_holds_all_and_asks_for_nothing(tmp_path, command):
    assert main([*command, "--at", "30,15,1", "--html", str(tmp_path / "a.html")]) == 0
    text = (tmp_path / "a.html").read_text()
    assert "default-src 'none'" in text
    assert not re.findall(r"https?://|src=|href=", text)
    shown = json.loads(re.search(r"const shown = (.*);\n", text).group(1))
    assert len(shown["frames"]) == 6 and shown["pressed"] == 3
    heads = {p["name"]: [len(maps) for maps in p["maps"]] for p in shown["panels"]}
    assert heads == {"cosine": [6], "class": [6], "untrained": [6, 6, 6], "trained": [6, 6, 6]}
    assert text.count("data-head=") == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--at", "60,15", "--out", "a.png"], "the point 60,15 lies outside the frame of 60x40 px"),
        (["--at", "30,nan", "--out", "a.png"], "lies outside the frame"),
        (
            ["--at", "30,15,2", "--out", "a.png"],
            "no frame at 2 s: what is looked at of in runs from",
        ),
        (["--at", "30", "--out", "a.png"], "expected X,Y in px or X,Y,SECONDS"),
        (["--at", "30,15,soon", "--out", "a.png"], "no moment in a video: 'soon'"),
        (["--at", "30,15", "--out", "a.gif"], "a name that ends in .png, .svg, .mp4"),
        (["--at", "30,15"], "give --out figure.png, --html FILE, or both"),
        (["--at", "30,15", "--out", "a.png", "--html", "a.png"], "are one file"),
        (["--at", "30,15", "--html", "a.html", "--class-token"], "a page shows the class token"),
        (["--at", "30,15", "--out", "a.png", "--frames", "0"], "frames: expected at least 1"),
        (["--at", "30,15", "--out", "in.mp4/a.png"], "cannot write the result to in.mp4/a.png"),
    ],
)
def test_bad_input_says_so_and_leaves_nothing(
    tmp_path, command, capsys, monkeypatch, options, said
):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert main([*command, *options]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_backbone_without_a_block_asks_for_one(tmp_path, command, capsys):
    at = command.index("--block")
    del command[at : at + 2]
    assert main([*command, "--at", "30,15", "--out", str(tmp_path / "a.png")]) == 2
    said = capsys.readouterr().err
    assert "no block was trained for backbone" in said and "--block PATH" in said
    assert "--attention cosine" not in said


def test_a_point_as_it_is_written():
    assert point("3,4.5") == (3, 4.5, None)
    assert point("3,4,1:02.5") == (3, 4, 62.5)
