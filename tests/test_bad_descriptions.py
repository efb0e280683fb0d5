"""Bad descriptions of losses, methods, step sizes and checkpoints: refused where they are made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import steepest as st
from refusals import INF, NAN, assert_refused

#: Fields by what they may be: the class, what else it needs, the field.
POSITIVE: list[tuple[Any, dict[str, Any], str]] = [
    (st.Huber, {}, "delta"),
    (st.Adam, {}, "epsilon"),
    (st.Constant, {}, "rate"),
    (st.InverseScaling, {}, "rate"),
    (st.Exponential, {}, "rate"),
    (st.Exponential, {"rate": 0.1}, "decay"),
    (st.Cosine, {"n_steps": 5}, "rate"),
    (st.Armijo, {}, "rate"),
    (st.Armijo, {}, "share"),
]
NOT_NEGATIVE: list[tuple[Any, dict[str, Any], str]] = [
    (st.Momentum, {}, "momentum"),
    (st.StochasticGradientDescent, {}, "momentum"),
    (st.Adam, {}, "beta1"),
    (st.Adam, {}, "beta2"),
    (st.InverseScaling, {"rate": 0.1}, "power"),
    (st.Cosine, {"rate": 0.1, "n_steps": 5}, "least"),
]
COUNTS: list[tuple[Any, dict[str, Any], str]] = [
    (st.Adam, {}, "batch_size"),
    (st.StochasticGradientDescent, {}, "batch_size"),
    (st.Lbfgs, {}, "memory"),
    (st.BarzilaiBorwein, {}, "memory"),
    (st.Cosine, {"rate": 0.1}, "n_steps"),
]
#: Each field of each description: its class, what else it needs, the field, a value, what the message says.
DESCRIPTIONS: list[tuple[Any, dict[str, Any], str, Any, str]] = [
    *(
        (*field, value, f"{field[2]}: expected a finite number > 0; got {value!r}")
        for field in POSITIVE
        for value in (0, -1.5, NAN, INF, "x", None, True)
    ),
    *(
        (*field, value, f"{field[2]}: expected a finite number ≥ 0; got {value!r}")
        for field in NOT_NEGATIVE
        for value in (-0.1, NAN, INF, "x", None, True)
    ),
    *(
        (*field, value, f"{field[2]}: expected an integer ≥ 1; got {value!r}")
        for field in COUNTS
        for value in (0, -2, 2.5, "x", True)
    ),
    (st.Adam, {}, "replacement", 1, "replacement: expected True or False; got 1"),
    (st.Adam, {}, "replacement", None, "replacement: expected True or False; got None"),
    (st.StochasticGradientDescent, {}, "replacement", "yes", "replacement: expected True or False; got 'yes'"),
    (st.Momentum, {}, "momentum", 1, "momentum: expected a number in [0, 1); got 1"),
    (st.StochasticGradientDescent, {}, "momentum", 1.5, "momentum: expected a number in [0, 1); got 1.5"),
    (st.Adam, {}, "beta1", 1, "beta1: expected a number in [0, 1); got 1"),
    (st.Adam, {}, "beta2", 1, "beta2: expected a number in [0, 1); got 1"),
    (st.Exponential, {"rate": 0.1}, "decay", 1.5, "decay: expected a number in (0, 1]; got 1.5"),
    (st.Armijo, {}, "share", 1, "share: expected a number in (0, 1); got 1"),
    (st.Lbfgs, {}, "memory", None, "memory: expected an integer ≥ 1; got None"),
    (st.Checkpoint, {"path": "run"}, "path", 3, "checkpoint: expected a path or a Checkpoint; got 3"),
    (st.Checkpoint, {"path": "run"}, "seconds", -1, "seconds: expected a finite number ≥ 0; got -1"),
]


#: A value that each field may have.
GOOD: dict[str, Any] = {
    "delta": 0.5,
    "rate": 0.25,
    "power": 0,
    "decay": 1,
    "least": 0.1,
    "n_steps": 1,
    "share": 0.5,
    "memory": np.int64(1),
    "momentum": 0,
    "beta1": 0,
    "beta2": 0.5,
    "epsilon": 1e-300,
    "batch_size": None,
    "replacement": np.True_,
    "seconds": 0,
}


@pytest.mark.parametrize(
    ("kind", "needs", "field", "value", "message"),
    DESCRIPTIONS,
    ids=[f"{kind.__name__}-{field}-{value}" for kind, _, field, value, _ in DESCRIPTIONS],
)
def test_descriptions(kind: type, needs: dict[str, Any], field: str, value: Any, message: str) -> None:
    assert kind(**needs | ({} if field in needs else {field: GOOD[field]}))
    assert_refused(kind, needs | {field: value}, message)


def test_every_field_is_tested() -> None:
    kinds: list[Any] = [getattr(st, name) for name in st.__all__]
    results = {st.Fit, st.History, st.LinearModel, st.SufficientStatistics}
    described = [kind for kind in kinds if dataclasses.is_dataclass(kind) and kind not in results]
    fields = {(kind, field.name) for kind in described for field in dataclasses.fields(kind)}
    # The numbers of targets and of classes are those of y, whatever the description says.
    fields -= {(st.Mse, "n_targets"), (st.LogLoss, "n_classes"), (st.LogLoss, "probabilities")}
    assert fields == {(kind, field) for kind, _, field, _, _ in DESCRIPTIONS}
