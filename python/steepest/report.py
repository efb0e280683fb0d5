"""What the command line shows."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.data import read_table
from steepest.errors import InputError
from steepest.losses import SquaredHinge
from steepest.metrics import HIGHER_IS_BETTER
from steepest.preprocessing import require_columns
from steepest.result import History

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from rich.console import Console

    from steepest.model import LinearModel
    from steepest.result import Fit
    from steepest.training import Task, Training

#: The columns of a history that is written to a file.
HISTORY = ("step", "loss", "gradient_norm", "step_size", "seconds", "validation_loss")
MOST_EFFECTS = 12
BAR_WIDTH = 32
PRINTED_EVERY = 100
#: Losses from here on are printed without decimals.
LARGE = 1e5


@dataclass(frozen=True, eq=False)
class Lesson:
    """The first lesson of gradient descent: a line through 100 points."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    weight: float
    bias: float
    learning_rate: float
    n_steps: int


def lesson() -> Lesson:
    """Return 100 points of y = 2 x + 1 + noise, the same every time."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=100)
    y = 2 * x + 1 + 0.5 * generator.normal(size=100)
    return Lesson(x, y, weight=2.0, bias=1.0, learning_rate=0.01, n_steps=1000)


def show_lesson(out: Console, lesson: Lesson, fit: Fit) -> None:
    """Print the loss every 100 steps, then weight and bias beside the closed form."""
    out.print(f"y = w·x + b through {len(lesson.x)} points, made with w = 2, b = 1 and noise")
    out.print(
        f"mean squared error, gradient descent at rate {lesson.learning_rate}, from zero, backend {fit.backend}\n"
    )
    losses = fit.history.loss
    for step in range(0, fit.n_steps, PRINTED_EVERY):
        _show_step(out, step, losses[step], losses[0])
    _show_step(out, fit.n_steps, fit.loss, losses[0])
    line = np.column_stack([lesson.x, np.ones_like(lesson.x)])
    exact = np.linalg.lstsq(line, lesson.y, rcond=None)[0]
    out.print(f"\n{'':>8}{'descent':>14}{'closed form':>14}{'distance':>12}")
    for name, value, best in zip(("weight", "bias"), (fit.coef[0], fit.intercept), exact, strict=True):
        out.print(f"{name:>8}{value:>14.8f}{best:>14.8f}{abs(value - best):>12.1e}")


def _show_step(out: Console, step: int, loss: float, first: float) -> None:
    bar = "█" * max(1, min(BAR_WIDTH, round(BAR_WIDTH * loss / first))) if first > 0 else ""
    figure = f"{loss:.6f}" if loss < LARGE else f"{loss:,.0f}"
    out.print(f"Step {step}: Loss = {figure}".ljust(34) + bar)


def show_task(out: Console, task: Task) -> None:
    """Print what will be learned, from what."""
    n_rows, n_features = task.X.shape
    out.print(
        f"{n_rows:,} rows, {len(task.encoder.columns)} columns → {n_features} features; "
        f"{len(task.train):,} rows to train on, {len(task.test):,} held out"
    )
    if task.n_left_out:
        out.print(f"left out {task.n_left_out:,} rows with missing values")
    out.print(f"loss: {task.loss}, because {task.reason}", markup=False)


def show_training(out: Console, training: Training) -> None:
    """Print how the descent went, how good the model is, and its largest coefficients."""
    fit = training.fit
    steps, losses = np.append(fit.history.step, fit.n_steps), np.append(fit.history.loss, fit.loss)
    out.print(f"method: {fit.method}, because {fit.reason}", markup=False)
    out.print()
    last = len(steps) - 1
    for k in dict.fromkeys([0, *(10**k for k in range(9) if 10**k < last), last]):
        _show_step(out, int(steps[k]), losses[k], losses[0])
    out.print(f"\n{ending(fit, training.seconds)}", markup=False)
    if training.warning:
        out.print(f"note: {training.warning}", markup=False)
    out.print()
    _show_metrics(out, training.metrics)
    _show_effects(out, training)


def ending(fit: Fit, seconds: float) -> str:
    """Return why a descent ended, and when."""
    made = f"{fit.n_steps:,} step" + ("" if fit.n_steps == 1 else "s")
    return f"{fit.message} after {made} and {seconds:.2f} s"


def _show_metrics(out: Console, metrics: dict[str, dict[str, float]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("")
    for part in ("train", "test", "a constant, on test"):
        table.add_column(part, justify="right")
    for name in metrics["train"]:
        row = (_figure(metrics[part][name]) for part in ("train", "test", "constant"))
        table.add_row(f"{name} {'↑' if HIGHER_IS_BETTER[name] else '↓'}", *row)
    out.print(table)


def _figure(value: float) -> str:
    # Adding zero turns a rounded −0 into 0.
    return f"{round(value, 4) + 0.0:,.4f}"


def _show_effects(out: Console, training: Training) -> None:
    from rich.table import Table
    from rich.text import Text

    effects = training.effects()
    several = effects[0][1] is not None
    score = "score" if training.model.classes else training.model.target
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), title_justify="left", title_style="")
    table.add_column("largest coefficients")
    if several:
        table.add_column("class")
    table.add_column(Text(f"{score} per unit"), justify="right")
    table.add_column("per standard deviation", justify="right")
    for name, label, coef, effect in effects[:MOST_EFFECTS]:
        cells = [Text(name), *([Text(str(label))] if several else [])]
        table.add_row(*cells, f"{coef:,.6g}", f"{effect:+,.4g}")
    out.print()
    out.print(table)
    if len(effects) > MOST_EFFECTS:
        out.print(f"and {len(effects) - MOST_EFFECTS} smaller")
    for column in training.task.encoder.columns:
        if hasattr(column, "levels"):
            out.print(f"{column.name} is compared with {column.levels[0]!r}", markup=False)


def show_evaluation(out: Console, model: LinearModel, n_rows: int, n_left_out: int, figures: dict[str, float]) -> None:
    """Print a model's metrics on a table."""
    out.print(f"{model.target}: {model.loss} model on {n_rows:,} rows", markup=False)
    if n_left_out:
        out.print(f"left out {n_left_out:,} rows with missing values")
    for name, value in figures.items():
        out.print(f"{name:>9} {'↑' if HIGHER_IS_BETTER[name] else '↓'} {_figure(value)}")


