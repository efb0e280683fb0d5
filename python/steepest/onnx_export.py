"""Models as ONNX.

The same few nodes serve a model by itself, a model of a table with its preprocessing in front, and, through a converter
that is registered with skl2onnx, an estimator inside a scikit-learn pipeline.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.files import written_whole
from steepest.losses import LogLoss
from steepest.model import LinearModel, as_model
from steepest.onnx_nodes import (
    IR_VERSION,
    ML,
    OPSETS,
    emit_flat,
    emit_label,
    emit_mean,
    emit_scores,
    needed,
    onnx_type,
)
from steepest.onnx_pipeline import from_scikit_learn, holds_others

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

    from steepest.preprocessing import Encoder


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

    Notes
    -----
    The graph says what `predict` says, to 1e-12 in double and 1e-6 in single precision, as a share of the largest
    prediction. skl2onnx goes on in single precision where a step of a pipeline, or the first part of a
    ColumnTransformer, gives that: a OneHotEncoder does, so name the numbers first, and have those that are scaled as
    float64. It cuts texts into words of ASCII letters and digits, as
    ``TfidfVectorizer(token_pattern="[a-zA-Z0-9_]+")`` does.

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
    proto = from_scikit_learn(model, example) if holds_others(model) else _graph(as_model(model))
    if path is not None:
        with written_whole(Path(path)) as temporary:
            temporary.write_bytes(proto.SerializeToString())
    return proto


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
    with needed("onnx"):
        from onnx import checker, helper

    real = onnx_type(model)
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
            emit_flat(graph, scores, second)
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
