"""From a table to a model: the optimum in the table's units, and honest held-out figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge

from steepest import InputError
from steepest.methods import METHODS
from steepest.training import Options, Training, prepare, train

OPTIONS = Options(tol=1e-12, n_steps=100_000)


def table(n_rows: int = 300) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "metres": generator.normal(1000, 50, n_rows),
            "grams": generator.normal(0, 0.01, n_rows),
            "kind": generator.choice(["a", "b", "c"], n_rows, p=[0.5, 0.3, 0.2]),
        }
    )
    effect = frame["kind"].map({"a": 0.0, "b": 2.0, "c": -1.0})
    frame["y"] = 0.1 * frame["metres"] + 30 * frame["grams"] + effect + generator.normal(size=n_rows)
    frame["late"] = np.where(frame["y"] > frame["y"].median(), "yes", "no")
    frame["third"] = pd.qcut(frame["y"], 3, labels=["low", "middle", "high"]).astype(str)
    return frame


def run(target: str, options: Options = OPTIONS) -> Training:
    others = {"y", "late", "third"} - {target}
    chosen = Options(**(vars(options) | {"drop": sorted(others)}))
    return train(prepare(table(), target, chosen), chosen)


def test_least_squares_in_the_tables_units() -> None:
    training = run("y")
    task, model = training.task, training.model
    exact = LinearRegression().fit(task.X[task.train], task.y[task.train])
    assert training.warning is None
    # The tolerance of the descent, times the condition number of the standardised columns, which is near one.
    assert model.coef[0] == pytest.approx(exact.coef_, rel=1e-9)
    assert model.intercept[0] == pytest.approx(exact.intercept_, rel=1e-9)
    assert training.metrics["test"]["R²"] == pytest.approx(exact.score(task.X[task.test], task.y[task.test]))


@pytest.mark.parametrize("target", ["late", "third"])
@pytest.mark.parametrize("method", ["auto", "newton", "lbfgs", "nesterov"])
def test_logistic_regression_as_scikit_learn(target: str, method: str) -> None:
    """The penalty is on the columns as they are."""
    training = run(target, Options(alpha=1e-3, tol=1e-8, n_steps=100_000, method=method))
    task = training.task
    assert training.warning is None
    assert training.fit.converged
    n_train = len(task.train)
    oracle = LogisticRegression(C=1 / (1e-3 * n_train), tol=1e-12, max_iter=10_000, solver="newton-cholesky")
    oracle.fit(task.X[task.train], task.y[task.train])
    mine = training.model.predict_proba(table())
    assert mine[task.test] == pytest.approx(oracle.predict_proba(task.X[task.test]), abs=1e-6)
    assert training.model.predict(table())[0] in set(table()[target])
    accuracy = oracle.score(task.X[task.test], task.y[task.test])
    assert training.metrics["test"]["accuracy"] == pytest.approx(accuracy)


@pytest.mark.parametrize("method", ["auto", "newton", "lbfgs", "gd"])
def test_ridge_as_scikit_learn(method: str) -> None:
    training = run("y", Options(alpha=0.05, tol=1e-12, n_steps=100_000, method=method))
    task, n_train = training.task, len(training.task.train)
    # Their loss is a sum with ½ α, ours a mean of squares with ½ α.
    oracle = Ridge(alpha=0.05 * n_train / 2, tol=1e-14, solver="cholesky").fit(task.X[task.train], task.y[task.train])
    assert training.model.coef[0] == pytest.approx(oracle.coef_, rel=1e-8)
    assert training.model.intercept[0] == pytest.approx(oracle.intercept_, rel=1e-8)
    # The penalty is on the columns as they are: that of grams, whose values are tiny, is all but gone.
    grams = task.encoder.feature_names.index("grams")
    free = run("y").model.coef[0]
    assert abs(training.model.coef[0][grams]) < 0.05 * abs(free[grams])


def test_lasso_as_scikit_learn() -> None:
    """Coefficients that it leaves out are exactly zero."""
    training = run("y", Options(alpha=0.4, l1_ratio=1.0, tol=1e-12, n_steps=100_000))
    task = training.task
    assert training.fit.method == "coordinate"
    oracle = Lasso(alpha=0.2, tol=1e-14, max_iter=100_000).fit(task.X[task.train], task.y[task.train])
    assert training.model.coef[0] == pytest.approx(oracle.coef_, rel=1e-6, abs=1e-9)
    assert np.array_equal(training.model.coef[0] == 0, oracle.coef_ == 0)
    assert 0 < np.count_nonzero(training.model.coef[0]) < 4


def test_the_method_is_chosen_unless_it_is_asked_for() -> None:
    assert run("y").fit.method == "newton"
    assert run("y", Options(alpha=0.1, l1_ratio=0.5)).fit.method == "coordinate"
    training = run("y", Options(method="momentum", n_steps=50, tol=0.0))
    assert (training.fit.method, training.model.training["method"]) == ("momentum", "momentum")
    assert training.warning is None


def test_every_method_trains_in_any_units() -> None:
    """The columns differ by five orders of magnitude: without preconditioning the simple methods would not move."""
    exact = run("y").metrics["test"]["R²"]
    # The steps of adam have lengths of their own: a target of a hundred is out of its reach.
    for method in sorted(set(METHODS) - {"adam"}):
        training = run("y", Options(method=method, n_steps=2000, tol=0.0))
        assert training.metrics["test"]["R²"] == pytest.approx(exact, abs=0.01), method


def test_a_tolerance_that_was_not_reached_is_on_record() -> None:
    training = run("y", Options(method="gd", n_steps=2, tol=1e-9))
    assert training.warning is not None
    assert training.warning.startswith("not converged after 2 steps: all steps were made")
    assert training.model.training["status"] == "max_steps"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"method": "sgdd"},
            "method: expected one of adam, auto, coordinate, gd, lbfgs, momentum, nesterov, newton, sgd; got 'sgd",
        ),
        ({"method": None}, "method: expected one of "),
        ({"l1_ratio": 1.5}, r"l1_ratio: expected a number from 0 \(ridge\) to 1 \(lasso\); got 1.5"),
        ({"l1_ratio": -0.1}, "l1_ratio: expected a finite number ≥ 0; got -0.1"),
        ({"alpha": float("nan")}, "alpha: expected a finite number ≥ 0; got nan"),
        ({"tol": -1.0}, "tol: expected a finite number ≥ 0; got -1.0"),
        ({"n_steps": 2.5}, "steps: expected an integer ≥ 0; got 2.5"),
        ({"seed": -1}, "seed: expected an integer ≥ 0; got -1"),
        ({"n_threads": 0}, "n_threads: expected an integer ≥ 1; got 0"),
        ({"test_size": 0.0}, "test_size: expected a number between 0 and 1; got 0.0"),
        ({"learning_rate": "quick"}, "learning_rate: expected a number > 0, one of "),
        ({"loss": "hubert"}, "loss: expected one of .*squared_hinge; got 'hubert'; did you mean 'huber'?"),
        ({"backend": "rusty"}, "backend: expected one of auto, cupy, numpy, rust; got 'rusty'; did you mean 'rust'?"),
    ],
)
def test_options_are_checked_before_any_table_is_read(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton", "alpha": 1.0, "l1_ratio": 0.5}, "l1_ratio: method 'newton' needs a smooth penalty"),
        ({"method": "lbfgs", "learning_rate": 0.1}, "learning_rate: method 'lbfgs' searches for its own step sizes"),
        (
            {"method": "adam", "learning_rate": "armijo"},
            "learning_rate: 'armijo' is for method 'gd'; got method 'adam'",
        ),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run("y", Options(**options))


def test_held_out_rows_are_a_part_of_the_whole() -> None:
    task = prepare(table(), "third", Options(drop=["y", "late"], test_size=0.25, seed=5))
    assert np.array_equal(np.sort(np.concatenate([task.train, task.test])), np.arange(300))
    assert len(task.test) == 75
    shares = np.bincount(task.y[task.test]) / 75
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)
    again = prepare(table(), "third", Options(drop=["y", "late"], test_size=0.25, seed=5))
    other = prepare(table(), "third", Options(drop=["y", "late"], test_size=0.25, seed=6))
    assert np.array_equal(task.test, again.test)
    assert not np.array_equal(task.test, other.test)


def test_held_out_rows_do_not_leak_into_the_scale() -> None:
    frame = table()
    task = prepare(frame, "y", Options(drop=["late", "third"]))
    training = train(task, Options(n_steps=0))
    assert training.standardizer.mean == pytest.approx(task.X[task.train].mean(axis=0))
    assert not np.allclose(training.standardizer.mean, task.X.mean(axis=0), rtol=1e-9)


def test_effects_are_ranked_by_standard_deviation() -> None:
    names = [name for name, *_ in run("y").effects()]
    assert names[0] == "metres"
    largest = [abs(effect) for *_, effect in run("third").effects()]
    assert largest == sorted(largest, reverse=True)


def test_constant_prediction_is_the_baseline() -> None:
    training = run("y")
    task = training.task
    mean = task.y[task.train].mean()
    rmse = np.sqrt(np.mean((task.y[task.test] - mean) ** 2))
    assert training.metrics["constant"]["RMSE"] == pytest.approx(rmse)
    assert training.metrics["test"]["RMSE"] < rmse / 3
