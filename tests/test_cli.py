"""The command line as a user meets it: real files, exit codes, what is printed and what is written."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from steepest import cli
from steepest.model_io import load
from steepest.report import lesson

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = Path(__file__).parent.parent / "examples"
DIAMONDS = EXAMPLES / "diamonds.csv"
CREDIT = EXAMPLES / "credit-default.csv"


class Outcome:
    """What one command printed and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def steepest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run one command in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["steepest", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return Outcome(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.mark.parametrize("backend", ["rust", "numpy"])
def test_demo_prints_what_a_plain_loop_gives(steepest: Callable[..., Outcome], backend: str) -> None:
    points = lesson()
    w = b = 0.0
    losses = []
    for _ in range(1000):
        residual = w * points.x + b - points.y
        losses.append(float(np.mean(residual**2)))
        w, b = w - 0.02 * float(np.mean(residual * points.x)), b - 0.02 * float(np.mean(residual))
    outcome = steepest("demo", "--backend", backend)
    assert outcome.code == 0
    assert len(points.x) == 100
    printed = dict(re.findall(r"Step (\d+): Loss = (\S+)", outcome.out))
    assert list(printed) == [str(step) for step in range(0, 1001, 100)]
    for step in range(0, 1000, 100):
        assert printed[str(step)] == f"{losses[step]:.6f}"
    assert f"{w:.8f}" in outcome.out
    assert f"{b:.8f}" in outcome.out
    slope, offset = np.polyfit(points.x, points.y, 1)
    assert f"{slope:.8f}" in outcome.out
    assert f"{offset:.8f}" in outcome.out


def test_demo_draws(steepest: Callable[..., Outcome], tmp_path: Path) -> None:
    assert steepest("demo", "--plot", tmp_path / "loss.png").code == 0
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert steepest("demo", "--plot", tmp_path / "loss.xyz").code == 1


def figures(text: str, name: str) -> list[float]:
    row = next(line for line in text.splitlines() if line.strip().startswith(name))
    return [float(cell.replace(",", "")) for cell in row.split()[2:]]


def test_diamonds_from_table_to_predictions(steepest: Callable[..., Outcome], tmp_path: Path) -> None:
    model, plot, predictions = (tmp_path / name for name in ("m.safetensors", "loss.svg", "p.csv"))
    outcome = steepest("fit", DIAMONDS, "--target", "price", "--model", model, "--plot", plot)
    assert outcome.code == 0
    assert "loss: mse, because 'price' is a number" in outcome.out
    train, test, constant = figures(outcome.out, "R²")
    assert train >= 0.91
    assert test >= 0.91
    assert abs(constant) < 0.01
    assert "gradient norm" in outcome.err
    assert "<svg" in plot.read_text()

    evaluated = steepest("evaluate", model, DIAMONDS)
    assert evaluated.code == 0
    assert figures(evaluated.out, "R²")[0] == pytest.approx(train, abs=0.005)

    assert steepest("predict", model, DIAMONDS, "--out", predictions).code == 0
    rows = list(csv.DictReader(io.StringIO(predictions.read_text())))
    assert len(rows) == 53_940
    actual = [float(row["price"]) for row in csv.DictReader(io.StringIO(DIAMONDS.read_text()))]
    predicted = np.array([float(row["price"]) for row in rows])
    r2 = 1 - np.mean((predicted - actual) ** 2) / np.var(actual)
    assert f"{r2:.4f}" in evaluated.out


def test_credit_default_by_logistic_regression(steepest: Callable[..., Outcome], tmp_path: Path) -> None:
    model = tmp_path / "m.safetensors"
    outcome = steepest(
        "fit", CREDIT, "--target", "default.payment.next.month", "--drop", "ID", "--categorical", "SEX",
        "--categorical", "EDUCATION", "--categorical", "MARRIAGE", "--model", model, "--steps", 2000,
    )  # fmt: skip
    assert outcome.code == 0
    assert "loss: log_loss, because 'default.payment.next.month' has 2 different values" in outcome.out
    _, auc, constant = figures(outcome.out, "AUC")
    assert auc > 0.71
    assert constant == 0.5
    predicted = steepest("predict", model, CREDIT)
    header, first, *_ = csv.reader(io.StringIO(predicted.out))
    assert header == ["default.payment.next.month", "probability of 0", "probability of 1"]
    assert float(first[1]) + float(first[2]) == pytest.approx(1, abs=1e-8)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A small table with a number, a text and a target."""
    generator = np.random.default_rng(1)
    path = tmp_path / "table.csv"
    rows = ["size,colour,price"]
    for size in generator.normal(size=40):
        colour = "red" if size > 0 else "blue"
        rows.append(f"{size:.6f},{colour},{3 * size + (colour == 'red'):.6f}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_missing_values_are_refused_or_dropped_as_told(steepest: Callable[..., Outcome], table: Path) -> None:
    text = table.read_text().splitlines()
    text[3] = ",red,1.0"
    text[4] = "0.5,,1.0"
    text[5] = "0.5,,NaN"
    table.write_text("\n".join(text))
    refused = steepest("fit", table, "--target", "price")
    assert refused.code == 1
    assert "'size' (1), 'colour' (2), 'price' (1)" in refused.err
    assert "--missing drop leaves out the 3 rows" in refused.err
    dropped = steepest("fit", table, "--target", "price", "--missing", "drop")
    assert dropped.code == 0
    assert "left out 3 rows" in dropped.out
    assert figures(dropped.out, "R²")[1] > 0.99


WRONG = [
    (["--target", "prise"], 1, "there is no column 'prise'; did you mean 'price'?"),
    (["--target", "price", "--drop", "siz"], 1, "drop: there is no column 'siz'; did you mean 'size'?"),
    (["--target", "price", "--drop", "price"], 1, "'price' is the target"),
    (["--target", "price", "--drop", "size", "--drop", "colour"], 1, "at least one column to predict from"),
    (["--target", "price", "--backend", "cupy"], 1, 'backend="cupy"'),
    (["--target", "price", "--backend", "gpu"], 2, "'gpu' is not one of"),
    (["--target", "price", "--loss", "mze"], 1, "loss: expected one of"),
    (["--target", "colour", "--loss", "mse"], 1, "loss mse expects numbers; 'colour' is String"),
    (["--target", "price", "--method", "gd", "--learning-rate", "1000"], 1, "the largest safe step size is"),
    (["--target", "price", "--method", "newton", "--learning-rate", "0.1"], 1, "searches for its own step sizes"),
    (["--target", "price", "--learning-rate", "0.1"], 1, "methods that take one: gd, momentum, nesterov, adam, sgd"),
    (["--target", "price", "--method", "sgd", "--learning-rate", "armijo"], 1, "'armijo' is for method 'gd'; got "),
    (["--target", "price", "--method", "newtown"], 1, "lbfgs, momentum, nesterov, newton, sgd; got 'newtown'; did you"),
    (["--target", "price", "--l1-ratio", "1.5"], 1, "l1_ratio: expected a number from 0 (ridge) to 1 (lasso); got 1.5"),
    (["--target", "price", "--l1-ratio", "-0.5"], 1, "l1_ratio: expected a finite number ≥ 0; got -0.5"),
    (["--target", "price", "--l1-ratio", "nan"], 1, "l1_ratio: expected a finite number ≥ 0; got nan"),
    (["--target", "price", "--l1-ratio", "some"], 2, "Invalid value for '--l1-ratio'"),
    (
        ["--target", "price", "--alpha", "1", "--l1-ratio", "1", "--method", "lbfgs"],
        1,
        "methods that take an ℓ1 part: ",
    ),
    (["--target", "price", "--loss", "hubert"], 1, "squared_hinge; got 'hubert'; did you mean 'huber'?"),
    (["--target", "price", "--learning-rate", "-1"], 1, "learning_rate: expected a finite number > 0"),
    (
        ["--target", "price", "--learning-rate", "fast"],
        1,
        "learning_rate: expected a number > 0, one of 'armijo', 'auto', ",
    ),
    (["--target", "price", "--steps", "-1"], 1, "steps: expected an integer ≥ 0"),
    (["--target", "price", "--alpha", "-1"], 1, "alpha: expected a finite number ≥ 0"),
    (["--target", "price", "--test-size", "1.5"], 1, "test_size: expected a number between 0 and 1"),
    (["--target", "price", "--threads", "0"], 1, "n_threads: expected an integer ≥ 1"),
    ([], 2, "Missing option '--target'"),
]


@pytest.mark.parametrize(("options", "code", "message"), WRONG, ids=[" ".join(row[0]) for row in WRONG])
def test_wrong_options(
    steepest: Callable[..., Outcome], table: Path, options: list[str], code: int, message: str
) -> None:
    model = table.with_name("model.safetensors")
    outcome = steepest("fit", table, *options, "--model", model)
    assert outcome.code == code
    assert message in outcome.err
    assert list(table.parent.iterdir()) == [table]


@pytest.mark.parametrize("method", ["gd", "momentum", "nesterov", "sgd", "lbfgs", "newton", "coordinate"])
def test_method(steepest: Callable[..., Outcome], table: Path, method: str) -> None:
    outcome = steepest("fit", table, "--target", "price", "--method", method)
    assert outcome.code == 0
    assert f"method: {method}, because it was asked for" in outcome.out
    assert figures(outcome.out, "R²")[1] > 0.999


def test_method_is_chosen_by_the_problem(steepest: Callable[..., Outcome], table: Path) -> None:
    assert "method: newton, because 3 parameters, 32 rows" in steepest("fit", table, "--target", "price").out
    outcome = steepest("fit", table, "--target", "price", "--alpha", 1, "--l1-ratio", 0.5)
    assert "method: coordinate, because an ℓ1 penalty on squared errors goes coordinate by coordinate" in outcome.out


def coefficients(outcome: Outcome) -> dict[str, float]:
    rows = re.findall(r"^(size|colour=blue) +(\S+) +\S+$", outcome.out, flags=re.MULTILINE)
    return {name: float(value) for name, value in rows}


def test_penalty_is_on_the_columns_as_they_are(steepest: Callable[..., Outcome], table: Path) -> None:
    """Metres or millimetres are not the same to it; to a fit without one they are."""
    rows = [line.split(",") for line in table.read_text().splitlines()]
    small = table.with_name("small.csv")
    thousands = [[f"{float(size) * 1000:.3f}", *rest] for size, *rest in rows[1:]]
    small.write_text("\n".join(",".join(row) for row in [rows[0], *thousands]))
    free, penalised, scaled, scaled_and_penalised = (
        coefficients(steepest("fit", path, "--target", "price", "--alpha", alpha, "--tol", 1e-9))["size"]
        for path, alpha in ((table, 0), (table, 1), (small, 0), (small, 1))
    )
    assert scaled * 1000 == pytest.approx(free, rel=1e-4)
    assert penalised < 0.8 * free
    # In thousands of units the coefficient is a thousandth, and its square is nothing to a penalty of one.
    assert scaled_and_penalised * 1000 > free


def test_lasso_leaves_columns_out(steepest: Callable[..., Outcome], table: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    outcome = steepest("fit", table, "--target", "price", "--alpha", 1, "--l1-ratio", 1, "--model", model)
    assert outcome.code == 0
    found = coefficients(outcome)
    assert found["colour=blue"] == 0
    assert 2 < found["size"] < 3
    ridge = coefficients(steepest("fit", table, "--target", "price", "--alpha", 1, "--l1-ratio", 0))
    assert ridge["colour=blue"] != 0
    assert load(model).training["l1_ratio"] == 1
    assert load(model).coef.tolist()[0].count(0) == 1


def test_tolerance_that_was_not_reached(steepest: Callable[..., Outcome], table: Path) -> None:
    outcome = steepest("fit", table, "--target", "price", "--method", "gd", "--steps", 3)
    assert outcome.code == 0
    assert "not converged after 3 steps" in outcome.out + outcome.err


FILES = {
    "empty.csv": ("", "Empty CSV file"),
    "header.csv": ("a,price\n", "expected at least one row below the header"),
    "short.csv": ("a,price\n1,2\n3\n", "Expected 2 columns, got 1"),
    "long.csv": ("a,price\n1,2\n3,4,5\n", "Expected 2 columns, got 3"),
    "one.csv": ("a,price\n1,2\n", "expected at least 4 rows"),
    "twice.csv": ("a,a,price\n1,2,3\n", "'a' repeats"),
    "infinite.csv": ("a,price\n1,2\n2,3\ninf,4\n4,5\n5,7\n", "column 'a': expected finite numbers; row 2 is inf"),
    "constant.csv": ("a,price\n1,2\n2,2\n3,2\n4,2\n", "every value of 'price' is 2"),
    "dates.csv": (
        "a,price\n2020-01-01,2\n2020-01-02,3\n2020-01-03,4\n2020-01-04,5\n",
        "column 'a': expected numbers or text; got Date; --drop a leaves it out",
    ),
    "rare.csv": ("a,price\n1,x\n2,x\n3,x\n4,y\n", "class 'y' of 'price' has one row"),
    "names.csv": (
        "a,price\n" + "".join(f"person {i},{i}\n" for i in range(300)),
        "column 'a': 300 different texts are not categories; --drop a leaves it out",
    ),
    "days.csv": ("a,price\n" + "1,2020-01-01\n2,2020-01-02\n" * 3, "labels that are text or numbers; 'price' is Date"),
    "single.csv": ("a,price\nx,1\nx,2\nx,3\nx,4\n", "none is left, or each has a single level"),
    "table.xlsx": ("", "expected a name ending in .csv"),
    "broken.parquet": ("not parquet", "broken.parquet"),
}


@pytest.mark.parametrize("name", FILES)
def test_wrong_files(steepest: Callable[..., Outcome], tmp_path: Path, name: str) -> None:
    text, message = FILES[name]
    (tmp_path / name).write_text(text)
    model = tmp_path / "model.safetensors"
    outcome = steepest("fit", tmp_path / name, "--target", "price", "--model", model)
    assert outcome.code == 1
    assert message in outcome.err
    assert not model.exists()


def test_files_that_are_not_there(steepest: Callable[..., Outcome], table: Path, tmp_path: Path) -> None:
    assert "does not exist" in steepest("fit", tmp_path / "no.csv", "--target", "price").err
    outcome = steepest("fit", table, "--target", "price", "--model", tmp_path / "no" / "model")
    assert (outcome.code, "create it first" in outcome.err) == (1, True)
    outcome = steepest("predict", tmp_path / "no.safetensors", table)
    assert (outcome.code, "there is no such model file" in outcome.err) == (1, True)


def test_prediction_checks_the_rows(steepest: Callable[..., Outcome], table: Path, tmp_path: Path) -> None:
    model, other = tmp_path / "model.safetensors", tmp_path / "other.csv"
    assert steepest("fit", table, "--target", "price", "--model", model).code == 0
    for text, message in {
        "size,shade\n1,red\n": "there is no column 'colour'",
        "size,colour\n1,green\n": "'green' (row 0) was not there in training; levels: 'blue', 'red'",
        "size,colour\nlarge,red\n": "column 'size': expected numbers as in training; got String",
        "size,colour\n,red\n": "missing values in column 'size' (1)",
    }.items():
        other.write_text(text)
        outcome = steepest("predict", model, other)
        assert outcome.code == 1
        assert message in outcome.err
    other.write_text("colour,more,size\nred,?,1\nblue,?,-1\n")
    outcome = steepest("predict", model, other)
    assert outcome.code == 0
    predicted = [float(line) for line in outcome.out.splitlines()[1:]]
    assert predicted == pytest.approx([4, -3], abs=1e-3)
    assert "there is no column 'price'" in steepest("evaluate", model, other).err


def test_text_stays_text_where_it_looks_like_something_else(steepest: Callable[..., Outcome], tmp_path: Path) -> None:
    table, other, model = tmp_path / "t.csv", tmp_path / "o.csv", tmp_path / "m.safetensors"
    table.write_text("answer,code\n" + "true,1\nfalse,2\nmaybe,x\n" * 10)
    assert steepest("fit", table, "--target", "code", "--model", model).code == 0
    other.write_text("answer,code\ntrue,1\nfalse,2\n")
    predicted = steepest("predict", model, other)
    assert [line.split(",")[0] for line in predicted.out.splitlines()] == ["code", "1", "2"]
    assert figures(steepest("evaluate", model, other).out, "accuracy") == [1.0]


def test_evaluation_checks_the_target(steepest: Callable[..., Outcome], table: Path, tmp_path: Path) -> None:
    model, other = tmp_path / "model.safetensors", tmp_path / "other.csv"
    assert steepest("fit", table, "--target", "price", "--model", model).code == 0
    for cell, message in {"abc": "price: expected numbers", "inf": "price[0] is inf"}.items():
        other.write_text(f"size,colour,price\n1,red,{cell}\n")
        outcome = steepest("evaluate", model, other)
        assert (outcome.code, message in outcome.err) == (1, True)


def test_files_that_are_not_utf8(steepest: Callable[..., Outcome], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    for text in ("prix,é\n1,2\n", "prix,nom\n1,é\n"):
        table.write_bytes(text.encode("latin-1"))
        outcome = steepest("fit", table, "--target", "prix")
        assert (outcome.code, "expected UTF-8" in outcome.err) == (1, True)


def test_output_goes_through_links_and_keeps_permissions(
    steepest: Callable[..., Outcome], table: Path, tmp_path: Path
) -> None:
    model, link = tmp_path / "model.safetensors", tmp_path / "link.csv"
    assert steepest("fit", table, "--target", "price", "--model", model).code == 0
    real = tmp_path / "real.csv"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    assert steepest("predict", model, table, "--out", link).code == 0
    assert link.is_symlink()
    assert real.read_text().startswith("price\n")
    assert real.stat().st_mode & 0o777 == 0o600


def test_zero_steps_print_one_line(steepest: Callable[..., Outcome], table: Path) -> None:
    assert steepest("fit", table, "--target", "price", "--steps", 0).out.count("Step 0:") == 1


def test_parquet_equals_csv(steepest: Callable[..., Outcome], table: Path) -> None:
    from pyarrow import parquet

    from steepest.data import read_table

    columns = table.with_suffix(".parquet")
    parquet.write_table(read_table(table), columns)
    from_csv = steepest("fit", table, "--target", "price").out
    from_parquet = steepest("fit", columns, "--target", "price").out
    seconds = re.compile(r"[\d.]+ s")
    assert seconds.sub("", from_csv) == seconds.sub("", from_parquet)


def test_an_interrupt_is_said(steepest: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    def read_table(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("steepest.cli.models.read_table", read_table)
    outcome = steepest("fit", DIAMONDS, "--target", "price")
    assert outcome.code == 130
    assert outcome.err.strip() == "error: interrupted"


def test_as_a_program() -> None:
    """The installed module answers, and an error is one line with exit code 1."""
    run = [sys.executable, "-m", "steepest"]
    listed = subprocess.run([*run, "backends"], capture_output=True, text=True, check=True)
    assert listed.stdout.startswith("rust   ready: ")
    wrong = subprocess.run([*run, "fit", "no.csv", "--target", "y"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    narrow = os.environ | {"PYTHONIOENCODING": "cp1252"}
    shown = subprocess.run([*run, "demo"], capture_output=True, env=narrow, check=True)
    assert "█" in shown.stdout.decode("utf-8")
    assert wrong.stderr == "error: file: no.csv does not exist or is not a file\n"


def test_help_and_version(steepest: Callable[..., Outcome]) -> None:
    for command in ("demo", "fit", "predict", "evaluate", "backends"):
        assert "Usage: " in steepest(command, "--help").out
    assert re.fullmatch(r"steepest \d+\.\d+\.\d+\n", steepest("--version").out)
    assert steepest("backends").code == 0
