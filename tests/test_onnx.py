"""Models as ONNX say through onnxruntime what `predict` says, to 1e-12 in double precision and 1e-6 in single."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, PolynomialFeatures, StandardScaler

import steepest as st
from steepest import InputError, LinearModel, MissingPackageError
from steepest.model import as_model
from steepest.preprocessing import Categorical, Encoder, Numeric

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
needs_skl2onnx = pytest.mark.skipif(
    not pytest.importorskip("importlib.util").find_spec("skl2onnx"), reason="no skl2onnx"
)
pytestmark = pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")

MOST_APART = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-6}
KINDS = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(string)": object}

N, D = 120, 20
GENERATOR = np.random.default_rng(11)
X = GENERATOR.normal(size=(N, D)) * np.geomspace(0.1, 10, D)
Y = GENERATOR.integers(0, 9, N)
TEXTS = np.array(["ham", "œuf", "spam"])
#: An estimator and its targets.
ESTIMATORS: dict[str, tuple[Callable[[], Any], NDArray[Any]]] = {
    "mse": (st.GDRegressor, Y * 1.5),
    "two targets": (st.GDRegressor, np.column_stack([Y, X[:, 0]])),
    "huber": (lambda: st.GDRegressor(st.Huber(0.5)), Y * 1.0),
    "poisson": (lambda: st.GDRegressor("poisson"), Y),
    "two texts": (st.GDClassifier, TEXTS[Y % 2]),
    "two integers": (st.GDClassifier, Y % 2 * 7 - 3),
    "truth": (st.GDClassifier, Y > 4),
    "whole floats": (st.GDClassifier, Y % 2 * 1.0),
    "three texts": (st.GDClassifier, TEXTS[Y % 3]),
    "nine integers": (st.GDClassifier, Y),
    "soft": (st.GDClassifier, np.column_stack([Y / 10, 1 - Y / 10])),
    "margins of texts": (lambda: st.GDClassifier("squared_hinge"), TEXTS[Y % 2]),
    "margins of integers": (lambda: st.GDClassifier("squared_hinge"), Y % 2),
}
SMALLER: dict[str, Callable[..., Any]] = {
    "whole": lambda model, X, y: model,  # noqa: ARG005
    "pruned": lambda model, X, y: st.prune(model, X, y, n_features=7).model,
    "int8": lambda model, X, y: st.quantize(model, X, y).model,
    "float16": lambda model, X, y: st.quantize(model, X, y, to="float16").model,
    "pruned int8": lambda model, X, y: st.quantize(st.prune(model, X, y, n_features=7).model, X, y).model,
}


def infer(proto: Any, rows: Any) -> dict[str, Any]:
    """Return the outputs by name for an array, texts, or a frame, one input a column."""
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = session.get_inputs()
    if hasattr(rows, "columns"):
        fed = {one.name: np.asarray(rows[one.name].to_numpy(), dtype=KINDS[one.type])[:, None] for one in inputs}
    else:
        fed = {inputs[0].name: np.asarray(rows, dtype=KINDS[inputs[0].type])}
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, fed), strict=True))


def apart(found: Any, expected: Any) -> float:
    """Return how far numbers are apart, as a share of the largest of them, or of one if that is more."""
    assert found.shape == expected.shape
    gap = np.abs(found.astype(np.float64) - expected).max(initial=0)
    return float(gap / np.abs(expected).max(initial=1))


def assert_same(found: dict[str, Any], model: Any, rows: Any, most: float) -> None:
    """Outputs are what the model's own methods return."""
    first, *others = found
    if "label" not in found:
        expected = model.predict(rows)
        assert apart(found[first].reshape(expected.shape), expected) <= most
        return
    assert found["label"].tolist() == model.predict(rows).tolist()
    assert len(others) == 1
    margins = getattr(model, "loss", None) == "squared_hinge"
    expected = model.decision_function(rows) if margins else model.predict_proba(rows)
    assert apart(found[others[0]], expected) <= most


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smaller", SMALLER)
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_models_by_themselves(tmp_path: Path, kind: str, smaller: str, dtype: Any) -> None:
    """In the precision of the model, from a file, for many rows, one, and none; as loaded from our own file too."""
    make, y = ESTIMATORS[kind]
    rows = X.astype(dtype)
    estimator = make().fit(rows, y)
    model = SMALLER[smaller](estimator, rows, y)
    proto = st.to_onnx(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == proto.SerializeToString()
    reals = [one for one in (*proto.graph.input, *proto.graph.output) if one.name != "label"]
    assert {one.type.tensor_type.elem_type for one in reals} == {onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))}
    for part in (rows, rows[:1], rows[:0]):
        # Estimators, as scikit-learn has it, do not predict for no rows; their models do.
        assert_same(infer(proto, part), model if len(part) else as_model(model), part, MOST_APART[np.dtype(dtype)])
    st.save(model, tmp_path / "m")
    assert st.to_onnx(st.load(tmp_path / "m")).graph == proto.graph
    if smaller == "whole":
        assert st.to_onnx(estimator.fit_).graph == proto.graph


