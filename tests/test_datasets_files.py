"""Masks, TFRecords and Examples: what is in a file, and what may not be."""

import os

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from PIL import Image
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as masked_by_table

from unveil.datasets.example import decode_example, encode_example
from unveil.datasets.masks import read_labels, unify_binary
from unveil.datasets.tfrecord import (
    crc32c,
    index_records,
    masked_crc32c,
    read_record,
    write_records,
)
from unveil.errors import DataError
from unveil.results.palette import davis_palette

LABELS = np.array([[0, 1, 2], [20, 255, 0]], np.uint8)


def palette_image() -> Image.Image:
    image = Image.fromarray(LABELS)
    image.putpalette(davis_palette().tobytes())
    return image


@pytest.mark.parametrize(
    "image",
    [
        palette_image(),
        Image.fromarray(LABELS),
        Image.fromarray(LABELS.astype(np.uint16)),
        palette_image().convert("RGB"),
        palette_image().convert("RGBA"),
    ],
    ids=["palette", "grey", "deep", "rgb", "rgba"],
)
def test_ids_survive_every_kind_of_file(image, tmp_path):
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_labels(tmp_path / "m.png"), LABELS)


def test_deep_masks_keep_high_ids_and_bits_are_ids(tmp_path):
    Image.fromarray(np.array([[0, 4000]], np.uint16)).save(tmp_path / "deep.png")
    assert read_labels(tmp_path / "deep.png").tolist() == [[0, 4000]]
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bit.png")
    assert read_labels(tmp_path / "bit.png").tolist() == [[1, 0]]


def test_masks_that_cannot_be_scored_are_named(tmp_path):
    painted = np.array(palette_image().convert("RGB"))
    painted[1, 2] = (12, 34, 56)
    Image.fromarray(painted).save(tmp_path / "rgb.png")
    with pytest.raises(DataError, match=r"rgb.png .*\(12, 34, 56\) at row 1, column 2"):
        read_labels(tmp_path / "rgb.png")
    Image.fromarray(LABELS.astype(np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(DataError, match=r"float.tif holds floating point"):
        read_labels(tmp_path / "float.tif")
    (tmp_path / "broken.png").write_bytes(b"no png")
    with pytest.raises(DataError, match=r"broken.png cannot be read"):
        read_labels(tmp_path / "broken.png")
    with pytest.raises(DataError, match=r"gone.png: no such mask"):
        read_labels(tmp_path / "gone.png")


def test_255_is_an_object_only_where_nothing_else_is_marked():
    assert unify_binary(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert unify_binary(np.array([0, 1, 255], np.uint8)).tolist() == [0, 1, 255]
    assert unify_binary(np.array([0, 0], np.uint8)).tolist() == [0, 0]


def test_crc32c_is_that_of_the_standard_and_of_another_program():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value for CRC-32C
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, appendix B.4
    for n in (0, 1, 3, 255, 256, 257, 511, 513, 1025, 70001):
        data = os.urandom(n)
        assert masked_crc32c(data) == masked_by_table(data)


def test_records_come_back_one_by_one(tmp_path):
    records = [os.urandom(n) for n in (0, 5, 1000, 1)]
    write_records(tmp_path / "r", records)
    places = index_records(tmp_path / "r")
    assert [read_record(tmp_path / "r", *place) for place in places] == records


def example_class():
    """tf.train.Example as protobuf builds it from a description, to compare with."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="t", syntax="proto3")
    kinds = {"BytesList": 12, "FloatList": 2, "Int64List": 3}
    for name, kind in kinds.items():
        message = file.message_type.add(name=name)
        message.field.add(name="value", number=1, label=3, type=kind)
    feature = file.message_type.add(name="Feature")
    for number, name in enumerate(kinds, 1):
        feature.field.add(
            name=f"f{number}", number=number, label=1, type=11, type_name=f".t.{name}"
        )
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=9)
    entry.field.add(name="value", number=2, label=1, type=11, type_name=".t.Feature")
    features.field.add(
        name="feature", number=1, label=3, type=11, type_name=".t.Features.FeatureEntry"
    )
    example = file.message_type.add(name="Example")
    example.field.add(name="features", number=1, label=1, type=11, type_name=".t.Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Example"))


CONTENT = {"video": [b"", b"ab", b"c" * 300], "n": [0, -1, 300, 2**63 - 1, -(2**63)], "one": [7]}


def test_examples_are_those_of_protobuf():
    theirs = example_class()()
    for name, values in CONTENT.items():
        field = "f1" if isinstance(values[0], bytes) else "f3"
        getattr(theirs.features.feature[name], field).value.extend(values)
    theirs.features.feature["depth"].f2.value.extend([1.5, 2.5])
    assert decode_example(theirs.SerializeToString(), list(CONTENT)) == CONTENT
    assert decode_example(theirs.SerializeToString(), ["one", "none"]) == {"one": [7]}

    back = example_class()()
    back.ParseFromString(encode_example(CONTENT))
    assert list(back.features.feature["video"].f1.value) == CONTENT["video"]
    assert list(back.features.feature["n"].f3.value) == CONTENT["n"]
    assert decode_example(encode_example(CONTENT), list(CONTENT)) == CONTENT


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\x0a\x05ab", b"\xff" * 20, b"\x0b\x01"])
def test_bytes_that_are_no_example_are_refused(data):
    with pytest.raises(DataError, match=r"no tf.train.Example"):
        decode_example(data, ["video"])
