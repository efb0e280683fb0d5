"""From a table to a model: what ``steepest fit`` does, without a word printed.

Choose the loss, deal with missing values, encode, hold out rows, descend with preconditioning, evaluate beside a
constant.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import numpy as np

from steepest.backends import get_backend
from steepest.checkpoint import as_checkpoint
from steepest.descend import descend
from steepest.errors import ConvergenceWarning, InputError
from steepest.losses import LOSSES, LogLoss, Poisson, SquaredHinge
from steepest.methods import METHODS, check_penalty, matching_step_size
from steepest.metrics import classification_metrics, regression_metrics
from steepest.model import LinearModel, describe
from steepest.penalties import ElasticNet
from steepest.preprocessing import (
    MOST_LEVELS,
    Encoder,
    Missing,
    Standardizer,
    require_columns,
    without_missing,
)
from steepest.step_sizes import as_step_size
from steepest.tables import as_floats
from steepest.threads import thread_count
from steepest.validation import integer, known, number

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from steepest.problem import Callback
    from steepest.result import Fit

FEWEST_ROWS = 4
#: The losses whose targets are labels.
OF_LABELS = (LogLoss, SquaredHinge)


@dataclass(frozen=True)
class Options:
    """What the user may choose; the defaults are those of the command line."""

    loss: str | None = None
    missing: Missing = "error"
    drop: Collection[str] = ()
    categorical: Collection[str] = ()
    test_size: float = 0.2
    alpha: float = 0.0
    l1_ratio: float = 0.0
    method: str = "auto"
    learning_rate: float | str = "auto"
    n_steps: int = 10_000
    tol: float = 1e-5
    backend: str = "auto"
    n_threads: int | None = None
    seed: int = 0
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without the table."""
        if self.loss is not None:
            known("loss", self.loss, LOSSES)
        if not 0 < number("test_size", self.test_size) < 1:
            raise InputError(f"test_size: expected a number between 0 and 1; got {self.test_size}")
        ElasticNet.from_ratio(self.alpha, self.l1_ratio)
        known("method", self.method, ["auto", *METHODS])
        as_step_size(self.learning_rate)
        if self.method != "auto":
            method = METHODS[self.method]()
            check_penalty(method, self.alpha * self.l1_ratio)
            matching_step_size(method, self.learning_rate)
        integer("steps", self.n_steps, least=0)
        number("tol", self.tol, least=0.0)
        get_backend(self.backend)
        thread_count(self.n_threads)
        integer("seed", self.seed, least=0)
        as_checkpoint(self.checkpoint)


@dataclass(frozen=True, eq=False)
class Task:
    """A table made ready: what to predict, from what, and which rows are held out."""

    target: str
    loss: str
    reason: str
    classes: list[Any] | None
    encoder: Encoder
    X: NDArray[np.float64]
    y: NDArray[Any]
    """Numbers, or class numbers."""
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    n_left_out: int
    """Rows with missing values."""


@dataclass(frozen=True, eq=False)
class Training:
    """A trained model and how good it is."""

    task: Task
    model: LinearModel
    fit: Fit
    standardizer: Standardizer
    seconds: float
    warning: str | None
    """What the descent warned of."""
    metrics: dict[str, dict[str, float]]
    """Of the model on ``"train"`` and ``"test"`` rows, and of a constant prediction on the test rows."""

    def effects(self) -> list[tuple[str, str | None, float, float]]:
        """Return (feature, class, coefficient, effect of one standard deviation), the largest effect first.

        The coefficient is in the table's units; the effect is what makes features of different units comparable.
        """
        coef = self.model.coef
        effect = coef * self.standardizer.scale
        rows = np.argsort(-np.abs(effect), axis=None, kind="stable")
        names = self.task.encoder.feature_names
        several = len(coef) > 1
        labels = self.model.classes or []
        found = []
        for flat in rows:
            k, j = divmod(int(flat), coef.shape[1])
            label = str(labels[k]) if several else None
            found.append((names[j], label, float(coef[k, j]), float(effect[k, j])))
        return found


