"""Results that others published, in percent, as the paper's table has them.

They stand beside ours for orientation, and are never shown as measured here.

Source: Ding et al., "Betrayed by Attention", arXiv 2311.17893, main table.
"""

from typing import Any

_COLUMNS = {
    "movi-e": {"fg-ari": {"FG-ARI per frame": 0}, "miou": {"mIoU": 1}},
    "ytvis2019": {"fg-ari": {"FG-ARI per frame": 2}, "miou": {"mIoU": 3}},
    "davis2017": {
        "fg-ari": {"FG-ARI per frame": 4},
        "davis2017-per-frame": {"J&F": 5, "J": 6, "F": 7},
    },
}
"""Dataset → protocol → column of ours → place in a row of the table."""

_NOTES = {
    "davis2017": "published, full validation set; matching not stated, most likely per frame",
    "movi-e": "published; most likely per frame",
    "ytvis2019": "published; per frame or per video is not stated",
}

_ROWS: dict[str, tuple[float | None, ...]] = {
    "SAVi": (42.8, 16.0, 11.1, 12.7, None, None, None, None),
    "STEVE": (50.6, 26.6, 20.0, 20.9, None, None, None, None),
    "OCLR": (None, None, 15.9, 32.5, 14.7, None, 34.6, None),
    "VideoSAUR": (73.9, 35.6, 39.5, 29.1, None, None, None, None),
    "SOLV": (80.8, None, 29.1, 45.3, 32.2, None, 30.2, None),
    "SMTc": (None, None, 31.4, 38.8, 33.3, 40.5, 36.4, 44.6),
    "TimeT*": (None, None, 37.9, 40.4, 35.5, 40.0, 35.8, 44.2),
    "Betrayed by Attention": (83.4, 40.2, 44.3, 50.1, 40.1, 43.9, 39.2, 48.6),
    "Betrayed by Attention †": (84.4, 40.7, 44.5, 50.1, 41.6, 43.7, 39.4, 48.0),
}
"""MOVi-E FG-ARI, mIoU; YTVIS-19 FG-ARI, mIoU; DAVIS-17 FG-ARI, J&F, J, F."""


def published(dataset: str, protocol: str) -> list[dict[str, Any]]:
    """Rows for a table: model, values by column in percent, and a note on where they are from."""
    columns = _COLUMNS.get(dataset, {}).get(protocol, {})
    rows = []
    for model, figures in _ROWS.items():
        values = {c: figures[i] for c, i in columns.items() if figures[i] is not None}
        if values:
            rows.append({"model": model, "values": values, "note": _NOTES[dataset]})
    return rows
