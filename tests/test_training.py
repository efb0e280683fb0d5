"""From a table to a model: the optimum in the table's units, and honest held-out figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

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
def test_logistic_regression_as_scikit_learn(target: str) -> None:
    training = run(target, Options(alpha=0.01, tol=1e-10, n_steps=100_000))
    task = training.task
    Z = training.standardizer.transform(task.X)
    n_train = len(task.train)
    oracle = LogisticRegression(C=1 / (0.01 * n_train), tol=1e-12, max_iter=10_000)
    oracle.fit(Z[task.train], task.y[task.train])
    mine = training.model.predict_proba(table())
    assert mine[task.test] == pytest.approx(oracle.predict_proba(Z[task.test]), abs=1e-6)
    assert training.model.predict(table())[0] in set(table()[target])
    accuracy = oracle.score(Z[task.test], task.y[task.test])
    assert training.metrics["test"]["accuracy"] == pytest.approx(accuracy)


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
