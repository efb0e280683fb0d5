"""The estimators as scikit-learn knows them: its own checks, its tools, its conventions."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sklearn
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import steepest as st
from steepest.estimators.base import in_our_words

SOLVERS = ("auto", "gd", "momentum", "nesterov", "adam", "sgd", "lbfgs", "newton", "coordinate")
#: Solvers that are for some losses only.
ONLY_FOR = {"coordinate": ("squared_error",)}
LOSSES = {
    st.GDRegressor: ("squared_error", "huber", "poisson"),
    st.GDClassifier: ("log_loss", "squared_hinge"),
}
#: One check wants the predictions of two fits, whose data differ by rounding, equal to 1e-7. With more columns than
#: rows and next to no penalty, the memory of L-BFGS magnifies rounding beyond that; no other solver does.
PENALISED: dict[str, dict[str, Any]] = {"lbfgs": {"alpha": 0.1}}
EVERY_ESTIMATOR = [
    kind(loss, solver=solver, **PENALISED.get(solver, {}))
    for kind, losses in LOSSES.items()
    for loss in losses
    for solver in SOLVERS
    if loss in ONLY_FOR.get(solver, losses)
]
OLD = tuple(map(int, sklearn.__version__.split(".")[:2]))


@pytest.fixture(autouse=True)
def two_classes_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.7 scikit-learn made two classes of three by the first label, which the order of the rows decides.

    The rows of two fits that are to be equal come in two orders.
    """
    if OLD >= (1, 7):
        return
    enforce = estimator_checks._enforce_estimator_tags_y

    def enforce_by_value(estimator: Any, y: Any) -> Any:
        tags = get_tags(estimator).classifier_tags
        if tags is None or tags.multi_class or not np.size(y):
            return enforce(estimator, y)
        return np.where(y == y.min(), y, y.min() + 1)

    monkeypatch.setattr(estimator_checks, "_enforce_estimator_tags_y", enforce_by_value)


