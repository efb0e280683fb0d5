"""What the command line draws, exports, takes from a configuration and says as JSON: files and exit codes."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, r2_score, roc_auc_score, root_mean_squared_error

import steepest as st
import test_cli
from steepest.report import read_history

if TYPE_CHECKING:
    from collections.abc import Callable

    from test_cli import Outcome

    Steepest = Callable[..., Outcome]

steepest = test_cli.steepest

COMMANDS = ["demo", "fit", "predict", "evaluate", "plot", "export", "backends"]
KINDS = ["loss", "coefficients", "fit", "calibration", "confusion", "surface"]


def rows(n: int, seed: int) -> pd.DataFrame:
    """Return rows with a number, an unused number, a text, and targets of three kinds."""
    generator = np.random.default_rng(seed)
    size, age = generator.normal(size=n), generator.uniform(0, 100, size=n)
    colour = generator.choice(["blue", "red", "7"], size=n)
    price = 3 * size + (colour == "red") + 0.5 * generator.normal(size=n) + 10
    sold = np.where(price + generator.normal(size=n) > 10, "yes", "no")
    kind = np.array(["a", "b", "c"])[np.digitize(price, [8.0, 12.0])]
    return pd.DataFrame({"size": size, "age": age, "colour": colour, "price": price, "sold": sold, "kind": kind})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory: a table to train on and another one of the same columns."""
    monkeypatch.chdir(tmp_path)
    rows(120, 0).to_csv("train.csv", index=False)
    rows(50, 1).to_csv("test.csv", index=False)
    return tmp_path


PRICE = ("fit", "train.csv", "--target", "price", "--drop", "sold", "--drop", "kind")
SOLD = ("fit", "train.csv", "--target", "sold", "--drop", "price", "--drop", "kind")


def one_object(outcome: Outcome) -> dict[str, Any]:
    """Return what was printed, which is one JSON object on one line and nothing else."""
    assert outcome.code == 0, outcome.err
    assert outcome.out.count("\n") == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads(outcome.out, parse_constant=refuse)
    return found


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


CONFIG = """
file = "train.csv"
target = "price"
drop = ["sold", "kind"]
alpha = 0.25
solver = "gd"
learning-rate = 0.01
test_size = 0.1
steps = 20
json = true
"""


def test_configuration_and_what_goes_before_it(steepest: Steepest, folder: Path) -> None:
    (folder / "run.toml").write_text(CONFIG)
    found = one_object(steepest("fit", "--config", "run.toml"))
    assert (found["method"], found["steps"], found["rows"]["test"]) == ("gd", 20, 12)
    by_hand = steepest(
        *PRICE, "--alpha", 0.25, "--method", "gd", "--learning-rate", 0.01, "--test-size", 0.1, "--steps", 20, "--json"
    )
    assert one_object(by_hand)["coefficients"] == found["coefficients"]
    other = one_object(steepest("fit", "--config", "run.toml", "--steps", 3, "--method", "momentum", "--drop", "sold"))
    assert (other["method"], other["steps"]) == ("momentum", 3)
    assert any(name.startswith("kind=") for name in other["coefficients"])


WRONG_CONFIGS = {
    "aplha = 1": (1, "there is no option 'aplha'; did you mean 'alpha'?; options: alpha, backend, categorical"),
    "test-sice = 1": (1, "there is no option 'test-sice'; did you mean 'test-size'?"),
    "config = 'other.toml'": (1, "there is no option 'config'"),
    "[fit]\nalpha = 1": (1, "there is no option 'fit'"),
    "alpha = ": (1, "run.toml: expected TOML; "),
    "alpha = [1]": (1, "run.toml: alpha: expected one value; got [1]"),
    "drop = 3": (1, "run.toml: drop: expected a list of texts; got 3"),
    "drop = [3]": (1, "run.toml: drop: expected a list of texts; got [3]"),
    "method = 'gd'\nsolver = 'gd'": (1, "run.toml: 'solver' says again what another name of it says; keep one"),
    "alpha = 'much'": (2, "Invalid value for '--alpha'"),
    "steps = 1.5": (2, "Invalid value for '--steps'"),
    "steps = true": (2, "Invalid value for '--steps'"),
    "backend = 'gpu'": (2, "Invalid value for '--backend'"),
    "tol = nan": (1, "tol: expected a finite number ≥ 0; got nan"),
}


@pytest.mark.parametrize("text", WRONG_CONFIGS)
def test_wrong_configurations(steepest: Steepest, folder: Path, text: str) -> None:
    (folder / "run.toml").write_text(text)
    outcome = steepest(*PRICE, "--config", "run.toml", "--model", "m.safetensors")
    code, message = WRONG_CONFIGS[text]
    assert (outcome.code, outcome.out) == (code, "")
    assert message in outcome.err
    assert not (folder / "m.safetensors").exists()


