"""What the device holds stays there: features never leave it, only what groups say of them does."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unveil.attention.objects_head import ObjectsHead
from unveil.fast.groups import GROUPS, Grouper
from unveil.features.backbone import Backbone
from unveil.features.propagation import PACES, Propagation
from unveil.types import Features

T, H, W, C = 16, 24, 42, 96


class OnDevice(Tensor):
    """Stands for a tensor on a GPU: what is made of it is there too, what leaves it is counted."""

    is_cpu: ClassVar[bool] = False
    left: ClassVar[list[int]] = []
    """Bytes of each copy to the processor; to look at a value is one too."""
    LEAVING: ClassVar[set] = {
        *(Tensor.cpu, Tensor.numpy, Tensor.tolist, Tensor.item, Tensor.__array__),
        *(Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__),
    }

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        to_cpu = func is Tensor.to and "cpu" in (
            *map(str, args[1:]),
            str((kwargs or {}).get("device")),
        )
        if func in cls.LEAVING or to_cpu:
            cls.left.append(args[0].nelement() * args[0].element_size())
            return out.as_subclass(Tensor) if isinstance(out, Tensor) else out
        return out


@pytest.fixture(autouse=True)
def counted():
    OnDevice.left.clear()


def features() -> tuple[Features, np.ndarray]:
    rng = torch.Generator().manual_seed(0)
    keys = torch.randn(T, H, W, C, generator=rng).as_subclass(OnDevice)
    saliency = torch.rand(T, H, W, generator=rng).as_subclass(OnDevice)
    frames = np.random.default_rng(0).integers(0, 256, (T, 4 * H, 4 * W, 3), dtype=np.uint8)
    return Features(keys, 14, saliency), frames


def test_the_stand_in_counts():
    x = torch.zeros(3, 5).as_subclass(OnDevice)
    y = (x.new_zeros(5, 2) + 1).half()
    for look in (y.cpu, y.numpy, y.tolist, lambda: np.asarray(y), lambda: y.to("cpu")):
        look()
    assert OnDevice.left == 5 * [20] and type(y.cpu()) is Tensor
    assert not (x @ y.float()).any() and OnDevice.left[-1] == 1


@pytest.mark.parametrize("head", [False, True])
def test_of_features_only_groups_come_back(head):
    torch.manual_seed(0)
    grouper = Grouper(ObjectsHead(C).eval() if head else None)
    some, frames = features()
    grouper.add(some, frames)
    blocks = grouper.pop()
    count = sum(map(len, blocks))
    labels, of_groups = T * H * W * 8, count * (2 * C + 8 * 8)
    middle = len(blocks) * H * W * 4  # saliency of the frame that motion is looked for in
    assert len(blocks) == T // 8 and count <= len(blocks) * GROUPS
    assert 0 < sum(OnDevice.left) <= labels + of_groups + middle
    assert sum(OnDevice.left) < some.keys.nelement() * 4 / 8
    assert len(OnDevice.left) <= 16 * len(blocks)  # each copy waits for the device


@pytest.mark.slow
@pytest.mark.parametrize("speed", PACES)
def test_the_backbone_and_what_it_is_carried_by_read_no_value(tiny_backbone, speed):
    """On `meta` there are no values: to read one is an error."""
    if speed != "exact":
        pytest.importorskip("cv2")
    frames = np.random.default_rng(0).integers(0, 256, (9, 24, 36, 3), dtype=np.uint8)
    encoder = Propagation(Backbone(tiny_backbone, "meta"), 24, PACES[speed])
    seen = list(encoder.each([frames[:5], frames[5:]]))
    assert sum(len(pixels) for pixels, _ in seen) == 9
    assert {x.device.type for _, f in seen for x in (f.keys, f.saliency)} == {"meta"}
