"""Videos with sound, and movies opened again, for the tests of what is filmed."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from exported import NTSC, scene


def write_video(path: Path, frames: np.ndarray, sound: str | None = "aac", fps=NTSC) -> Path:
    """Frames of any size without loss of place, and a tone that rises as long as they last."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as movie:
        video = movie.add_stream("libx264", rate=fps, options={"crf": "0", "g": "4"})
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv444p"
        audio = None if sound is None else movie.add_stream(sound, rate=48_000, layout="mono")
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, "rgb24")
            picture.pts = i
            movie.mux(video.encode(picture))
        movie.mux(video.encode(None))
        if audio is not None:
            t = np.arange(round(len(frames) / fps * 48_000)) / 48_000
            wave = (8000 * np.sin(2 * np.pi * (300 + 500 * t) * t)).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(wave[None], "s16", "mono")
            frame.sample_rate, frame.pts = 48_000, 0
            resampler = av.AudioResampler(audio.format, "mono", 48_000, audio.frame_size or None)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                movie.mux(audio.encode(part))
            movie.mux(audio.encode(None))
    return path


def long_scene(t: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """The scene of `exported` there and back, as many frames as are wanted, with some noise."""
    _, labels = scene()
    labels = np.stack([labels[min(i % 10, 10 - i % 10)] for i in range(t)])
    y, x = np.mgrid[: labels.shape[1], : labels.shape[2]]
    ground = np.stack((2 * y, x, 120 + 0 * x), -1).astype(np.uint8)
    colours = np.array([[0, 0, 0], [200, 60, 40], [30, 60, 220], [250, 250, 250]], np.uint8)
    noise = np.random.default_rng(0).integers(-12, 13, (*labels.shape, 3))
    clean = np.where(labels[..., None] > 0, colours[labels], ground)
    return (clean + noise).clip(0, 255).astype(np.uint8), labels


def opened(path: Path, pixels: str = "rgba") -> tuple[np.ndarray, av.VideoStream]:
    """The frames of a movie with their opacity, and what its stream says of itself."""
    with av.open(str(path)) as movie:
        stream = movie.streams.video[0]
        decoder = stream.codec_context
        if decoder.name.endswith("vp9"):  # the usual decoder leaves opacity out
            decoder = av.CodecContext.create("libvpx-vp9", "r")
        frames = [f for p in movie.demux(stream) for f in decoder.decode(p if p.size else None)]
        about = {
            "pixels": frames[0].format.name,
            "rate": Fraction(stream.average_rate),
            "times": [float(p) for p in [f.pts * stream.time_base for f in frames]],
            "size": (frames[0].height, frames[0].width),
        }
        pictures = np.stack([f.to_ndarray(format=pixels) for f in frames])
        if about["pixels"] == "yuva420p":  # swscale makes up the columns beyond a multiple of 8
            pictures[..., 3] = [plane(f, 3) for f in frames]
        return pictures, about


def plane(frame: av.VideoFrame, number: int) -> np.ndarray:
    """A plane of a decoded frame as the decoder left it, uint8 [H, W]."""
    there = frame.planes[number]
    lines = np.frombuffer(memoryview(there), np.uint8).reshape(there.height, there.line_size)
    return lines[:, : there.width]


def packets(path: Path) -> list[tuple[float, bytes]]:
    """The packets of a movie's sound, each with its time after the first picture."""
    with av.open(str(path)) as movie:
        video = movie.streams.video[0]
        zero = float((video.start_time or 0) * video.time_base)
        return [
            (float(p.pts * p.time_base) - zero, bytes(p))
            for p in movie.demux(movie.streams.audio[0])
            if p.size
        ]


def heard(path: Path) -> np.ndarray:
    """The sound of a movie, samples at 48 kHz."""
    with av.open(str(path)) as movie:
        to = av.AudioResampler("flt", "mono", 48_000)
        frames = [part for f in movie.decode(audio=0) for part in to.resample(f)]
        return np.concatenate([f.to_ndarray()[0] for f in frames])
