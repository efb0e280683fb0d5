"""A saved model is the model; anything else is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import steepest as st
from steepest import InputError, LinearModel, ModelFileError
from steepest.model import as_model
from steepest.model_io import CHECKSUM, HEADER, load, save
from steepest.preprocessing import Categorical, Encoder, Numeric
from steepest.tensor_file import checksum

ENCODER = Encoder((Numeric("größe"), Categorical("colour", ("red", "blue"))))


def model(classes: list[Any] | None) -> LinearModel:
    width = 3 if classes and len(classes) == 3 else 1
    generator = np.random.default_rng(0)
    return LinearModel(
        loss="log_loss" if classes else "mse",
        target="price",
        classes=classes,
        encoder=ENCODER,
        coef=generator.normal(size=(width, 2)),
        intercept=generator.normal(size=width),
        training={"steps": 10, "loss": 0.5},
    )


def assert_same(loaded: LinearModel, saved: LinearModel) -> None:
    """Every field, arrays with their types and all their bits."""
    for field in fields(LinearModel):
        one, other = getattr(loaded, field.name), getattr(saved, field.name)
        if isinstance(other, np.ndarray):
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), field.name
        else:
            assert one == other, field.name
            assert type(one) is type(other), field.name


@pytest.mark.parametrize("classes", [None, ["no", "yes"], [0, 1], [False, True], [1.5, 2.5, 3.5]])
def test_round_trip(tmp_path: Path, classes: list[Any] | None) -> None:
    saved, path = model(classes), tmp_path / "modèle 1.safetensors"
    save(saved, path)
    assert_same(load(path), saved)
    assert list(tmp_path.iterdir()) == [path]


X, Y = np.random.default_rng(3).normal(size=(60, 4)), np.random.default_rng(4).integers(0, 9, 60)
#: A loss, its targets, and what `descend` calls it.
FITS: dict[str, tuple[Any, Any]] = {
    "mse": ("mse", Y),
    "two targets": ("mse", np.column_stack([Y, X[:, 0]])),
    "huber": (st.Huber(delta=0.25), Y),
    "poisson": ("poisson", Y),
    "two texts": ("log_loss", np.where(Y > 4, "spam", "ham")),
    "soft": ("log_loss", np.column_stack([Y / 10, 1 - Y / 10])),
    "softmax": ("log_loss", Y % 3),
    "squared_hinge": ("squared_hinge", Y > 4),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", FITS)
def test_what_descend_returns_is_saved_as_it_is(tmp_path: Path, kind: str, dtype: Any) -> None:
    loss, y = FITS[kind]
    fit = st.descend(X.astype(dtype), y, loss=loss, n_steps=3, alpha=0.1)
    save(fit, tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert np.array_equal(loaded.coef, np.atleast_2d(fit.coef))
    assert np.array_equal(loaded.intercept, np.atleast_1d(fit.intercept))
    assert loaded.coef.dtype == loaded.intercept.dtype == dtype
    # Whether labels or probabilities were fitted is not in the model: both predict alike.
    described: Any = fit.recipe.loss
    assert loaded.fitted_loss == (replace(described, probabilities=False) if kind == "soft" else described)
    assert loaded.classes == (None if fit.classes is None else fit.classes.tolist())
    assert {name: loaded.training[name] for name in ("steps", "status", "rows", "alpha", "l1_ratio")} == {
        "steps": 3,
        "status": "max_steps",
        "rows": 60,
        "alpha": 0.1,
        "l1_ratio": 0.0,
    }


def test_names_are_kept_and_asked_for(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=["a", "", "größe", "a b\n"])
    save(st.GDRegressor().fit(frame, Y), tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.feature_names == list(frame.columns)
    assert loaded.predict(frame) == pytest.approx(loaded.predict(X))
    with pytest.raises(InputError, match="missing: 'a'; unexpected: 'b'"):
        loaded.predict(frame.rename(columns={"a": "b"}))
    with pytest.raises(InputError, match="got them in another order"):
        loaded.predict(frame[frame.columns[::-1]])


def test_an_estimator_is_saved_as_it_is_now(tmp_path: Path) -> None:
    """Also where its coefficients are sparse, or were changed after the fit."""
    estimator = st.GDClassifier(penalty="l1", alpha=0.1).fit(X.astype(np.float32), Y % 3)
    save(estimator, tmp_path / "dense")
    save(estimator.sparsify(), tmp_path / "sparse")
    assert_same(load(tmp_path / "sparse"), load(tmp_path / "dense"))
    estimator.densify().intercept_ += 1
    save(estimator, tmp_path / "changed")
    assert np.array_equal(load(tmp_path / "changed").predict_proba(X), estimator.predict_proba(X))
    assert load(tmp_path / "changed").intercept == pytest.approx(estimator.intercept_)


def test_safetensors_reads_what_we_write_and_we_what_it_writes(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    whole = replace(model(["a", "b", "c"]), encoder=None, feature_names=["é", "b"])
    small = replace(whole, coef=np.array([[1], [-127], [0]], np.int8), kept=np.array([1]), scale=np.ones(3))
    half = replace(whole, coef=whole.coef.astype(np.float16))
    for saved in (whole, small, half):
        save(saved, ours)
        tensors = load_file(ours)
        assert np.array_equal(tensors["coef"], saved.coef)
        assert tensors["coef"].dtype == saved.coef.dtype
        assert tensors["feature_names"].tobytes().decode() == "é\0b"
        with safe_open(ours, framework="np") as file:
            metadata = file.metadata()
        assert json.loads(metadata[HEADER])["classes"] == ["a", "b", "c"]
        save_file(tensors, theirs, metadata=metadata)
        assert_same(load(theirs), saved)


ALONE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] not in {*sys.stdlib_module_names, "numpy", "steepest"}:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
import steepest

for path in sys.argv[1:]:
    model = steepest.load(path)
    X = np.arange(8, dtype=model.intercept.dtype).reshape(2, 4) / 8
    print(np.asarray(model.predict(X)).tolist())
    print(model.decision_function(X).tolist())
    if model.loss == "log_loss":
        print(model.predict_proba(X).tolist())
try:
    import sklearn
except ModuleNotFoundError:
    print("alone")
"""