@pytest.mark.usefixtures("folder")
def test_configuration_that_is_not_there(steepest: Steepest) -> None:
    outcome = steepest("fit", "--config", "no.toml")
    assert (outcome.code, outcome.err) == (1, "error: no.toml: No such file or directory\n")


@pytest.fixture
def models(steepest: Steepest, folder: Path) -> Path:
    """Return the folder with models of a number, of one feature, and of labels, and two histories."""
    for options in (
        (*PRICE, "--model", "price.safetensors", "--history", "newton.csv"),
        (*PRICE, "--method", "gd", "--steps", "30", "--history", "gd.csv"),
        ("fit", "train.csv", "--target", "price", "--only", "size", "--model", "size.safetensors"),
        (*SOLD, "--model", "sold.safetensors"),
        ("fit", "train.csv", "--target", "kind", "--only", "size", "--model", "kind.safetensors"),
    ):
        assert steepest(*options).code == 0
    return folder


PICTURES: list[tuple[str, ...]] = [
    ("loss", "gd.csv"),
    ("loss", "gd.csv", "newton.csv", "--gap"),
    ("loss", "gd.csv", "newton.csv", "--against", "seconds"),
    ("coefficients", "price.safetensors"),
    ("coefficients", "price.safetensors", "--data", "test.csv", "--most", "2"),
    ("coefficients", "price.safetensors", "size.safetensors"),
    ("fit", "size.safetensors", "test.csv"),
    ("fit", "kind.safetensors", "test.csv"),
    ("calibration", "sold.safetensors", "test.csv", "--bins", "5"),
    ("confusion", "sold.safetensors", "test.csv"),
    ("confusion", "kind.safetensors", "test.csv", "--normalize", "true"),
    ("surface", "price.safetensors", "train.csv", "--steps", "5"),
    ("surface", "sold.safetensors", "train.csv", "--steps", "5", "--feature", "size", "--feature", "intercept"),
    ("surface", "kind.safetensors", "train.csv", "--steps", "5", "--method", "gd", "--method", "nesterov"),
]


def test_pictures(steepest: Steepest, models: Path) -> None:
    for k, options in enumerate(PICTURES):
        outcome = steepest("plot", *options, "--out", f"{k}.png")
        assert (outcome.code, outcome.out) == (0, f"picture drawn to {k}.png\n"), (options, outcome.err)
        with Image.open(models / f"{k}.png") as picture:
            pixels = np.asarray(picture.convert("L"))
            assert min(pixels.shape) >= 250
            assert np.ptp(pixels) > 100
    assert steepest("plot", *PICTURES[0], "-o", "loss.svg").code == 0
    assert "<svg" in (models / "loss.svg").read_text()
    assert steepest("plot", "surface", "price.safetensors", "train.csv", "--steps", "4", "-o", "d.gif").code == 0
    with Image.open(models / "d.gif") as opened:
        animation: Any = opened
        assert animation.n_frames == 5


WRONG_PICTURES = [
    (("loss", "gd.csv"), 2, "Missing option '--out'"),
    (("lost", "gd.csv", "-o", "x.png"), 2, "No such command 'lost'. Did you mean 'loss'?"),
    (("loss", "gd.csv", "-o", "x.bmp"), 1, "plot: expected a name ending in .jpg, .pdf, .png, .svg; got 'x.bmp'"),
    (("loss", "gd.csv", "-o", "x.gif"), 1, "plot: expected a name ending in .jpg, .pdf, .png, .svg; got 'x.gif'"),
    (("loss", "gd.csv", "-o", "no/x.png"), 1, "the directory no does not exist; create it first"),
    (("loss", "train.csv", "-o", "x.png"), 1, "train.csv, which steepest fit --history should have written: there is"),
    (("loss", "bad.csv", "-o", "x.png"), 1, "bad.csv: column 'loss' is not as steepest fit --history writes it"),
    (("coefficients", "train.csv", "-o", "x.png"), 1, "train.csv"),
    (("coefficients", "price.safetensors", "-o", "x.png", "--most", "0"), 1, "n_most: expected an integer ≥ 1; got 0"),
    (
        ("fit", "price.safetensors", "test.csv", "-o", "x.png"),
        1,
        "model: expected one of one feature; price.safetensors has 4; steepest fit --only COLUMN makes one",
    ),
    (("calibration", "price.safetensors", "test.csv", "-o", "x.png"), 1, "model: expected a classifier; this model"),
    (("calibration", "kind.safetensors", "test.csv", "-o", "x.png"), 1, "models: expected two classes; got 3"),
    (("confusion", "sold.safetensors", "gd.csv", "-o", "x.png"), 1, "gd.csv: there is no column 'size'"),
    (
        ("surface", "price.safetensors", "test.csv", "-o", "x.png", "--feature", "size"),
        1,
        "feature: expected two, such",
    ),
    (
        ("surface", "price.safetensors", "test.csv", "-o", "x.png", "--feature", "sise", "--feature", "age"),
        1,
        "got 'sise'; did you mean 'size'?",
    ),
    (("surface", "price.safetensors", "test.csv", "-o", "x.png", "--method", "netwon"), 1, "did you mean 'newton'?"),
]


