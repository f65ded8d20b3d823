"""That training works: blobs that move are told apart after some hundred steps, from nothing."""

import pytest

from benchmarking import benchmark

squares = benchmark("squares")
TRIALS = {trial.name: trial for trial in squares.trials()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "seeds"),
    [
        ("SlotContrast without its contrast, learned slots, six kinds", [1]),
        ("SAVi, learned slots, six kinds", [1]),
        ("SAVi, random slots, six kinds", [1, 2]),
        ("SOLV, two kinds", [2, 1, 0]),
        ("SMTC, three semantics, two kinds", [0, 1, 2]),
    ],
)
def test_slots_tell_moving_blobs_apart(name, seeds, tmp_path):
    """After 100 to 700 steps of the first seed, 3 to 40 CPU seconds on a shared processor. Seeds
    differ, and with them processors, whose sums are not rounded alike (docs/slots.md).
    """
    assert any(reached(name, seed, tmp_path) for seed in seeds)


def test_a_line_says_what_came_of_each_seed(monkeypatch):
    looks = {
        0: [(0, 0.1, float("nan")), (100, 0.96, 2.0), (200, 0.9, 1.0)],
        1: [(0, 0.2, float("nan")), (100, 0.3, 4.0), (200, 0.5, 3.0)],
    }
    monkeypatch.setattr(squares, "course", lambda trial, seed, folder: looks[seed])
    line = squares.line(TRIALS["SOLV, two kinds"], [0, 1])
    assert line == "| SOLV, two kinds | 200 | 0.90, 0.50 | 100, – | 1.00, 3.00 |"


def reached(name, seed, folder):
    """Whether a trial comes to an FG-ARI of 0.95, from less than 0.3."""
    looks = squares.course(TRIALS[name], seed, folder)
    assert next(looks)[1] < 0.3
    return any(score >= squares.ENOUGH for _, score, _ in looks)
