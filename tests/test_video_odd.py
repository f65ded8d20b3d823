"""Videos and pictures as people have them: names, containers and cameras out of the rule."""

import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from test_video import encode, images, noise, number, picture
from unveil.errors import InputError
from unveil.results.movie import Movie
from unveil.video import container
from unveil.video.access import Frames
from unveil.video.source import open_video


@pytest.mark.parametrize("name", ["10:30.mp4", "pipe:0.mp4", "a%03d.mp4", "a b#?&.mp4", "-x.mp4"])
def test_names_that_ffmpeg_would_take_for_something_else(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    shutil.copy(encode(tmp_path / "plain.mp4"), tmp_path / name)
    assert [number(f) for f in open_video(name)] == list(range(12))
    assert number(Frames(name, 12)[7]) == 7
    movie = Movie(Path("new" + name), Fraction(5), 34, 50)
    movie.write(picture(0), np.zeros((34, 50), np.uint8))
    movie.close()
    assert len(list(open_video("new" + name))) == 1


def test_a_video_whose_name_is_no_text_has_one_that_can_be_written(tmp_path):
    path = encode(tmp_path / "plain.mp4").rename(tmp_path / os.fsdecode(b"no\xe9l.mp4"))
    assert open_video(path).name == "no\\udce9l"


def test_a_pipe_is_said_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="a pipe or a device: save it as a file"):
        open_video(tmp_path / "pipe.mp4")


@pytest.mark.parametrize(
    ("file", "codec"), [("a.h264", "libx264"), ("a.mpg", "mpeg2video"), ("a.vob", "mpeg2video")]
)
def test_ranges_of_files_that_do_not_say_their_times_or_say_them_wrong(tmp_path, file, codec):
    path = encode(tmp_path / file, codec=codec)
    assert [number(f) for f in open_video(path, start=0.2)] == list(range(5, 12))
    assert [number(f) for f in open_video(path, start=0.2, end=0.3)] == [5, 6, 7]


def test_recordings_one_behind_the_other_are_counted_on(tmp_path):
    one = encode(tmp_path / "one.ts")
    both = tmp_path / "both.ts"
    both.write_bytes(2 * one.read_bytes())
    video = open_video(both)
    assert [number(f) for f in video] == 2 * list(range(12))
    assert "its clock goes back" in video.warnings[0]
    assert [number(f) for f in open_video(both, start=0.4)] == [10, 11, *range(12)]
    assert [number(f) for f in open_video(both, start=0.56, end=0.64)] == [2, 3]


@pytest.mark.parametrize("n", [11, 12, 13])
@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
def test_no_frame_is_lost_where_transport_streams_are_joined(tmp_path, n, codec):
    one = encode(tmp_path / "one.ts", n=n, codec=codec)
    both = tmp_path / "both.ts"
    both.write_bytes(3 * one.read_bytes())
    video = open_video(both)
    assert [number(f) for f in video] == 3 * list(range(n))
    (warning,) = video.warnings
    assert "its clock goes back" in warning


def test_a_transport_stream_with_a_hole_is_damaged(tmp_path):
    path = encode(tmp_path / "a.ts", n=60, draw=noise, size=(66, 98), options={"g": "12"})
    data, hole = path.read_bytes(), 188 * 92
    path.write_bytes(data[:hole] + data[hole + 188 :])
    video = open_video(path)
    assert len(list(video)) == 60
    assert "the decoder marks 1 of 60 frames as corrupt" in video.warnings[0]