def predictions_csv(model: LinearModel, table: Any) -> str:
    """Return one line a row: the prediction, and for classes the probability of each, or the margin of the second."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if model.classes is None:
        writer.writerow([model.target])
        writer.writerows([[repr(float(value))] for value in model.predict(table)])
        return text.getvalue()
    scores = model.scores(table)
    labels = model.labels_of(scores).tolist()
    if isinstance(model.fitted_loss, SquaredHinge):
        writer.writerow([model.target, f"margin of {model.classes[1]}"])
        writer.writerows([label, f"{score:.9g}"] for label, score in zip(labels, scores[:, 0], strict=True))
        return text.getvalue()
    writer.writerow([model.target, *(f"probability of {label}" for label in model.classes)])
    for label, row in zip(labels, model.mean_of(scores), strict=True):
        writer.writerow([label, *(f"{p:.9g}" for p in row)])
    return text.getvalue()


def predictions_json(model: LinearModel, table: Any) -> dict[str, Any]:
    """Return the predictions, and for classes their probabilities, as plain lists."""
    if model.classes is None:
        return {"predictions": model.predict(table).tolist()}
    scores = model.scores(table)
    found = {"predictions": model.labels_of(scores).tolist(), "classes": model.classes}
    if isinstance(model.fitted_loss, SquaredHinge):
        return {**found, "margins": scores[:, 0].tolist()}
    return {**found, "probabilities": model.mean_of(scores).tolist()}


def training_json(training: Training) -> dict[str, Any]:
    """Return what `show_task` and `show_training` print, in full, as plain values."""
    task, fit, model = training.task, training.fit, training.model
    names = model.feature_names or []
    rows = [dict(zip(names, row, strict=True)) for row in model.coef.tolist()]
    several = len(rows) > 1
    return {
        "target": task.target,
        "classes": task.classes,
        "rows": {"train": len(task.train), "test": len(task.test), "left_out": task.n_left_out},
        "loss": task.loss,
        "loss_reason": task.reason,
        "method": fit.method,
        "method_reason": fit.reason,
        "backend": fit.backend,
        "status": fit.status,
        "converged": fit.converged,
        "steps": fit.n_steps,
        "seconds": training.seconds,
        "objective": fit.loss,
        "gradient_norm": fit.gradient_norm,
        "warning": training.warning,
        "metrics": {part: metrics_json(figures) for part, figures in training.metrics.items()},
        "intercept": model.intercept.tolist() if several else float(model.intercept[0]),
        "coefficients": dict(zip(map(str, model.classes or []), rows, strict=True)) if several else rows[0],
    }


def metrics_json(figures: dict[str, float]) -> dict[str, float | None]:
    """Return metrics under names that are easy to type; what is not a number is none."""
    return {
        name.lower().replace("²", "2").replace("-", "_"): None if math.isnan(value) else value
        for name, value in figures.items()
    }


def history_csv(fit: Fit) -> str:
    """Return one line a recorded step, and one for where the descent ended; `read_history` reads it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HISTORY)
    writer.writerows(zip(*(getattr(fit.history, name).tolist() for name in HISTORY), strict=True))
    validation = math.nan if fit.validation_loss is None else fit.validation_loss
    writer.writerow([fit.n_steps, fit.loss, fit.gradient_norm, math.nan, fit.seconds, validation])
    return text.getvalue()


def read_history(path: Path) -> History:
    """Return what `history_csv` wrote."""
    table = read_table(path)
    require_columns(table, HISTORY, f"{path}, which steepest fit --history should have written")
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for name in HISTORY:
        try:
            # A cell that is empty, or not a number, is missing here; an integer has no place for that.
            columns[name] = table[name].cast("int64" if name == "step" else "float64").to_numpy()
        except pa.ArrowException as error:
            raise InputError(f"{path}: column {name!r} is not as steepest fit --history writes it: {error}") from None
    return History(**columns)
