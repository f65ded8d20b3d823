"""Objects cut out of their video: opened again, they are what was cut, and sound as they did."""

import csv
import json

import av
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from exported import NAMES, NTSC, scene, write_result
from filming import heard, long_scene, opened, packets, write_video
from handmade import frames_of, make_result
from unveil.cli import main
from unveil.editing.stroke import Stroke
from unveil.errors import InputError
from unveil.exports import cut, film
from unveil.exports.colours import object_colours
from unveil.exports.formats import FORMATS, export
from unveil.exports.matte import LEAST, matte, regions, spread
from unveil.exports.result import open_result
from unveil.segmentation.segmentation import Segmentation
from unveil.segmentation.soft_edges import with_soft_edges


@pytest.fixture(scope="module")
def dog(tmp_path_factory):
    """A result of a video with sound, 83x61."""
    place = tmp_path_factory.mktemp("cut")
    frames, labels = long_scene()
    source = write_video(place / "dog.mp4", frames)
    about = {"video": {"source": str(source), "start": None, "end": None, "stride": 1}}
    return write_result(place / "dog", labels, run=about)


def opacities(folder):
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))])


# --- movies opened again -------------------------------------------------------------------


def test_prores_is_the_png_sequence_to_a_level(dog, tmp_path):
    result = open_result(dog)
    truth = opacities(export(result, tmp_path / "png", "rgba-png"))
    got, about = opened(export(result, tmp_path / "a.mov", "prores"))
    assert about["pixels"].startswith("yuva444p") and about["size"] == (61, 83)
    assert about["rate"] == NTSC and len(got) == len(truth) == 24
    assert np.allclose(about["times"], np.arange(24) / float(NTSC), atol=1e-4)
    assert np.abs(got[..., 3].astype(int) - truth[..., 3]).max() <= 1
    seen = truth[..., 3] > 0
    assert np.abs(got.astype(int) - truth)[seen][:, :3].mean() < 2


@pytest.mark.parametrize("width", [83, 84, 96])  # odd and even ones have encoders of their own
def test_prores_keeps_any_opacity(width, tmp_path):
    rng = np.random.default_rng(0)
    size = (61, width)
    opacity = np.where(rng.random((8, *size)) > 0.9, rng.integers(0, 256, (8, *size)), 0)
    opacity[4:] = rng.integers(0, 256, (4, *size))
    frames, labels = scene(8, *size)
    result = open_result(write_result(tmp_path / "dog", labels, frames))
    with film.filmed([tmp_path / "a.mov"], film.PRORES, result) as (movie,):
        for frame, alpha in zip(frames, opacity.astype(np.uint8), strict=True):
            movie.write(np.dstack((frame, alpha)))
    with av.open(str(tmp_path / "a.mov")) as file:
        assert file.streams.video[0].codec_context.codec_tag == "ap4h"
        for frame, wanted in zip(file.decode(video=0), opacity, strict=True):
            plane = np.frombuffer(memoryview(frame.planes[3]), np.uint16).reshape(61, -1)
            assert np.array_equal(np.round(plane[:, :width] / 4095 * 255), wanted)


@pytest.mark.parametrize("width", [83, 84])
def test_prores_of_real_colours_is_close(width, tmp_path):
    frames, labels = long_scene(4)
    frames = np.pad(frames, ((0, 0), (0, 0), (0, width - 83), (0, 0)), mode="edge")
    labels = np.pad(labels, ((0, 0), (0, 0), (0, width - 83)))
    result = open_result(write_result(tmp_path / "dog", labels, frames))
    got, _ = opened(export(result, tmp_path / "a.mov", "prores", soft=False))
    assert np.abs(got[..., :3].astype(int) - frames)[labels > 0].mean() < 2


