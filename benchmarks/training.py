"""A training step beside its plain transcription: seconds and peak memory, same shapes, same run.

    python benchmarks/training.py

One rendered clip of three frames, seen by the default backbone; losses and backward of a random
block with the published dropout, each implementation in a process of its own, in turns. The plain
one (tests/oracles/training_plain.py) works in fp32 as the released code does; the shipped one as
`precision = "auto"` decides. Features are given to both; `with backbone` adds to the plain step
what it costs to compute them anew in every step, which the cache spares the shipped one. On a CPU
seconds are those of the process, not of the clock: others may use the machine as well. Steps are
repeated for two seconds, or once if one takes longer, to warm up, and as long again to be timed.
"""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal

import torch
import tyro

from unveil.attention.block import Block
from unveil.features.backbone import Backbone, pick_dtype
from unveil.synthetic.render import render
from unveil.timing import peak_memory_mb
from unveil.training.losses import LossSettings, draw_queries
from unveil.training.recipe import Recipe
from unveil.training.step import clip_losses

ORACLES = Path(__file__).parents[1] / "tests"
FRAMES = 3
CHANNELS = 384
ENOUGH = 2.0
"""Seconds to warm up, and to time."""


@dataclass(frozen=True)
class Training:
    """Time a step."""

    grids: str = "24x42,40x60"
    """Patches down and across."""
    repeats: int = 3
    """Processes for each implementation and grid; the table has their median."""
    threads: int = 1
    """Threads of torch."""
    device: str = "cpu"
    """cpu or cuda."""
    losses: Literal["paper", "default"] = "paper"
    """Whose constants: the default recipe has more candidates a query."""
    out: Path | None = None
    """A Markdown file to write the table to."""
    child: Literal["clip", "plain", "shipped", "backbone"] | None = None
    """Render the clip below, or measure one on it, and print JSON: what the processes do."""
    clip: Path | None = None
    """Features and pixels of a clip, as `render_clip` writes them."""


def render_clip(clip: Path) -> None:
    """Write the features of a rendered clip, CLS first, and the pixels they are made of."""
    backbone = Backbone(device="cpu")
    h, w = map(int, clip.stem.split("x"))
    frames = render(0, FRAMES, h * backbone.patch, w * backbone.patch).frames
    pixels = backbone.prepare(frames, h, w)
    torch.save(backbone.encode_with_cls(pixels).float().clone(), clip)
    torch.save(pixels, clip.with_suffix(".pixels"))


def measure(kind: str, clip: Path, bench: Training) -> dict[str, float]:
    """Seconds of a call, and MB that all calls added at their peak."""
    g, device = torch.Generator().manual_seed(0), torch.device(bench.device)
    if kind == "backbone":
        backbone = Backbone(device=device, dtype=torch.float32)
        pixels = torch.load(clip.with_suffix(".pixels"), weights_only=True).to(device)
        call = lambda: backbone.encode_with_cls(pixels)  # noqa: E731
    else:
        features = torch.load(clip, weights_only=True).to(device)
        torch.manual_seed(0)
        block = Block(CHANNELS).to(device).train()
        settings = LossSettings() if bench.losses == "paper" else Recipe().losses
        step = {"plain": plain_step, "shipped": shipped_step}[kind]
        call = lambda: step(block, features, settings, g)  # noqa: E731
    before = peak_mb(device)
    seconds_a_call(call, device)
    return {"seconds": seconds_a_call(call, device), "mb": peak_mb(device) - before}


def seconds_a_call(call: Callable[[], object], device: torch.device) -> float:
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    start, calls = clock(), 0
    while not calls or clock() - start < ENOUGH:
        call()
        calls += 1
        if device.type == "cuda":
            torch.cuda.synchronize()
    return (clock() - start) / calls


def plain_step(block: Block, features: torch.Tensor, settings: LossSettings, g) -> None:
    from oracles.training_plain import plain_losses

    positions = draw_queries(features.shape[1] - 1, settings.queries, g).to(features.device)
    semantic, motion = plain_losses(block, features, settings, positions)
    (semantic + motion).backward()


def shipped_step(block: Block, features: torch.Tensor, settings: LossSettings, g) -> None:
    device = features.device
    bf16 = pick_dtype(device) == torch.bfloat16
    with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        losses = clip_losses(block, features, settings, g)
    losses.total.backward()


def peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    return float(peak_memory_mb() or 0)


def child(kind: str, clip: Path, bench: Training) -> dict[str, float]:
    line = [sys.executable, __file__, "--child", kind, "--clip", str(clip)]
    line += ["--threads", str(bench.threads), "--device", bench.device, "--losses", bench.losses]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{kind} at {clip.stem} ended with {done.returncode}: is there memory enough?")
    return json.loads(done.stdout)


def main(bench: Training) -> None:
    device = torch.device(bench.device)
    torch.set_num_threads(bench.threads)
    if bench.child == "clip":
        render_clip(bench.clip)
        print("{}")
        return
    if bench.child:
        sys.path.insert(0, str(ORACLES))
        print(json.dumps(measure(bench.child, bench.clip, bench)))
        return
    name = torch.cuda.get_device_name() if device.type == "cuda" else processor()
    lines = [
        f"{name}, {bench.threads} thread(s), torch {torch.__version__}, shipped in "
        f"{str(pick_dtype(device)).removeprefix('torch.')}; constants of the losses: "
        f"{bench.losses}; median of {bench.repeats}.",
        "",
        "| grid | plain s | plain MB | shipped s | shipped MB | faster | backbone s | "
        "faster, with backbone |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for grid in bench.grids.split(","):
        kinds = ("plain", "shipped", "backbone")
        with TemporaryDirectory() as folder:
            clip = Path(folder) / f"{grid}.features"
            # A process of its own here as well: a child's peak is at least what its parent held.
            child("clip", clip, bench)
            runs = [{k: child(k, clip, bench) for k in kinds} for _ in range(bench.repeats)]
        s = {k: median(run[k]["seconds"] for run in runs) for k in kinds}
        mb = {k: median(run[k]["mb"] for run in runs) for k in kinds}
        lines.append(
            f"| {grid} | {s['plain']:.2f} | {mb['plain']:.0f} | {s['shipped']:.2f} "
            f"| {mb['shipped']:.0f} | {s['plain'] / s['shipped']:.1f}x | {s['backbone']:.2f} "
            f"| {(s['plain'] + s['backbone']) / s['shipped']:.1f}x |"
        )
        print(lines[-1], flush=True)
    if bench.out:
        bench.out.write_text("\n".join(lines) + "\n")


def processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":")[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main(tyro.cli(Training))
