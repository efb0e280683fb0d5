"""Pictures by the data on their axes, each against figures that were worked out in another way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image
from scipy import sparse
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import pictures
import steepest as st
from pictures import BINARY, LINE, SEVERAL, X, Y, xy
from steepest import plot

close = pictures.close

RACE = {method: st.descend(X, Y, method=method, n_steps=40) for method in ("gd", "nesterov", "lbfgs")}


@pytest.mark.parametrize("against", ["step", "seconds"])
def test_race_is_the_histories_and_where_they_end(against: str) -> None:
    axes = plot.plot_loss(RACE, against=against)
    lines = {line.get_label(): line for line in axes.lines}
    for label, fit in RACE.items():
        x, loss = xy(lines[label])
        ends = {"step": fit.n_steps, "seconds": fit.seconds}
        assert np.array_equal(x, np.append(getattr(fit.history, against), ends[against]))
        assert np.array_equal(loss, np.append(fit.history.loss, fit.loss))
        assert fit.seconds >= fit.history.seconds.max()
    assert axes.get_xlabel() == {"step": "step", "seconds": "time [s]"}[against]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(RACE)
    colours = {lines[label].get_color() for label in RACE}
    assert len(colours) == len(RACE)


def test_gap_is_above_the_least_or_above_a_number() -> None:
    best = min(min(fit.loss, fit.history.loss.min()) for fit in RACE.values())
    for gap, bottom in ((True, best), (best / 2, best / 2)):
        axes = plot.plot_loss(RACE, gap=gap)
        assert axes.get_yscale() == "log"
        for line, fit in zip([line for line in axes.lines if line.get_label() in RACE], RACE.values(), strict=True):
            expected = np.append(fit.history.loss, fit.loss) - bottom
            drawn = xy(line)[1]
            kept = drawn > 0
            assert np.array_equal(drawn[kept], expected[kept])
            assert (expected[~kept] <= 8 * np.finfo(float).eps * best).all()
            # What reaches the least of all leaves the picture downwards.
        assert any((xy(line)[1] == 0).any() for line in axes.lines) == (gap is True)
    assert f"above {best / 2:.6g}" in axes.get_ylabel()


def test_labels_of_a_list_tell_runs_apart() -> None:
    fits = [RACE["gd"], RACE["lbfgs"], RACE["gd"]]
    labels = [text.get_text() for text in plot.plot_loss(fits).get_legend().get_texts()]
    assert labels == ["gd 1", "lbfgs", "gd 3"]


def test_races_of_very_different_lengths_have_a_logarithmic_axis() -> None:
    short = st.descend(X, Y, method="newton", n_steps=5)
    long = st.descend(X, Y, n_steps=500)
    assert plot.plot_loss([short, long]).get_xscale() == "symlog"
    assert plot.plot_loss(long).get_xscale() == "linear"


def test_validation_marks_what_was_kept() -> None:
    fit = st.descend(X, Y, learning_rate=0.01, eval_set=(X, 0.3 * Y), n_steps=300, patience=5)
    assert fit.status == "early_stopped"
    kept = int(np.flatnonzero(fit.history.validation_loss == fit.validation_loss)[0])
    training, validation, mark = plot.plot_loss({"run": fit}).lines
    assert np.array_equal(xy(training)[1], fit.history.loss)
    assert np.array_equal(xy(validation)[1], fit.history.validation_loss)
    assert (mark.get_xdata()[0], mark.get_ydata()[0]) == (kept, fit.history.loss[kept])


def test_estimators_and_histories_are_drawn_too() -> None:
    model = st.GDRegressor(max_iter=100).fit(X, Y)
    drawn = xy(plot.plot_loss(model).lines[0])[1]
    assert np.array_equal(drawn, np.append(model.history_.loss, model.fit_.loss))
    assert np.array_equal(xy(plot.plot_loss(model.history_).lines[0])[1], model.history_.loss)


def test_coefficients_are_the_largest_first() -> None:
    fit = replace(st.descend(X, Y, method="newton", n_steps=9), feature_names=["a", "b", "c"])
    axes = plot.plot_coefficients(fit)
    order = np.argsort(-np.abs(fit.coef))
    assert [bar.get_width() for bar in axes.patches] == fit.coef[order].tolist()
    assert [label.get_text() for label in axes.get_yticklabels()] == [fit.feature_names[j] for j in order]  # type: ignore[index]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    by_effect = plot.plot_coefficients(fit, X=X)
    assert [bar.get_width() for bar in by_effect.patches] == pytest.approx(
        sorted(fit.coef * X.std(axis=0), key=abs, reverse=True)
    )
    assert by_effect.get_xlabel() == "y per standard deviation"
    few = plot.plot_coefficients(fit, n_most=1)
    assert (len(few.patches), few.get_title(loc="left")) == (1, "the 1 largest of 3")


def test_coefficients_of_several_models_and_classes() -> None:
    ridge, plain = (st.descend(X, Y, alpha=alpha, method="newton", n_steps=9) for alpha in (5.0, 0.0))
    axes = plot.plot_coefficients({"plain": plain, "ridge": ridge})
    order = np.argsort(-np.abs(plain.coef))
    dots = {line.get_label(): line.get_xdata() for line in axes.lines if line.get_marker() == "o"}
    assert np.array_equal(dots["plain"], plain.coef[order])
    assert np.array_equal(dots["ridge"], ridge.coef[order])
    softmax = st.GDClassifier().fit(X, SEVERAL)
    axes = plot.plot_coefficients(softmax, X=sparse.csr_array(X))
    order = np.argsort(-np.abs(softmax.coef_ * X.std(axis=0)).max(axis=0))
    dots = {line.get_label(): line.get_xdata() for line in axes.lines if line.get_marker() == "o"}
    for label, row in zip("abc", softmax.coef_, strict=True):
        assert dots[label] == pytest.approx((row * X.std(axis=0))[order])


def test_numbers_are_short() -> None:
    from steepest.curves import short

    shown = {0.22943: "0.229", 1283832.0: "1,280,000", -1234.5: "−1,230", 0.0: "0", 3e12: "3e+12", 1e-7: "1e−07"}
    assert {value: short(value) for value in shown} == shown


def test_penalty_path() -> None:
    fits = {a: st.descend(X, Y, alpha=a, l1_ratio=1.0, method="auto", tol=1e-8) for a in (1.0, 0.01, 0.1)}
    axes = plot.plot_path(fits)
    drawn = {line.get_label(): line for line in axes.lines}
    for j in range(3):
        alphas, values = xy(drawn[f"x[{j}]"])
        assert alphas.tolist() == [0.01, 0.1, 1.0]
        assert values.tolist() == [fits[a].coef[j] for a in (0.01, 0.1, 1.0)]


def test_fit_goes_through_its_points() -> None:
    fit = st.descend(LINE, Y, learning_rate=0.1, n_steps=50)
    walk = list(st.iterate(LINE, Y, learning_rate=0.1, n_steps=8))
    points, *early, line = plot.plot_fit(fit, LINE, Y, path=walk).lines
    assert np.array_equal(xy(points), (LINE, Y))
    x, height = xy(line)
    assert height == pytest.approx(x * fit.coef[0] + fit.intercept)
    assert len(early) == 5
    for k, each in zip((0, 1, 2, 4, 8), early, strict=True):
        assert xy(each)[1] == pytest.approx(xy(each)[0] * walk[k].coef[0] + walk[k].intercept)


def test_fit_of_classes_is_their_probability() -> None:
    model = st.GDClassifier().fit(X[:, :1], BINARY)
    axes = plot.plot_fit(model, X[:, :1], BINARY)
    points, line = axes.lines
    assert np.array_equal(xy(points)[1], BINARY == "yes")
    assert xy(line)[1] == pytest.approx(model.predict_proba(xy(line)[0][:, None])[:, 1])
    assert axes.get_ylabel() == "probability of yes"
    several = st.GDClassifier().fit(X[:, :1], SEVERAL)
    lines = {line.get_label(): line for line in plot.plot_fit(several, X[:, :1], SEVERAL).lines}
    for k, label in enumerate("abc"):
        assert xy(lines[label])[1] == pytest.approx(several.predict_proba(xy(lines[label])[0][:, None])[:, k])
    hinge = st.descend(LINE, BINARY, loss="squared_hinge")
    points, line = plot.plot_fit(hinge, LINE, BINARY).lines
    assert set(xy(points)[1].tolist()) == {-1, 1}
    assert xy(line)[1] == pytest.approx(xy(line)[0] * hinge.coef[0] + hinge.intercept)


def test_calibration_is_scikit_learns() -> None:
    ours, theirs = st.GDClassifier().fit(X, BINARY), make_pipeline(StandardScaler(), LogisticRegression())
    theirs.fit(X, BINARY)
    axes = plot.plot_calibration({"ours": ours, "theirs": theirs}, X, BINARY, n_bins=5)
    drawn = {line.get_label(): line for line in axes.lines}
    for label, model in (("ours", ours), ("theirs", theirs)):
        share, mean = calibration_curve(BINARY == "yes", model.predict_proba(X)[:, 1], n_bins=5, strategy="quantile")
        assert np.array_equal(xy(drawn[label]), (mean, share))
    assert axes.get_xlabel() == "predicted probability of 'yes'"


@pytest.mark.parametrize("normalize", [None, "true"])
def test_confusion_is_scikit_learns(normalize: str | None) -> None:
    model = st.GDClassifier().fit(X, SEVERAL)
    axes = plot.plot_confusion(model, X, SEVERAL, normalize=normalize)
    expected = confusion_matrix(SEVERAL, model.predict(X), normalize=normalize)
    assert np.array_equal(axes.images[0].get_array(), expected)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    fit = st.descend(X, SEVERAL, loss="log_loss", alpha=0.01, method="auto")
    assert plot.plot_confusion(fit, X, SEVERAL).images[0].get_array().sum() == 60


@pytest.mark.parametrize("kind", ["surface", "fit"])
def test_animation(kind: str, tmp_path: Path) -> None:
    walk = list(st.iterate(LINE, Y, learning_rate=0.05, n_steps=60))
    file = plot.animate_descent(tmp_path / "d.gif", LINE, Y, walk, kind=kind, n_frames=12)
    assert file == tmp_path / "d.gif"
    assert file.stat().st_size < 100_000
    with Image.open(file) as opened:
        picture: Any = opened
        assert (picture.format, picture.n_frames, picture.size) == ("GIF", 12, (480, 360))
        frames = []
        for k in range(12):
            picture.seek(k)
            frames.append(np.asarray(picture.convert("RGB"), dtype=int))
            assert picture.info["duration"] == (2000 if k == 11 else 100)
        assert picture.info["loop"] == 0
    assert all((one != other).any() for one, other in pairwise(frames))
    assert plt.get_fignums() == []


def test_frames_are_dense_at_first() -> None:
    from steepest.plot.surfaces import _chosen

    assert _chosen(5, 40) == [0, 1, 2, 3, 4]
    for n_points, n_frames in ((61, 12), (10_001, 40), (9, 2)):
        chosen = _chosen(n_points, n_frames)
        assert (len(chosen), chosen[0], chosen[-1]) == (n_frames, 0, n_points - 1)
        assert chosen[: n_frames // 4] == list(range(n_frames // 4))
        assert n_frames == 2 or chosen[-1] - chosen[-2] > 2


def test_every_picture_goes_where_it_is_asked_to() -> None:
    fit, labels = st.descend(LINE, Y, method="newton", n_steps=9), st.descend(LINE, BINARY, loss="log_loss")
    column = LINE[:, None]
    draws: list[Callable[[Any], Any]] = [
        lambda ax: plot.plot_loss(fit, ax),
        lambda ax: plot.plot_surface(LINE, Y, n_points=9, ax=ax),
        lambda ax: plot.plot_coefficients(fit, ax=ax),
        lambda ax: plot.plot_path({0.1: fit, 1.0: fit}, ax=ax),
        lambda ax: plot.plot_fit(fit, LINE, Y, ax=ax),
        lambda ax: plot.plot_calibration(labels, column, BINARY, ax=ax),
        lambda ax: plot.plot_confusion(labels, column, BINARY, ax=ax),
    ]
    for draw in draws:
        figure, axes = plt.subplots()
        assert draw(axes) is axes
        assert plt.get_fignums() == [figure.number]
        plt.close(figure)


STEPS = [(np.zeros(3), 0.0), (np.ones(3), 1.0)]
FIT = RACE["gd"]
#: Arguments of a type that the annotations rule out.
TEXT: Any = "best"
NUMBER: Any = 0
LIST: Any = [FIT]
LABELS = st.descend(X, BINARY, loss="log_loss")
WRONG: list[tuple[Any, str]] = [
    (lambda: plot.plot_loss(FIT, against="time"), "against: expected one of seconds, step; got 'time'"),
    (lambda: plot.plot_loss({}), "fits: expected at least one; got none"),
    (lambda: plot.plot_loss({"a": 3}), "fits[a]: expected a Fit, a History or a fitted estimator; got int"),
    (lambda: plot.plot_loss([FIT, LABELS]), "fits: expected fits of one loss, to compare; got cross-entropy, mean"),
    (lambda: plot.plot_loss(FIT, gap=TEXT), "gap: expected a finite number; got 'best'"),
    (lambda: plot.plot_loss(FIT, ax=3), "ax: expected matplotlib Axes, such as plt.subplots() returns; got int"),
    (lambda: plot.plot_surface(X, Y), "parameters: 4 parameters span no plane; name two, such as (0, 1) or"),
    (lambda: plot.plot_surface(X, Y, 3), "path: expected steps with coef and intercept, such as st.iterate(X, y, …)"),
    (lambda: plot.plot_surface(X, Y, [3]), "yields, or a dict of such; step 0 is a int"),
    (lambda: plot.plot_surface(X, Y, iter(())), "got no step: an iterator can be read once, list(…) keeps what it"),
    (lambda: plot.plot_surface(X, Y, [(np.ones(2), 0.0)]), "coef: expected shape (3,); got (2,)"),
    (lambda: plot.plot_surface(X, Y, STEPS[:1] * 2), "path: expected steps that differ; all are the same point"),
    (lambda: plot.plot_surface(X, Y, STEPS, parameters=(0, 0)), "parameters: expected two different ones; got (0, 0)"),
    (lambda: plot.plot_surface(X, Y, STEPS, parameters=(0, 7)), "expected columns from 0 to 2 or 'intercept'; got 7"),
    (
        lambda: plot.plot_surface(X, Y, STEPS, parameters=("a", 0)),
        "expected a column number or one of 'intercept'; got",
    ),
    (
        lambda: plot.plot_surface(X, Y, STEPS, parameters=NUMBER),
        "parameters: expected two, such as (0, 1) or ('carat', ",
    ),
    (
        lambda: plot.plot_surface(X, SEVERAL, loss="log_loss", parameters=(0, 1)),
        "parameters: with 3 scores a row expected pairs (score, feature); got 0",
    ),
    (
        lambda: plot.plot_surface(X, Y, STEPS, extent=((1, 0), (0, 1))),
        "extent: expected a range that rises; got (1, 0)",
    ),
    (lambda: plot.plot_surface(X, Y, STEPS, n_points=1), "n_points: expected an integer ≥ 2; got 1"),
    (lambda: plot.plot_surface(X * np.nan, Y, STEPS), "X: expected finite numbers; X[0, 0] is nan"),
    (
        lambda: plot.plot_surface(X, np.abs(Y), STEPS, loss="poisson", extent=((-9e3, 9e3), (-9e3, 9e3))),
        "extent: expected a region where the loss is below 1e+200; it is ",
    ),
    (
        lambda: plot.plot_surface(0 * X, Y, STEPS, parameters=(0, 1)),
        "extent: expected a region where the loss varies; it is the same everywhere",
    ),
    (lambda: plot.plot_coefficients(3), "model: expected a LinearModel, a Fit or a fitted GDRegressor"),
    (lambda: plot.plot_coefficients(FIT, n_most=0), "n_most: expected an integer ≥ 1; got 0"),
    (lambda: plot.plot_path({0.0: FIT, 1.0: FIT}), "models: alpha: expected a finite number > 0; got 0.0"),
    (lambda: plot.plot_path(LIST), "models: expected a dict of at least two, such as {alpha: st.descend(…"),
    (lambda: plot.plot_fit(FIT, X, Y), "model: expected one of one feature and one target; got coefficients of shape"),
    (lambda: plot.plot_calibration(FIT, X, Y), "model: expected a classifier; this model predicts numbers"),
    (
        lambda: plot.plot_calibration(st.GDClassifier().fit(X, SEVERAL), X, SEVERAL),
        "models: expected two classes; got 3",
    ),
    (lambda: plot.plot_confusion(LABELS, X, SEVERAL), "y: expected labels of ['no', 'yes']; got '"),
    (lambda: plot.plot_confusion(LABELS, X, BINARY, normalize="row"), "normalize: expected None, 'true', 'pred' or"),
    (lambda: plot.animate_descent("a.png", X, Y, STEPS), "plot: expected a name ending in .gif; got 'a.png'"),
    (lambda: plot.animate_descent("a.gif", X, Y, STEPS, kind="line"), "kind: expected one of fit, surface; got 'line'"),
    (lambda: plot.animate_descent("a.gif", X, Y, None), "path: expected steps, such as st.iterate(X, y, …) yields"),
    (lambda: plot.animate_descent("no/a.gif", X, Y, STEPS), "the directory no does not exist; create it first"),
    (
        lambda: plot.animate_descent("a.gif", X, Y, STEPS, kind="fit", alpha=1.0),
        "animate_descent: 'alpha' is not an option of kind 'fit'",
    ),
]


@pytest.mark.parametrize(("draw", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_arguments_name_the_cure(
    draw: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(st.InputError) as error:
        draw()
    assert message in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["matplotlib", "sklearn"])
def test_without_the_package_the_error_says_how_to_get_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"matplotlib": "plot", "sklearn": "sklearn"}[package]
    with pytest.raises(st.MissingPackageError, match=rf"pip install 'steepest\[{extra}\]'"):
        plot.plot_confusion(LABELS, X, BINARY)


def test_the_module_is_there_without_matplotlib() -> None:
    """``st.plot`` and ``from steepest import plot`` are the same module, and neither loads what draws."""
    code = (
        "import sys, steepest as st; assert 'steepest.plot' not in sys.modules; st.plot.plot_loss\n"
        "from steepest import plot; assert plot is st.plot; assert 'plot' in dir(st)\n"
        "assert set(plot.__all__) <= set(dir(plot))\n"
        "print(sorted({'matplotlib', 'sklearn', 'scipy', 'pandas', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