def test_webm_is_near_the_png_sequence(dog, tmp_path):
    result = open_result(dog)
    truth = opacities(export(result, tmp_path / "png", "rgba-png"))
    got, about = opened(export(result, tmp_path / "a.webm", "webm"))
    assert about["pixels"] == "yuva420p" and about["size"] == (61, 83)
    assert about["rate"] == NTSC and len(got) == 24
    assert np.allclose(about["times"], np.arange(24) / float(NTSC), atol=2e-3)
    off = np.abs(got[..., 3].astype(int) - truth[..., 3])
    assert off.mean() < 2 and ((got[..., 3] > 127) == (truth[..., 3] > 127)).mean() > 0.995


def test_an_odd_side_of_h264_repeats_its_last_line(tmp_path):
    frames, labels = scene(2, 61, 83)
    stripes = np.where(np.indices((61, 83)).sum(0) // 2 % 2, 255, 0).astype(np.uint8)
    frames[:] = stripes[..., None]  # nothing else would be left of them by a frame that is scaled
    result = open_result(write_result(tmp_path / "dog", labels, frames))
    with film.filmed([tmp_path / "a.mp4"], film.MP4, result) as (movie,):
        for frame in frames:
            movie.write(frame)
    got, about = opened(tmp_path / "a.mp4", "rgb24")
    assert about["size"] == (62, 84)
    repeated = np.pad(frames, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    assert np.abs(got.astype(int) - repeated).mean() < 12


@pytest.mark.parametrize("form", ["prores-each", "webm-each"])
def test_a_file_an_object(form, dog, tmp_path, monkeypatch):
    monkeypatch.setattr(cut, "_AT_ONCE", 2)
    shown = []
    result = open_result(dog).select(names=NAMES)
    out = export(result, tmp_path / "x", form, on_progress=lambda *x: shown.append(x[1:]))
    ends = form.split("-")[0].replace("prores", "mov")
    names = ["1 dog", "2 a _left_ dancer 💃", "3 either_or, it's"]
    movies = sorted(p for p in out.iterdir() if p.suffix == f".{ends}")
    assert [p.stem for p in movies] == names
    labels = np.stack(list(result.labels()))
    for id, path in enumerate(movies, 1):
        alpha = opened(path)[0][..., 3]
        sides = alpha[:, 4:-4, 4:-4], (labels == id)[:, 4:-4, 4:-4]
        assert ((sides[0] > 127) == sides[1]).mean() > 0.97
        assert packets(path)
    assert shown == sorted(shown) and shown[-1] == (24, 24)


@pytest.mark.parametrize("form", ["green-screen", "blur"])
def test_another_background(form, dog, tmp_path):
    result = open_result(dog)
    got, about = opened(export(result, tmp_path / "a.mp4", form), "rgb24")
    assert about["pixels"] == "yuv420p" and about["size"] == (62, 84) and len(got) == 24
    truth = opacities(export(result, tmp_path / "png", "rgba-png"))
    got = got[:, :61, :83].astype(int)
    far = np.stack([np.asarray(Image.fromarray(x)) for x in truth[..., 3]]) == 0
    inside = torch.nn.functional.avg_pool2d(torch.tensor(truth[..., 3] / 255.0)[:, None], 7, 1, 3)
    solid = inside[:, 0].numpy() > 0.999
    assert np.abs(got - truth[..., :3])[solid].mean() < 15
    if form == "green-screen":
        green = np.array([0x00, 0xB1, 0x40])
        assert np.abs(got - green)[far].mean() < 6
    else:
        frames = long_scene()[0]
        assert np.abs(got - frames)[far].mean() < 15


def test_a_background_that_is_blurred_has_no_colour_of_the_object():
    frame = np.full((64, 96, 3), 100, np.uint8)
    alpha = np.zeros((64, 96), np.uint8)
    frame[20:40, 32:60], alpha[20:40, 32:60] = 255, 255
    behind = cut.blurred(frame, alpha, 0.1)
    assert np.abs(behind.astype(int) - 100).max() <= 1
    assert np.array_equal(cut.mixed(frame, behind, alpha)[20:40, 30:60], frame[20:40, 30:60])


def test_cut_outs_lie_where_the_table_says(dog, tmp_path):
    result = open_result(dog).select([1, 3], every=5, names={1: "dog"})
    out = export(result, tmp_path / "x", "cutouts", soft=False)
    frames, labels = long_scene()
    seen = np.zeros_like(labels)
    with (out / "cutouts.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            picture = np.asarray(Image.open(out / row["file"]))
            x, y, w, h = (int(row[f"{k}_px"]) for k in ("left", "top", "width", "height"))
            i, id = int(row["frame_name"]), int(row["id"])
            assert picture.shape == (h, w, 4)
            mask = picture[..., 3] > 0
            seen[i, y : y + h, x : x + w][mask] = id
            assert np.abs(picture[mask][:, :3].astype(int) - frames[i][labels[i] == id]).max() < 8
    wanted = np.where(labels == 2, 0, labels)
    assert np.array_equal(seen[::5], wanted[::5])
    assert sorted(p.name for p in out.iterdir()) == ["1 dog", "3", "cutouts.csv", "unveil.json"]


# --- sound ---------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["prores", "green-screen"])
def test_sound_is_the_same_packets(form, dog, tmp_path):
    source = dog.with_name("dog.mp4")
    out = export(open_result(dog), tmp_path / FORMATS[form].file, form)
    wanted, got = packets(source), packets(out)
    assert [data for _, data in got] == [data for _, data in wanted] and len(got) > 20
    assert np.allclose([t for t, _ in got], [t for t, _ in wanted], atol=1e-3)
    assert np.array_equal(heard(out), heard(source))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["prores", "webm"])
@pytest.mark.parametrize("codec", ["aac", "libmp3lame", "flac"])
def test_sound_of_a_part_is_in_time(form, codec, tmp_path):
    frames, labels = long_scene(48)
    source = write_video(tmp_path / "dog.mkv", frames, codec)
    start, end = 16 / float(NTSC), 40 / float(NTSC)
    about = {"source": str(source), "start": start, "end": end, "stride": 2}
    out = write_result(tmp_path / "dog", labels[16:40:2], run={"video": about}, fps=NTSC / 2)
    result = open_result(out)
    movie = export(result, tmp_path / FORMATS[form].file, form)
    whole, part = heard(source), heard(movie)
    late = round(packets(movie)[0][0] * 48_000)
    first = round(start * 48_000) + late
    assert -50 <= late <= 2400 and abs(len(part) + late - 24 / float(NTSC) * 48_000) < 4000
    piece = part[4000:20_000]
    against = whole[first + 2800 : first + 21_200]
    shift = int(np.correlate(against, piece, "valid").argmax()) - 1200
    assert abs(shift) <= 500, shift  # 10 ms: what Opus lets run ahead, and milliseconds of Matroska
    assert np.corrcoef(piece, against[shift + 1200 :][: len(piece)])[0, 1] > 0.98


def test_a_silent_video_makes_a_silent_movie(tmp_path):
    frames, labels = long_scene(6)
    source = write_video(tmp_path / "dog.mp4", frames, None)
    out = write_result(tmp_path / "dog", labels, run={"video": {"source": str(source)}})
    with av.open(str(export(open_result(out), tmp_path / "a.mov", "prores"))) as movie:
        assert not movie.streams.audio and len(list(movie.decode(video=0))) == 6


# --- edges ---------------------------------------------------------------------------------


def test_shares_decide_where_an_edge_lies():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 6, 8, generator=generator)
    shares = torch.nn.functional.interpolate(coarse, (96, 128), mode="bilinear")[0] * 0.6
    labels = np.where(shares.sum(0) > LEAST, shares.argmax(0) + 1, 0)
    frame = np.zeros((96, 128, 3), np.uint8)
    for group in ([1], [2], [1, 3], [1, 2, 3]):
        mask = np.isin(labels, group)
        alpha = matte(mask, frame, shares, np.isin([1, 2, 3], group))
        assert np.array_equal(alpha > 127, mask)
        assert ((alpha > 0) & (alpha < 255)).any()


@pytest.mark.parametrize("size", [(480, 854), (61, 83)])
def test_an_edge_is_soft_near_the_border_and_nowhere_else(size):
    height, width = size
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - height / 2, x - width / 2)
    mask = inside < height / 4
    grey = ndimage.gaussian_filter(np.where(mask, 200.0, 40.0), 2).astype(np.uint8)
    alpha = matte(mask, grey[..., None].repeat(3, 2))
    assert ((alpha > 0) & (alpha < 255)).sum() > height
    band = max(1, round(6 * max(size) * 9 / 16 / 480)) + 2
    assert (alpha[inside < height / 4 - band] == 255).all()
    assert (alpha[inside > height / 4 + band] == 0).all()
    assert np.array_equal(alpha > 127, mask)