def test_numpy_is_all_that_a_loaded_model_needs(tmp_path: Path) -> None:
    """Whole, pruned and in eight bits; every import but those of NumPy and of Python itself fails."""
    models: list[Any] = [
        st.GDClassifier().fit(X, Y % 3),
        st.GDClassifier("squared_hinge").fit(X, Y > 4),
        st.GDRegressor("poisson"),
    ]
    models[-1].fit(X, Y)
    models += [st.prune(models[0], X, Y % 3, n_features=2).model, st.quantize(models[-1], X, Y).model]
    rows, expected, paths = np.arange(8.0).reshape(2, 4) / 8, [], []
    for number, one in enumerate(models):
        paths.append(tmp_path / f"{number}.safetensors")
        save(one, paths[-1])
        loaded = load(paths[-1])
        expected += [loaded.predict(rows).tolist(), loaded.decision_function(rows).tolist()]
        if loaded.loss == "log_loss":
            expected.append(loaded.predict_proba(rows).tolist())
    done = subprocess.run([sys.executable, "-c", ALONE, *paths], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*map(str, expected), "alone"]


def write(path: Path, header: Any, coef: Any, intercept: Any, **others: Any) -> None:
    """Write a file that is right but for what it says."""
    description = json.dumps(header)
    tensors = {"coef": coef, "intercept": intercept, **others}
    save_file(tensors, path, metadata={HEADER: description, CHECKSUM: checksum(description, tensors)})


GOOD = {
    "format_version": 1,
    "loss": "mse",
    "parameter": 0.0,
    "target": "price",
    "classes": None,
    "columns": ENCODER.to_json(),
    "n_features": 2,
    "training": {},
}
CLASSIFIER = GOOD | {"loss": "log_loss"}
PLAIN = GOOD | {"columns": None}
COEF, INTERCEPT = np.ones((1, 2)), np.ones(1)
NAMES = np.frombuffer(b"a\0b", np.uint8)
KEPT = {"kept": np.array([0, 1])}