PLAIN = {"MatMul", "Add", "Sigmoid", "Softmax", "Exp", "Min", "Neg", "Concat", "Squeeze", "Identity"}
LABELS = {"Greater", "Cast", "ArgMax", "Gather"}


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_the_graph_is_plain(kind: str) -> None:
    make, y = ESTIMATORS[kind]
    proto = st.to_onnx(make().fit(X, y))
    operations = {node.op_type for node in proto.graph.node}
    assert (
        {"MatMul", "Add"}
        <= operations
        <= PLAIN | (LABELS if "label" in {o.name for o in proto.graph.output} else set())
    )
    assert {node.domain for node in proto.graph.node} == {""}


def test_scores_beyond_the_exponential_are_as_ours() -> None:
    for dtype in (np.float32, np.float64):
        one, zero = np.ones((1, 1), dtype), np.zeros(1, dtype)
        rows = np.array([[-800], [-90], [0], [63], [90], [599], [700], [1e4]], dtype)
        for model in (
            LinearModel("poisson", "y", None, None, one, zero),
            LinearModel("log_loss", "y", [0, 1], None, one, zero),
            LinearModel("log_loss", "y", [0, 1, 2], None, np.array([[1], [-1], [0.5]], dtype), np.zeros(3, dtype)),
        ):
            proto = st.to_onnx(model)
            for row in rows:
                assert_same(infer(proto, row[None]), model, row[None], MOST_APART[np.dtype(dtype)])


def test_fractional_labels_stay_what_they_are() -> None:
    model = LinearModel("log_loss", "y", [0.5, 1.5], None, np.ones((1, 1)), np.zeros(1))
    assert infer(st.to_onnx(model), [[-1.0], [1.0]])["label"].tolist() == [0.5, 1.5]


pandas = pytest.importorskip("pandas")
COLOURS = GENERATOR.choice(["red", "grün", "blue"], N)
FRAME = pandas.DataFrame({"size": X[:, 0], "colour": COLOURS, "age": Y, "weight": X[:, 3]})


@pytest.mark.parametrize(
    "names", [["size", "colour", "age"], ["prediction", "label", "probabilities"], ["matmul", "coef", "X"]]
)
@pytest.mark.parametrize("classes", [None, ["no", "yes"], [1, 2, 3]])
def test_models_of_tables(classes: Any, names: list[str]) -> None:
    """One input a column, whatever it is called; a text never seen is as the level that others are compared with."""
    encoder = Encoder((Numeric(names[0]), Categorical(names[1], ("red", "blue", "grün")), Numeric(names[2])))
    width = 3 if classes == [1, 2, 3] else 1
    model = LinearModel(
        loss="log_loss" if classes else "mse",
        target="price",
        classes=classes,
        encoder=encoder,
        coef=GENERATOR.normal(size=(width, 4)),
        intercept=GENERATOR.normal(size=width),
    )
    frame = FRAME[["size", "colour", "age"]].set_axis(names, axis=1)
    for one in (model, st.quantize(model, frame, model.predict(frame)).model):
        for part in (frame, frame[:1], frame[:0]):
            found = infer(st.to_onnx(one), part)
            assert_same({name.rstrip("_"): values for name, values in found.items()}, one, part, 1e-12)
    proto = st.to_onnx(model)
    strange, base = (frame.assign(**{names[1]: colour}) for colour in ("violet", "red"))
    for one, other in zip(infer(proto, strange).values(), infer(proto, base).values(), strict=True):
        assert np.array_equal(one, other)
    with pytest.raises(InputError, match=r"'violet' \(row 0\) was not there in training"):
        model.predict(strange)