def test_colours_at_an_edge_are_the_object_s():
    """A made-up composite, of which colours and opacity are known."""
    y, x = np.mgrid[:120, :160]
    rng = np.random.default_rng(0)
    truth = np.stack((200 + 30 * np.sin(x / 9), 90 + 0.5 * y, 60 + 0 * x), -1)
    behind = np.stack((20 + 0 * x, 120 + 40 * np.sin(y / 7), 160 - 0.4 * x), -1)
    for softness in (1, 3, 8):
        part = ((45 - np.hypot(y - 60, x - 80)) / softness + 0.5).clip(0, 1)
        alpha = (part * 255).round().astype(np.uint8)
        mixed = truth * part[..., None] + behind * (1 - part[..., None])
        frame = (mixed + rng.normal(0, 2, mixed.shape)).round().clip(0, 255).astype(np.uint8)
        found = object_colours(frame, alpha, 16).astype(int)
        opaque, soft, near = alpha == 255, (alpha > 0) & (alpha < 255), spread(alpha > 0, 16)
        assert np.array_equal(found[opaque], frame[opaque])
        weight = part[soft, None]
        was, is_ = (
            ((np.abs(c - truth)[soft] * weight).sum() / weight.sum()) for c in (frame, found)
        )
        assert is_ < 0.3 * was, softness
        ring = near & (alpha == 0)
        assert np.abs(found - truth)[ring].mean() < 0.3 * np.abs(frame - truth)[ring].mean()


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (61, 83)])
def test_colours_of_pictures_of_any_size(size):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (*size, 3), np.uint8)
    for alpha in (np.zeros(size), np.full(size, 255), rng.integers(0, 256, size)):
        alpha = alpha.astype(np.uint8)
        found = object_colours(frame, alpha, 16)
        assert np.array_equal(found[alpha == 255], frame[alpha == 255])


