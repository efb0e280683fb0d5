"""Models as ONNX: a plain graph of MatMul, Add and the inverse link, in the model's own precision.

The same few nodes serve a model by itself, a model of a table with its preprocessing in front, and, through a converter
that is registered with skl2onnx, an estimator inside a scikit-learn pipeline.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from steepest.data import written_whole
from steepest.errors import InputError, MissingPackageError
from steepest.losses import HIGHEST_EXPONENT, LogLoss, Poisson
from steepest.model import LinearModel, as_model
from steepest.tables import is_frame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from numpy.typing import NDArray

    from steepest.preprocessing import Encoder

ML = "ai.onnx.ml"
#: Of 2022: what reads ONNX at all reads these.
OPSETS, IR_VERSION = {"": 17, ML: 3}, 8
#: A pipeline that skl2onnx cannot convert.
CURE = "skl2onnx knows some steps in single precision only: train on, and pass, float32"


def to_onnx(model: Any, path: str | PathLike[str] | None = None, *, example: Any = None) -> Any:
    """Return a fitted model as an ONNX graph, and write it to a file if one is named.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor, GDClassifier, or a scikit-learn estimator that holds one
        A fitted one. A model of a table takes one input a column, (n_rows, 1), text as strings; a level that was not
        there in training counts as the one that the others are compared with. Any other takes ``X``,
        (n_rows, n_features), in the precision that it was trained in. A pipeline, a grid search and what else
        scikit-learn builds is converted by skl2onnx, and takes what `example` has.
    path : path-like, optional
        By custom a name that ends in .onnx.
    example : array_like, sparse, frame or list of texts, optional
        A row or more as `predict` takes them, from which a pipeline's inputs are taken: ``X``, or one a column.

    Returns
    -------
    onnx.ModelProto
        Outputs: ``prediction``, (n_rows,) or (n_rows, n_targets); or ``label``, (n_rows,), and ``probabilities``,
        (n_rows, n_classes), in place of which a squared hinge has ``scores``, (n_rows,). An output has an underscore
        behind its name where a column is called so. Those of a pipeline are as skl2onnx names them.

    Raises
    ------
    InputError
        If it is not such a model, or a pipeline without `example` or with a step that ONNX has no such operator for.
    MissingPackageError
        If onnx, or skl2onnx for a pipeline, is not installed.
    OSError
        If the file cannot be written; an old one is then left as it was.

    See Also
    --------
    register_onnx_converter : For calling skl2onnx with options of your own.

    Examples
    --------
    >>> import steepest as st
    >>> fit = st.descend([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], method="newton", n_steps=9)
    >>> [node.op_type for node in st.to_onnx(fit).graph.node]
    ['MatMul', 'Add', 'Squeeze']
    """
    proto = _from_scikit_learn(model, example) if _holds_others(model) else _graph(as_model(model))
    if path is not None:
        with written_whole(Path(path)) as temporary:
            temporary.write_bytes(proto.SerializeToString())
    return proto


def _holds_others(model: Any) -> bool:
    """Return whether it is an estimator of scikit-learn and not one of ours."""
    if not hasattr(model, "get_params"):
        return False
    from steepest.estimators.base import LinearEstimator

    return not isinstance(model, LinearEstimator)


class Builder(Protocol):
    """What adds nodes and constants to a graph."""

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add numbers or texts; return their name."""

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add an operation with one output; return its name."""


@contextmanager
def _needed(package: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"ONNX export needs {error.name or package}: pip install 'steepest[onnx]'") from None


class _OwnGraph:
    def __init__(self, inputs: list[str]) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.outputs: list[Any] = []
        self.names = set(inputs)

    def unique(self, name: str) -> str:
        """Return a name that nothing has, which is this one if it can be."""
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        name = self.unique(name)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or self.unique(op.lower())
        domain = attributes.pop("domain", "")
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", domain=domain, **attributes))
        return name

    def output(self, name: str, kind: int, *columns: int) -> str:
        from onnx import helper

        name = self.unique(name)
        self.outputs.append(helper.make_tensor_value_info(name, kind, ["n_rows", *columns]))
        return name


def _graph(model: LinearModel) -> Any:
    with _needed("onnx"):
        from onnx import checker, helper

    real = _onnx_type(model)
    if model.encoder is None:
        graph = _OwnGraph(["X"])
        inputs = [helper.make_tensor_value_info("X", real, ["n_rows", model.n_features])]
        X = "X"
    else:
        graph = _OwnGraph(model.encoder.column_names)
        inputs, X = _emit_encoder(graph, model.encoder, real)
    if model.classes is None:
        width = len(model.coef)
        columns = [] if width == 1 else [width]
        # Named before the nodes, which then make way.
        prediction = graph.output("prediction", real, *columns)
        emit_mean(graph, model, emit_scores(graph, model, X), prediction, flat=width == 1)
    else:
        labels = _labels(model)
        label = graph.output("label", helper.np_dtype_to_tensor_dtype(labels.dtype))
        has_probabilities = isinstance(model.fitted_loss, LogLoss)
        name, *columns = ("probabilities", len(labels)) if has_probabilities else ("scores",)
        second = graph.output(name, real, *columns)
        scores = emit_scores(graph, model, X)
        emit_label(graph, model, labels, scores, label)
        if has_probabilities:
            emit_mean(graph, model, scores, second)
        else:
            _emit_flat(graph, scores, second)
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "steepest", inputs, graph.outputs, graph.constants),
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in OPSETS.items()],
        ir_version=IR_VERSION,
        producer_name="steepest",
        producer_version=str(model.training.get("steepest", "")),
    )
    checker.check_model(proto, full_check=True)
    return proto


def _labels(model: LinearModel) -> NDArray[Any]:
    labels = np.array(model.classes)
    return labels.astype(object) if labels.dtype.kind == "U" else labels


def _onnx_type(model: LinearModel) -> int:
    from onnx import TensorProto

    return int(TensorProto.FLOAT if model.intercept.dtype == np.float32 else TensorProto.DOUBLE)


def emit_scores(graph: Builder, model: LinearModel, X: str) -> str:
    """Add X · coefᵀ + intercept, (n_rows, n_scores), with the coefficients stored as the model stores them."""
    if model.kept is not None:
        X = graph.node("Gather", [X, graph.constant("kept", model.kept)], axis=1)
    coef = graph.constant("coef", np.ascontiguousarray(model.coef.T))
    if model.coef.dtype != model.intercept.dtype:
        coef = graph.node("Cast", [coef], to=_onnx_type(model))
    if model.scale is not None:
        coef = graph.node("Mul", [coef, graph.constant("scale", model.scale)])
    return graph.node("Add", [graph.node("MatMul", [X, coef]), graph.constant("intercept", model.intercept)])


def emit_mean(graph: Builder, model: LinearModel, scores: str, output: str, *, flat: bool = False) -> None:
    """Add the inverse of the link: the predicted numbers or the probabilities."""
    loss, dtype = model.fitted_loss, model.intercept.dtype
    if isinstance(loss, LogLoss) and loss.width == 1:
        both = [graph.node("Sigmoid", [part]) for part in (graph.node("Neg", [scores]), scores)]
        graph.node("Concat", both, output, axis=1)
        return
    if isinstance(loss, LogLoss):
        graph.node("Softmax", [scores], output, axis=1)
        return
    if isinstance(loss, Poisson):
        highest = graph.constant("highest", np.array(HIGHEST_EXPONENT[dtype.name], dtype))
        scores = graph.node("Exp", [graph.node("Min", [scores, highest])])
    if flat:
        _emit_flat(graph, scores, output)
    else:
        graph.node("Identity", [scores], output)


def _emit_flat(graph: Builder, column: str, output: str | None = None) -> str:
    return graph.node("Squeeze", [column, graph.constant("second_axis", np.array([1]))], output)


def emit_label(graph: Builder, model: LinearModel, labels: NDArray[Any], scores: str, output: str) -> None:
    """Add the label with the highest score; of two the second where its score is positive."""
    from onnx import TensorProto

    if model.fitted_loss.width == 1:
        zero = graph.constant("zero", np.zeros(1, model.intercept.dtype))
        positive = graph.node("Cast", [graph.node("Greater", [scores, zero])], to=TensorProto.INT64)
        number = _emit_flat(graph, positive)
    else:
        number = graph.node("ArgMax", [scores], axis=1, keepdims=0)
    graph.node("Gather", [graph.constant("classes", labels), number], output, axis=0)


def _emit_encoder(graph: _OwnGraph, encoder: Encoder, real: int) -> tuple[list[Any], str]:
    """Add what turns the columns of a table into X; return the inputs and the name of X."""
    from onnx import TensorProto, helper

    inputs, parts = [], []
    for column in encoder.columns:
        if not column.name:
            raise InputError("columns: expected names for the inputs of the graph; one column has none")
        levels = getattr(column, "levels", None)
        kind = real if levels is None else TensorProto.STRING
        inputs.append(helper.make_tensor_value_info(column.name, kind, ["n_rows", 1]))
        if levels is None:
            parts.append(column.name)
        elif len(levels) > 1:
            # A text that is none of these is a row of zeros, as is the level that the others are compared with.
            indicators = graph.node("OneHotEncoder", [column.name], domain=ML, cats_strings=list(levels[1:]), zeros=1)
            shape = graph.constant("indicators", np.array([0, len(levels) - 1]))
            parts.append(graph.node("Cast", [graph.node("Reshape", [indicators, shape])], to=real))
    return inputs, graph.node("Concat", parts, axis=1)


class _PipelineGraph:
    """Adds to the graph that skl2onnx is building."""

    def __init__(self, scope: Any, container: Any) -> None:
        self.scope, self.container = scope, container

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        unique: str = self.scope.get_unique_variable_name(name)
        tensor = numpy_helper.from_array(values, unique)
        content = [text.encode() for text in values] if values.dtype == object else tensor
        self.container.add_initializer(unique, tensor.data_type, list(values.shape), content)
        return unique

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name: str = output or self.scope.get_unique_variable_name(op.lower())
        unique = self.scope.get_unique_operator_name(op)
        self.container.add_node(op, inputs, [name], op_version=OPSETS[""], name=unique, **attributes)
        return name


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add an estimator to the graph of a pipeline, in its own precision; skl2onnx says what comes in and goes out."""
    from skl2onnx.common.data_types import guess_proto_type
    from skl2onnx.common.utils_classifier import get_label_classes

    model = as_model(operator.raw_operator)
    graph, inside = _PipelineGraph(scope, container), _onnx_type(model)
    source, outputs = operator.inputs[0].full_name, [output.full_name for output in operator.outputs]
    if guess_proto_type(operator.inputs[0].type) != inside:
        source = graph.node("Cast", [source], to=inside)
    outside = guess_proto_type(operator.outputs[-1].type)
    result = outputs[-1] if outside == inside else scope.get_unique_variable_name("result")
    scores = emit_scores(graph, model, source)
    if model.classes is None:
        emit_mean(graph, model, scores, result)
    else:
        labels = get_label_classes(scope, operator.raw_operator)
        kind = object if isinstance(labels[0], str) else np.int64
        emit_label(graph, model, np.asarray(labels).astype(kind), scores, outputs[0])
        raw = container.get_options(operator.raw_operator, {"raw_scores": False})["raw_scores"]
        if isinstance(model.fitted_loss, LogLoss) and not raw:
            emit_mean(graph, model, scores, result)
        elif model.fitted_loss.width == 1:
            graph.node("Concat", [graph.node("Neg", [scores]), scores], result, axis=1)
        else:
            graph.node("Identity", [scores], result)
    if outside != inside:
        graph.node("Cast", [result], outputs[-1], to=outside)


