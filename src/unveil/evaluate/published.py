"""What others published, each row with its protocol, its source and what it leaves open.

Rows stand apart from ours: other videos, other sizes, other matching. Only where a row names a
figure of ours is that the same measure. Protocols were read in the public code of each method:

- VideoSAUR: https://github.com/martius-lab/videosaur (README, configs/videosaur, metrics.py,
  data/save_ytvis2021.py)
- SOLV: https://github.com/gorkaydemir/SOLV (utils.py, datasets/ytvis19.py)
- SMTC: https://github.com/shvdiwnkozbw/SMTC (davis2017-evaluation)
- Betrayed by Attention: https://github.com/shvdiwnkozbw/SSL-UVOS (davis2017-evaluation)
- RandSF.Q, SmoothSA: https://github.com/Genera1Z/RandSF.Q, https://github.com/Genera1Z/SmoothSA
  (configurations, metric.py)
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A row of somebody's table.

    model: of whom, with the backbone where its code says it. data: the videos, and how they were
    cut. figures: name → percent. protocol: what they mean. same_as: the figures of ours that
    measure the same, as protocol: column; empty where none does. source: where the figures stand.
    not_stated: what has to be known to compare, and is not told there. beside: datasets of ours
    whose page shows the row.
    """

    model: str
    data: str
    figures: Mapping[str, float]
    protocol: str
    same_as: str
    source: str
    not_stated: str
    beside: tuple[str, ...]


def published(dataset: str) -> list[dict[str, Any]]:
    """The rows that are shown beside a dataset of ours, as JSON can hold them."""
    rows = [asdict(row) for row in ROWS if dataset in row.beside]
    return [{k: v for k, v in row.items() if k != "beside"} for row in rows]


_METHOD = "Betrayed by Attention, arXiv 2311.17893, main table"
_VIDEOSAUR = "VideoSAUR, arXiv 2306.04829; README of its code"
_TAKEN_OVER = f"{_METHOD}; most likely taken from VideoSAUR's table"
_SOLV = "SOLV, arXiv 2310.06907; stands so in the table of Betrayed by Attention"
_OCLR = f"SOLV, arXiv 2310.06907, of OCLR; stands so in {_METHOD}"
_SLOTS = "RandSF.Q, arXiv 2508.01345 (AAAI 2026), and SmoothSA, arXiv 2508.05417, with their code"

_BESIDE_S2D = "quoted beside S2D's figure, most likely from its table, arXiv 2512.14440"

_MOVI_VIDEOSAUR = "MOVi-E, 250 validation videos of 24 frames, 224x224"
_YTVIS_2021 = (
    "YouTube-VIS 2021, the last 300 ids of the train file, chunks of 6 frames, centre crop 224x224"
)
_YTVIS_2019 = "YouTube-VIS 2019, entries 600 to 900 of the train file"
_DAVIS = "DAVIS-2017 Unsupervised, validation"
_HQ = "YouTube-VIS with the HQ masks (HQ-YTVIS), centre crop 256x256"

_A_VIDEO = (
    "a video: Rand index over all its foreground pixels, best volume IoU; mean over the objects of "
    "a video or chunk, then over those"
)
_SAME_A_VIDEO = "videosaur: FG-ARI, mBO"
_SAME_A_CHUNK = f"{_SAME_A_VIDEO} (with --in-chunks 6 --crop 224)"
_BY_SOLV = (
    "mIoU by one match a video; FG-ARI a frame after regions without a match become background"
)
_BY_SMTC = (
    "matched per frame on J + F, up to 300 proposals, which may overlap: slots scored from 0.5, "
    "masks cut at 0.3"
)
_BY_METHOD = (
    "matched per frame on J + F, up to 300 proposals; objects counted in frame 0; the last frame "
    "dropped and its mask copied; ends with an error above 300 clusters"
)
_WHERE_MATCHED = "davis2017-per-frame: J&F, J, F"
_BY_SLOTS = (
    "a video: Rand index over foreground pixels, volume IoU (best, or one match a video); mean "
    "over the objects of a video, the background among them, then over videos"
)
_UNKNOWN = "matching, frame or video, and size of the masks: its code evaluates DAVIS only"
_SOLV_OPEN = (
    "its code keeps only the objects of the first frame and cuts black borders off, which the "
    "paper does not say"
)


