"""Masks, TFRecords and Examples: what is in a file, and what may not be."""

import os
import struct

import numpy as np
import pytest
from PIL import Image
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c as masked_by_table

from unveil.datasets.example import decode_example, encode_example
from unveil.datasets.masks import read_labels, unify_binary
from unveil.datasets.tfrecord import index_records, masked_crc32c, read_record, write_records
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
    pages = [Image.fromarray(LABELS + i) for i in range(3)]
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"pages.tif holds 3 pictures: write a file for each"):
        read_labels(tmp_path / "pages.tif")
    with pytest.raises(DataError, match=r"gone.png: no such mask"):
        read_labels(tmp_path / "gone.png")


def test_255_is_an_object_only_where_nothing_else_is_marked():
    assert unify_binary(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert unify_binary(np.array([0, 1, 255], np.uint8)).tolist() == [0, 1, 255]
    assert unify_binary(np.array([0, 0], np.uint8)).tolist() == [0, 0]


def test_the_check_of_a_record_is_that_of_another_program():
    # RFC 3720's check value for CRC-32C, rotated by 15 bits and offset.
    assert masked_crc32c(b"123456789") == (
        ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    )
    for n in (0, 1, 3, 255, 256, 257, 511, 513, 1025, 70001):
        data = os.urandom(n)
        assert masked_crc32c(data) == masked_by_table(data)


def test_records_come_back_one_by_one(tmp_path):
    records = [os.urandom(n) for n in (0, 5, 1000, 1)]
    write_records(tmp_path / "r", records)
    places = index_records(tmp_path / "r")
    assert [read_record(tmp_path / "r", *place) for place in places] == records


CONTENT = {"video": [b"", b"ab", b"c" * 300], "n": [0, -1, 300, 2**63 - 1, -(2**63)], "one": [7]}


def varint(value: int) -> bytes:
    """A number as protocol buffers write it: 7 bits a byte, the lowest first."""
    more, rest = value & 0x7F, value >> 7
    return bytes([more | 0x80]) + varint(rest) if rest else bytes([more])


def message(number: int, content: bytes) -> bytes:
    """A field that holds bytes or another message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def by_hand(features: dict) -> bytes:
    """An Example byte by byte, from the definition of the format."""
    entries = b""
    for name, values in features.items():
        if isinstance(values[0], bytes):
            feature = message(1, b"".join(message(1, v) for v in values))
        elif isinstance(values[0], float):
            feature = message(2, message(1, b"".join(struct.pack("<f", v) for v in values)))
        else:
            feature = message(3, message(1, b"".join(varint(v % (1 << 64)) for v in values)))
        entries += message(1, message(1, name.encode()) + message(2, feature))
    return message(1, entries)


def test_examples_are_those_of_the_format():
    assert encode_example(CONTENT) == by_hand(dict(sorted(CONTENT.items())))
    data = by_hand({**CONTENT, "depth": [1.5, 2.5]})
    assert decode_example(data, list(CONTENT)) == CONTENT
    assert decode_example(data, ["one", "none"]) == {"one": [7]}
    assert decode_example(data, ["depth"]) == {"depth": [1.5, 2.5]}


def test_numbers_may_stand_one_by_one_as_older_writers_put_them():
    numbers = b"".join(varint(1 << 3) + varint(v) for v in (4, 9))
    entry = message(1, message(1, b"n") + message(2, message(3, numbers)))
    assert decode_example(message(1, entry), ["n"]) == {"n": [4, 9]}


@pytest.mark.parametrize("data", [b"\x0a\xff", b"\x0a\x05ab", b"\xff" * 20, b"\x0b\x01"])
def test_bytes_that_are_no_example_are_refused(data):
    with pytest.raises(DataError, match=r"no tf.train.Example"):
        decode_example(data, ["video"])