def register_onnx_converter() -> None:
    """Tell skl2onnx how to convert `GDRegressor` and `GDClassifier`.

    `to_onnx` does so by itself; call this once before you call skl2onnx, with options of your own. Of our classifier it
    then knows the options that it knows of scikit-learn's linear ones: ``zipmap``, ``nocl``, ``output_class_labels``
    and ``raw_scores``: scores in place of probabilities, of two classes both, which differ in sign.

    Raises
    ------
    MissingPackageError
        If skl2onnx is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> import steepest as st
    >>> st.register_onnx_converter()
    >>> from skl2onnx import to_onnx
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> pipeline = make_pipeline(StandardScaler(), st.GDClassifier()).fit([[0.0], [1.0], [2.0]], ["a", "a", "b"])
    >>> proto = to_onnx(pipeline, np.zeros((1, 1)), options={"zipmap": False})
    >>> [output.name for output in proto.graph.output]
    ['label', 'probabilities']
    """
    with _needed("skl2onnx"):
        from skl2onnx import update_registered_converter
        from skl2onnx.common.shape_calculator import (
            calculate_linear_classifier_output_shapes,
            calculate_linear_regressor_output_shapes,
        )

    from steepest.estimators import GDClassifier, GDRegressor

    update_registered_converter(GDRegressor, "SteepestGDRegressor", calculate_linear_regressor_output_shapes, _convert)
    update_registered_converter(
        GDClassifier,
        "SteepestGDClassifier",
        calculate_linear_classifier_output_shapes,
        _convert,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
            "raw_scores": [True, False],
        },
    )


