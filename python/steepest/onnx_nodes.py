"""The nodes of a linear model in an ONNX graph: MatMul, Add and the inverse link, in the model's own precision."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from steepest.errors import MissingPackageError
from steepest.losses import HIGHEST_EXPONENT, LogLoss, Poisson

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from steepest.model import LinearModel

ML = "ai.onnx.ml"
#: Of 2022: what reads ONNX at all reads these.
OPSETS, IR_VERSION = {"": 17, ML: 3}, 8


class Builder(Protocol):
    """What adds nodes and constants to a graph."""

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add numbers or texts; return their name."""

    def node(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        """Add an operation with one output; return its name."""


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Say how to get what is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingPackageError(f"ONNX export needs {error.name or package}: pip install 'steepest[onnx]'") from None


def onnx_type(model: LinearModel) -> int:
    """Return ONNX's number for the precision of the model."""
    from onnx import TensorProto

    return int(TensorProto.FLOAT if model.intercept.dtype == np.float32 else TensorProto.DOUBLE)


def emit_scores(graph: Builder, model: LinearModel, X: str) -> str:
    """Add X · coefᵀ + intercept, (n_rows, n_scores), with the coefficients stored as the model stores them."""
    if model.kept is not None:
        X = graph.node("Gather", [X, graph.constant("kept", model.kept)], axis=1)
    coef = graph.constant("coef", np.ascontiguousarray(model.coef.T))
    if model.coef.dtype != model.intercept.dtype:
        coef = graph.node("Cast", [coef], to=onnx_type(model))
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
        emit_flat(graph, scores, output)
    else:
        graph.node("Identity", [scores], output)


def emit_flat(graph: Builder, column: str, output: str | None = None) -> str:
    """Turn (n_rows, 1) into (n_rows,)."""
    return graph.node("Squeeze", [column, graph.constant("second_axis", np.array([1]))], output)


def emit_label(graph: Builder, model: LinearModel, labels: NDArray[Any], scores: str, output: str) -> None:
    """Add the label with the highest score; of two the second where its score is positive."""
    from onnx import TensorProto

    if model.fitted_loss.width == 1:
        zero = graph.constant("zero", np.zeros(1, model.intercept.dtype))
        positive = graph.node("Cast", [graph.node("Greater", [scores, zero])], to=TensorProto.INT64)
        number = emit_flat(graph, positive)
    else:
        number = graph.node("ArgMax", [scores], axis=1, keepdims=0)
    graph.node("Gather", [graph.constant("classes", labels), number], output, axis=0)