@pytest.mark.parametrize(
    ("header", "coef", "intercept", "others", "message"),
    [
        (
            GOOD | {"format_version": 2},
            COEF,
            INTERCEPT,
            {},
            "format version 2; this steepest reads 1; a newer steepest",
        ),
        (GOOD | {"format_version": 0}, COEF, INTERCEPT, {}, "format version 0; this steepest reads 1$"),
        (GOOD | {"format_version": True}, COEF, INTERCEPT, {}, "format version True"),
        (GOOD | {"format_version": "1"}, COEF, INTERCEPT, {}, "format version '1'"),
        ({}, COEF, INTERCEPT, {}, "format version None"),
        ([], COEF, INTERCEPT, {}, "the description is no table"),
        (GOOD | {"loss": "log_loss"}, COEF, INTERCEPT, {}, "classes None do not go with loss 'log_loss'"),
        (GOOD | {"classes": [1, 2]}, COEF, INTERCEPT, {}, r"classes \[1, 2\] do not go with loss 'mse'"),
        (CLASSIFIER | {"classes": ["a"]}, COEF, INTERCEPT, {}, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": []}, COEF, INTERCEPT, {}, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": [[1], [2]]}, COEF, INTERCEPT, {}, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": "ab"}, COEF, INTERCEPT, {}, "classes: expected .*list"),
        (CLASSIFIER | {"classes": ["a", "a"]}, COEF, INTERCEPT, {}, "classes: expected at least 2 different values"),
        (CLASSIFIER | {"classes": ["a", 1]}, COEF, INTERCEPT, {}, "classes: expected text, or numbers of 64 bits"),
        (CLASSIFIER | {"classes": [0, 2**64]}, COEF, INTERCEPT, {}, "classes: expected text, or numbers of 64 bits"),
        (
            CLASSIFIER | {"classes": [0, 1, 2]},
            COEF,
            INTERCEPT,
            {},
            r"intercept: expected .* \(3,\); got float64 \(1,\)",
        ),
        (
            CLASSIFIER | {"loss": "squared_hinge", "classes": [0, 1, 2]},
            COEF,
            INTERCEPT,
            {},
            "loss 'squared_hinge' is for two; got 3",
        ),
        (GOOD | {"columns": [{"name": "a"}, {"name": "a"}]}, COEF, INTERCEPT, {}, "column names: expected at least 1"),
        (GOOD | {"columns": []}, COEF, INTERCEPT, {}, "column names: expected at least 1"),
        (GOOD | {"columns": [{"name": "a", "levels": []}]}, COEF, INTERCEPT, {}, "levels of 'a': expected at least 1"),
        (GOOD | {"columns": [{"name": "a", "levels": "xyz"}]}, COEF, INTERCEPT, {}, "columns: got"),
        (GOOD | {"columns": [{"name": 1}, {"name": "b"}]}, COEF, INTERCEPT, {}, "columns: got"),
        (GOOD | {"columns": [{"name": "a"}]}, COEF, INTERCEPT, {}, "n_features: 2 do not go with 1 names"),
        (GOOD | {"loss": "magic"}, COEF, INTERCEPT, {}, "loss: expected one of .*; got 'magic'"),
        (GOOD | {"loss": ["mse"]}, COEF, INTERCEPT, {}, "loss: expected .*str.*; got"),
        (GOOD | {"parameter": -1.0}, COEF, INTERCEPT, {}, "parameter: expected a finite number ≥ 0; got -1.0"),
        (GOOD | {"loss": "huber"}, COEF, INTERCEPT, {}, "delta: expected a finite number > 0; got 0.0"),
        (GOOD | {"columns": [{"title": "size"}]}, COEF, INTERCEPT, {}, "does not hold together .'name' is missing"),
        (GOOD | {"columns": 3}, COEF, INTERCEPT, {}, "does not hold together"),
        (GOOD | {"target": None}, COEF, INTERCEPT, {}, "target: expected .*str"),
        (GOOD | {"training": "long"}, COEF, INTERCEPT, {}, "training: expected .*dict"),
        (GOOD | {"n_features": 3}, COEF, INTERCEPT, {}, "n_features: 3 do not go with 2 names"),
        (PLAIN | {"n_features": True}, COEF[:, :1], INTERCEPT, {}, "n_features: expected an integer"),
        (PLAIN | {"n_features": 0}, COEF[:, :0], INTERCEPT, {}, "n_features: expected an integer ≥ 1; got 0"),
        (PLAIN | {"n_features": -1}, COEF, INTERCEPT, {}, "n_features: expected an integer ≥ 1; got -1"),
        (PLAIN | {"n_features": 2.0}, COEF, INTERCEPT, {}, "n_features: expected .*int"),
        (PLAIN | {"pickle": "cos\nsystem"}, COEF, INTERCEPT, {}, "unknown: 'pickle'"),
        (PLAIN, COEF, INTERCEPT, {"weights": COEF}, "unknown: 'weights'"),
        ({"format_version": 1}, COEF, INTERCEPT, {}, "does not hold together .'loss' is missing"),
        (GOOD, np.ones((2, 2)), INTERCEPT, {}, r"coef: expected .* \(1, 2\); got float64 \(2, 2\)"),
        (GOOD, COEF.astype(np.float32), INTERCEPT, {}, "got float32"),
        (GOOD, COEF.astype(np.int8), INTERCEPT, {}, "coef: expected float16 or float64"),
        (GOOD, COEF * np.nan, INTERCEPT, {}, "coef: not finite"),
        (GOOD, COEF.astype(np.float16) * np.inf, INTERCEPT, {}, "coef: not finite"),
        (GOOD, COEF, -np.inf * INTERCEPT, {}, "intercept: not finite"),
        (GOOD | {"loss": "poisson"}, COEF, np.ones(2), {}, "intercept: expected"),
        (GOOD, COEF, np.ones(0), {}, "intercept: expected"),
        (GOOD, COEF, np.ones((1, 1)), {}, "intercept: expected"),
        (GOOD, COEF, INTERCEPT.astype(np.float16), {}, "intercept: expected float32 or float64"),
        (GOOD, COEF, INTERCEPT, {"scale": np.ones(1)}, "coef: expected int8"),
        (GOOD, COEF.astype(np.int8), INTERCEPT, {"scale": np.zeros(1)}, "scale: expected numbers > 0"),
        (GOOD, COEF.astype(np.int8), INTERCEPT, {"scale": np.ones(2)}, "scale: expected float64"),
        (GOOD, COEF.astype(np.int8), INTERCEPT, {"scale": np.ones(1) * np.nan}, "scale: not finite"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([1, 0])}, "kept: expected rising numbers"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([-1, 0])}, "kept: expected rising numbers"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([0, 2])}, "kept: expected rising numbers"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([], np.int64)}, "kept: expected rising numbers"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([0.0, 1.0])}, "kept: expected rising numbers"),
        (GOOD, COEF, INTERCEPT, {"kept": np.array([0])}, r"coef: expected .* \(1, 1\)"),
        (GOOD, COEF, INTERCEPT, {"feature_names": NAMES}, "names of features beside a table's"),
        (PLAIN, COEF, INTERCEPT, {"feature_names": NAMES[:1]}, "n_features: 2 do not go with 1 names"),
        (PLAIN, COEF, INTERCEPT, {"feature_names": NAMES.view(np.int8)}, "does not hold together"),
        (PLAIN, COEF, INTERCEPT, {"feature_names": np.array([255, 0, 97], np.uint8)}, "utf-8"),
    ],
)
def test_contents_are_checked(  # noqa: PLR0917
    tmp_path: Path, header: Any, coef: Any, intercept: Any, others: dict[str, Any], message: str
) -> None:
    path = tmp_path / "model.safetensors"
    write(path, GOOD, COEF, INTERCEPT, **KEPT)
    load(path)
    write(path, header, coef, intercept, **others)
    with pytest.raises(ModelFileError, match=message):
        load(path)


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(model(None), path)
    before = path.read_bytes()
    broken = LinearModel("mse", "price", None, ENCODER, COEF, INTERCEPT, {"not json": object()})
    with pytest.raises(TypeError):
        save(broken, path)
    too_long = replace(broken, training={"notes": "x" * (1 << 20)})
    with pytest.raises(InputError, match=r"model: the description takes .* bytes; 1,048,576 is the most"):
        save(too_long, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "model: expected a LinearModel, a Fit or a fitted GDRegressor or GDClassifier; got int"),
        (st.GDClassifier(), "got GDClassifier"),
        (
            st.descend(X, np.where(Y > 4, b"a", b"b"), loss="log_loss", n_steps=1),
            "classes: expected at least 2 different values",
        ),
        (replace(model(None), encoder=None, feature_names=["a", "b\0"]), "feature_names: expected names without"),
        (replace(model(None), encoder=None, feature_names=["a", "\ud800"]), r"feature_names: .* '\\ud800'"),
        (replace(model(None), target="\ud800"), r"model: .* '\\ud800'"),
    ],
    ids=["a number", "not fitted", "bytes", "a name with a zero", "half a character", "half a character as a target"],
)
def test_what_is_no_model_is_not_saved(tmp_path: Path, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        save(given, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_is_not_finite_is_named() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    predictor = replace(model(None), encoder=None, feature_names=["a", "b"])
    rows = np.zeros((3, 2))
    rows[1, 1] = np.nan
    for given in (rows, sparse.csr_array(rows), sparse.csc_matrix(rows)):
        with pytest.raises(InputError, match=r"X\[1, 1\] \(column 'b'\) is nan"):
            predictor.predict(given)


def test_one_feature_may_come_as_it_went_in() -> None:
    fit = st.descend([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], method="newton", n_steps=9)
    predictor = as_model(fit)
    assert predictor.predict([3.0, 4.0]) == pytest.approx([7.0, 9.0])
    with pytest.raises(InputError, match=r"X: expected shape \(n_samples, 1\); got \(1, 2\)"):
        predictor.predict([[3.0, 4.0]])
