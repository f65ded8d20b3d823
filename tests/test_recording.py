"""Sources that show nothing twice, recorded: all of them, what is there at Ctrl-C, or why not."""

import io
import json
import socket
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from filming import heard, long_scene, write_video
from streaming import streamed, transport_stream
from unveil.cli import main
from unveil.errors import InputError, OutputError
from unveil.exports.formats import export
from unveil.exports.result import open_result
from unveil.video import recording
from unveil.video.live_source import open_live
from unveil.video.recording import is_live, record
from unveil.video.source import open_video


class Handler(SimpleHTTPRequestHandler):
    """Serves files without a word, and of one of them only the first half of what it promises.

    Parts of files too, as servers do: the index of a movie may lie at its end.
    """

    def send_head(self):
        if not (asked := self.headers.get("Range")):
            return super().send_head()
        data = Path(self.translate_path(self.path)).read_bytes()
        start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        return io.BytesIO(data[start:])

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        if not self.path.endswith("half.mkv"):
            return super().copyfile(source, outputfile)
        data = source.read()
        outputfile.write(data[: len(data) // 2])
        self.close_connection = True


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A folder with a video of 24 frames and sound, and its address."""
    folder = tmp_path_factory.mktemp("served")
    write_video(folder / "dog.mp4", long_scene()[0])
    write_video(folder / "half.mkv", long_scene()[0])
    (folder / "page.html").write_text("<p>no video</p>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def frames(path):
    return np.stack(list(open_video(path)))


def test_an_address_is_recorded_whole(served, tmp_path):
    folder, address = served
    shown = []
    out = record(
        f"{address}/dog.mp4", tmp_path / "new" / "a.mkv", report=lambda *x: shown.append(x)
    )
    assert np.array_equal(frames(out), frames(folder / "dog.mp4"))
    assert open_video(out).fps == open_video(folder / "dog.mp4").fps
    there, was = heard(out), heard(folder / "dog.mp4")
    assert abs(len(there) - len(was)) <= 2048
    assert shown[-1][0] == "recording, seconds"
    assert [p.name for p in out.parent.iterdir()] == ["a.mkv"]


def test_it_ends_where_it_is_told(served, tmp_path):
    folder, address = served
    out = record(f"{address}/dog.mp4", tmp_path / "a.mkv", end=0.4)
    got = frames(out)
    assert 10 <= len(got) <= 14 and np.array_equal(got, frames(folder / "dog.mp4")[: len(got)])


def test_what_is_there_at_ctrl_c_is_kept(served, tmp_path, caplog):
    folder, address = served
    left = iter(range(9))

    def stop(*_):
        if next(left, None) is None:
            raise KeyboardInterrupt

    out = record(f"{address}/dog.mp4", tmp_path / "a.mkv", report=stop)
    got = frames(out)
    assert 5 <= len(got) <= 10 and np.array_equal(got, frames(folder / "dog.mp4")[: len(got)])
    assert "Ctrl-C again ends all" in caplog.text


@pytest.fixture(scope="module")
def broadcast(served):
    """The video as a camera sends it."""
    folder, _ = served
    return transport_stream(folder / "dog.mp4", folder / "dog.ts")


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_a_stream_is_recorded_until_it_ends_or_is_ended(scheme, served, broadcast, tmp_path):
    """By a server of RTSP over TCP, and one of HTTP that tells no length."""
    want = frames(served[0] / "dog.mp4")
    with streamed(scheme, broadcast) as (address, asked):
        got = frames(record(address, tmp_path / "all.mkv"))
        some = frames(record(address, tmp_path / "some.mkv", end=0.4))
        with open_live(address) as live:
            first = next(live.frames)
    assert asked[:4] == (["OPTIONS", "DESCRIBE", "SETUP", "PLAY"] if scheme == "rtsp" else [])
    assert len(got) >= len(want) - 1  # the last one is whole only when another begins
    assert np.array_equal(got, want[: len(got)])
    assert 10 <= len(some) <= 14 and np.array_equal(some, want[: len(some)])
    assert np.array_equal(first, want[0])


@pytest.mark.slow
def test_an_rtsp_camera_becomes_a_result(broadcast, tmp_path, tiny_backbone):
    out = tmp_path / "yard"
    with streamed("rtsp", broadcast) as (address, _):
        call = ["segment", address, "--out", str(out), "--end", "0.4", "--size", "32"]
        assert main([*call, "--backbone", tiny_backbone]) == 0
    assert json.loads((out / "run.json").read_text())["video"]["frames"] == 12


def test_sigterm_and_errors_leave_nothing(served, tmp_path):
    class Terminated(KeyboardInterrupt):
        pass

    for error in (Terminated, ZeroDivisionError):

        def stop(*_, error=error):
            raise error

        with pytest.raises(error):
            record(f"{served[1]}/dog.mp4", tmp_path / "a.mkv", report=stop)
        assert list(tmp_path.iterdir()) == []


def test_a_source_that_breaks_off_gives_what_came(served, tmp_path):
    folder, address = served
    out = record(f"{address}/half.mkv", tmp_path / "a.mkv")
    got = frames(out)
    assert 3 < len(got) < 24 and np.array_equal(got, frames(folder / "dog.mp4")[: len(got)])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/cat.mp4", "check the address, and that it leads to a video"),
        ("{}/page.html", "check the address"),
        ("http://127.0.0.1:9/dog.mp4", "check the address"),
        ("rtsp://127.0.0.1:9/stream", "check the address"),
        ("rtsp://127.0.0.1:{port}/dog.mp4", "check the address"),  # it speaks HTTP
        ("rtsp://no-such-host.invalid/stream", "check the address"),
        ("rtsp:/192.168.1.20/stream", "is no address that can be read"),
        ("https:/dog.mp4", "is no address that can be read"),
        ("htps://example.org/dog.mp4", "expected http, https, rtsp://host/…, camera:0, or a path"),
        ("camera:77", "is it plugged in"),
        ("camera:front", "is it plugged in"),
    ],
)
def test_what_cannot_be_read_says_why(source, message, served, tmp_path, capsys):
    source = source.format(served[1], port=served[1].rpartition(":")[2])
    assert main(["segment", source, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said and source in said and "no such file or folder" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_source_that_says_nothing_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "_TIMEOUT", (0.3, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for scheme in ("rtsp", "http"):
            address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/x"
            with pytest.raises(InputError, match=r"\(no answer\): check the address"):
                record(address, tmp_path / "a.mkv")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def camera(monkeypatch):
    """`camera:N` shows FFmpeg's test pattern of 63x48 for N seconds."""
    pattern = "testsrc=size=63x48:rate=25:duration={}"
    monkeypatch.setitem(recording._SYSTEMS, sys.platform, ("lavfi", pattern))
    with av.open(pattern.format(2), format="lavfi") as file:
        return np.stack([f.to_ndarray(format="rgb24") for f in file.decode(video=0)])


def test_a_camera_of_raw_pictures_is_recorded(camera, tmp_path):
    got = frames(record("camera:2", tmp_path / "a.mkv"))
    assert got.shape == camera.shape == (50, 48, 63, 3)
    assert np.abs(got.astype(int) - camera).mean() < 1  # RGB as YUV, and back
    assert open_video(tmp_path / "a.mkv").fps == 25
    part = frames(record("camera:2", tmp_path / "b.mkv", end=0.4))
    assert len(part) == 10 and np.array_equal(part, got[:10])


@pytest.mark.parametrize("pixels", ["yuyv422", "nv12"])
def test_raw_pictures_lose_nothing(pixels, tmp_path, monkeypatch):
    shown = long_scene()[0][:5, :60, :82]
    raw = [av.VideoFrame.from_ndarray(x, "rgb24").reformat(format=pixels) for x in shown]
    file = tmp_path / "raw"
    file.write_bytes(b"".join(frame.to_ndarray().tobytes() for frame in raw))
    options = {"video_size": "82x60", "pixel_format": pixels, "framerate": "25"}
    monkeypatch.setattr(
        recording, "_camera", lambda which: av.open(str(file), format="rawvideo", options=options)
    )
    with av.open(str(record("camera:0", tmp_path / "a.mkv"))) as movie:
        got = list(movie.decode(video=0))
    assert len(got) == 5
    for one, frame in zip(got, raw, strict=True):
        planes = frame.reformat(format=one.format.name).to_ndarray()
        assert np.array_equal(one.to_ndarray(), planes)


def test_ctrl_c_ends_a_camera_and_keeps_what_is_there(camera, tmp_path, caplog):
    left = iter(range(9))

    def stop(*_):
        if next(left, None) is None:
            raise KeyboardInterrupt

    got = frames(record("camera:60", tmp_path / "a.mkv", report=stop))
    assert 8 <= len(got) <= 10 and np.abs(got.astype(int) - camera[: len(got)]).mean() < 1
    assert "recording of camera:60 ended after" in caplog.text


@pytest.mark.slow
def test_a_camera_becomes_a_result(camera, tmp_path, tiny_backbone):
    out = tmp_path / "desk"
    call = ["segment", "camera:2", "--out", str(out), "--end", "0.4", "--size", "32"]
    assert main([*call, "--backbone", tiny_backbone]) == 0
    run = json.loads((out / "run.json").read_text())
    assert run["video"]["frames"] == 10 and (tmp_path / "desk.mkv").is_file()


def test_a_real_video_of_the_web(shared, tmp_path):
    """A clip as cameras and editors write it: pictures out of order, several groups of them."""
    clip = shared / "schoolgirls" / "schoolgirls.mp4"
    if not clip.is_file():
        pytest.skip(f"no {clip}")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(clip.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}/{clip.name}"
        got = frames(record(address, tmp_path / "a.mkv", end=1.0))
    finally:
        server.shutdown()
        server.server_close()
    there = open_video(clip)
    assert abs(len(got) - float(there.fps)) <= 4
    wanted = np.stack([frame for frame, _ in zip(there, got)])  # noqa: B905
    assert np.array_equal(got, wanted)


def test_paths_are_not_live():
    assert is_live("camera:0") and is_live("rtsp://host/x") and is_live("https:/dog.mp4")
    for path in ("dog.mp4", "C:/dog.mp4", "C:\\dog.mp4", "a:b.mp4", "camera", "./http", 3, None):
        assert not is_live(path)


def test_others_who_open_videos_say_what_to_do(served, tmp_path):
    with pytest.raises(InputError, match=r"is no file: .*unveil\.video\.recording\.record"):
        open_video(f"{served[1]}/dog.mp4")


def test_a_recording_is_not_lost(served, tmp_path, capsys):
    (tmp_path / "dog.mkv").write_text("mine")
    call = ["segment", f"{served[1]}/dog.mp4", "--out", str(tmp_path / "dog")]
    assert main(call) == 2
    assert "record over it with --again" in capsys.readouterr().err
    assert (tmp_path / "dog.mkv").read_text() == "mine"
    with pytest.raises(OutputError):
        record(f"{served[1]}/dog.mp4", tmp_path / "dog.mkv" / "a.mkv")


def test_an_address_becomes_a_result(served, tmp_path, tiny_backbone, capsys):
    address = served[1]
    out = tmp_path / "dog"
    call = ["segment", f"{address}/dog.mp4", "--out", str(out), "--end", "0.4"]
    assert main([*call, "--backbone", tiny_backbone, "--size", "32"]) == 0
    run = json.loads((out / "run.json").read_text())
    assert run["video"]["source"] == str(tmp_path / "dog.mkv") and run["video"]["frames"] == 12
    assert f"recorded in {tmp_path / 'dog.mkv'}" in capsys.readouterr().out
    assert len(list(export(open_result(out), tmp_path / "png", "rgba-png").glob("*.png"))) == 12