def test_no_hole_in_a_transport_stream_goes_unsaid(tmp_path):
    """The decoder does not mark every frame that comes out otherwise."""
    path = encode(tmp_path / "a.ts", n=60, draw=noise, size=(66, 98), options={"g": "12"})
    data, whole = path.read_bytes(), np.stack(list(open_video(path)))
    packets, holes = len(data) // 188, []
    for hole in range(packets // 4, packets - 20, packets // 12):
        path.write_bytes(data[: 188 * hole] + data[188 * (hole + 1) :])
        video = open_video(path)
        frames = np.stack(list(video))
        if frames.shape != whole.shape or not np.array_equal(frames, whole):
            holes.append(bool(video.warnings))
    assert len(holes) > 3 and all(holes)


@pytest.mark.parametrize("suffix", ["ts", "h264"])
def test_a_video_that_changes_its_frame_size_is_read_on_both_sides_of_the_change(tmp_path, suffix):
    parts = [encode(tmp_path / f"1.{suffix}"), encode(tmp_path / f"2.{suffix}", size=(66, 82))]
    both = tmp_path / f"both.{suffix}"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(InputError, match=r"from 50x34 to 82x66 at 0\.48 s: cut it there"):
        list(open_video(both, start=0.2))
    for span, size in (({"end": 0.48}, (34, 50)), ({"start": 0.48}, (66, 82))):
        video = open_video(both, **span)
        assert (video.height, video.width) == size
        assert [number(f) for c in video.chunks(5) for f in c] == list(range(12))


def test_a_jpeg_named_as_a_video_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(3, 16, 32)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    (tmp_path / "a.jpg").rename(tmp_path / "a.mp4")
    (frame,) = open_video(tmp_path / "a.mp4")
    upright = np.rot90(picture(3, 16, 32), -1)
    assert frame.shape == upright.shape
    assert np.abs(frame.astype(int) - upright).mean() < 10 < np.abs(frame - upright[::-1]).mean()


def test_an_animation_under_another_name_is_not_damaged(tmp_path):
    frames = [Image.fromarray(picture(i)) for i in range(5)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:], duration=100)
    (tmp_path / "a.png").rename(tmp_path / "a.gif")
    video = open_video(tmp_path / "a.gif")
    assert [number(f) for f in video] == list(range(5)) and not video.warnings


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_animations_play_as_long_as_they_say(tmp_path, suffix):
    frames = [Image.fromarray(picture(i)) for i in range(4)]
    for times, fps, told in (([100] * 4, 10, 0), ([100, 100, 100, 500], 5, 1)):
        path = tmp_path / f"{fps}{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, lossless=True)
        video = open_video(path)
        assert len(list(video)) == 4 and video.fps == fps
        assert len(video.warnings) == told and all("variable" in w for w in video.warnings)


def test_what_a_phone_puts_behind_a_jpeg_is_no_frame(tmp_path):
    for i in range(3):
        one, preview = Image.fromarray(picture(i, 16, 32)), Image.fromarray(picture(9, 8, 16))
        one.save(tmp_path / f"{i}.jpg", "MPO", save_all=True, append_images=[preview], quality=95)
    assert [number(f) for f in open_video(tmp_path)] == [0, 1, 2]
    assert len(list(open_video(tmp_path / "1.jpg"))) == 1


def test_pages_of_several_sizes_are_said(tmp_path):
    pages = [Image.fromarray(picture(0, *size)) for size in ((16, 32), (8, 16))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match=r"a\.tif holds pictures of 32x16 and 16x8"):
        open_video(tmp_path / "a.tif")


def test_a_link_to_a_frame_that_is_gone_is_said_and_not_left_out(tmp_path):
    images(tmp_path, 3)
    (tmp_path / "1.png").unlink()
    (tmp_path / "1.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(InputError, match=r"1\.png cannot be read"):
        open_video(tmp_path)


def test_single_frames_of_pictures_are_those_of_a_pass(tmp_path):
    frames = [Image.fromarray(picture(i)) for i in range(6)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    deep = tmp_path / "deep"
    deep.mkdir()
    for i in range(6):
        grey = picture(i)[..., 2].astype(np.uint16) * 16  # 12 bits
        Image.fromarray(grey).save(deep / f"{i}.png")
    for source in (tmp_path / "a.webp", deep):
        seen = list(open_video(source, stride=2))
        picked = Frames(source, 3, stride=2)
        for i in (2, 0, 1):
            np.testing.assert_array_equal(picked[i], seen[i])
        assert seen[0].mean() > 10


def test_the_viewer_shows_the_video_and_not_its_cover():
    path = Path(__file__).parents[2] / "shared" / "data" / "odd" / "coverfirst.mp4"
    if not path.is_file():
        pytest.skip("needs ../shared/data/odd")
    seen = list(open_video(path))
    np.testing.assert_array_equal(Frames(path, len(seen))[5], seen[5])


def test_nothing_is_decoded_for_a_start_beyond_the_end(tmp_path, monkeypatch):
    path = encode(tmp_path / "a.mp4")
    monkeypatch.setattr(container, "decode", lambda *a, **k: pytest.fail("it was decoded"))
    with pytest.raises(InputError, match="beyond"):
        open_video(path, start=9.0)


def test_an_overlay_of_more_pixels_than_an_encoder_takes_is_smaller(tmp_path):
    movie = Movie(tmp_path / "wide.mp4", Fraction(5), 33, 16391)
    movie.write(np.full((33, 16391, 3), 90, np.uint8), np.zeros((33, 16391), np.uint8))
    movie.close()
    (frame,) = open_video(tmp_path / "wide.mp4")
    assert frame.shape == (18, 8196, 3) and abs(int(frame.mean()) - 90) < 4