def prepare(frame: Any, target: str, options: Options, held_out: Any = None) -> Task:
    """Turn a table into a task.

    Parameters
    ----------
    frame : pandas, polars or pyarrow table
        Numbers and text.
    target : str
        The column to predict.
    options : Options
        What to do with the rest.
    held_out : pandas, polars or pyarrow table, optional
        The rows to test on, with the same columns. By default some of `frame` are held out.

    Raises
    ------
    InputError
        If a column is not there, values are missing and that was not allowed, or too few rows are left.
    """
    require_columns(frame, [target], "target")
    for argument, names in (("drop", options.drop), ("categorical", options.categorical)):
        require_columns(frame, names, argument)
    dropped = set(options.drop)
    if target in dropped:
        raise InputError(f"drop: {target!r} is the target")
    used = [name for name in nw.from_native(frame).collect_schema() if name not in dropped]
    frame, n_left_out = without_missing(frame, used, options.missing)
    table = nw.from_native(frame, eager_only=True)
    if len(table) < FEWEST_ROWS:
        raise InputError(f"expected at least {FEWEST_ROWS} rows to train on some and test on others; got {len(table)}")
    loss, reason = _choose_loss(table[target], options.loss)
    y, classes = _targets(table[target], loss)
    encoder = Encoder.learn(frame, exclude={target, *dropped}, categorical=options.categorical)
    X = encoder.encode(frame)
    if held_out is None:
        train, test = _split(y, classes, options)
        return Task(target, loss, reason, classes, encoder, X, y, train, test, n_left_out)
    try:
        X_test, y_test, n_test_left_out = _apart(held_out, target, encoder, loss, classes, options.missing)
    except InputError as error:
        raise InputError(f"eval: {error}") from None
    rows = np.arange(len(y) + len(y_test))
    both = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    return Task(
        target, loss, reason, classes, encoder, *both, rows[: len(y)], rows[len(y) :], n_left_out + n_test_left_out
    )


def _apart(  # noqa: PLR0917
    frame: Any, target: str, encoder: Encoder, loss: str, classes: list[Any] | None, missing: Missing
) -> tuple[NDArray[np.float64], NDArray[Any], int]:
    """Return X and y of rows that are not trained on, as those of training were made, and how many were left out."""
    used = [*encoder.column_names, target]
    require_columns(frame, used, "table")
    frame, n_left_out = without_missing(frame, used, missing)
    column = nw.from_native(frame, eager_only=True)[target]
    if classes is None:
        return encoder.encode(frame), _targets(column, loss)[0], n_left_out
    numbers = {label: number for number, label in enumerate(classes)}
    labels = column.to_list()
    strange = next((label for label in labels if label not in numbers), None)
    if strange is not None:
        raise InputError(f"column {target!r}: label {strange!r} was not there in training; classes: {classes}")
    return encoder.encode(frame), np.array([numbers[label] for label in labels]), n_left_out


def _choose_loss(target: nw.Series[Any], loss: str | None) -> tuple[str, str]:
    """Return the loss for a target column, and why."""
    name, kind = target.name, target.dtype
    if loss is not None:
        return LOSSES[known("loss", loss, LOSSES)].name, "as asked"
    n_different = target.n_unique()
    if not kind.is_numeric():
        if n_different < 2:  # noqa: PLR2004
            raise InputError(f"target: every value of {name!r} is {target[0]!r}")
        return "log_loss", f"{name!r} is one of {n_different} labels"
    if n_different == 1:
        raise InputError(f"target: every value of {name!r} is {target[0]!r}")
    if n_different == 2:  # noqa: PLR2004
        return "log_loss", f"{name!r} has 2 different values"
    return "mse", f"{name!r} is a number with {n_different:,} different values"


