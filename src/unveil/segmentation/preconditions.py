"""What can be known of settings before weights are loaded or fetched, and is said at once."""

from dataclasses import replace

from unveil.attention.block_file import calibrated_tau, check_block, shipped_block
from unveil.attention.objects_file import check_head
from unveil.errors import InputError
from unveil.features.backbone import check_size, pick_device
from unveil.features.int8 import check_int8
from unveil.features.propagation import check_speed
from unveil.settings import Settings
from unveil.slots.model_file import model_metadata


def check_settings(settings: Settings) -> Settings:
    """The settings as they are used, see `with_model`; nothing is loaded or fetched for it.

    Raises what `unveil.Segmenter` raises: InputError for a size without a whole patch, a device
    that is not there, an extra that is missing; WeightsError for files that are not there or belong
    to another backbone.
    """
    s = with_model(settings)
    device = pick_device(s.device)
    check_size(s.backbone, s.size)
    check_speed(s.speed)
    if s.precision == "int8":
        check_int8(s.backbone, device)
    if s.rows == "block":
        block = shipped_block(s.backbone) if s.block is None else s.block
        check_block(block, s.backbone)
        if s.tau == "calibrated":
            calibrated_tau(block)
    if s.head is not None:
        check_head(s.head, s.backbone)
    return s


def with_model(settings: Settings) -> Settings:
    """Settings with the backbone and the size of their slot model, where they have one.

    Raises InputError where another backbone or size was asked for.
    """
    if settings.model is None:
        return settings
    about, plain = model_metadata(settings.model), Settings()
    own = {"backbone": about["backbone"], "size": tuple(about["size"])}
    for name, value in own.items():
        asked = getattr(settings, name)
        if asked not in (value, getattr(plain, name)):
            raise InputError(
                f"{name} {asked} was asked for, and {settings.model} was trained with {value}: "
                f"leave {name} out"
            )
    return replace(settings, **own)
