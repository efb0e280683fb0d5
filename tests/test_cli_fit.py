"""`steepest fit`, `predict` and `evaluate` against scikit-learn: as JSON, into files, and what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score, root_mean_squared_error

import command_line
import steepest as st
import test_cli
from command_line import PRICE, SOLD, one_object
from steepest.report import read_history

if TYPE_CHECKING:
    from command_line import Steepest

steepest, folder = test_cli.steepest, command_line.folder


def encoded(frame: pd.DataFrame) -> Any:
    return np.column_stack([frame["size"], frame["age"], *(frame["colour"] == level for level in ("red", "7"))])


def test_json_of_a_fit_is_what_scikit_learn_finds(steepest: Steepest, folder: Path) -> None:
    options = ("--eval", "test.csv", "--tol", "1e-10", "--model", "m.safetensors", "--history", "run.csv", "--json")
    found = one_object(steepest(*PRICE, *options))
    train, test = pd.read_csv("train.csv"), pd.read_csv("test.csv")
    peer = LinearRegression().fit(encoded(train), train["price"])
    predicted = peer.predict(encoded(test))
    assert found["rows"] == {"train": 120, "test": 50, "left_out": 0}
    assert (found["loss"], found["converged"], found["status"]) == ("mse", True, "converged")
    assert found["metrics"]["test"] == {
        "r2": pytest.approx(r2_score(test["price"], predicted), rel=1e-6),
        "rmse": pytest.approx(root_mean_squared_error(test["price"], predicted), rel=1e-6),
    }
    assert len(found["coefficients"]) == 4
    for k, name in enumerate(("size", "age")):
        assert found["coefficients"][name] == pytest.approx(peer.coef_[k], rel=1e-6)
    assert found["written"] == {"model": "m.safetensors", "history": "run.csv"}
    assert found["objective"] == pytest.approx(float(np.mean((peer.predict(encoded(train)) - train["price"]) ** 2)))
    assert {path.name for path in folder.iterdir()} == {"train.csv", "test.csv", "m.safetensors", "run.csv"}


@pytest.mark.usefixtures("folder")
def test_json_of_classes(steepest: Steepest) -> None:
    found = one_object(steepest(*SOLD, "--model", "m.safetensors", "--tol", "1e-9", "--json", "--eval", "test.csv"))
    train, test = pd.read_csv("train.csv"), pd.read_csv("test.csv")
    peer = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(encoded(train), train["sold"])
    expected = peer.predict_proba(encoded(test))
    assert found["classes"] == ["no", "yes"]
    assert found["metrics"]["test"] == {
        "accuracy": pytest.approx(accuracy_score(test["sold"], peer.predict(encoded(test)))),
        "log_loss": pytest.approx(log_loss(test["sold"], expected), rel=1e-4),
        "auc": pytest.approx(roc_auc_score(test["sold"], expected[:, 1]), rel=1e-4),
    }
    evaluated = one_object(steepest("evaluate", "m.safetensors", "test.csv", "--json"))
    assert evaluated["metrics"] == found["metrics"]["test"]
    assert (evaluated["rows"], evaluated["target"], evaluated["loss"]) == (50, "sold", "log_loss")
    predicted = one_object(steepest("predict", "m.safetensors", "test.csv", "--json"))
    assert predicted["predictions"] == peer.predict(encoded(test)).tolist()
    assert np.array(predicted["probabilities"]) == pytest.approx(expected, abs=1e-4)
    several = one_object(
        steepest("fit", "train.csv", "--target", "kind", "--drop", "price", "--drop", "sold", "--json")
    )
    assert list(several["coefficients"]) == ["a", "b", "c"]
    assert len(several["intercept"]) == 3


@pytest.mark.usefixtures("folder")
def test_json_where_a_metric_is_not_a_number(steepest: Steepest) -> None:
    assert steepest(*PRICE, "--model", "m.safetensors").code == 0
    pd.read_csv("test.csv")[:1].to_csv("one.csv", index=False)
    assert one_object(steepest("evaluate", "m.safetensors", "one.csv", "--json"))["metrics"]["r2"] is None


def test_json_of_an_error_is_nothing(steepest: Steepest, folder: Path) -> None:
    outcome = steepest(*PRICE, "--json", "--alpha", "-1", "--model", "m.safetensors")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err == "error: alpha: expected a finite number ≥ 0; got -1.0\n"
    assert not (folder / "m.safetensors").exists()


def test_predictions_to_a_file_and_a_summary(steepest: Steepest, folder: Path) -> None:
    assert steepest(*PRICE, "--model", "m.safetensors").code == 0
    found = one_object(steepest("predict", "m.safetensors", "test.csv", "-o", "p.csv", "--json"))
    assert found == {"target": "price", "rows": 50, "left_out": 0, "written": {"predictions": "p.csv"}}
    assert len((folder / "p.csv").read_text().splitlines()) == 51


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("loss", ["mse", "huber", "poisson", "log_loss", "squared_hinge"])
def test_every_loss_from_fit_to_predictions(steepest: Steepest, loss: str) -> None:
    target = "sold" if loss in {"log_loss", "squared_hinge"} else "price"
    frame = pd.read_csv("train.csv")
    frame["price"] = frame["price"].abs()
    frame[["size", "colour", target]].to_csv("few.csv", index=False)
    fitted = one_object(
        steepest("fit", "few.csv", "--target", target, "--loss", loss, "--model", "m.safetensors", "--json")
    )
    assert fitted["loss"] == loss
    printed = steepest("predict", "m.safetensors", "few.csv")
    assert printed.code == 0
    predicted = one_object(steepest("predict", "m.safetensors", "few.csv", "--json"))
    header, *lines = csv.reader(io.StringIO(printed.out))
    assert header[0] == target
    if target == "price":
        assert [float(line[0]) for line in lines] == pytest.approx(predicted["predictions"])
    else:
        assert [line[0] for line in lines] == predicted["predictions"]
        assert accuracy_score(frame["sold"], predicted["predictions"]) > 0.75
    if loss == "squared_hinge":
        assert header[1] == "margin of yes"
        assert [label == "yes" for label in predicted["predictions"]] == [m > 0 for m in predicted["margins"]]


@pytest.mark.usefixtures("folder")
def test_penalties_by_name(steepest: Steepest) -> None:
    def coefficients(*options: object) -> Any:
        return one_object(steepest(*PRICE, "--json", "--tol", "1e-8", *options))["coefficients"]

    lasso = coefficients("--penalty", "l1", "--alpha", 0.5)
    assert lasso == coefficients("--alpha", 0.5, "--l1-ratio", 1)
    assert 0 in lasso.values()
    ridge = coefficients("--penalty", "l2", "--alpha", 0.5)
    assert ridge == coefficients("--alpha", 0.5)
    assert coefficients("--penalty", "elasticnet", "--alpha", 0.5) == coefficients("--alpha", 0.5, "--l1-ratio", 0.5)
    assert coefficients("--penalty", "none") == coefficients()


@pytest.mark.usefixtures("folder")
def test_solver_is_another_name_of_method(steepest: Steepest) -> None:
    for name in ("--solver", "--method"):
        assert one_object(steepest(*PRICE, name, "lbfgs", "--json"))["method"] == "lbfgs"


@pytest.mark.usefixtures("folder")
def test_only_some_columns(steepest: Steepest) -> None:
    found = one_object(steepest("fit", "train.csv", "--target", "price", "--only", "size", "--only", "age", "--json"))
    assert list(found["coefficients"]) == ["size", "age"]


@pytest.mark.usefixtures("folder")
def test_text_that_looks_like_numbers_elsewhere(steepest: Steepest) -> None:
    """In rows to test on, a column of text stays text even where every cell is a number."""
    frame = pd.read_csv("test.csv")
    frame[frame["colour"] == "7"].to_csv("sevens.csv", index=False)
    found = one_object(steepest(*PRICE, "--eval", "sevens.csv", "--json"))
    assert found["rows"]["test"] == int((frame["colour"] == "7").sum())


def test_history_is_written_and_read_back(steepest: Steepest, folder: Path) -> None:
    found = one_object(steepest(*PRICE, "--history", "run.csv", "--method", "gd", "--steps", 7, "--json"))
    history = read_history(folder / "run.csv")
    assert history.step.tolist() == list(range(8))
    assert history.loss[-1] == found["objective"]
    assert (np.diff(history.loss) < 0).all()
    assert (np.diff(history.seconds) >= 0).all()
    assert np.isnan(history.validation_loss).all()


def test_a_fit_goes_on_from_its_checkpoint(steepest: Steepest, folder: Path) -> None:
    gd = (*PRICE, "--method", "gd", "--tol", "0", "--json")
    whole = one_object(steepest(*gd, "--steps", 30))
    one_object(steepest(*gd, "--steps", 20, "--checkpoint", "run.safetensors"))
    assert (folder / "run.safetensors").is_file()
    found = one_object(steepest(*gd, "--steps", 30, "--checkpoint", "run.safetensors"))
    assert (found["objective"], found["metrics"]) == (whole["objective"], whole["metrics"])
    other = steepest(*gd, "--alpha", 2, "--steps", 30, "--checkpoint", "run.safetensors")
    assert other.code == 1
    assert "is of a descent that differs in its penalty; remove it" in other.err


@pytest.mark.usefixtures("folder")
def test_models_that_were_not_trained_on_a_table(steepest: Steepest) -> None:
    frame = pd.read_csv("train.csv")[["size", "age"]]
    y = pd.read_csv("train.csv")["price"]
    named = st.GDRegressor().fit(frame, y)
    st.save(named, "named.safetensors")
    st.save(st.GDRegressor().fit(frame.to_numpy(), y), "nameless.safetensors")
    predicted = one_object(steepest("predict", "named.safetensors", "test.csv", "--json"))["predictions"]
    assert predicted == pytest.approx(named.predict(pd.read_csv("test.csv")[["size", "age"]]))
    outcome = steepest("predict", "nameless.safetensors", "test.csv")
    assert (outcome.code, "knows no names of columns" in outcome.err) == (1, True)


WRONG = [
    (("--penalty", "l1"), 1, "penalty: l1 needs a strength, such as --alpha 0.01"),
    (("--penalty", "none", "--alpha", "1"), 1, "penalty: none has no strength; leave out --alpha 1, or name a penalty"),
    (("--penalty", "l2", "--alpha", "1", "--l1-ratio", "0.5"), 1, "penalty: l2 has l1_ratio 0; got 0.5; elasticnet"),
    (("--penalty", "l3"), 2, "Invalid value for '--penalty'"),
    (("--eval", "test.csv", "--test-size", "0.1"), 1, "test_size: expected none with --eval"),
    (("--eval", "no.csv"), 1, "no.csv does not exist or is not a file"),
    (("--eval", "few.csv"), 1, "eval: table: there is no column 'age'"),
    (("--eval", "green.csv"), 1, "eval: column 'colour': 'green' (row 0) was not there in training"),
    (("--only", "size"), 1, "only: expected no --drop beside it"),
    (("--history", "no/run.csv"), 1, "the directory no does not exist; create it first"),
    (("--checkpoint", "no/run.safetensors"), 1, "the directory no does not exist; create it first"),
    (("--threads", "0"), 1, "n_threads: expected an integer ≥ 1; got 0"),
    (("--seed", "-1"), 1, "seed: expected an integer ≥ 0; got -1"),
    (("--solver", "sag"), 1, "method: expected one of adam, auto, coordinate, gd"),
]


@pytest.mark.parametrize(("options", "code", "message"), WRONG, ids=[" ".join(options) for options, *_ in WRONG])
def test_wrong_options(steepest: Steepest, folder: Path, options: tuple[str, ...], code: int, message: str) -> None:
    frame = pd.read_csv("test.csv")
    frame.drop(columns="age").to_csv("few.csv", index=False)
    frame.assign(colour="green").to_csv("green.csv", index=False)
    before = sorted(folder.iterdir())
    outcome = steepest(*PRICE, "--model", "m.safetensors", *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert sorted(folder.iterdir()) == before


def test_the_names_of_a_wide_table_are_asked_for_a_few_times_in_all(
    steepest: Steepest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame makes a list of all its names at each question: one a column would be a time that grows as the square."""
    n_asked = 0
    names: Any = nw.DataFrame.columns

    def counted(frame: Any) -> list[str]:
        nonlocal n_asked
        n_asked += 1
        found: list[str] = names.fget(frame)
        return found

    monkeypatch.setattr(nw.DataFrame, "columns", property(counted))
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(12, 200)))
    table.rename(columns=str).to_csv(folder / "wide.csv", index=False)
    fit = ("fit", "wide.csv", "--target", "0", "--alpha", "1", "--eval", "wide.csv", "--model", "wide.safetensors")
    for options in ((), [word for name in range(1, 200) for word in ("--only", name)]):
        assert steepest(*fit, *options).code == 0
    for command in ("predict", "evaluate"):
        assert steepest(command, "wide.safetensors", "wide.csv").code == 0
    assert 0 < n_asked < table.shape[1]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_times_in_nanoseconds_are_rounded_as_float64_does(steepest: Steepest, folder: Path, ending: str) -> None:
    times = 1_700_000_000_000_000_000 + 3_600_000_000_001 * np.arange(40)
    table = pa.table({"time": times, "size": np.arange(40) % 7, "id": times[::-1] + np.arange(40) % 3})
    rounded = pa.table(
        {name: column.to_numpy().astype(np.float64) for name, column in zip(table.column_names, table, strict=True)}
    )
    write = {"csv": pa.csv.write_csv, "parquet": pa.parquet.write_table}[ending]
    found = []
    for name, written in (("whole", table), ("rounded", rounded)):
        path, model = folder / f"{name}.{ending}", f"{name}.safetensors"
        write(written, path)
        fit = one_object(steepest("fit", path, "--target", "id", "--model", model, "--json"))
        evaluation = one_object(steepest("evaluate", model, path, "--json"))
        found.append((fit["coefficients"], fit["metrics"], evaluation["metrics"]))
    assert found[0] == found[1]