# The checks ask for five iterations, or for none at all to be enough.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(EVERY_ESTIMATOR)  # type: ignore[untyped-decorator]
def test_by_the_checks_of_scikit_learn(estimator: Any, check: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Without it the checks with array_api_dispatch are skipped.
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    check(estimator)


def regression() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_diabetes(return_X_y=True)
    return X, y


def classification() -> tuple[NDArray[Any], NDArray[Any]]:
    X, y = load_breast_cancer(return_X_y=True)
    return X, y


def fitted(kind: Any) -> tuple[Any, NDArray[Any]]:
    X, y = regression() if kind is st.GDRegressor else classification()
    return kind().fit(X, y), X


both = pytest.mark.parametrize("kind", [st.GDRegressor, st.GDClassifier])


@both
def test_attributes_are_those_of_the_descent(kind: Any) -> None:
    model, X = fitted(kind)
    fit = model.fit_
    assert np.array_equal(np.ravel(model.coef_), fit.coef)
    assert np.ravel(model.intercept_) == fit.intercept
    assert (model.status_, model.solver_, model.backend_) == ("converged", "newton", "rust")
    assert model.n_iter_ == fit.n_steps == len(model.history_)
    assert model.history_.loss[-1] > fit.loss
    assert model.n_features_in_ == X.shape[1]
    assert not hasattr(model, "feature_names_in_")
    assert model.coef_.shape == ((10,) if kind is st.GDRegressor else (1, 30))
    assert np.shape(model.intercept_) == (() if kind is st.GDRegressor else (1,))


@both
def test_nothing_is_fitted_before(kind: Any) -> None:
    model = kind()
    for verb in ("sparsify", "densify"):
        with pytest.raises(NotFittedError):
            getattr(model, verb)()
    with pytest.raises(NotFittedError):
        model.predict(np.zeros((2, 3)))


@both
def test_sparse_coefficients_predict_the_same(kind: Any) -> None:
    X, y = regression() if kind is st.GDRegressor else classification()
    X = StandardScaler().fit_transform(X)
    model = kind(penalty="l1", alpha=2.0 if kind is st.GDRegressor else 0.05).fit(X, y)
    dense, expected = model.coef_.copy(), model.predict(X)
    assert 0 < np.count_nonzero(dense) < dense.size
    assert model.sparsify() is model
    assert sparse.issparse(model.coef_)
    assert model.coef_.nnz == np.count_nonzero(dense)
    for given in (X, sparse.csr_matrix(X), sparse.csr_array(X)):
        assert model.predict(given) == pytest.approx(expected)
    assert model.sparsify().densify() is model.densify()
    assert np.array_equal(model.coef_, dense)
    assert model.coef_.shape == dense.shape


@both
def test_copies_and_pickles(kind: Any) -> None:
    model, X = fitted(kind)
    copy = pickle.loads(pickle.dumps(model))  # noqa: S301
    assert np.array_equal(copy.predict(X), model.predict(X))
    assert copy.get_params() == model.get_params()
    assert not hasattr(clone(model), "coef_")
    changed = clone(model).set_params(alpha=3.0, solver=st.Momentum(0.5), learning_rate=st.Cosine(0.1, n_steps=9))
    assert clone(changed).get_params() == changed.get_params()
    assert "alpha=3.0" in repr(changed)
    page = model._repr_html_()
    assert kind.__name__ in page
    assert "<style>" in page


@both
def test_kinds(kind: Any) -> None:
    assert is_regressor(kind()) == (kind is st.GDRegressor)
    assert is_classifier(kind()) == (kind is st.GDClassifier)
    assert get_tags(kind()).input_tags.sparse


def test_tags_follow_the_loss() -> None:
    assert get_tags(st.GDRegressor()).target_tags.multi_output
    assert not get_tags(st.GDRegressor("huber")).target_tags.multi_output
    assert get_tags(st.GDRegressor("poisson")).target_tags.positive_only
    assert get_tags(st.GDClassifier()).classifier_tags.multi_class
    assert not get_tags(st.GDClassifier("squared_hinge")).classifier_tags.multi_class


def test_probabilities_are_there_if_the_loss_has_them() -> None:
    assert hasattr(st.GDClassifier(), "predict_proba")
    assert not hasattr(st.GDClassifier("squared_hinge"), "predict_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_log_proba'") as caught:
        _ = st.GDClassifier(st.SquaredHinge()).predict_log_proba
    assert "gives margins, not probabilities" in str(caught.value.__cause__)


def test_in_the_tools_of_scikit_learn() -> None:
    X, y = classification()
    X = StandardScaler().fit_transform(X)
    model = st.GDClassifier(alpha=1e-2)
    scores = cross_val_score(model, X, y, cv=3)
    assert scores.min() > 0.95
    search = GridSearchCV(model, {"alpha": [1e-2, 1e2], "solver": ["auto", "lbfgs"]}, cv=3).fit(X, y)
    assert search.best_params_["alpha"] == 1e-2
    assert CalibratedClassifierCV(model, cv=3).fit(X, y).score(X, y) > 0.95
    assert BaggingClassifier(model, n_estimators=3, random_state=0).fit(X, y).score(X, y) > 0.95
    lasso = SelectFromModel(st.GDClassifier(penalty="l1", alpha=0.1)).fit(X, y)
    assert 0 < lasso.get_support().sum() < 15
    several = OneVsRestClassifier(st.GDClassifier("squared_hinge")).fit(*load_iris(return_X_y=True))
    assert several.score(*load_iris(return_X_y=True)) > 0.9
    targets = TransformedTargetRegressor(st.GDRegressor(), func=np.log, inverse_func=np.exp).fit(*regression())
    assert targets.score(*regression()) > 0.4


@pytest.fixture
def routing() -> Iterator[None]:
    """Route metadata where it is asked for."""
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_metadata_is_routed() -> None:
    X, y = regression()
    weights, offset = np.arange(1.0, len(y) + 1), 100 * X[:, 0]
    model = st.GDRegressor().set_fit_request(sample_weight=True, offset=True).set_predict_request(offset=True)
    model = model.set_score_request(sample_weight=True)
    routed = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), model)
    routed.fit(X, y, sample_weight=weights, offset=offset)
    by_hand = StandardScaler().fit(X)
    expected = st.GDRegressor().fit(by_hand.transform(X), y, weights, offset=offset)
    assert np.array_equal(routed[-1].coef_, expected.coef_)
    predicted = expected.predict(by_hand.transform(X), offset=offset)
    assert np.array_equal(routed.predict(X, offset=offset), predicted)
    assert expected.predict(by_hand.transform(X)) == pytest.approx(predicted - offset)
    figures = cross_validate(
        st.GDRegressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
        X,
        y,
        params={"sample_weight": weights},
        return_estimator=True,
        cv=2,
    )
    half = len(y) // 2
    assert np.array_equal(figures["estimator"][1].coef_, st.GDRegressor().fit(X[:half], y[:half], weights[:half]).coef_)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_the_names_that_set_output_makes_are_kept(container: str) -> None:
    pytest.importorskip(container)
    X, y = regression()
    model = make_pipeline(StandardScaler().set_output(transform=container), st.GDRegressor()).fit(X, y)
    assert model[-1].feature_names_in_.tolist() == [f"x{i}" for i in range(10)]
    assert model[-1].fit_.feature_names == [f"x{i}" for i in range(10)]
    plain = make_pipeline(StandardScaler(), st.GDRegressor()).fit(X, y)
    assert model.predict(X) == pytest.approx(plain.predict(X), rel=1e-12)


