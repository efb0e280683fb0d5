"""Bad input: an error that names the argument, what was expected, and what was given; never a wrong answer."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import steepest as st

X = np.arange(12.0).reshape(6, 2) % 5
Y = np.arange(6.0)
LABELS = np.array([0, 1, 0, 1, 1, 0])
NAN, INF = np.nan, np.inf
SHAPE_OF_X = "X: expected shape (n_samples, n_features); got "
EMPTY_X = "X: expected at least one row and one column; got shape "
LOSSES = "loss: expected one of cross_entropy, huber, log_loss, mse, poisson, squared_error, squared_hinge"
METHODS = "method: expected one of adam, coordinate, gd, lbfgs, momentum, nesterov, newton, sgd"
BACKENDS = "backend: expected one of auto, cupy, numpy, rust; got "
ABOVE_ZERO = "learning_rate: expected a finite number > 0; got "
RATES = "learning_rate: expected a number > 0, one of 'armijo', 'auto', 'barzilai_borwein', or a schedule such as "
START = "start: expected a Fit or a tuple (coef, intercept); got "
SHARE = "validation_fraction: expected a share of the 6 rows that leaves some on both sides; got "
TWO = np.column_stack([Y, Y[::-1]])
SPARSE = sparse.csr_array(X)


def without(values: np.ndarray[Any, Any], replacement: Any, *index: int) -> np.ndarray[Any, Any]:
    """Return a copy with one entry replaced."""
    copy = values.astype(object if isinstance(replacement, str) or replacement is None else float)
    copy[index] = replacement
    return copy


#: For both functions: argument, value, what the message says.
COMMON: list[tuple[str, Any, str]] = [
    ("X", 3.0, SHAPE_OF_X + "()"),
    ("X", np.zeros((2, 2, 2)), SHAPE_OF_X + "(2, 2, 2)"),
    ("X", np.zeros((0, 2)), EMPTY_X + "(0, 2)"),
    ("X", np.zeros((6, 0)), EMPTY_X + "(6, 0)"),
    ("X", [], EMPTY_X + "(0, 1)"),
    ("X", np.array([["a", "b"]] * 6), "X: expected numbers; got dtype <U1 (X[0, 0] is "),
    ("X", without(X, "abc", 4, 1), "X: expected numbers; X[4, 1] is 'abc'"),
    ("X", without(X, None, 5, 0), "X: expected numbers; X[5, 0] is None"),
    ("X", [[1.0], [1.0, 2.0]], "X: expected an array of numbers; "),
    ("X", X * 1j, "X: expected numbers; got dtype complex128 (X[0, 0] is "),
    ("X", np.zeros((6, 2), "datetime64[s]"), "X: expected numbers; got dtype datetime64[s]"),
    ("X", np.ma.masked_greater(X, 3), "X: expected no masked entries; fill or drop them first"),
    ("X", None, "X: expected numbers; "),
    ("X", {"a": 1}, "X: expected numbers; "),
    ("X", SPARSE * 1j, "X.data: expected numbers; got dtype complex128"),
    ("X", sparse.csr_array((0, 2)), EMPTY_X + "(0, 2)"),
    ("X", sparse.csr_array((6, 0)), EMPTY_X + "(6, 0)"),
    ("y", None, "y: expected targets; got None"),
    ("y", Y[:5], "y: expected shape (6,); got (5,)"),
    ("y", TWO[:5], "y: expected shape (6, width ≥ 2); got (5, 2)"),
    ("y", without(TWO, NAN, 4, 1), "y: expected finite numbers; y[4, 1] is nan"),
    ("y", TWO[:, :, np.newaxis], "y: expected shape (6,); got (6, 2, 1)"),
    ("y", sparse.csr_array(TWO), "y: expected a dense array; got a sparse csr_array; y.toarray() makes a dense one"),
    ("y", [], "y: expected shape (6,); got (0,)"),
    ("y", [[0], [1, 2]] * 3, "y: expected "),
    ("y", {"a": 1}, "y: expected numbers; "),
    ("y", Y[:, np.newaxis], "y: expected shape (6,); got (6, 1); y.ravel() makes it flat"),
    ("y", 1.0, "y: expected shape (6,); got ()"),
    ("y", list("abcdef"), "y: expected numbers; got dtype <U1 (y[0] is "),
    ("y", without(Y, "x", 2), "y: expected numbers; y[2] is 'x'"),
    ("y", Y * 1j, "y: expected numbers; got dtype complex128"),
    ("y", without(Y, NAN, 2), "y: expected finite numbers; y[2] is nan"),
    ("y", without(Y, -INF, 5), "y: expected finite numbers; y[5] is -inf"),
    ("y", np.ma.masked_greater(Y, 3), "y: expected no masked entries"),
    ("classes", [0, 1], "classes: expected None for loss 'mse'"),
    ("loss", "msse", LOSSES + "; got 'msse'; did you mean 'mse'?"),
    ("loss", "square_hinge", LOSSES + "; got 'square_hinge'; did you mean 'squared_hinge'?"),
    ("loss", "hinge", LOSSES + "; got 'hinge'"),
    ("loss", None, LOSSES + " or a loss; got None"),
    ("loss", 3, LOSSES + " or a loss; got 3"),
    ("loss", st.Huber, LOSSES + " or a loss; got <class "),
    ("loss", st.Momentum(), LOSSES + " or a loss; got Momentum("),
    ("alpha", -1.0, "alpha: expected a finite number ≥ 0; got -1.0"),
    ("alpha", NAN, "alpha: expected a finite number ≥ 0; got nan"),
    ("alpha", INF, "alpha: expected a finite number ≥ 0; got inf"),
    ("alpha", "1", "alpha: expected a finite number ≥ 0; got '1'"),
    ("alpha", True, "alpha: expected a finite number ≥ 0; got True"),
    ("alpha", [0.1], "alpha: expected a finite number ≥ 0; got [0.1]"),
    ("alpha", None, "alpha: expected a finite number ≥ 0; got None"),
    ("l1_ratio", 2, "l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got 2"),
    ("l1_ratio", 1.0000001, "l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got 1.0000001"),
    ("l1_ratio", -0.1, "l1_ratio: expected a finite number ≥ 0; got -0.1"),
    ("l1_ratio", NAN, "l1_ratio: expected a finite number ≥ 0; got nan"),
    ("l1_ratio", "x", "l1_ratio: expected a finite number ≥ 0; got 'x'"),
    ("l1_ratio", None, "l1_ratio: expected a finite number ≥ 0; got None"),
    ("l1_ratio", True, "l1_ratio: expected a finite number ≥ 0; got True"),
    ("offset", np.ones(5), "offset: expected shape (6,); got (5,)"),
    ("offset", np.ones((6, 1)), "offset: expected shape (6,); got (6, 1); offset.ravel() makes it flat"),
    ("offset", np.ones((6, 2)), "offset: expected shape (6,); got (6, 2)"),
    ("offset", 1.0, "offset: expected shape (6,); got ()"),
    ("offset", without(Y, NAN, 2), "offset: expected finite numbers; offset[2] is nan"),
    ("offset", without(Y, -INF, 0), "offset: expected finite numbers; offset[0] is -inf"),
    ("offset", ["a"] * 6, "offset: expected numbers; got dtype <U1 (offset[0] is "),
    ("offset", Y * 1j, "offset: expected numbers; got dtype complex128"),
    ("offset", SPARSE, "offset: expected a dense array; got a sparse csr_array"),
    ("sample_weight", SPARSE, "sample_weight: expected a dense array; got a sparse csr_array"),
    ("sample_weight", Y * 1j, "sample_weight: expected numbers; got dtype complex128"),
    ("sample_weight", np.ones(5), "sample_weight: expected shape (6,); got (5,)"),
    ("sample_weight", np.ones((6, 1)), "(6,); got (6, 1); sample_weight.ravel() makes it flat"),
    ("sample_weight", 2.0, "sample_weight: expected shape (6,); got ()"),
    ("sample_weight", np.zeros(6), "sample_weight: expected at least one weight > 0; all are 0"),
    ("sample_weight", without(Y, -0.5, 3), "sample_weight: expected no negative weight; sample_weight[3] is -0.5"),
    ("sample_weight", without(Y, NAN, 1), "sample_weight: expected finite numbers; sample_weight[1] is nan"),
    ("sample_weight", without(Y, INF, 4), "sample_weight: expected finite numbers; sample_weight[4] is inf"),
    ("sample_weight", ["a"] * 6, "sample_weight: expected numbers; got dtype <U1"),
    ("backend", "ruts", BACKENDS + "'ruts'; did you mean 'rust'?"),
    ("backend", "gpu", BACKENDS + "'gpu'"),
    ("backend", None, BACKENDS + "None"),
    ("n_threads", 0, "n_threads: expected an integer ≥ 1; got 0"),
    ("n_threads", -2, "n_threads: expected an integer ≥ 1; got -2"),
    ("n_threads", 2.0, "n_threads: expected an integer ≥ 1; got 2.0"),
    ("n_threads", True, "n_threads: expected an integer ≥ 1; got True"),
    ("n_threads", "2", "n_threads: expected an integer ≥ 1; got '2'"),
]

DESCEND: list[tuple[str, Any, str]] = [
    ("fit_intercept", 1, "fit_intercept: expected True or False; got 1"),
    ("fit_intercept", "no", "fit_intercept: expected True or False; got 'no'"),
    ("fit_intercept", None, "fit_intercept: expected True or False; got None"),
    ("method", "gdd", METHODS + "; got 'gdd'; did you mean 'gd'?"),
    ("method", None, METHODS + " or a method; got None"),
    ("method", 3, METHODS + " or a method; got 3"),
    ("method", st.Momentum, METHODS + " or a method; got <class "),
    ("method", st.Huber(), METHODS + " or a method; got Huber("),
    ("method", st.Adam(batch_size=7), "batch_size: expected at most the number of rows, 6; got 7"),
    ("method", st.StochasticGradientDescent(batch_size=7), "batch_size: expected at most the number of rows, 6; got 7"),
    ("learning_rate", 0, ABOVE_ZERO + "0"),
    ("learning_rate", -0.1, ABOVE_ZERO + "-0.1"),
    ("learning_rate", NAN, ABOVE_ZERO + "nan"),
    ("learning_rate", INF, ABOVE_ZERO + "inf"),
    ("learning_rate", True, ABOVE_ZERO + "True"),
    ("learning_rate", None, ABOVE_ZERO + "None"),
    ("learning_rate", "aut", RATES),
    ("learning_rate", "aut", "got 'aut'"),
    ("learning_rate", "constant", RATES),
    ("learning_rate", [0.1], ABOVE_ZERO + "[0.1]"),
    ("learning_rate", st.Constant, ABOVE_ZERO + "<class"),
    ("batch_size", 2, "batch_size: method 'gd' uses all rows at every step; methods with mini-batches: adam, sgd"),
    ("batch_size", 0, "batch_size: expected an integer ≥ 1; got 0"),
    ("batch_size", -3, "batch_size: expected an integer ≥ 1; got -3"),
    ("batch_size", 2.0, "batch_size: expected an integer ≥ 1; got 2.0"),
    ("batch_size", True, "batch_size: expected an integer ≥ 1; got True"),
    ("batch_size", "all", "batch_size: expected an integer ≥ 1; got 'all'"),
    ("max_seconds", 0, "max_seconds: expected a finite number > 0; got 0"),
    ("max_seconds", -1, "max_seconds: expected a finite number > 0; got -1"),
    ("max_seconds", NAN, "max_seconds: expected a finite number > 0; got nan"),
    ("max_seconds", INF, "max_seconds: expected a finite number > 0; got inf"),
    ("max_seconds", "1", "max_seconds: expected a finite number > 0; got '1'"),
    ("max_seconds", True, "max_seconds: expected a finite number > 0; got True"),
    ("target_loss", NAN, "target_loss: expected a finite number; got nan"),
    ("target_loss", -INF, "target_loss: expected a finite number; got -inf"),
    ("target_loss", "0", "target_loss: expected a finite number; got '0'"),
    ("target_loss", True, "target_loss: expected a finite number; got True"),
    ("eval_set", 3, "eval_set: expected a pair (X, y); got int"),
    ("eval_set", X, "eval_set: expected a pair (X, y); got ndarray"),
    ("eval_set", (X,), "eval_set: expected a pair (X, y); got "),
    ("eval_set", (X, Y, Y), "eval_set: expected a pair (X, y); got "),
    ("eval_set", {"X": X, "y": Y}, "eval_set: expected a pair (X, y); got dict"),
    ("eval_set", (X[:, :1], Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (SPARSE[:, [0]], Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (Y, Y), "eval_set: X: expected 2 columns; got 1"),
    ("eval_set", (X, Y[:5]), "eval_set: y: expected shape (6,); got (5,)"),
    ("eval_set", (X, TWO), "eval_set: y: expected 1 targets; got 2"),
    ("eval_set", (X[:0], Y[:0]), "eval_set: " + EMPTY_X + "(0, 2)"),
    ("eval_set", (None, Y), "eval_set: X: expected numbers; "),
    ("eval_set", (X, None), "eval_set: y: expected numbers; y is None"),
    ("eval_set", (X, without(Y, NAN, 3)), "eval_set: y: expected finite numbers; y[3] is nan"),
    ("eval_set", (X * 1j, Y), "eval_set: X: expected numbers; got dtype complex128"),
    ("validation_fraction", 0, "validation_fraction: expected a finite number > 0; got 0"),
    ("validation_fraction", -0.5, "validation_fraction: expected a finite number > 0; got -0.5"),
    ("validation_fraction", NAN, "validation_fraction: expected a finite number > 0; got nan"),
    ("validation_fraction", "half", "validation_fraction: expected a finite number > 0; got 'half'"),
    ("validation_fraction", True, "validation_fraction: expected a finite number > 0; got True"),
    ("validation_fraction", 1, SHARE + "1"),
    ("validation_fraction", 1.5, SHARE + "1.5"),
    ("validation_fraction", 0.01, SHARE + "0.01"),
    ("validation_fraction", 0.99, SHARE + "0.99"),
    ("patience", 0, "patience: expected an integer ≥ 1; got 0"),
    ("patience", -1, "patience: expected an integer ≥ 1; got -1"),
    ("patience", 2.5, "patience: expected an integer ≥ 1; got 2.5"),
    ("patience", None, "patience: expected an integer ≥ 1; got None"),
    ("precondition", "yes", "precondition: expected True, False or 'auto'; got 'yes'"),
    ("precondition", 1, "precondition: expected True, False or 'auto'; got 1"),
    ("precondition", None, "precondition: expected True, False or 'auto'; got None"),
    ("random_state", -1, "random_state: expected an integer ≥ 0; got -1"),
    ("random_state", 1.0, "random_state: expected an integer ≥ 0; got 1.0"),
    ("random_state", None, "random_state: expected an integer ≥ 0; got None"),
    ("random_state", "x", "random_state: expected an integer ≥ 0; got 'x'"),
    ("random_state", np.random.default_rng(0), "random_state: expected an integer ≥ 0; got Generator"),
    ("n_steps", -1, "n_steps: expected an integer ≥ 0; got -1"),
    ("n_steps", 10.0, "n_steps: expected an integer ≥ 0; got 10.0"),
    ("n_steps", True, "n_steps: expected an integer ≥ 0; got True"),
    ("n_steps", None, "n_steps: expected an integer ≥ 0; got None"),
    ("tol", -1e-9, "tol: expected a finite number ≥ 0; got -1e-09"),
    ("tol", NAN, "tol: expected a finite number ≥ 0; got nan"),
    ("tol", "small", "tol: expected a finite number ≥ 0; got 'small'"),
    ("tol", None, "tol: expected a finite number ≥ 0; got None"),
    ("start", 5, START + "5"),
    ("start", [np.zeros(2), 0.0], START + "[array([0., 0.]), 0.0]"),
    ("start", (np.zeros(2), 0.0, 0.0), START),
    ("start", (["a", "b"], 0.0), "start: coef: expected numbers; got dtype <U1 (coef[0] is "),
    ("start", (np.zeros(2), None), "start: intercept: expected numbers; "),
    ("start", (SPARSE, 0.0), "start: coef: expected a dense array"),
    ("start", "zero", START + "'zero'"),
    ("start", (np.zeros(2),), START + "(array([0., 0.]),)"),
    ("start", (np.zeros(3), 0.0), "start: coef: expected shape (2,); got (3,)"),
    ("start", (np.zeros((1, 2)), 0.0), "start: coef: expected shape (2,); got (1, 2)"),
    ("start", (np.zeros(2), np.zeros(2)), "start: intercept: expected 1 numbers; got shape (2,)"),
    ("start", ([0.0, NAN], 0.0), "start: coef and intercept: expected finite numbers"),
    ("start", (np.zeros(2), INF), "start: coef and intercept: expected finite numbers"),
    ("strategy", "streem", "strategy: expected one of auto, gram, stream; got 'streem'; did you mean 'stream'?"),
    ("strategy", None, "strategy: expected one of auto, gram, stream; got None"),
    ("callback", 3, "callback: expected a callable or None; got 3"),
    ("callback", "print", "callback: expected a callable or None; got 'print'"),
    ("progress", "no", "progress: expected True or False; got 'no'"),
    ("checkpoint", 3, "checkpoint: expected a path or a Checkpoint; got 3"),
    ("checkpoint", b"run", "checkpoint: expected a path or a Checkpoint; got b'run'"),
]

EVALUATE: list[tuple[str, Any, str]] = [
    ("coef", np.zeros(3), "coef: expected shape (2,); got (3,)"),
    ("coef", np.zeros((1, 2)), "coef: expected shape (2,); got (1, 2)"),
    ("coef", None, "coef: expected numbers; "),
    ("coef", [0.0, NAN], "coef and intercept: expected finite numbers"),
    ("intercept", np.zeros(3), "intercept: expected 1 numbers; got shape (3,)"),
    ("intercept", INF, "coef and intercept: expected finite numbers"),
    ("intercept", "b", "intercept: expected numbers; "),
]

#: What is refused only where it meets something else.
TOGETHER: list[tuple[str, dict[str, Any], str]] = [
    ("y", {"loss": "poisson", "y": Y - 1}, "y: expected counts ≥ 0 for loss 'poisson'; y[0] is -1.0"),
    ("y", {"loss": "poisson", "y": without(Y, NAN, 2)}, "y: expected finite numbers; y[2] is nan"),
    ("y", {"loss": "poisson", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "huber", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "huber", "y": list("abcdef")}, "y: expected numbers; got dtype <U1"),
    ("y", {"loss": st.Huber(2.0), "y": without(Y, INF, 1)}, "y: expected finite numbers; y[1] is inf"),
    ("y", {"loss": "squared_hinge", "y": [0, 1, 2, 0, 1, 2]}, "y: expected at most 2 classes for this loss; got 3"),
    ("y", {"loss": "squared_hinge", "y": [0, 1, 2, 0, 1, 2]}, "loss='log_loss' takes any number"),
    ("y", {"loss": "squared_hinge", "y": [1] * 6}, "y: expected at least two classes; got 1 class: every label is 1"),
    ("y", {"loss": "squared_hinge", "y": Y + 0.5}, "y[0] is 0.5; loss='mse' predicts numbers"),
    ("y", {"loss": "squared_hinge", "y": Y + 0.5}, "y: expected class labels for loss 'squared_hinge'"),
    ("y", {"loss": "squared_hinge", "y": TWO}, "y: expected shape (6,); got (6, 2)"),
    ("y", {"loss": "log_loss", "y": [[1.5, -0.5]] * 6}, "y: expected no negative probability; y[0, 1] is -0.5"),
    (
        "y",
        {"loss": "log_loss", "y": [[0.5, 0.5]] * 5 + [[0.5, 0.4]]},
        "y: expected rows of probabilities that sum to 1",
    ),
    ("y", {"loss": "log_loss", "y": [[0.5, 0.5]] * 5 + [[0.5, 0.4]]}, "; y[5] sums to 0.9"),
    ("y", {"loss": "log_loss", "y": [[0.5, NAN]] * 6}, "y: expected finite numbers; y[0, 1] is nan"),
    ("y", {"loss": "log_loss", "y": [[0.5, 0.5]] * 5}, "y: expected shape (6, width ≥ 2); got (5, 2)"),
    ("y", {"loss": "log_loss", "y": [["a", "b"]] * 6}, "y: expected numbers; got dtype <U1 (y[0, 0] is "),
    ("classes", {"loss": "huber", "classes": [0, 1]}, "classes: expected None for loss 'huber'"),
    ("classes", {"loss": "poisson", "classes": [0, 1]}, "classes: expected None for loss 'poisson'"),
    ("classes", {"loss": "log_loss", "y": LABELS, "classes": [0, 2]}, "y: expected labels among [0, 2]; got 1"),
    ("classes", {"loss": "squared_hinge", "y": LABELS, "classes": [0, 2]}, "y: expected labels among [0, 2]; got 1"),
    ("classes", {"loss": "squared_hinge", "y": LABELS, "classes": [0, 1, 2]}, "at most 2 classes for this loss; got 3"),
    (
        "classes",
        {"loss": "log_loss", "y": [[0.5, 0.5]] * 6, "classes": [0, 1, 2]},
        "classes: expected 2 labels, one a column of y; got [0, 1, 2]",
    ),
    ("offset", {"y": TWO, "offset": Y}, "offset: expected shape (6, 2); got (6,)"),
    ("offset", {"y": TWO, "offset": np.ones((6, 3))}, "offset: expected shape (6, 2); got (6, 3)"),
    ("offset", {"y": TWO, "offset": without(TWO, NAN, 1, 1)}, "offset: expected finite numbers; offset[1, 1] is nan"),
    ("offset", {"loss": "log_loss", "y": list("abcabc"), "offset": Y}, "offset: expected shape (6, 3); got (6,)"),
]
#: The same, for options that only `descend` has.
TOGETHER_DESCEND: list[tuple[str, dict[str, Any], str]] = [
    ("strategy", {"loss": "huber", "strategy": "gram"}, "strategy: 'gram' needs sufficient statistics of all rows;"),
    ("strategy", {"method": "sgd", "strategy": "gram"}, "statistics of all rows; method 'sgd' uses mini-batches; pass"),
    *(
        ("l1_ratio", {"method": method, "alpha": 1.0, "l1_ratio": 0.5}, message)
        for method in ("lbfgs", "newton", st.Lbfgs(memory=3))
        for message in ("needs a smooth penalty, l1_ratio=0; methods that", "auto, gd, momentum, nesterov, adam, sgd")
    ),
    *(
        ("learning_rate", {"method": method, "learning_rate": rate}, message)
        for method in ("lbfgs", "newton", "auto")
        for rate in (0.1, "armijo", st.Cosine(0.1, n_steps=5))
        for message in ("searches for its own step sizes, learning_rate='auto'; methods that take one: gd, momentum",)
    ),
    *(
        (
            "learning_rate",
            {"method": method, "learning_rate": rate},
            f"{name!r} is for method 'gd'; got method {method!r}",
        )
        for method in ("nesterov", "momentum", "adam", "sgd")
        for rate, name in (("armijo", "armijo"), (st.BarzilaiBorwein(), "barzilai_borwein"))
    ),
    *(
        ("batch_size", {"method": method, "batch_size": size}, message)
        for method in ("sgd", "adam", "auto", st.Adam(), st.StochasticGradientDescent(batch_size=2))
        for size, message in (
            (7, "batch_size: expected at most the number of rows, 6; got 7"),
            (0, "batch_size: expected an integer ≥ 1; got 0"),
            ("x", "batch_size: expected an integer ≥ 1; got 'x'"),
        )
    ),
    *(
        (
            "batch_size",
            {"method": method, "batch_size": 2},
            f"batch_size: method {method!r} uses all rows at every step",
        )
        for method in ("gd", "momentum", "nesterov", "lbfgs", "newton")
    ),
    (
        "validation_fraction",
        {"eval_set": (X, Y), "validation_fraction": 0.5},
        "validation_fraction: expected None where eval_set is given; pass one of the two",
    ),
    (
        "validation_fraction",
        {"validation_fraction": 0.5, "sample_weight": np.eye(6)[2]},
        "validation_fraction: every row on one side has weight 0",
    ),
    ("eval_set", {"y": TWO, "eval_set": (X, Y)}, "eval_set: y: expected 2 targets; got 1"),
    ("eval_set", {"y": LABELS, "loss": "log_loss", "eval_set": (X, 2 * LABELS)}, "eval_set: y: expected labels among "),
    (
        "eval_set",
        {"y": LABELS, "loss": "log_loss", "eval_set": (X, list("abcdef"))},
        "eval_set: y: expected labels amo",
    ),
    ("eval_set", {"y": LABELS, "loss": "log_loss", "eval_set": (X, LABELS[:2])}, "eval_set: y: expected shape (6,)"),
    ("eval_set", {"loss": "poisson", "eval_set": (X, -Y)}, "eval_set: y: expected counts ≥ 0 for loss 'poisson'; y[1]"),
    ("start", {"y": TWO, "start": (np.zeros(2), 0.0)}, "start: coef: expected shape (2, 2); got (2,)"),
    (
        "start",
        {"y": TWO, "start": (np.zeros((2, 2)), np.zeros(3))},
        "start: intercept: expected 2 numbers; got shape (3,",
    ),
    (
        "start",
        {"fit_intercept": False, "start": (np.zeros(2), 1.0)},
        "start: intercept: expected 0 with fit_intercept=",
    ),
]
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

#: With loss="log_loss" and labels as y.
LABELLED: list[tuple[str, Any, str]] = [
    ("y", None, "y: expected targets; got None"),
    ("y", LABELS[:5], "y: expected shape (6,); got (5,)"),
    ("y", LABELS[:, np.newaxis], "y: expected shape (6,); got (6, 1)"),
    ("y", np.ones(6, dtype=int), "y: expected at least two classes; got 1 class: every label is "),
    ("y", without(LABELS, 0.5, 2), "y[2] is 0.5; loss='mse' predicts numbers"),
    ("y", without(LABELS, NAN, 4), "y: expected finite numbers; y[4] is nan"),
    ("y", without(LABELS, INF, 0), "y: expected finite numbers; y[0] is inf"),
    ("y", without(LABELS, "a", 3), "y: expected labels of one type; "),
    ("y", without(np.array(list("aabbab")), None, 3), "y: expected labels of one type; "),
    ("y", np.ma.masked_array(LABELS, mask=LABELS == 1), "y: expected no masked entries"),
    ("y", [[0], [1, 2]] * 3, "y: expected "),
    ("y", without(LABELS, NAN, 2).astype(object), "y: expected "),
    ("y", [0, 1, "a", 1, 0, 1], "y: expected labels of one type; got text and 0"),
]


def assert_refused(function: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(st.InputError) as caught:
        function(**arguments)
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, st.SteepestError)


def named(cases: list[tuple[str, Any, str]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("argument", "value", "message"), cases, ids=[f"{i}-{name}" for i, (name, _, _) in enumerate(cases)]
    )


@named(COMMON + DESCEND)
def test_descend(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


ITERATED = set(inspect.signature(st.descend).parameters) - {
    "max_seconds",
    "target_loss",
    "eval_set",
    "validation_fraction",
    "patience",
    "callback",
    "checkpoint",
    "progress",
}


@named([row for row in COMMON + DESCEND if row[0] in ITERATED])
def test_iterate(argument: str, value: Any, message: str) -> None:
    """At once, not at the first step."""
    assert_refused(st.iterate, {"X": X, "y": Y, "n_steps": 1} | {argument: value}, message)


@pytest.mark.parametrize("option", [*sorted(set(inspect.signature(st.descend).parameters) - ITERATED), "learnig_rate"])
def test_iterate_names_an_option_that_it_does_not_have(option: str) -> None:
    arguments = {"X": X, "y": Y, "learning_rate": 0.1, option: 1}
    assert_refused(st.iterate, arguments, f"iterate: {option!r} is not one of its options: ")


@named(COMMON + EVALUATE)
def test_loss_and_gradient(argument: str, value: Any, message: str) -> None:
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | {argument: value}, message)


@named(TOGETHER + TOGETHER_DESCEND)
def test_what_does_not_go_together(argument: str, value: dict[str, Any], message: str) -> None:
    assert argument in value
    for backend in ("rust", "numpy"):
        assert_refused(st.descend, {"X": X, "y": Y, "n_steps": 1, "backend": backend} | value, message)


@named(TOGETHER)
def test_what_does_not_go_together_in_an_evaluation(argument: str, value: dict[str, Any], message: str) -> None:
    assert argument in value
    assert_refused(st.loss_and_gradient, {"X": X, "y": Y, "coef": np.zeros(2)} | value, message)


@pytest.mark.parametrize(
    ("kind", "needs", "field", "value", "message"),
    DESCRIPTIONS,
    ids=[f"{kind.__name__}-{field}-{value}" for kind, _, field, value, _ in DESCRIPTIONS],
)
def test_descriptions(kind: type, needs: dict[str, Any], field: str, value: Any, message: str) -> None:
    assert kind(**needs | ({} if field in needs else {field: GOOD[field]}))
    assert_refused(kind, needs | {field: value}, message)


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


def test_every_field_is_tested() -> None:
    kinds: list[Any] = [getattr(st, name) for name in st.__all__]
    results = {st.Fit, st.History, st.LinearModel, st.SufficientStatistics}
    described = [kind for kind in kinds if dataclasses.is_dataclass(kind) and kind not in results]
    fields = {(kind, field.name) for kind in described for field in dataclasses.fields(kind)}
    # The numbers of targets and of classes are those of y, whatever the description says.
    fields -= {(st.Mse, "n_targets"), (st.LogLoss, "n_classes"), (st.LogLoss, "probabilities")}
    assert fields == {(kind, field) for kind, _, field, _, _ in DESCRIPTIONS}


@pytest.mark.parametrize(
    ("good", "given"),
    [
        ({"loss": "mse"}, {"loss": st.Mse(n_targets=3)}),
        ({"loss": "log_loss"}, {"loss": st.LogLoss(n_classes=5, probabilities=True)}),
    ],
)
def test_what_y_says_counts(good: dict[str, Any], given: dict[str, Any]) -> None:
    one, other = (st.descend(X, LABELS, n_steps=2, **options) for options in (good, given))
    assert one.coef.tobytes() == other.coef.tobytes()


SMALL = np.array([[1.0, 0, 2, 0], [0, 0, 0, 3], [4, 5, 0, 0]])


def broken(**parts: Any) -> Any:
    """Return a sparse matrix of 3 rows and 4 columns with a part of it changed behind its back."""
    matrix = sparse.csr_array(SMALL)
    for name, values in parts.items():
        setattr(matrix, name, np.array(values, dtype=getattr(matrix, name).dtype))
    return matrix


BROKEN: dict[str, dict[str, Any]] = {
    "indptr falls": {"indptr": [0, 3, 2, 5]},
    "indptr does not begin at 0": {"indptr": [1, 2, 3, 5]},
    "indptr is negative": {"indptr": [0, -1, 3, 5]},
    "indptr ends too late": {"indptr": [0, 2, 3, 6]},
    "indptr goes far beyond": {"indptr": [0, 2, 2**31 - 1, 5]},
    "indptr is too short": {"indptr": [0, 2, 5]},
    "indptr is too long": {"indptr": [0, 2, 3, 5, 5]},
    "index out of range": {"indices": [0, 4, 3, 0, 1]},
    "index far out of range": {"indices": [0, 2**31 - 1, 3, 0, 1]},
    "index is negative": {"indices": [0, -1, 3, 0, 1]},
    "fewer indices than entries": {"indices": [0, 2, 3, 0]},
    "fewer entries than indices": {"data": [1, 2, 3, 4]},
}


@pytest.mark.parametrize("parts", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("width", [np.int32, np.int64])
def test_broken_sparse_matrices(backend: str, width: Any, parts: dict[str, Any]) -> None:
    """Refused, not read from where nothing is."""
    matrix = broken(**parts)
    matrix.indices, matrix.indptr = matrix.indices.astype(width), matrix.indptr.astype(width)
    message = "X: the sparse matrix is broken: "
    assert_refused(st.descend, {"X": matrix, "y": Y[:3], "n_steps": 2, "backend": backend}, message)
    arguments = {"X": matrix, "y": Y[:3], "coef": np.ones(4), "backend": backend}
    assert_refused(st.loss_and_gradient, arguments, message)
    good = broken()
    assert_refused(st.descend, {"X": good, "y": Y[:3], "eval_set": (matrix, Y[:3]), "backend": backend}, message)
    for options in ({"precondition": True}, {"method": "newton"}, {"method": "sgd"}, {"validation_fraction": 0.4}):
        assert_refused(st.descend, {"X": matrix, "y": Y[:3], "n_steps": 2, "backend": backend} | options, message)


@named(LABELLED)
def test_labels(argument: str, value: Any, message: str) -> None:
    assert_refused(st.descend, {"X": X, "y": LABELS, "loss": "log_loss", "n_steps": 1} | {argument: value}, message)


@named(
    [
        ("classes", [1, 2], "y: expected labels among [1, 2]; got "),
        ("classes", ["a", "b"], "y: expected labels among ['a', 'b']; got "),
        ("classes", [0], "classes: expected at least two"),
        ("classes", [[0, 1]], "classes: expected shape "),
        ("classes", [0, 0, 1], "classes: expected at least two different labels; got [0, 0, 1]"),
        ("classes", [], "classes: expected at least two different labels; got []"),
        ("classes", 5, "classes: expected shape (n_classes,); got ()"),
        ("coef", np.zeros((2, 2)), "coef: expected shape (2,); got (2, 2)"),
    ]
)
def test_classes(argument: str, value: Any, message: str) -> None:
    arguments = {"X": X, "y": LABELS, "coef": np.zeros(2), "loss": "log_loss"}
    assert_refused(st.loss_and_gradient, arguments | {argument: value}, message)


@pytest.mark.parametrize(
    ("function", "tables"),
    [(st.descend, COMMON + DESCEND), (st.loss_and_gradient, COMMON + EVALUATE)],
    ids=["descend", "loss_and_gradient"],
)
def test_every_argument_is_tested(function: Any, tables: list[tuple[str, Any, str]]) -> None:
    assert {name for name, _, _ in tables} == set(inspect.signature(function).parameters)


def test_a_hessian_that_fits_nowhere_is_refused() -> None:
    wide = sparse.csr_array(([1.0, 2.0], ([0, 1], [0, 8999])), shape=(6, 9000))
    message = "method 'newton': 9001 parameters need a Hessian of "
    assert_refused(st.descend, {"X": wide, "y": Y, "method": "newton", "n_steps": 1}, message)
    assert st.descend(wide, Y, method="auto", n_steps=1).method == "lbfgs"


def test_sparse_matrices_with_room_to_spare_are_taken(backend: str) -> None:
    """SciPy allows more entries than the pointers speak of, whatever they are."""
    matrix = broken(data=[1, 2, 3, 4, 5, NAN], indices=[0, 2, 3, 0, 1, 99])
    fit, exact = (st.descend(design, Y[:3], n_steps=3, backend=backend) for design in (matrix, SMALL))
    assert fit.coef == pytest.approx(exact.coef)


@pytest.mark.parametrize("make", ["csr_array", "csc_array", "coo_array", "csr_matrix", "dok_array", "lil_array"])
def test_sparse_of_every_kind_is_taken(backend: str, make: str) -> None:
    fit = st.descend(getattr(sparse, make)(X), Y, n_steps=3, backend=backend)
    assert fit.coef == pytest.approx(st.descend(X, Y, n_steps=3, backend=backend).coef)


@pytest.mark.parametrize("argument", ["alpha", "learning_rate", "tol", "X", "y"])
def test_numbers_too_large_for_any_type(backend: str, argument: str) -> None:
    arguments: dict[str, Any] = {"X": X, "y": Y, "n_steps": 1, "backend": backend}
    given = 10**400
    arguments[argument] = {"X": [[given, 1]] * 6, "y": [given] * 6}.get(argument, given)
    assert_refused(st.descend, arguments, f"{argument}: expected ")


@pytest.mark.parametrize("argument", ["n_steps", "n_threads"])
def test_counts_too_large_for_any_machine(backend: str, argument: str) -> None:
    """Either it is refused by name, or it does no harm."""
    arguments: dict[str, Any] = {"n_steps": 1, argument: 2**64}
    try:
        fit = st.descend(X, Y, callback=lambda info: info.step == 1, backend=backend, **arguments)
    except st.InputError as error:
        assert f"{argument}: expected " in str(error)  # noqa: PT017
    else:
        assert fit.n_steps == 1


def test_complex_numbers_among_objects() -> None:
    """The imaginary part is not to be dropped."""
    values = X.astype(object)
    values[1, 0] = np.complex128(1j)
    assert_refused(st.descend, {"X": values, "y": Y}, "X[1, 0] is ")


def test_target_too_large_for_the_type_of_the_design() -> None:
    """The number given is the one named, not what single precision makes of it."""
    assert_refused(st.descend, {"X": X.astype(np.float32), "y": without(Y, 1e300, 2)}, "y[2] is 1e+300")


def test_target_that_the_type_of_the_design_cannot_tell_apart() -> None:
    """Timestamps and the like: in single precision they would be one number."""
    arguments = {"X": X.astype(np.float32), "y": 1e9 + Y}
    assert_refused(st.descend, arguments, "y: rounding it to the float32 of X would lose")
    assert st.descend(X, 1e9 + Y, n_steps=1).n_steps == 1


def test_weights_whose_sum_is_too_large(backend: str) -> None:
    """Either the right average or an error; not an average of nothing."""
    weights = np.full(6, 1e308)
    try:
        value, _, _ = st.loss_and_gradient(X, np.full(6, 1e-3), [0.0, 0.0], sample_weight=weights, backend=backend)
    except st.InputError as error:
        assert "sample_weight" in str(error)  # noqa: PT017
    else:
        assert value == pytest.approx(1e-6)


def test_start_without_an_intercept_to_start_from() -> None:
    arguments = {"X": X, "y": Y, "fit_intercept": False, "start": (np.zeros(2), 1.0)}
    assert_refused(st.descend, arguments, "intercept: expected 0 with fit_intercept=False")


def test_start_from_a_fit_of_other_data() -> None:
    fit = st.descend(X[:, :1], Y, n_steps=1)
    assert_refused(st.descend, {"X": X, "y": Y, "start": fit}, "start: coef: expected shape (2,); got (1,)")
    labelled = st.descend(X, LABELS, loss="log_loss", n_steps=1)
    message = "start: expected a fit of loss 'mse' with classes none; got one of 'log_loss' with classes [0, 1]"
    assert_refused(st.descend, {"X": X, "y": Y, "start": labelled}, message)
    message = "start: expected a fit of loss 'log_loss' with classes [0, 2]; got one of 'log_loss' with classes [0, 1]"
    assert_refused(st.descend, {"X": X, "y": 2 * LABELS, "loss": "log_loss", "start": labelled}, message)


def test_masked_array_without_masked_entries_is_an_array() -> None:
    fit, masked = (st.descend(design, Y, n_steps=2) for design in (X, np.ma.masked_array(X)))
    assert np.array_equal(fit.coef, masked.coef)


def test_one_row(backend: str) -> None:
    """Enough for least squares; for classes it is one class."""
    fit = st.descend([[1.0, 2.0]], [3.0], tol=1e-9, backend=backend)
    assert fit.loss == pytest.approx(0, abs=1e-15)
    assert_refused(st.descend, {"X": [[1.0, 2.0]], "y": [3], "loss": "log_loss"}, "y: expected at least two classes")


def test_every_error_of_the_package_has_its_base() -> None:
    errors = [st.InputError, st.DivergenceError, st.BackendUnavailableError, st.ModelFileError]
    assert all(issubclass(error, st.SteepestError) for error in errors)
    assert issubclass(st.BackendUnavailableError, RuntimeError)
    assert issubclass(st.DivergenceError, ArithmeticError)
    assert issubclass(st.ConvergenceWarning, UserWarning)


@pytest.mark.parametrize(("function", "options"), [(st.descend, {}), (st.loss_and_gradient, {"coef": [0, 0]})])
def test_backend_that_cannot_run_says_what_to_do(function: Any, options: dict[str, Any]) -> None:
    with pytest.raises(st.BackendUnavailableError, match='backend="rust"'):
        function(X, Y, backend="cupy", **options)