def _slots(model: str, fg_ari: float, mbo: float, miou: float) -> Published:
    """A row on frozen DINOv2 ViT-S/14, means of three seeds."""
    return Published(
        f"{model}, DINOv2 ViT-S/14",
        _HQ,
        {"FG-ARI": fg_ari, "mBO": mbo, "mIoU": miou},
        _BY_SLOTS,
        "fg-ari: FG-ARI per video",
        _SLOTS,
        "spread of the three seeds (42, 43, 44) in this table; later versions of the code give "
        "other figures; whether its counts of pairs overflowed, which makes FG-ARI another one "
        "(docs/evaluation.md)",
        ("ytvis2019", "ytvis2021"),
    )


def _instances(model: str, figures: Mapping[str, float], source: str) -> Published:
    """A row of a model that was trained on pseudo-labels."""
    on_davis = "J&F" in figures
    return Published(
        model,
        "DAVIS-2017, all objects" if on_davis else "YouTube-VIS 2019, validation (server)",
        figures,
        "J&F, proposals matched with objects"
        if on_davis
        else "AP50 without classes, in the way of YouTube-VIS",
        "" if on_davis else "video-ap: AP50 (other videos)",
        source,
        "whether matched a frame or a video, and how many proposals" if on_davis else "",
        ("davis2017",) if on_davis else ("ytvis2019",),
    )


def _of_method(mark: str, movi: tuple, ytvis: tuple, davis: tuple) -> list[Published]:
    """The rows of the method that is reproduced here, one a dataset."""
    model = f"Betrayed by Attention{mark or ', DINO ViT-S/8'}"
    second = "; the caption that explains † could not be recovered" if mark else ""
    ari, jf, j, f = davis
    return [
        Published(
            model,
            "MOVi-E, validation",
            dict(zip(("FG-ARI", "mIoU"), movi, strict=True)),
            "FG-ARI most likely a frame",
            "",
            _METHOD,
            _UNKNOWN + second,
            ("movi-e",),
        ),
        Published(
            model,
            _YTVIS_2019,
            dict(zip(("FG-ARI", "mIoU"), ytvis, strict=True)),
            "not told; beside SOLV's rows, so perhaps SOLV's",
            "",
            _METHOD,
            _UNKNOWN + second,
            ("ytvis2019",),
        ),
        Published(
            model,
            _DAVIS,
            {"FG-ARI": ari, "J&F": jf, "J": j, "F": f},
            _BY_METHOD,
            "davis2017-released: J&F, J, F",
            _METHOD,
            f"FG-ARI: how; an independent run of the released code gave J&F 39.7{second}",
            ("davis2017",),
        ),
    ]


def _solv_rows(model: str, source: str, ytvis: tuple, davis: tuple) -> list[Published]:
    """Rows by SOLV's evaluation."""
    return [
        Published(
            model,
            data,
            dict(zip(("FG-ARI", "mIoU"), figures, strict=True)),
            _BY_SOLV,
            "solv: FG-ARI of matched, mIoU",
            source,
            open_,
            (beside,),
        )
        for data, figures, open_, beside in (
            (_YTVIS_2019, ytvis, _SOLV_OPEN, "ytvis2019"),
            (
                _DAVIS,
                davis,
                "its code for DAVIS was not released; mIoU stands as J in the table of Betrayed by "
                "Attention",
                "davis2017",
            ),
        )
    ]


def _videosaur_rows(
    model: str, source: str, movi: tuple | None, ytvis: tuple, not_stated: str
) -> list[Published]:
    """Rows by VideoSAUR's evaluation."""
    return [
        Published(
            model,
            data,
            dict(zip(("FG-ARI", "mBO"), figures, strict=True)),
            _A_VIDEO,
            same_as,
            source,
            not_stated,
            beside,
        )
        for data, figures, same_as, beside in (
            (_MOVI_VIDEOSAUR, movi, _SAME_A_VIDEO, ("movi-e",)),
            (_YTVIS_2021, ytvis, _SAME_A_CHUNK, ("ytvis2021", "ytvis2019")),
        )
        if figures
    ]