def _from_scikit_learn(model: Any, example: Any) -> Any:
    if example is None:
        raise InputError("example: expected a row or more as predict takes them: the inputs of a pipeline are its own")
    register_onnx_converter()
    from onnx import checker, shape_inference
    from skl2onnx import to_onnx as convert
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.base import is_classifier

    last = model.steps[-1][1] if hasattr(model, "steps") else model
    options = {id(last): {"zipmap": False}} if is_classifier(last) else None
    try:
        proto = convert(model, initial_types=_inputs(example), options=options, target_opset=OPSETS)
    except (MissingConverter, MissingShapeCalculator) as error:
        raise InputError(f"model: ONNX has no such operator: {error}") from error
    try:
        checker.check_model(proto, full_check=True)
    except (checker.ValidationError, shape_inference.InferenceError) as error:
        raise InputError(f"model: what skl2onnx made of it is not valid: {error}; {CURE}") from error
    return proto


def _inputs(example: Any) -> list[tuple[str, Any]]:
    """Return what skl2onnx calls initial types: a name and a type for ``X``, or for each column of a frame."""
    if is_frame(example):
        from narwhals.stable.v2 import from_native

        schema = from_native(example, eager_only=True).schema
        return [(name, _type(_numpy_type(kind), 1)) for name, kind in schema.items()]
    rows = example if hasattr(example, "tocsr") else np.asarray(example)
    return [("X", _type(rows.dtype, *rows.shape[1:]))]


def _numpy_type(kind: Any) -> np.dtype[Any]:
    import narwhals.stable.v2 as nw

    if kind == nw.Boolean:
        return np.dtype(np.bool_)
    if not kind.is_numeric():
        return np.dtype(np.str_)
    if kind.is_integer():
        return np.dtype(np.int64)
    return np.dtype(np.float32 if kind == nw.Float32 else np.float64)


def _type(dtype: np.dtype[Any], *columns: int) -> Any:
    """Return skl2onnx's type for any number of rows of `dtype`."""
    from skl2onnx.common import data_types as types

    kinds = {
        "b": types.BooleanTensorType,
        "i": types.Int64TensorType,
        "u": types.Int64TensorType,
        "f": types.FloatTensorType if dtype == np.float32 else types.DoubleTensorType,
    }
    return kinds.get(dtype.kind, types.StringTensorType)([None, *columns])
