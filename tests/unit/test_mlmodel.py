"""What of a file `MLmodel` is believed: all that MLflow's own classes write, and nothing that only looks like it."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Map, Object, Property, Schema, TensorSpec

from reconciler.domain.evidence.signature_facts import Column, Columns
from reconciler.registry.mlmodel import Unclear, signature_in

# --- as MLflow writes it -------------------------------------------------------------------------------------

SCALARS = st.sampled_from(list(DataType))
NAMES = st.text(min_size=1, max_size=8)
KINDS = st.recursive(
    st.one_of(SCALARS, st.just(AnyType())),
    lambda inner: st.one_of(
        inner.map(Array),
        inner.map(Map),
        st.dictionaries(NAMES, st.tuples(inner, st.booleans()), min_size=1, max_size=3).map(
            lambda members: Object([Property(name, kind, required) for name, (kind, required) in members.items()])
        ),
    ),
    max_leaves=4,
)
TABLES = st.lists(NAMES, unique=True, min_size=1, max_size=5).flatmap(
    lambda names: st.tuples(*(st.builds(ColSpec, KINDS, st.just(name), required=st.booleans()) for name in names)).map(
        lambda columns: Schema(list(columns))
    )
)
UNNAMED = st.lists(KINDS, min_size=1, max_size=3).map(lambda kinds: Schema([ColSpec(kind) for kind in kinds]))
DTYPES = st.sampled_from(["float32", "float64", "int64", "bool"])
SHAPES = st.lists(st.integers(-1, 99), min_size=1, max_size=4).map(tuple)
TENSORS = st.one_of(
    st.builds(lambda dtype, shape: Schema([TensorSpec(numpy.dtype(dtype), shape)]), DTYPES, SHAPES),
    st.builds(lambda dtype, shape: Schema([TensorSpec(numpy.dtype(dtype), shape, "x")]), DTYPES, SHAPES),
)
SCHEMAS = st.one_of(TABLES, UNNAMED, TENSORS)


def mlmodel(inputs: Schema | None, outputs: Schema | None) -> bytes:
    """As MLflow itself writes it."""
    signature = ModelSignature(inputs, outputs) if inputs or outputs else None
    return str(Model(signature=signature, flavors={"python_function": {"env": "x"}}).to_yaml()).encode()


def told_by_mlflow(schema: Schema | None) -> list[tuple[str, str, bool]] | None:
    """Names, the beginning of the type, and whether it may be left out, as MLflow's own classes tell them."""
    if schema is None:
        return None
    if schema.is_tensor_spec():
        shapes = [f"tensor({one.type.name})[{','.join(map(str, one.shape))}]" for one in schema.inputs]
        return [(one.name or "", shape, False) for one, shape in zip(schema.inputs, shapes, strict=True)]
    return [(one.name or "", _word(one.type), not one.required) for one in schema.inputs]


def _word(kind: Any) -> str:
    if isinstance(kind, DataType):
        return str(kind.name)
    return {Array: "array", Map: "map", Object: "object", AnyType: "any"}[type(kind)]


def ours(columns: Columns | None) -> list[tuple[str, str, bool]] | None:
    if columns is None:
        return None
    return [
        (one.name, one.type if one.type.startswith("tensor") else one.type.split("(")[0], one.optional)
        for one in columns
    ]


@given(st.one_of(st.none(), SCHEMAS), st.one_of(st.none(), SCHEMAS))
def test_what_mlflow_writes_is_read_as_mlflow_means_it(inputs: Schema | None, outputs: Schema | None) -> None:
    read = signature_in(mlmodel(inputs, outputs))
    assert tuple(map(ours, read)) == (told_by_mlflow(inputs), told_by_mlflow(outputs))


def test_what_a_type_holds_stands_behind_it() -> None:
    item = Object([Property("id", DataType.long), Property("note", DataType.string, required=False)])
    [column] = signature_in(mlmodel(Schema([ColSpec(Array(Map(item)), "x")]), None))[0] or ()
    assert column.type == "array(map(object(id:long,note?:string)))"


F = b"flavors: {}\n"


def text_of(signature: object, **more: object) -> bytes:
    return yaml.safe_dump({"flavors": {}, "signature": signature, **more}).encode()


