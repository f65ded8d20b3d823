"""Video in: every kind of source, every fault a user can cause."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from unveil.errors import InputError
from unveil.types import Clip
from unveil.video import container, listing
from unveil.video.source import open_video, read_clip, start_of
from unveil.video.stretches import cut

NTSC = Fraction(30000, 1001)


def picture(i, h=34, w=50):
    """A frame whose brightness tells its number, with a red left and a green upper part."""
    frame = np.full((h, w, 3), 4 * i + 10, np.uint8)
    frame[:, : w // 3, 0] = 240
    frame[: h // 3, :, 1] = 240
    return frame


def number(frame):
    """Which frame this is: read off the grey lower right corner."""
    h, w, _ = frame.shape
    return round((float(frame[h // 2 :, w // 2 :, 2].mean()) - 10) / 4)


def encode(path, n=12, rate=Fraction(25), codec="libx264", pix_fmt="yuv420p", times=None, **kw):
    """Write n pictures to a file; times: the timestamp of each, in 1/1000 s."""
    h, w = kw.get("size", (34, 50))
    with av.open(str(path), "w", options=kw.get("container", {})) as out:
        fine = {"qmin": "1", "qmax": "2"} if codec.startswith("mpeg") else {}
        stream = out.add_stream(codec, rate=rate, options=fine | kw.get("options", {}))
        stream.height, stream.width, stream.pix_fmt = h, w, pix_fmt
        if times:
            stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(kw.get("draw", picture)(i, h, w), "rgb24")
            frame.pts = times[i] if times else i
            frame.time_base = Fraction(1, 1000) if times else 1 / Fraction(rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def noise(i, h, w):
    """Pictures that compress badly, so that a cut falls among the packets."""
    small = np.random.default_rng(i).integers(0, 255, (-(-h // 8), -(-w // 8), 3), np.uint8)
    return small.repeat(8, 0).repeat(8, 1)[:h, :w]


def sound(path, seconds=0.5):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=8000, layout="mono")
        samples = np.zeros((1, int(8000 * seconds)), np.float32)
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.rate = 8000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def images(folder, n=3, size=(5, 7), name="{}.png", **options):
    folder.mkdir(exist_ok=True, parents=True)
    for i in range(n):
        Image.fromarray(picture(i, *size)).save(folder / name.format(i), **options)
    return folder


# --- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "codec", "pix_fmt", "rate"),
    [
        ("a.mp4", "libx264", "yuv420p", NTSC),
        ("a.mov", "libx264", "yuv420p", Fraction(24000, 1001)),
        ("a.mkv", "libx264", "yuv420p", NTSC),
        ("a.webm", "libvpx", "yuv420p", Fraction(25)),
        ("a.avi", "mpeg4", "yuv420p", NTSC),
        ("a.gif", "gif", "rgb8", Fraction(20)),
    ],
)
def test_containers(tmp_path, file, codec, pix_fmt, rate):
    path = encode(tmp_path / file, n=11, rate=rate, codec=codec, pix_fmt=pix_fmt)
    video = open_video(path)
    assert (video.name, video.fps, video.height, video.width) == ("a", rate, 34, 50)
    assert video.estimate == 11
    frames = np.concatenate(list(video.chunks(4)))
    assert frames.shape == (11, 34, 50, 3) and frames.dtype == np.uint8
    assert frames[0, 20, 5, 0] > 180 > 80 > frames[0, 20, 5, 1]  # red on the left: RGB, not BGR
    if file != "a.gif":  # eight bits a pixel are too few for the brightness to be exact
        assert [number(f) for f in frames] == list(range(11))
    assert video.frame_names == tuple(f"{i:05d}" for i in range(11))
    assert video.warnings == []


def test_a_second_pass_gives_the_same_frames(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4"))
    first, second = (np.concatenate(list(video.chunks(size))) for size in (5, 64))
    assert np.array_equal(first, second)


def test_chunks_are_separate_arrays_of_at_most_the_size(tmp_path):
    chunks = list(open_video(encode(tmp_path / "a.mp4", n=7)).chunks(3))
    assert [len(c) for c in chunks] == [3, 3, 1]
    chunks[0][:] = 0
    assert chunks[1].any()
    with pytest.raises(InputError, match="chunk size"):
        next(open_video(tmp_path / "a.mp4").chunks(0))


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv", "a.avi", "a.ts"])
@pytest.mark.parametrize(
    ("start", "end", "stride"), [(None, 0.5, 1), (2.0, None, 3), (1.3, 2.1, 2)]
)
def test_range_and_stride(tmp_path, file, start, end, stride):
    codec = "mpeg4" if file.endswith("avi") else "libx264"
    path = encode(tmp_path / file, n=60, codec=codec, options={"g": "13"})
    video = open_video(path, start=start, end=end, stride=stride)
    got = [number(f) for f in video]
    assert got == [i for i in range(60) if (start or 0) <= i / 25 < (end or 99)][::stride]
    assert video.fps == Fraction(25, stride)
    assert video.estimate == len(got)
    assert video.warnings == []


def test_an_end_beyond_the_video_is_said(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4"), end=9)
    assert sum(1 for _ in video) == 12
    assert "ends at 0.48 s" in video.warnings[0]


def test_one_frame(tmp_path):
    assert len(read_clip(encode(tmp_path / "a.mp4", n=1))) == 1


ONE = 1 << 16
MATRICES = {  # a b c d of the display matrix → what it does to a picture
    "upright": ((1, 0, 0, 1), lambda x: x),
    "clockwise": ((0, 1, -1, 0), lambda x: np.rot90(x, -1)),
    "half turn": ((-1, 0, 0, -1), lambda x: np.rot90(x, 2)),
    "anticlockwise": ((0, -1, 1, 0), lambda x: np.rot90(x)),
    "mirrored": ((-1, 0, 0, 1), lambda x: x[:, ::-1]),
}


@pytest.mark.parametrize("turn", MATRICES)
def test_display_matrix(tmp_path, turn):
    (a, b, c, d), expected = MATRICES[turn]
    path = encode(tmp_path / "a.mp4", n=3)
    stored = read_clip(path).frames
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8  # where a track header keeps its matrix
    matrix = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    video = open_video(path)
    frames = np.concatenate(list(video.chunks(2)))
    assert (video.height, video.width) == frames.shape[1:3]
    assert np.array_equal(frames, [expected(f) for f in stored])


def test_variable_frame_rate(tmp_path):
    times = [0, 40, 80, 120, 500, 540, 580, 1000]
    video = open_video(encode(tmp_path / "a.mkv", n=8, times=times), start=0.1)
    assert [number(f) for f in video] == [3, 4, 5, 6, 7]
    assert "variable frame rate" in " ".join(video.warnings)


@pytest.mark.parametrize(
    ("seconds", "rate"),
    [
        ([0, 3600, 7200], Fraction(1, 3600)),
        ([0, 3600, 10000], Fraction(1, 5000)),
        ([0, 1300, 2860], Fraction(1, 1430)),
    ],
)
def test_a_frame_an_hour(tmp_path, seconds, rate):
    path = encode(tmp_path / "a.mp4", n=3, times=[1000 * s for s in seconds])
    assert open_video(path).fps == rate
    assert [number(f) for f in open_video(path, start=seconds[1])] == [1, 2]


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        (None, 30),  # Matroska rounds these: 0, 33, 67, 100 ms
        (None, NTSC),
        ([0, 40, 80, 120, 500, 540, 580, 1000], 25),
        ([0, 200, 240, 280, 320, 360, 400, 440], 25),
    ],
)
def test_a_start_at_every_frame(tmp_path, times, rate):
    path = encode(tmp_path / "a.mkv", n=8, times=times, rate=rate)
    for i in range(1, 8):
        video = open_video(path, start=start_of(open_video(path), i))
        assert [number(f) for f in video] == list(range(i, 8))


@pytest.mark.parametrize("file", ["a.mp4", "a.mkv"])
def test_long_first_frames_that_are_stored_out_of_order(tmp_path, file):
    times = [0, 400, 2000, 4000, 5000, 5040, 5080, 5120, 5160, 5200]
    order = {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}
    path = encode(tmp_path / file, n=10, times=times, options=order)
    video = open_video(path)
    assert video.times() == pytest.approx([t / 1000 for t in times])
    for i in range(1, 10):
        begun = open_video(path, start=start_of(video, i))
        assert [number(f) for f in begun] == list(range(i, 10))
    assert [stretch.frames for stretch in cut(path, 2)] == [5, 5]
    assert open_video(path, end=0.5).fps == Fraction(5, 2)
    assert [number(f) for f in open_video(path, start=0.3, end=4.5)] == [1, 2, 3]


@pytest.mark.parametrize("b_frames", ["0", "2", "3"])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "mpeg2video"])
def test_an_avi_has_the_frames_of_an_mp4_at_their_times(tmp_path, codec, b_frames):
    options = {"bf": b_frames, "g": "12"}
    one, other = (
        encode(tmp_path / file, n=60, codec=codec, options=options) for file in ("a.avi", "a.mp4")
    )
    for start, end in ((0, None), (0, 0.12), (0.12, None), (0.2, 0.4), (1.24, None), (1.96, 2.2)):
        video, expected = (open_video(path, start=start, end=end) for path in (one, other))
        assert [number(f) for f in video] == [number(f) for f in expected]
        assert video.times() == pytest.approx(expected.times())
        assert video.fps == expected.fps and video.warnings == expected.warnings == []


@pytest.mark.parametrize("b_frames", ["0", "2"])
def test_a_packet_of_an_avi_of_which_nothing_comes_out_keeps_its_time(tmp_path, b_frames):
    options = {"bf": b_frames, "g": "12"}
    path = encode(tmp_path / "a.avi", n=60, codec="mpeg4", options=options)
    with av.open(str(path)) as given, av.open(str(tmp_path / "b.avi"), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for i, packet in enumerate(p for p in given.demux() if p.size):
            kept = av.Packet(bytes(9)) if 20 <= i < 23 else packet
            kept.pts = kept.dts = packet.dts
            kept.time_base, kept.stream = packet.time_base, stream
            out.mux(kept)
    assert 50 < len(list(open_video(tmp_path / "b.avi"))) < 60
    assert [number(f) for f in open_video(tmp_path / "b.avi", start=2)] == list(range(50, 60))


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "b_frames", "decoded"),
    [("mjpeg", "yuvj420p", "0", 11), ("mpeg4", "yuv420p", "0", 12), ("mpeg4", "yuv420p", "2", 60)],
)
def test_only_an_avi_with_frames_out_of_order_is_not_sought(
    tmp_path, monkeypatch, codec, pix_fmt, b_frames, decoded
):
    options = {"g": "12", "bf": b_frames}
    path = encode(tmp_path / "a.avi", n=60, codec=codec, pix_fmt=pix_fmt, options=options)
    frames, whole = [], container._decoded

    def counted(*given):
        for frame in whole(*given):
            frames.append(frame)
            yield frame

    monkeypatch.setattr(container, "_decoded", counted)
    assert len(list(container.decode(path, 1.96, None, 1, lambda _: None))) == 11
    assert len(frames) == decoded


@pytest.mark.parametrize(
    ("file", "codec"), [("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4")]
)
def test_a_truncated_file_gives_what_decodes(tmp_path, file, codec):
    path = encode(
        tmp_path / file, n=60, codec=codec, draw=noise, container={"movflags": "faststart"}
    )
    whole = read_clip(path).frames
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    video = open_video(path)
    frames = np.concatenate(list(video.chunks(16)))
    assert 20 <= len(frames) < 45
    assert np.array_equal(frames[:15], whole[:15])
    (warning,) = video.warnings
    assert f"{len(frames)} frames of about 60" in warning
    assert sum(1 for _ in video) == len(frames) and len(video.warnings) == 1


def test_a_cut_between_reordered_frames_is_no_variable_rate(tmp_path):
    # It moves evenly, so that the encoder puts frames out of order.
    field = np.random.default_rng(0).integers(0, 255, (98, 114, 3), np.uint8)
    path = encode(
        tmp_path / "a.mkv",
        n=40,
        size=(48, 64),
        draw=lambda i, h, w: np.ascontiguousarray(field[i : i + h, i : i + w]),
        options={"g": "8"},
    )
    data = path.read_bytes()
    for share in (0.4, 0.5, 0.6, 0.7):
        path.write_bytes(data[: int(len(data) * share)])
        video = open_video(path)
        assert 5 < sum(1 for _ in video) < 35
        (warning,) = video.warnings
        assert "truncated" in warning


def test_a_truncated_gif_is_noticed(tmp_path):
    path = encode(tmp_path / "a.gif", n=20, codec="gif", pix_fmt="rgb8", draw=noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
    video = open_video(path)
    assert 1 <= sum(1 for _ in video) < 20
    assert "truncated" in video.warnings[0]


def test_damage_in_the_middle_is_survived(tmp_path):
    path = encode(tmp_path / "a.mkv", n=60, draw=noise, options={"g": "10"})
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    video = open_video(path)
    assert 25 <= sum(1 for _ in video) <= 60


def faulty(tmp_path, kind):
    path = tmp_path / "a.mp4"
    if kind == "missing":
        return path, "no such file or folder"
    if kind == "empty":
        path.write_bytes(b"")
        return path, "not a video that can be read"
    if kind == "text":
        path.write_text("no pictures here " * 99)
        return path, "not a video that can be read"
    if kind == "no index":
        encode(path, n=30, draw=noise)
        path.write_bytes(path.read_bytes()[:-2000])
        return path, "cut off before its index"
    if kind == "sound":
        return sound(tmp_path / "a.m4a"), "only sound"
    if kind == "nothing decodes":
        encode(path, n=5, draw=noise, container={"movflags": "faststart"})
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"mdat") + 8])
        return path, "no frame that can be decoded"
    if kind == "size changes":
        two = [tmp_path / "1.ts", tmp_path / "2.ts"]
        encode(two[0], n=9, codec="mpeg2video")
        encode(two[1], n=9, codec="mpeg2video", size=(66, 82))
        path = tmp_path / "a.ts"
        path.write_bytes(two[0].read_bytes() + two[1].read_bytes())
        return path, "changes its frame size from 50x34 to 82x66"
    raise KeyError(kind)


@pytest.mark.parametrize(
    "kind",
    ["missing", "empty", "text", "no index", "sound", "nothing decodes", "size changes"],
)
def test_files_that_cannot_be_used(tmp_path, kind):
    path, message = faulty(tmp_path, kind)
    with pytest.raises(InputError, match=message) as error:
        read_clip(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 2, "end": 1}, "range is empty"),
        ({"start": 1, "end": 1}, "range is empty"),
        ({"end": 0}, "range is empty"),
        ({"start": -1}, "start: expected a number of at least 0 s"),
        ({"end": float("nan")}, "end: expected a number of at least 0 s"),
        ({"stride": 0}, "stride: expected"),
        ({"start": 99}, "beyond the end"),
        ({"start": 0.475, "end": 0.479}, "no frame of .* between 0.475 s and 0.479 s"),
    ],
)
def test_bad_ranges(tmp_path, options, message):
    for source in (encode(tmp_path / "a.mp4"), np.zeros((12, 3, 5, 3), np.uint8)):
        with pytest.raises(InputError, match=message):
            next(iter(open_video(source, **options)))


def test_a_file_that_changes_between_passes(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4", n=9))
    list(video)
    encode(tmp_path / "a.mp4", n=5)
    with pytest.raises(InputError, match="changed while"):
        list(video)


def test_names_of_a_file_are_known_at_its_end(tmp_path):
    video = open_video(encode(tmp_path / "a.mp4", n=3))
    assert video.frame_name(2) == "00002"
    with pytest.raises(RuntimeError, match="read to its end"):
        _ = video.frame_names


# --- images --------------------------------------------------------------------------------


def test_folder_in_natural_order(tmp_path):
    video = open_video(images(tmp_path / "dog", n=11, name="frame{}.png"))
    assert (video.name, video.fps, video.estimate) == ("dog", 24, 11)
    assert video.frame_names == tuple(f"frame{i}" for i in range(11))
    assert [number(f) for f in video] == list(range(11))


def test_folder_with_range(tmp_path):
    video = open_video(images(tmp_path / "dog", n=30), start=0.5, end=1, stride=5)
    assert video.frame_names == ("12", "17", "22")
    assert video.fps == Fraction(24, 5)


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "PNG", "bmp", "webp", "tif"])
def test_image_formats(tmp_path, suffix):
    clip = read_clip(images(tmp_path / "dog", size=(35, 51), name="{}." + suffix))
    assert clip.frames.shape == (3, 35, 51, 3)
    assert clip.frames[0, 30, 5, 0] > 200 > clip.frames[0, 30, 5, 1]


def test_glob_and_single_image(tmp_path):
    folder = images(tmp_path / "dog", n=3)
    images(folder, n=3, name="mask{}.bmp")
    video = open_video(str(folder / "*.png"))
    assert (video.name, video.frame_names) == ("dog", ("0", "1", "2"))
    assert read_clip(folder / "1.png").name == "1"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGBA", "P", "CMYK", "I;16"])
def test_image_modes(tmp_path, mode):
    image = Image.fromarray(picture(40))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "P":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE)
        image.info["transparency"] = bytes([0, 128])  # used to warn on conversion
    else:
        image = image.convert(mode)
    image.save(tmp_path / ("a.tif" if mode in ("CMYK", "I;16") else "a.png"))
    (frame,) = read_clip(tmp_path / "*.*").frames
    expected = np.asarray(Image.fromarray(picture(40)).convert("L").convert("RGB"))
    if mode in ("RGBA", "P", "CMYK"):
        expected = picture(40)
    if mode == "1":
        assert set(np.unique(frame)) <= {0, 255}
    else:
        assert np.abs(frame.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    folder = images(tmp_path / "dog", n=1, size=(33, 47), name="{}.jpg", exif=exif)
    video = open_video(folder)
    (frame,) = video
    assert frame.shape[:2] == (video.height, video.width)
    assert (video.height > video.width) == (orientation >= 5)


def test_frames_of_differing_sizes_are_named(tmp_path):
    folder = images(tmp_path / "dog", n=2)
    images(folder, n=1, size=(9, 7), name="9.png")
    with pytest.raises(InputError, match=r"0\.png is 7x5, .*9\.png is 7x9"):
        open_video(folder)


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="it is empty"):
        open_video(tmp_path / "empty")
    images(tmp_path / "outer" / "dog")
    with pytest.raises(InputError, match=r"there are in .*dog"):
        open_video(tmp_path / "outer")
    with pytest.raises(InputError, match="matches nothing"):
        open_video(str(tmp_path / "*.png"))
    encode(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"only other files .*a\.mp4"):
        open_video(str(tmp_path / "*.mp4"))
    images(tmp_path / "twins", n=1)
    images(tmp_path / "twins", n=1, name="{}.jpg")
    with pytest.raises(InputError, match="have the same name"):
        open_video(tmp_path / "twins")


@pytest.mark.parametrize("keep", [0, 20, 900])
def test_broken_image(tmp_path, keep):
    folder = images(tmp_path / "dog", n=3, size=(64, 64), name="{}.jpg")
    path = folder / "1.jpg"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"1\.jpg cannot be read as an image"):
        read_clip(folder)


# --- arrays --------------------------------------------------------------------------------


def test_arrays_and_tensors():
    frames = np.random.default_rng(0).integers(0, 255, (5, 7, 11, 3), np.uint8)
    for source in (
        frames,
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        Clip(frames, Fraction(24)),
    ):
        clip = read_clip(source)
        assert np.array_equal(clip.frames, frames)
        assert clip.fps == 24 and clip.frame_names[-1] == "00004"


def test_a_clip_keeps_its_rate_and_names():
    clip = Clip(np.zeros((6, 3, 5, 3), np.uint8), NTSC, "cat", tuple("abcdef"))
    video = open_video(clip, stride=2)
    assert (video.name, video.fps, video.frame_names) == ("cat", NTSC / 2, ("a", "c", "e"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((2, 3, 5, 3)), r"pass \(x \* 255\).round\(\).astype\('uint8'\)"),
        (torch.zeros(2, 3, 5, 3), r"\(x \* 255\).round\(\).to\(torch.uint8\)"),
        (np.zeros((3, 5, 3), np.uint8), r"x\[None\]"),
        (np.zeros((2, 3, 5, 7), np.uint8), r"x.transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 5, 7, 4), np.uint8), r"got uint8 \[2, 5, 7, 4\]"),
        (np.zeros((0, 5, 7, 3), np.uint8), "at least one frame"),
        ("", "empty"),
    ],
)
def test_sources_that_are_no_frames(source, message):
    with pytest.raises(InputError, match=message):
        open_video(source)


def test_a_video_whose_clock_begins_late_is_whole_and_starts_where_asked(tmp_path):
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "13"})
        stream.width, stream.height = 50, 34
        for i in range(30):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = i + 250, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    video = open_video(path)
    assert [number(f) for f in video] == list(range(30))
    assert video.warnings == []
    assert [number(f) for f in open_video(path, start=0.8)] == list(range(20, 30))


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_a_file_of_many_pictures_gives_them_all(tmp_path, suffix):
    path = tmp_path / f"many{suffix}"
    pictures = [Image.fromarray(np.full((18, 26, 3), 20 * i, np.uint8)) for i in range(7)]
    options = {} if suffix == ".tiff" else {"duration": 40}
    pictures[0].save(path, save_all=True, append_images=pictures[1:], lossless=True, **options)
    video = open_video(path, stride=2)
    assert [round(float(f.mean())) for f in video] == [0, 40, 80, 120]
    assert video.fps == (Fraction(12) if suffix == ".tiff" else Fraction(25, 2))
    Image.fromarray(np.zeros((18, 26, 3), np.uint8)).save(tmp_path / "other.png")
    with pytest.raises(InputError, match="holds 7 pictures and is one of 2 files"):
        open_video(tmp_path)


@pytest.mark.parametrize(
    ("bits", "dtype", "suffix"),
    [
        (12, np.uint16, ".png"),
        (16, np.uint16, ".png"),
        (10, np.int32, ".tif"),
        (16, np.int32, ".tif"),
    ],
)
def test_deep_pixels_are_read_by_the_bits_that_they_use(tmp_path, bits, dtype, suffix):
    ramp = np.linspace(0, (1 << bits) - 1, 26 * 18).reshape(18, 26)
    for i, scale in enumerate((1, 0.5)):  # the second frame alone would look like a bit less
        Image.fromarray((ramp * scale).astype(dtype)).save(tmp_path / f"{i}{suffix}")
    video = open_video(tmp_path)
    frames = list(video)
    assert frames[0].min() == 0
    assert frames[0].max() == 255
    assert 126 <= frames[1].max() <= 128
    assert bool(video.warnings) == (bits != 16)


def test_folders_list_what_players_play_in_the_order_people_count(tmp_path):
    for name in ("b10.mp4", "b2.TS", "._b2.TS", ".hidden.mov", "a.3gp", "c.wmv", "notes.txt"):
        (tmp_path / name).touch()
    assert [p.name for p in listing.videos_in(tmp_path)] == ["a.3gp", "b2.TS", "b10.mp4", "c.wmv"]


def test_the_odd_files_are_read_right():
    odd = Path(__file__).parents[2] / "shared" / "data" / "odd"
    if not odd.is_dir():
        pytest.skip("needs ../shared/data/odd")
    counts = {"anim.png": 12, "anim.webp": 12, "bad_duration.mkv": 12, "coverfirst.mp4": 12}
    counts |= {"trail.gif": 12, "grey12in16": 4, "sar2.mp4": 12, "corrupt_mid.mp4": 12}
    for name, count in counts.items():
        video = open_video(odd / name)
        frames = list(video)
        assert len(frames) == count, name
        assert 100 < frames[0].mean() < 130, name
        assert bool(video.warnings) == (name in ("grey12in16", "sar2.mp4", "corrupt_mid.mp4")), name
    assert len(list(open_video(odd / "long.ts", start=4))) == 20
    assert len(list(open_video(odd / "a.ts", start=0.1))) == 9  # 12 frames, the third at 0.08 s
    hdr = open_video(odd / "hdr_true.mp4")
    red = next(iter(hdr)).reshape(-1, 3).max(0)[0]
    assert red > 200
    assert "HDR (PQ)" in hdr.warnings[0]
