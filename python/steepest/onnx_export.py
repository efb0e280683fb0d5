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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from numpy.typing import NDArray

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
ML = "ai.onnx.ml"


def to_onnx(model: Any, path: str | PathLike[str] | None = None, *, example: Any = None) -> Any:
    """Return a fitted model as an ONNX graph, and write it to a file if one is named.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor, GDClassifier or scikit-learn Pipeline
        A fitted one. A model of a table takes one input a column, (n_rows, 1), text as strings; a level that was not
        there in training counts as the one that the others are compared with. Any other takes ``X``,
        (n_rows, n_features), in the precision that it was trained in.
    path : path-like, optional
        By custom a name that ends in .onnx.
    example : array_like or frame, optional
        A row or more as `predict` takes them: for a pipeline, whose inputs are taken from it.

    Returns
    -------
    onnx.ModelProto
        Outputs: ``prediction``, (n_rows,) or (n_rows, n_targets); or ``label``, (n_rows,), and ``probabilities``,
        (n_rows, n_classes), in place of which a squared hinge has ``scores``, (n_rows,). Those of a pipeline are as
        skl2onnx names them.

    Raises
    ------
    InputError
        If it is not such a model, or a pipeline without `example`.
    MissingPackageError
        If onnx, or skl2onnx for a pipeline, is not installed.

    Examples
    --------
    >>> import steepest as st
    >>> fit = st.descend([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], method="newton", n_steps=9)
    >>> [node.op_type for node in st.to_onnx(fit).graph.node]
    ['MatMul', 'Add', 'Reshape']
    """
    proto = _pipeline(model, example) if hasattr(model, "steps") else _graph(as_model(model))
    if path is not None:
        with written_whole(Path(path)) as temporary:
            temporary.write_bytes(proto.SerializeToString())
    return proto


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
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        unique = f"{name}_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, unique))
        return unique

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{op.lower()}_{len(self.nodes)}"
        domain = attributes.pop("domain", "")
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"node_{name}", domain=domain, **attributes))
        return name


def _graph(model: LinearModel) -> Any:
    with _needed("onnx"):
        from onnx import TensorProto, checker, helper

    real = _onnx_type(model)
    graph = _OwnGraph()
    if model.encoder is None:
        inputs = [helper.make_tensor_value_info("X", real, ["n_rows", model.n_features])]
        scores = emit_scores(graph, model, "X")
    else:
        inputs, encoded = _emit_encoder(graph, model.encoder, real)
        scores = emit_scores(graph, model, encoded)
    outputs = []
    if model.classes is None:
        single = model.coef.shape[0] == 1
        emit_mean(graph, model, scores, "prediction", flat=single)
        outputs.append(
            helper.make_tensor_value_info("prediction", real, ["n_rows", *([] if single else [len(model.coef)])])
        )
    else:
        kind = TensorProto.STRING if isinstance(model.classes[0], str) else TensorProto.INT64
        emit_label(graph, model, scores, "label")
        outputs.append(helper.make_tensor_value_info("label", kind, ["n_rows"]))
        if isinstance(model.fitted_loss, LogLoss):
            emit_mean(graph, model, scores, "probabilities")
            shape: list[Any] = ["n_rows", len(model.classes)]
            outputs.append(helper.make_tensor_value_info("probabilities", real, shape))
        else:
            graph.node("Reshape", [scores, graph.constant("flat", np.array([-1]))], "scores")
            outputs.append(helper.make_tensor_value_info("scores", real, ["n_rows"]))
    proto = helper.make_model(
        helper.make_graph(graph.nodes, "steepest", inputs, outputs, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="steepest",
        producer_version=str(model.training.get("steepest", "")),
    )
    checker.check_model(proto, full_check=True)
    return proto


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
    graph.node("Reshape", [scores, graph.constant("shape", np.array([-1] if flat else [0, -1]))], output)


def emit_label(graph: Builder, model: LinearModel, scores: str, output: str) -> None:
    """Add the label with the highest score."""
    from onnx import TensorProto

    labels = np.array(model.classes)
    labels = labels.astype(object) if labels.dtype.kind == "U" else labels.astype(np.int64)
    if model.fitted_loss.width == 1:
        zero = graph.constant("zero", np.zeros(1, model.intercept.dtype))
        positive = graph.node("Cast", [graph.node("Greater", [scores, zero])], to=TensorProto.INT64)
        number = graph.node("Reshape", [positive, graph.constant("flat", np.array([-1]))])
    else:
        number = graph.node("ArgMax", [scores], axis=1, keepdims=0)
    graph.node("Gather", [graph.constant("classes", labels), number], output, axis=0)


def _emit_encoder(graph: _OwnGraph, encoder: Any, real: int) -> tuple[list[Any], str]:
    """Add what turns the columns of a table into X; return the inputs and the name of X."""
    from onnx import TensorProto, helper

    inputs, parts = [], []
    for column in encoder.columns:
        levels = getattr(column, "levels", None)
        kind = real if levels is None else TensorProto.STRING
        inputs.append(helper.make_tensor_value_info(column.name, kind, ["n_rows", 1]))
        if levels is None:
            parts.append(column.name)
        elif len(levels) > 1:
            indicators = graph.node("OneHotEncoder", [column.name], domain=ML, cats_strings=list(levels[1:]), zeros=1)
            shape = graph.constant("indicators", np.array([-1, len(levels) - 1]))
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
        self.container.add_initializer(unique, tensor.data_type, list(values.shape), tensor)
        return unique

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name: str = output or self.scope.get_unique_variable_name(op.lower())
        unique = self.scope.get_unique_operator_name(op)
        self.container.add_node(op, inputs, [name], op_version=OPSET, name=unique, **attributes)
        return name


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add an estimator to the graph of a pipeline, in its own precision; skl2onnx says what comes in and goes out."""
    from skl2onnx.common.data_types import guess_proto_type

    model = as_model(operator.raw_operator)
    graph = _PipelineGraph(scope, container)
    source, outputs = operator.inputs[0].full_name, [output.full_name for output in operator.outputs]
    outside, inside = guess_proto_type(operator.inputs[0].type), _onnx_type(model)
    if outside != inside:
        source = graph.node("Cast", [source], to=inside)
    scores = emit_scores(graph, model, source)
    mean = outputs[-1] if outside == inside else scope.get_unique_variable_name("mean")
    if model.classes is None:
        emit_mean(graph, model, scores, mean)
    else:
        emit_label(graph, model, scores, outputs[0])
        if isinstance(model.fitted_loss, LogLoss):
            emit_mean(graph, model, scores, mean)
        else:
            graph.node("Concat", [graph.node("Neg", [scores]), scores], mean, axis=1)
    if outside != inside:
        graph.node("Cast", [mean], outputs[-1], to=outside)


def register_converter() -> None:
    """Tell skl2onnx how to convert `GDRegressor` and `GDClassifier`; `to_onnx` does so by itself.

    Examples
    --------
    >>> from steepest.onnx_export import register_converter
    >>> register_converter()  # from here on skl2onnx.to_onnx(pipeline, X) takes our estimators
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
        options={"zipmap": [True, False, "columns"], "nocl": [True, False], "output_class_labels": [True, False]},
    )


def _pipeline(pipeline: Any, example: Any) -> Any:
    if example is None:
        raise InputError("example: expected a row or more as predict takes them: the inputs of a pipeline are its own")
    register_converter()
    from skl2onnx import to_onnx as convert
    from sklearn.base import is_classifier

    last = pipeline.steps[-1][1]
    return convert(pipeline, example[:1], options={id(last): {"zipmap": False}} if is_classifier(last) else None)