def test_a_column_without_a_name_cannot_be_an_input() -> None:
    model = LinearModel("mse", "y", None, Encoder((Numeric(""),)), np.ones((1, 1)), np.ones(1))
    with pytest.raises(InputError, match="columns: expected names for the inputs of the graph; one column has none"):
        st.to_onnx(model)


@needs_skl2onnx
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_pipelines(kind: str, dtype: Any) -> None:
    make, y = ESTIMATORS[kind]
    rows = X.astype(dtype)
    pipeline = make_pipeline(StandardScaler(), make()).fit(rows, y)
    found = infer(st.to_onnx(pipeline, example=rows[:2]), rows)
    if kind.startswith("margins"):
        # In place of probabilities both scores, as skl2onnx has it for scikit-learn's own.
        scores = pipeline.decision_function(rows)
        assert found["label"].tolist() == pipeline.predict(rows).tolist()
        assert apart(found["probabilities"], np.column_stack([-scores, scores])) <= MOST_APART[np.dtype(dtype)]
    else:
        assert_same(found, pipeline, rows, MOST_APART[np.dtype(dtype)])


@needs_skl2onnx
@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("kind", ["poisson", "two texts", "three texts", "two targets"])
def test_pipelines_of_frames(kind: str, library: str) -> None:
    make, y = ESTIMATORS[kind]
    frame, example = FRAME, FRAME
    if library == "polars":
        example = pytest.importorskip("polars").from_pandas(frame)
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["size", "age", "weight"]), ("texts", OneHotEncoder(), ["colour"])]
    )
    pipeline = make_pipeline(columns, make()).fit(frame, y)
    assert_same(infer(st.to_onnx(pipeline, example=example), frame), pipeline, frame, 1e-12)


WORDS = np.array(["free", "money", "hello", "you", "win", "now", "the"])
LETTERS = [" ".join(GENERATOR.choice(WORDS, 7)) for _ in range(N)]
SPAM = np.array(["spam" if "free" in letter else "ham" for letter in LETTERS])


@needs_skl2onnx
def test_pipelines_of_texts() -> None:
    """The words' weights are single precision in ONNX, whatever the pipeline has."""
    pipeline = make_pipeline(TfidfVectorizer(lowercase=False), st.GDClassifier()).fit(LETTERS, SPAM)
    assert_same(infer(st.to_onnx(pipeline, example=LETTERS), LETTERS), pipeline, LETTERS, 1e-6)


@needs_skl2onnx
def test_pipelines_of_sparse_data() -> None:
    sparse = pytest.importorskip("scipy.sparse").csr_array(np.where(X > 0.5, X, 0))
    pipeline = make_pipeline(MaxAbsScaler(), st.GDClassifier()).fit(sparse, Y % 3)
    found = infer(st.to_onnx(pipeline, example=sparse), sparse.toarray())
    assert_same(found, pipeline, sparse, 1e-12)


@needs_skl2onnx
@pytest.mark.parametrize(
    ("model", "y"),
    [
        (GridSearchCV(make_pipeline(StandardScaler(), st.GDClassifier()), {"gdclassifier__alpha": [0.01, 1]}), Y % 3),
        (GridSearchCV(st.GDRegressor(), {"alpha": [0.01, 1]}), Y),
        (OneVsRestClassifier(st.GDClassifier("squared_hinge")), Y % 3),
        (CalibratedClassifierCV(st.GDClassifier(), cv=2), Y % 2),
        (CalibratedClassifierCV(st.GDClassifier(), cv=2), TEXTS[Y % 3]),
        (CalibratedClassifierCV(st.GDClassifier("squared_hinge"), cv=2), Y % 2),
    ],
    ids=["grid of pipelines", "grid", "one versus rest", "calibrated", "calibrated, three", "calibrated margins"],
)
def test_what_else_holds_an_estimator(model: Any, y: Any) -> None:
    model.fit(X, y)
    proto = st.to_onnx(model, example=X)
    found = infer(proto, X)
    if hasattr(model, "predict_proba"):
        assert_same(found, model, X, 1e-12)
    else:
        expected = model.predict(X)
        first = next(iter(found.values()))
        assert apart(first.reshape(expected.shape), expected) <= 1e-12


