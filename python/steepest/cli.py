"""The command line: ``steepest demo | fit | predict | evaluate | backends``.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done, 1 the input or the files are
not right, 2 the command is not right, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

try:
    import typer
    from rich.console import Console
except ImportError as missing:
    raise SystemExit(f"steepest: the command line needs {missing.name}; pip install 'steepest[cli]'") from None

import numpy as np

from steepest import __version__, report
from steepest.backends import show_backends
from steepest.data import check_writable, read_table, written_whole
from steepest.descend import descend
from steepest.errors import SteepestError

app = typer.Typer(
    help="Linear models by gradient descent.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=True)

BackendOption = Annotated[Literal["auto", "rust", "numpy", "cupy"], typer.Option(help="What computes: --backend numpy")]
PlotOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw the loss curve: --plot loss.png (or .svg, .pdf)"),
]
MissingOption = Annotated[
    Literal["error", "drop"],
    typer.Option(help="Rows with missing values: refuse, or leave them out: --missing drop"),
]


def _version(asked: bool) -> None:  # noqa: FBT001
    if asked:
        print(f"steepest {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def demo(backend: BackendOption = "auto", plot: PlotOption = None) -> None:
    """Show the first lesson: fit a line to 100 points in 1000 steps and watch the loss fall."""
    _check_plot(plot)
    lesson = report.lesson()
    fit = descend(
        lesson.x,
        lesson.y,
        learning_rate=lesson.learning_rate,
        n_steps=lesson.n_steps,
        backend=backend,
    )
    report.show_lesson(out, lesson, fit)
    _plot(plot, fit)


@app.command()
def fit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV or Parquet")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="What to predict: --target price")],
    *,
    loss: Annotated[str | None, typer.Option(help="mse or log_loss; chosen from the target if not given")] = None,
    missing: MissingOption = "error",
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out; may be repeated: --drop ID"),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Numbers that are codes, not amounts; may be repeated"),
    ] = None,
    test_size: Annotated[float, typer.Option(help="Share of the rows to hold out")] = 0.2,
    alpha: Annotated[
        float, typer.Option(help="Strength of the penalty, on the columns as they are: --alpha 0.01")
    ] = 0.0,
    l1_ratio: Annotated[float, typer.Option(help="0 is ridge, 1 is lasso: coefficients that are exactly zero")] = 0.0,
    method: Annotated[str, typer.Option(help="auto, gd, momentum, nesterov, adam, sgd, lbfgs or newton")] = "auto",
    learning_rate: Annotated[str, typer.Option(help="A number, or auto: the largest safe step")] = "auto",
    steps: Annotated[int, typer.Option(help="Steps at the most")] = 10_000,
    tol: Annotated[float, typer.Option(help="Stop when the gradient norm is this share of that at zero")] = 1e-5,
    backend: BackendOption = "auto",
    threads: Annotated[int | None, typer.Option(help="Default: all cores")] = None,
    seed: Annotated[int, typer.Option(help="Which rows are held out")] = 0,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the model: --model price.safetensors"),
    ] = None,
    plot: PlotOption = None,
) -> None:
    """Train a linear model on a table and show how good it is."""
    from steepest.training import Options, prepare, train

    options = Options(
        loss=loss,
        missing=missing,
        drop=drop or (),
        categorical=categorical or (),
        test_size=test_size,
        alpha=alpha,
        l1_ratio=l1_ratio,
        method=method,
        learning_rate=_number_or_text(learning_rate),
        n_steps=steps,
        tol=tol,
        backend=backend,
        n_threads=threads,
        seed=seed,
    )
    # What can fail without reading the table has failed by now, or fails here.
    if model is not None:
        check_writable(model)
    _check_plot(plot)
    task = prepare(read_table(file), target, options)
    report.show_task(out, task)
    training = _with_bar(lambda watch: train(task, options, watch), steps)
    report.show_training(out, training)
    if model is not None:
        from steepest.model_io import save

        save(training.model, model)
        out.print(f"model written to {model}", markup=False)
    _plot(plot, training.fit)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by fit --model")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Raw rows, as in training")],
    *,
    missing: MissingOption = "error",
    output: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="CSV; standard output if not given"),
    ] = None,
) -> None:
    """Predict the target for each row of a table, as CSV."""
    from steepest.model_io import load

    if output is not None:
        check_writable(output)
    fitted = load(model)
    table, left_out = _rows(fitted, file, missing)
    text = report.predictions_csv(fitted, table)
    if left_out:
        print(f"left out {left_out:,} rows with missing values", file=sys.stderr)  # noqa: T201
    if output is None:
        sys.stdout.write(text)
    else:
        with written_whole(output) as temporary:
            temporary.write_text(text, encoding="utf-8")
        out.print(f"{len(table):,} predictions written to {output}", markup=False)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by fit --model")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Raw rows with the target")],
    *,
    missing: MissingOption = "error",
) -> None:
    """Compare a model's predictions with the target column of a table."""
    from steepest.model_io import load
    from steepest.preprocessing import require_column

    fitted = load(model)
    table, left_out = _rows(fitted, file, missing, with_target=True)
    require_column(table, fitted.target, "target")
    figures = fitted.evaluate(table, table[fitted.target].to_pylist())
    report.show_evaluation(out, fitted, len(table), left_out, figures)


@app.command()
def backends() -> None:
    """List what can compute here, and why the rest cannot."""
    show_backends()


def _rows(fitted: Any, file: Path, missing: Any, *, with_target: bool = False) -> tuple[Any, int]:
    from steepest.preprocessing import require_column, without_missing

    needed = [*fitted.encoder.column_names, *([fitted.target] if with_target else [])]
    # What was text in training is text here too, even where every cell looks like a number.
    as_text = [column.name for column in fitted.encoder.columns if hasattr(column, "levels")]
    if with_target and fitted.classes and isinstance(fitted.classes[0], str):
        as_text.append(fitted.target)
    table = read_table(file, as_text)
    for name in needed:
        require_column(table, name, str(file))
    return without_missing(table, needed, missing)


def _number_or_text(given: str) -> float | str:
    try:
        return float(given)
    except ValueError:
        return given


def _check_plot(plot: Path | None) -> None:
    if plot is not None:
        from steepest.curves import check_format

        check_format(plot)
        check_writable(plot)


def _plot(plot: Path | None, fitted: Any) -> None:
    if plot is not None:
        from steepest.curves import plot_loss, save_picture

        with written_whole(plot) as temporary:
            save_picture(lambda ax: plot_loss(fitted, ax), temporary)
        out.print(f"loss curve drawn to {plot}", markup=False)


def _with_bar(body: Any, n_steps: int) -> Any:
    from steepest.progress import watched

    with watched(n_steps, None) as watch:
        return body(watch)


def main() -> None:
    """Run the command line; turn what the user can mend into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # The bars and arrows are not in every code page, and a pipe on Windows has one.
        if isinstance(stream, io.TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8")
    np.seterr(all="ignore")
    try:
        code = app(standalone_mode=False)
    except SteepestError as error:
        _fail(str(error), 1)
    except BrokenPipeError:
        # Whoever read the output has enough; nothing is left to say, not even while Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}", 1)
    except ImportError as error:
        _fail(f"this command needs {error.name}; pip install 'steepest[cli]'", 1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", 130)
    except Exception as error:
        # What the parser of the command line itself objects to.
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        error.show()
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