_SEEN_AT_518 = "seeds; its configuration shows the model 518x518 px, and scores at 224x224"
_COPIED = "where from, and with it the protocol: this one holds if the rows are VideoSAUR's"

ROWS: tuple[Published, ...] = (
    *_videosaur_rows("SAVi", _TAKEN_OVER, (42.8, 16.0), (11.1, 12.7), _COPIED),
    *_videosaur_rows("STEVE", _TAKEN_OVER, (50.6, 26.6), (20.0, 20.9), _COPIED),
    *_videosaur_rows(
        "VideoSAUR, DINO ViT-B/8 (MOVi), ViT-B/16 (YTVIS)",
        _VIDEOSAUR,
        (73.9, 35.6),
        (39.5, 29.1),
        "the table of Betrayed by Attention calls these YouTube-VIS 2019 and mIoU",
    ),
    *_videosaur_rows(
        "VideoSAUR, DINOv2 ViT-B/14", "README of VideoSAUR's code", None, (39.7, 35.6), _SEEN_AT_518
    ),
    *_solv_rows("OCLR (with optical flow)", _OCLR, (15.9, 32.5), (14.7, 34.6)),
    *_solv_rows("SOLV, DINOv2 ViT-B/14", _SOLV, (29.1, 45.3), (32.2, 30.2)),
    Published(
        "SOLV",
        "MOVi-E, validation",
        {"FG-ARI": 80.8},
        "FG-ARI a frame after regions without a match become background",
        "solv: FG-ARI of matched",
        _SOLV,
        "its code for MOVi was not released",
        ("movi-e",),
    ),
    Published(
        "SMTC, DINO ViT-S/16",
        _YTVIS_2019,
        {"FG-ARI": 31.4, "mIoU": 38.8},
        "not told",
        "",
        _METHOD,
        "all: SMTC's code evaluates DAVIS only",
        ("ytvis2019",),
    ),
    Published(
        "SMTC, DINO ViT-S/16",
        _DAVIS,
        {"FG-ARI": 33.3, "J&F": 40.5, "J": 36.4, "F": 44.6},
        _BY_SMTC,
        _WHERE_MATCHED,
        f"SMTC, arXiv 2308.09951; {_METHOD}",
        "FG-ARI: how, where proposals overlap",
        ("davis2017",),
    ),
    Published(
        "TimeT*",
        _YTVIS_2019,
        {"FG-ARI": 37.9, "mIoU": 40.4},
        "not told",
        "",
        _METHOD,
        "all, the star too: most likely run by the authors of that table",
        ("ytvis2019",),
    ),
    Published(
        "TimeT*",
        _DAVIS,
        {"FG-ARI": 35.5, "J&F": 40.0, "J": 35.8, "F": 44.2},
        "not told; most likely that of the rows of Betrayed by Attention",
        "",
        _METHOD,
        "all, the star too: most likely run by the authors of that table",
        ("davis2017",),
    ),
    *_of_method("", (83.4, 40.2), (44.3, 50.1), (40.1, 43.9, 39.2, 48.6)),
    *_of_method(" †", (84.4, 40.7), (44.5, 50.1), (41.6, 43.7, 39.4, 48.0)),
    _slots("VideoSAUR", 49.2, 29.9, 29.7),
    _slots("SlotContrast", 49.4, 33.0, 32.8),
    _slots("RandSF.Q", 58.0, 37.6, 37.2),
    _slots("SmoothSA", 63.0, 38.9, 38.3),
    _instances("S2D", {"J&F": 50.6}, "S2D, arXiv 2512.14440"),
    _instances("FlowCut", {"J&F": 43.5}, f"of FlowCut, arXiv 2505.13174; {_BESIDE_S2D}"),
    _instances("VideoCutLER", {"J&F": 42.4}, f"of VideoCutLER, arXiv 2308.14710; {_BESIDE_S2D}"),
    _instances("AutoQ-VIS", {"AP50": 52.6}, "AutoQ-VIS, arXiv 2508.19808"),
)
"""All rows, in the order of the table of Betrayed by Attention, newer ones after it."""