def test_a_cut_out_carries_no_rim_of_its_background(tmp_path):
    """A red disc that is soft in the video, before blue: what is seen of it is red."""
    y, x = np.mgrid[:90, :120]
    part = ((30.5 - np.hypot(y - 45, x - 60)) / 4 + 0.5).clip(0, 1)[..., None]
    frame = (np.array([230, 30, 30]) * part + np.array([20, 40, 220]) * (1 - part)).astype(np.uint8)
    labels = (part[..., 0] > 0.5).astype(np.uint8)
    result = open_result(write_result(tmp_path / "disc", labels[None], frame[None]))
    (picture,) = opacities(export(result, tmp_path / "png", "rgba-png")).astype(int)
    soft = (picture[..., 3] > 0) & (picture[..., 3] < 255)
    assert soft.sum() > 100 and frame[soft][:, 2].mean() > 110
    assert picture[soft][:, 2].mean() < 70 and picture[soft][:, 0].mean() > 180


@pytest.mark.parametrize("seed", range(20))
def test_regions_hold_a_mask_and_its_surroundings_apart(seed):
    rng = np.random.default_rng(seed)
    mask, pad = rng.random((83, 131)) > 1 - 10.0 ** -rng.integers(1, 5), int(rng.integers(0, 20))
    seen = np.zeros(mask.shape, int)
    for box in regions(mask, pad):
        seen[box] += 1
    wanted = ndimage.maximum_filter(mask, 2 * pad + 1, mode="constant")
    assert np.array_equal(spread(mask, pad), wanted)
    assert seen.max(initial=0) <= 1 and (seen[wanted] == 1).all()


