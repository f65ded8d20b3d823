"""The protocol buffer `tf.train.Example`, read and written by protobuf, without TensorFlow.

    message BytesList { repeated bytes value = 1; }     FloatList and Int64List alike
    message Feature { oneof kind { BytesList 1; FloatList 2; Int64List 3 } }
    message Features { map<string, Feature> feature = 1; }
    message Example { Features features = 1; }

Source: tensorflow/core/example/{example,feature}.proto
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from unveil.errors import DataError

Values = list[bytes] | list[int] | list[float]

_FIELD = descriptor_pb2.FieldDescriptorProto
_KINDS = {"bytes": _FIELD.TYPE_BYTES, "float": _FIELD.TYPE_FLOAT, "int64": _FIELD.TYPE_INT64}


def decode_example(data: bytes, wanted: Sequence[str]) -> dict[str, Values]:
    """The wanted features of an Example that it has; others are not copied.

    Raises DataError where the bytes are no Example.
    """
    example = _example_class()()
    try:
        example.ParseFromString(data)
    except DecodeError as error:
        raise DataError(f"no tf.train.Example ({error})") from error
    features = example.features.feature
    return {name: _values(features[name]) for name in wanted if name in features}


def encode_example(features: Mapping[str, Values]) -> bytes:
    """An Example with these features, in the order of their names."""
    example = _example_class()()
    for name, values in features.items():
        kind = "bytes" if not values or isinstance(values[0], bytes) else "int64"
        getattr(example.features.feature[name], kind).value.extend(values)
    return example.SerializeToString(deterministic=True)


def _values(feature: Any) -> Values:
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


@cache
def _example_class() -> Any:
    """The class of the messages, in a pool of its own: TensorFlow may be here too."""
    file = descriptor_pb2.FileDescriptorProto(name="unveil/example.proto", syntax="proto3")
    file.package = "unveil"
    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, (name, type) in enumerate(_KINDS.items(), 1):
        message = file.message_type.add(name=f"{name}s")
        message.field.add(name="value", number=1, type=type, label=_FIELD.LABEL_REPEATED)
        _refer(feature, name, number, f"{name}s", oneof_index=0)
    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=_FIELD.TYPE_STRING, label=_FIELD.LABEL_OPTIONAL)
    _refer(entry, "value", 2, "Feature")
    _refer(features, "feature", 1, "Features.FeatureEntry", label=_FIELD.LABEL_REPEATED)
    _refer(file.message_type.add(name="Example"), "features", 1, "Features")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("unveil.Example"))


def _refer(message: Any, name: str, number: int, to: str, **more: int) -> None:
    """Give a message a field that holds another message."""
    about = {"type": _FIELD.TYPE_MESSAGE, "label": _FIELD.LABEL_OPTIONAL, **more}
    message.field.add(name=name, number=number, type_name=f".unveil.{to}", **about)
