"""Our estimators inside scikit-learn's, as ONNX: a converter for skl2onnx, which knows the other steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError
from steepest.losses import LogLoss
from steepest.model import as_model
from steepest.onnx_nodes import OPSETS, emit_label, emit_mean, emit_scores, needed, onnx_type
from steepest.tables import is_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What to do where the graph is not valid.
CURE = "skl2onnx knows some steps in single precision only: train on, and pass, float32"


def holds_others(model: Any) -> bool:
    """Return whether it is an estimator of scikit-learn and not one of ours."""
    if not hasattr(model, "get_params"):
        return False
    from steepest.estimators.base import LinearEstimator

    return not isinstance(model, LinearEstimator)


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
    graph, inside = _PipelineGraph(scope, container), onnx_type(model)
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
    with needed("skl2onnx"):
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


def from_scikit_learn(model: Any, example: Any) -> Any:
    """Return the graph of an estimator that holds ours; `example` says what it takes."""
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