def test_pictures_that_cannot_be_drawn(steepest: Steepest, models: Path) -> None:
    broken = pd.read_csv("gd.csv").astype({"loss": object})
    broken.loc[0, "loss"] = "much"
    broken.to_csv("bad.csv", index=False)
    before = sorted(models.iterdir())
    for options, code, message in WRONG_PICTURES:
        outcome = steepest("plot", *options)
        assert (outcome.code, outcome.out) == (code, ""), options
        assert message in outcome.err, options
    assert sorted(models.iterdir()) == before


@pytest.mark.parametrize("model", ["price", "sold"])
def test_export(steepest: Steepest, models: Path, model: str) -> None:
    outcome = steepest("export", f"{model}.safetensors", "--onnx", "m.onnx")
    assert outcome.code == 0
    assert outcome.out.startswith("ONNX written to m.onnx: from size, age, colour to ")
    session = pytest.importorskip("onnxruntime").InferenceSession(models / "m.onnx")
    frame = pd.read_csv("test.csv")
    feeds = {
        "size": frame[["size"]].to_numpy(),
        "age": frame[["age"]].to_numpy(),
        "colour": frame[["colour"]].to_numpy(dtype=object),
    }
    (found, *_) = session.run(None, feeds)
    expected = one_object(steepest("predict", f"{model}.safetensors", "test.csv", "--json"))["predictions"]
    assert list(found) == (pytest.approx(expected) if model == "price" else expected)


def test_export_as_bytes_says_what_it_costs(steepest: Steepest, models: Path) -> None:
    outcome = steepest("export", "size.safetensors", "--onnx", "m.onnx", "--int8", "test.csv")
    assert outcome.code == 0
    (before, after) = map(float, re.findall(r"goes from (\S+) to (\S+)\n", outcome.out)[0])
    frame = pd.read_csv("test.csv")
    residual = st.load("size.safetensors").predict(frame) - frame["price"]
    assert before == pytest.approx(float(np.mean(residual**2)), rel=1e-5)
    session = pytest.importorskip("onnxruntime").InferenceSession(models / "m.onnx")
    (found, *_) = session.run(None, {"size": frame[["size"]].to_numpy()})
    assert after == pytest.approx(float(np.mean((found - frame["price"]) ** 2)), rel=1e-5)


def test_export_that_fails_writes_nothing(steepest: Steepest, models: Path) -> None:
    assert "Missing option '--onnx'" in steepest("export", "price.safetensors").err
    for options, message in (
        (("train.csv", "--onnx", "m.onnx"), "train.csv"),
        (("no.safetensors", "--onnx", "m.onnx"), "there is no such model file"),
        (("price.safetensors", "--onnx", "no/m.onnx"), "create it first"),
        (("price.safetensors", "--onnx", "m.onnx", "--int8", "gd.csv"), "there is no column 'size'"),
    ):
        outcome = steepest("export", *options)
        assert (outcome.code, outcome.out) == (1, "")
        assert message in outcome.err
    assert not (models / "m.onnx").exists()


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


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_says_everything(steepest: Steepest, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    root = steepest("--help").out
    for command in COMMANDS:
        assert re.search(rf"^  {command} +\S.*[^.]\.$", root, flags=re.MULTILINE), f"{command}: the line is cut"
    assert "\n    steepest fit houses.csv --target price --model price.safetensors\n" in root
    assert all(re.search(rf"^ +{code} +\w", root, flags=re.MULTILINE) for code in (0, 1, 2, 130))
    kinds = steepest("plot", "--help").out
    assert all(re.search(rf"^  {kind} +\S.*[^.]\.$", kinds, flags=re.MULTILINE) for kind in KINDS)


@pytest.mark.parametrize(
    "command", [[name] for name in COMMANDS if name != "plot"] + [["plot", kind] for kind in KINDS]
)
def test_every_option_has_an_example(steepest: Steepest, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    text = steepest(*command, "--help").out
    options = [
        option for option in re.split(r"\n  (?=-)", text.partition("\nOptions:")[2])[1:] if "--help" not in option
    ]
    assert options or command == ["backends"]
    for option in options:
        names = re.findall(r"--[\w-]+", option)
        assert any(names.count(name) > 1 for name in names), f"no example: {option}"