def _targets(column: nw.Series[Any], loss: str) -> tuple[NDArray[Any], list[Any] | None]:
    """Return targets as numbers, or class numbers and their labels."""
    name = column.name
    if LOSSES[loss] not in OF_LABELS:
        if not (column.dtype.is_numeric() or column.dtype == nw.Boolean):
            raise InputError(f"target: loss {loss} expects numbers; {name!r} is {column.dtype}")
        y = as_floats(column)
        if not np.isfinite(y).all():
            row = int(np.argmin(np.isfinite(y)))
            raise InputError(f"target: expected finite numbers; row {row} of {name!r} is {y[row]}")
        if LOSSES[loss] is Poisson and y.min() < 0:
            row = int(np.argmin(y))
            raise InputError(f"target: loss poisson expects counts ≥ 0; row {row} of {name!r} is {y[row]}")
        return y, None
    labels = column.to_list()
    counts = Counter(labels)
    if len(counts) > min(MOST_LEVELS, len(labels) // 2):
        raise InputError(f"target: loss {loss} expects a few classes; {name!r} has {len(counts):,} different values")
    classes = sorted(counts)
    if not all(isinstance(label, (str, int, float)) for label in classes):
        raise InputError(f"target: expected labels that are text or numbers; {name!r} is {column.dtype}")
    if LOSSES[loss] is SquaredHinge and len(classes) > 2:  # noqa: PLR2004
        raise InputError(f"target: loss {loss} is for two classes; {name!r} has {len(classes)}; log_loss takes any")
    rare = min(classes, key=counts.__getitem__)
    if counts[rare] < 2:  # noqa: PLR2004
        raise InputError(f"target: class {rare!r} of {name!r} has one row; a class needs two")
    numbers = {label: number for number, label in enumerate(classes)}
    return np.array([numbers[label] for label in labels]), classes


def _split(y: NDArray[Any], classes: list[Any] | None, options: Options) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows to train on and the rows held out; each class keeps its share in both."""
    from sklearn.model_selection import train_test_split

    try:
        train, test = train_test_split(
            np.arange(len(y)),
            test_size=options.test_size,
            random_state=options.seed,
            stratify=None if classes is None else y,
        )
    except ValueError as error:
        raise InputError(f"test_size: cannot hold out {options.test_size}: {error}") from error
    return np.sort(train), np.sort(test)


def train(task: Task, options: Options, callback: Callback | None = None) -> Training:
    """Descend on the training rows, preconditioned and so in the table's units, and evaluate on both parts."""
    started = time.perf_counter()
    X_train = task.X[task.train]
    standardizer = Standardizer.learn(X_train)
    fit, warning = descended(X_train, task.y[task.train], task.loss, options, callback)
    seconds = time.perf_counter() - started
    model = LinearModel(
        loss=task.loss,
        target=task.target,
        classes=task.classes,
        encoder=task.encoder,
        coef=np.atleast_2d(fit.coef),
        intercept=np.atleast_1d(fit.intercept),
        # The seed that counts is that of the rows held out.
        training=describe(fit) | {"alpha": options.alpha, "l1_ratio": options.l1_ratio, "seed": options.seed},
    )
    metrics = {
        "train": _metrics(task, model, task.train),
        "test": _metrics(task, model, task.test),
        "constant": _constant_metrics(task),
    }
    return Training(task, model, fit, standardizer, seconds, warning, metrics)


def descended(X: Any, y: Any, loss: str, options: Options, callback: Callback | None) -> tuple[Fit, str | None]:
    """Descend as the options say, preconditioned; return also what there is to warn of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fit = descend(
            X,
            y,
            loss=loss,
            alpha=options.alpha,
            l1_ratio=options.l1_ratio,
            method=options.method,
            precondition=True,
            learning_rate=options.learning_rate,
            n_steps=options.n_steps,
            tol=options.tol,
            backend=options.backend,
            n_threads=options.n_threads,
            callback=callback,
            checkpoint=options.checkpoint,
        )
    return fit, str(caught[-1].message) if caught else None


def _metrics(task: Task, model: LinearModel, rows: NDArray[np.int64]) -> dict[str, float]:
    return model.metrics_of(task.y[rows], model.scores_of(task.X[rows]))


def _constant_metrics(task: Task) -> dict[str, float]:
    """Return what the best constant of the training rows reaches on the test rows."""
    y_train, y_test = task.y[task.train], task.y[task.test]
    if task.classes is None:
        return regression_metrics(y_test, np.full(len(y_test), y_train.mean()))
    shares = np.bincount(y_train, minlength=len(task.classes)) / len(y_train)
    likely = np.full(len(y_test), shares.argmax())
    ranking = np.zeros(len(y_test)) if len(shares) == 2 else None  # noqa: PLR2004
    probabilities = np.tile(shares, (len(y_test), 1)) if LOSSES[task.loss] is LogLoss else None
    return classification_metrics(y_test, likely, ranking, probabilities)