@needs_skl2onnx
def test_options_of_skl2onnx() -> None:
    """Called by hand, once our converter is registered."""
    from skl2onnx import to_onnx

    st.register_onnx_converter()
    model = st.GDClassifier().fit(X, TEXTS[Y % 2])
    pipeline = make_pipeline(StandardScaler(with_mean=False, with_std=False), model)
    pipeline.fit(X, TEXTS[Y % 2])
    scores, number = pipeline.decision_function(X), id(pipeline.steps[-1][1])
    raw = infer(to_onnx(pipeline, X[:1], options={number: {"raw_scores": True, "zipmap": False}}), X)
    assert apart(raw["probabilities"], np.column_stack([-scores, scores])) <= 1e-12
    numbers = infer(to_onnx(pipeline, X[:1], options={number: {"nocl": True, "zipmap": False}}), X)
    assert numbers["label"].tolist() == (scores > 0).astype(int).tolist()
    # Tables of probabilities are of single precision in ONNX.
    single = X.astype(np.float32)
    tables = infer(to_onnx(pipeline.fit(single, TEXTS[Y % 2]), single[:1]), single)
    assert list(tables["output_probability"][0]) == TEXTS[:2].tolist()


class Strange(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that nobody but us knows."""

    def fit(self, X: Any, y: Any = None) -> Strange:  # noqa: ARG002
        return self

    def transform(self, X: Any) -> Any:
        return X


@needs_skl2onnx
@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Strange()], "model: ONNX has no such operator: .*Strange"),
        ([PolynomialFeatures(2)], "single precision only: train on, and pass, float32"),
    ],
    ids=["unknown", "single precision"],
)
def test_steps_that_onnx_lacks(steps: list[Any], message: str) -> None:
    pipeline = make_pipeline(*steps, st.GDRegressor()).fit(X[:, :3], Y)
    with pytest.raises(InputError, match=message):
        st.to_onnx(pipeline, example=X[:, :3])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("model", "model: expected a LinearModel, a Fit or a fitted"),
        (st.GDClassifier(), "expected .* fitted GDRegressor or GDClassifier; got GDClassifier"),
        (make_pipeline(StandardScaler(), st.GDClassifier()), "example: expected a row or more as predict takes them"),
    ],
    ids=["text", "not fitted", "no example"],
)
def test_bad_input(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        st.to_onnx(model)


def test_what_is_not_installed_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = LinearModel("mse", "y", None, None, np.ones((1, 1)), np.ones(1))
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingPackageError, match=r"ONNX export needs onnx: pip install 'steepest\[onnx\]'"):
        st.to_onnx(model)
    monkeypatch.setitem(__import__("sys").modules, "skl2onnx", None)
    pipeline = make_pipeline(StandardScaler(), st.GDRegressor()).fit(X, Y)
    with pytest.raises(MissingPackageError, match="ONNX export needs skl2onnx"):
        st.to_onnx(pipeline, example=X)


def test_a_failed_export_keeps_the_old_file(tmp_path: Path) -> None:
    model = LinearModel("mse", "y", None, Encoder((Numeric(""),)), np.ones((1, 1)), np.ones(1))
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(InputError):
        st.to_onnx(model, tmp_path / "m.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    with pytest.raises(OSError, match="nowhere"):
        st.to_onnx(replace(model, encoder=None, feature_names=["a"]), tmp_path / "nowhere" / "m.onnx")


def test_int8_takes_less_than_three_tenths_as_onnx_too() -> None:
    y = Y % 9
    rows = GENERATOR.normal(size=(N, 784)).astype(np.float32)
    model = as_model(st.descend(rows, y, loss="log_loss", n_steps=3))
    small = st.quantize(model, rows, y).model
    sizes = [len(st.to_onnx(one).SerializeToString()) for one in (small, model)]
    assert sizes[0] <= 0.3 * sizes[1]
    assert_same(infer(st.to_onnx(small), rows), small, rows, 1e-6)