COLUMN = '[{"type": "long", "name": "age", "required": true}]'
DEEP = '{"type": "array", "items": ' * 2000 + '{"type": "long"}' + "}" * 2000


def test_older_files_say_optional_and_columns_may_be_numbers() -> None:
    schema = '[{"type": "long", "name": "age", "optional": true}, {"type": "double", "name": 0}]'
    read = signature_in(text_of({"inputs": schema, "outputs": "null", "params": None}))
    assert read == ((Column("age", "long", optional=True), Column("0", "double")), None)


@pytest.mark.parametrize(
    "raw", [F, F + b"signature: null", F + b"signature:", F + b"signature: ~", text_of({}), text_of({"inputs": None})]
)
def test_no_signature_is_told_as_none(raw: bytes) -> None:
    assert signature_in(raw) == (None, None)


ALIASES = b"a0: &a0 [x]\n" + b"".join(
    f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n".encode() for at in range(1, 60)
)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b"<!doctype html><html>sign in: please</html>", "has no flavors"),
        (F + b"signature: [", "not YAML"),
        (b"a: b: c", "not YAML"),
        (b"a: 1\n---\nsignature: {}\n", "not YAML"),
        (b"- signature", "the file is not a mapping"),
        (F + b"signature: yes please", "signature is not a mapping"),
        (F + b"signature: 'null'", "signature is not a mapping"),
        (F + b"signature: {}\nsignature: {inputs: 1}", "twice"),
        (F + b"x: &x {signature: {}}\n<<: *x", "takes keys from elsewhere"),
        (F + b"signature: !!python/object/apply:os.system [touch /tmp/owned]", "signature is not a mapping"),
        (F + b"signature: !!python/object:os.x {inputs: a}", "signature is not a mapping"),
        (text_of({"inputs": 1}), "inputs of the signature is not text"),
        (text_of({"inputs": [{"type": "long"}]}), "inputs of the signature is not text"),
        (text_of({"inputs": "[1"}), "inputs of the signature is not JSON"),
        (text_of({"outputs": "{}"}), "outputs of the signature is not a list"),
        (text_of({"inputs": "[1]"}), "an invalid column"),
        (text_of({"inputs": '[{"name": true, "type": "long"}]'}), "an invalid column"),
        (text_of({"inputs": '[{"name": "a"}]'}), "a column without a type"),
        (text_of({"inputs": '[{"name": "a", "type": "array"}]'}), "a column without a type"),
        (text_of({"inputs": '[{"name": "a", "type": "object", "properties": [1]}]'}), "an object without properties"),
        (text_of({"inputs": '[{"type": "tensor"}]'}), "a tensor without dtype"),
        (text_of({"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "f", "shape": [1.5]}}]'}), "a tensor"),
        (text_of({"inputs": f"[{DEEP}]"}), "nested"),
        (text_of({"inputs": "[" * 60_000}), "nested"),
        (b"signature: " + b"[" * 60_000, "nested"),
        (b"signature: " + b"{a: " * 15_000, "nested"),
        (F + ALIASES + b"signature: *a59", "signature is not a mapping"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_mlflows_is_told_as_unclear_in_no_time(raw: bytes, says: str) -> None:
    began = time.process_time()
    with pytest.raises(Unclear, match=says) as caught:
        signature_in(raw)
    assert str(caught.value).isprintable()
    assert time.process_time() - began < 2


def test_aliases_that_would_fill_the_memory_keep_nobody_from_reading_the_signature() -> None:
    assert signature_in(ALIASES + text_of({"inputs": COLUMN})) == ((Column("age", "long"),), None)


MARKS = ["'", '"', "[", "]", "{", "}", "|", "\n", "\0", "&a", "*a", "<<: ", "!!", "  ", "- ", "? ", "é"]
PIECES = st.sampled_from([*MARKS, "flavors: {}\n", "signature:", " inputs: ", "outputs:", COLUMN]).map(str.encode)


@given(st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=40).map(b"".join)))
def test_any_bytes_are_a_signature_or_unclear(raw: bytes) -> None:
    with contextlib.suppress(Unclear):
        for columns in signature_in(raw):
            assert columns is None or all(isinstance(column, Column) for column in columns)