def test_nothing_and_everything_have_no_edge():
    frame = np.zeros((9, 9, 3), np.uint8)
    assert (matte(np.ones((9, 9), bool), frame) == 255).all()
    assert (matte(np.zeros((9, 9), bool), frame) == 0).all()
    one = np.zeros((9, 9), bool)
    one[4, 4] = True
    assert matte(one, frame)[4, 4] > 0


def test_what_a_result_keeps_softens_its_edges(tmp_path):
    out = make_result(tmp_path, 9)
    plain = open_result(out)
    result = with_soft_edges(plain, out)
    assert plain.shares is None and result.shares is not None
    for index, (labels, frame) in enumerate(zip(result.labels(), result.frames(), strict=True)):
        ids, shares = result.shares(index, frame)
        best = np.where(shares.sum(0) > LEAST, ids[shares.argmax(0)], 0)
        assert np.array_equal(best, labels)
    alpha = opacities(export(result, tmp_path / "soft", "rgba-png"))[..., 3]
    hard = opacities(export(result, tmp_path / "hard", "rgba-png", soft=False))[..., 3]
    labels = np.stack(list(result.labels()))
    assert np.array_equal(hard, np.where(labels > 0, 255, 0))
    assert np.array_equal(alpha > 127, labels > 0) and len(np.unique(alpha)) > 10


def test_a_brush_stroke_holds_also_where_the_shares_say_otherwise(tmp_path):
    out = make_result(tmp_path, 9)
    result = with_soft_edges(open_result(out), out)
    stroke = Stroke(2, 1, True, ((0.1, 0.9), (0.3, 0.9)), 0.06).pixels(72, 128)
    for path in [out / "masks" / "00002.png"]:
        with Image.open(path) as image:
            labels = np.array(image)
        labels[stroke] = 1
        Image.fromarray(labels).save(path)
    alpha = opacities(export(result, tmp_path / "soft", "rgba-png"))[2, ..., 3]
    assert (alpha[stroke] > 127).all()


def test_a_state_that_cannot_be_read_is_told(tmp_path, caplog):
    out = make_result(tmp_path, 9)
    (out / "state.npz").write_bytes(b"no")
    assert with_soft_edges(open_result(out), out).shares is None
    assert "softened by the colours alone" in caplog.text


def test_a_segmentation_in_memory_has_soft_edges_too(tmp_path):
    from handmade import found_in

    found, frames = found_in(9), frames_of(9)
    labels = np.zeros(frames.shape[:3], np.uint8)
    made = Segmentation(labels, found.scores, frames=frames, state=found.state)
    assert made.as_result().shares(0, frames[0])[1].shape[1:] == (72, 128)


# --- what can go wrong ---------------------------------------------------------------------


def test_options_that_make_no_sense(dog, tmp_path):
    with pytest.raises(InputError, match="expected #rrggbb"):
        export(open_result(dog), tmp_path / "x.mp4", "green-screen", colour="green")
    with pytest.raises(InputError, match="part of the longer side"):
        export(open_result(dog), tmp_path / "x.mp4", "blur", blur=3.0)
    assert list(tmp_path.iterdir()) == []


def test_the_shell_cuts_out(tmp_path, capsys):
    out = make_result(tmp_path, 9)
    call = ["export", str(out), "--out", str(tmp_path / "x"), "--to", "rgba-png"]
    assert main([*call, "--to", "green-screen", "--colour", "#102030"]) == 0
    soft = opacities(tmp_path / "x" / "rgba-png")[..., 3]
    assert len(np.unique(soft)) > 10
    assert main([*call, "--hard-edges", "--again"]) == 0
    assert set(np.unique(opacities(tmp_path / "x" / "rgba-png")[..., 3])) == {0, 255}
    assert json.loads((tmp_path / "x" / "rgba-png" / "unveil.json").read_text())
    assert main(["export", str(out), "--to", "csv", "--hard-edges"]) == 2
    assert "soft means nothing to csv" in capsys.readouterr().err