@pytest.mark.parametrize("through_a_pipeline", [False, True])
def test_a_warning_is_of_both_kinds_and_names_the_line_that_fits(through_a_pipeline: bool) -> None:  # noqa: FBT001
    X, y = classification()
    model: Any = st.GDClassifier(solver="gd", max_iter=2)
    if through_a_pipeline:
        model = make_pipeline(StandardScaler(), model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    (warning,) = caught
    assert issubclass(warning.category, ConvergenceWarning)
    assert issubclass(warning.category, st.ConvergenceWarning)
    assert warning.filename == __file__
    assert "raise max_iter, or pass solver='auto'" in str(warning.message)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "newto"}, "solver: expected one of adam, coordinate, gd, .*; got 'newto'; did you mean 'newton'"),
        ({"solver": "newton", "batch_size": 3}, "batch_size: solver 'newton' uses all rows"),
        ({"solver": "lbfgs", "penalty": "l1"}, "penalty: solver 'lbfgs' needs a smooth penalty, penalty='l2'; solvers"),
        ({"penalty": "l3"}, "penalty: expected one of elasticnet, l1, l2; got 'l3'"),
        ({"penalty": "elasticnet", "l1_ratio": 2}, "l1_ratio: expected a number from 0"),
        ({"alpha": -1.0}, "alpha: expected a finite number ≥ 0; got -1.0"),
        ({"penalty": None, "alpha": "a"}, "alpha: expected a finite number ≥ 0; got 'a'"),
        ({"max_iter": 0}, "max_iter: expected an integer ≥ 1; got 0"),
        ({"tol": -1}, "tol: expected a finite number ≥ 0; got -1"),
        ({"n_iter_no_change": 0, "early_stopping": True}, "n_iter_no_change: expected an integer ≥ 1; got 0"),
        ({"early_stopping": "yes"}, "early_stopping: expected True or False; got 'yes'"),
        ({"early_stopping": True, "validation_fraction": 1.0}, "validation_fraction: expected a share of the "),
        ({"precondition": "auto"}, "precondition: expected True or False; got 'auto'"),
        ({"warm_start": None}, "warm_start: expected True or False; got None"),
        ({"fit_intercept": 0}, "fit_intercept: expected True or False; got 0"),
        ({"n_jobs": 0}, "n_jobs: expected a number of threads, -1 for every core, or None; got 0"),
        ({"n_jobs": "2"}, "n_jobs: expected a number of threads, -1 for every core, or None; got '2'"),
        ({"backend": "gpu"}, "backend: expected one of "),
        ({"loss": "hubert"}, "loss: expected one of .*; got 'hubert'; did you mean 'huber'"),
        ({"learning_rate": "quick"}, "learning_rate: expected a number > 0, one of 'armijo'"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], message: str) -> None:
    for model, (X, y) in ((st.GDRegressor(), regression()), (st.GDClassifier(), classification())):
        with pytest.raises(st.InputError, match=f"^{message}"):
            model.set_params(**parameters).fit(X, y)


def test_losses_are_for_one_of_the_two() -> None:
    with pytest.raises(st.InputError, match="loss: expected one for numbers; 'log_loss' is for GDClassifier"):
        st.GDRegressor("log_loss").fit(*regression())
    with pytest.raises(st.InputError, match=re.escape("loss: expected one for labels; Huber(delta=2.0) is for GDReg")):
        st.GDClassifier(st.Huber(2.0)).fit(*classification())


def test_divergence_is_an_error_that_names_the_cure() -> None:
    X, y = classification()
    with pytest.raises(st.DivergenceError, match="the largest safe step size is") as caught:
        st.GDRegressor(solver="gd", learning_rate=1e3, precondition=False).fit(X, y)
    assert caught.value.safe_step_size > 0


def test_words_of_the_user_are_left_alone() -> None:
    assert in_our_words("X[3, 1] (column 'method') is nan; raise n_steps") == (
        "X[3, 1] (column 'method') is NaN; raise max_iter"
    )
    assert in_our_words("methods that take one: gd; n_steps_of_mine") == "solvers that take one: gd; n_steps_of_mine"
