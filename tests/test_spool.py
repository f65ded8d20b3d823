"""Keys of groups that lie in a file while a video runs."""

import errno
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch

from test_cluster_fast import moving, scene
from unveil.errors import InputError, OutputError
from unveil.fast.describe import describe, find
from unveil.fast.evidence import evidence
from unveil.fast.groups import Grouper, Groups, join
from unveil.fast.spool import Spool


def blocks(labels: np.ndarray) -> list[Groups]:
    grouper = Grouper()
    grouper.add(scene(labels))
    return grouper.pop(flush=True)


def test_groups_from_a_file_are_those_from_memory(tmp_path):
    spool, parts = Spool(tmp_path), blocks(moving(21))
    for part in parts:
        spool.add(part)
    assert list(tmp_path.iterdir()) == [], "nothing that a killed process would leave"
    groups, keys = spool.join()
    held = join(parts)
    for name, value in vars(held).items():
        if value is not None:
            np.testing.assert_array_equal(getattr(groups, name), value)
    assert isinstance(keys, np.memmap) and groups.keys.dtype == torch.half
    assert np.array_equal(find(describe(groups)).ids, find(describe(held)).ids)
    one, other = evidence(groups, keys), evidence(held)
    np.testing.assert_array_equal(one.looks, other.looks)
    one.save(tmp_path / "evidence.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "keys.npy"), other.keys)


def test_nothing_of_a_block_is_held(tmp_path):
    spool, parts = Spool(tmp_path), blocks(moving(21))
    held = [weakref.ref(x) for part in parts for x in (part.ids, part.keys, part.counts)]
    while parts:
        spool.add(parts.pop(0))
    assert not any(ref() is not None for ref in held)


def test_what_one_block_lacks_is_known_of_none(tmp_path):
    spool, parts = Spool(tmp_path), blocks(moving(21))
    odds = [torch.ones(len(part)) for part in parts]
    for part, x in zip(parts, (odds[0], None, odds[2]), strict=True):
        spool.add(replace(part, objectness=x))
    groups, _ = spool.join()
    assert groups.objectness is None and len(groups.counts) == sum(map(len, parts))


def test_no_frames_are_an_error():
    with pytest.raises(InputError, match="no frames"):
        Spool().join()


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    spool = Spool(tmp_path)

    class Full:
        def write(self, _: bytes) -> None:
            raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(spool._rows["keys"], "_file", Full())
    with pytest.raises(OutputError, match="disk is full"):
        spool.add(blocks(moving(8))[0])
