"""Commands that make models, or use them."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 (typer reads the annotations)
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from steepest import report
from steepest.cli.options import (
    BackendOption,
    JsonOption,
    MissingOption,
    ModelArgument,
    PlotOption,
    check_picture,
    draw,
    inputs,
    note,
    out,
    print_json,
    read_config,
    rows_for,
    show_written,
    strength,
    write_text,
)
from steepest.data import read_table
from steepest.descend import descend
from steepest.errors import InputError
from steepest.files import check_writable

if TYPE_CHECKING:
    from steepest.result import Fit


def demo(backend: BackendOption = "auto", plot: PlotOption = None) -> None:
    """Show the first lesson: fit a line, watch the loss fall.

    A line through 100 points, in 1000 steps of plain gradient descent.
    """
    check_picture(plot)
    lesson = report.lesson()
    fitted = descend(
        lesson.x,
        lesson.y,
        learning_rate=lesson.learning_rate,
        n_steps=lesson.n_steps,
        backend=backend,
    )
    report.show_lesson(out, lesson, fitted)
    if plot is not None:
        _draw_loss(plot, fitted)
        out.print(f"loss curve drawn to {plot}", markup=False)


def fit(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV, TSV or Parquet")],
    target: Annotated[str, typer.Option(metavar="COLUMN", help="What to predict: --target price")],
    *,
    config: Annotated[  # noqa: ARG001 (its callback has read it)
        Path | None,
        typer.Option(
            metavar="FILE",
            callback=read_config,
            is_eager=True,
            help="Options from a TOML file, by their long names; the command line goes before it: --config run.toml",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="mse, huber, poisson, log_loss or squared_hinge; chosen by the target if not given: --loss huber",
        ),
    ] = None,
    missing: MissingOption = "error",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Predict from this column alone; may be repeated: --only carat"),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave a column out; may be repeated: --drop ID"),
    ] = None,
    categorical: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Numbers that are codes, not amounts; may be repeated: --categorical ZIP"),
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option("--eval", metavar="FILE", help="Test on these rows, train on all of FILE: --eval test.csv"),
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Share of the rows to hold out, 0.2 if not given: --test-size 0.1"),
    ] = None,
    penalty: Annotated[
        Literal["none", "l2", "l1", "elasticnet"] | None,
        typer.Option(help="Which coefficients cost: squares, or sizes, which makes some exactly zero: --penalty l1"),
    ] = None,
    alpha: Annotated[
        float, typer.Option(metavar="NUMBER", help="Strength of the penalty, on the columns as they are: --alpha 0.01")
    ] = 0.0,
    l1_ratio: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of the penalty: 0 is l2, 1 is l1, between is elasticnet: --l1-ratio 0.5"),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            "--solver",
            metavar="NAME",
            help="auto, gd, momentum, nesterov, adam, sgd, lbfgs, newton or coordinate: --method lbfgs",
        ),
    ] = "auto",
    learning_rate: Annotated[
        str, typer.Option(metavar="NUMBER", help="Or auto, the largest safe step: --method gd --learning-rate 0.1")
    ] = "auto",
    steps: Annotated[int, typer.Option(metavar="NUMBER", help="Steps at the most: --steps 500")] = 10_000,
    tol: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Stop when the gradient norm is this share of that at zero: --tol 1e-8"),
    ] = 1e-5,
    backend: BackendOption = "auto",
    threads: Annotated[int | None, typer.Option(metavar="NUMBER", help="All cores if not given: --threads 2")] = None,
    seed: Annotated[int, typer.Option(metavar="NUMBER", help="Which rows are held out: --seed 1")] = 0,
    model: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the model: --model price.safetensors"),
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write loss, step size and seconds of every step: --history run.csv"),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the descent down as it goes, and go on from there if it is there: --checkpoint run.safetensors",
        ),
    ] = None,
    plot: PlotOption = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train where the workers of a Dask cluster read FILE, which may be a pattern, 'data/*.parquet', or on "
            "so many processes here: --cluster tcp://host:8786, --cluster local:4",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a linear model on a table and show how good it is."""
    from steepest.training import Options, prepare, train

    alpha, ratio = strength(penalty, alpha, l1_ratio)
    _check_together(evaluation, test_size, only, drop, cluster)
    options = Options(
        loss=loss,
        missing=missing,
        drop=drop or (),
        categorical=categorical or (),
        test_size=0.2 if test_size is None else test_size,
        alpha=alpha,
        l1_ratio=ratio,
        method=method,
        learning_rate=_number_or_text(learning_rate),
        n_steps=steps,
        tol=tol,
        backend=backend,
        n_threads=threads,
        seed=seed,
        checkpoint=checkpoint,
    )
    # What can fail without reading the table has failed by now, or fails here.
    for path in (model, history):
        if path is not None:
            check_writable(path)
    check_picture(plot)
    if cluster is not None:
        from steepest.cli.clusters import show, train_on

        trained, fitted = train_on(cluster, file, target, only, options)
        written = _write(trained, fitted, model, history, plot)
        show(trained, fitted, evaluation, missing, written, as_json=as_json)
        return
    task = prepare(*_tables(file, evaluation, target, only, options))
    if not as_json:
        report.show_task(out, task)
    training = _with_bar(lambda watch: train(task, options, watch), steps)
    if not as_json:
        report.show_training(out, training)
    written = _write(training.model, training.fit, model, history, plot)
    if as_json:
        print_json({"file": str(file), **report.training_json(training), "written": written})
    else:
        show_written(written)


def _check_together(
    evaluation: Path | None, test_size: float | None, only: Any, drop: Any, cluster: str | None
) -> None:
    """Raise an error where two options say what only one can."""
    if evaluation is not None and test_size is not None:
        raise InputError("test_size: expected none with --eval, whose rows are those to test on; leave out one")
    if cluster is not None and test_size is not None:
        raise InputError("test_size: expected none with --cluster, which holds no rows out; --eval names some")
    if only and drop:
        raise InputError("only: expected no --drop beside it: it says by itself which columns stay")


def _tables(
    file: Path, evaluation: Path | None, target: str, only: list[str] | None, options: Any
) -> tuple[Any, str, Any, Any]:
    """Return what `prepare` takes: the table to train on, the target, the options, and the table to test on."""
    from dataclasses import replace

    from steepest.preprocessing import require_columns

    try:
        table = read_table(file)
    except MemoryError:
        raise InputError(
            f"file: {file} does not fit into memory; --cluster local:2 reads it in pieces, and so does "
            "steepest.descend with the path as X"
        ) from None
    if only:
        require_columns(table, only, "only")
        options = replace(options, drop=set(table.column_names) - {*only, target})
    if evaluation is None:
        return table, target, options, None
    # What is text in the one is text in the other, even where every cell looks like a number.
    as_text = [field.name for field in table.schema if str(field.type) in {"string", "large_string"}]
    return table, target, options, read_table(evaluation, as_text)


def _write(trained: Any, fitted: Fit, model: Path | None, history: Path | None, plot: Path | None) -> dict[str, str]:
    """Write what was asked for; return where to."""
    if model is not None:
        from steepest.model_io import save

        save(trained, model)
    if history is not None:
        write_text(history, report.history_csv(fitted))
    if plot is not None:
        _draw_loss(plot, fitted)
    given = {"model": model, "history": history, "plot": plot}
    return {what: str(path) for what, path in given.items() if path is not None}


def predict(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Raw rows, as in training")],
    *,
    missing: MissingOption = "error",
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write the CSV there, not to standard output: --out new.csv"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the target for each row of a table, as CSV."""
    from steepest.model_io import load

    if output is not None:
        check_writable(output)
    fitted = load(model)
    table, left_out = rows_for(fitted, file, missing)
    head = {"target": fitted.target, "rows": len(table), "left_out": left_out}
    if as_json and output is None:
        print_json({**head, **report.predictions_json(fitted, inputs(fitted, table))})
        return
    text = report.predictions_csv(fitted, inputs(fitted, table))
    if left_out:
        note(f"left out {left_out:,} rows with missing values")
    if output is None:
        typer.echo(text, nl=False)
        return
    write_text(output, text)
    if as_json:
        print_json({**head, "written": {"predictions": str(output)}})
    else:
        out.print(f"{len(table):,} predictions written to {output}", markup=False)


def evaluate(
    model: ModelArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Raw rows with the target")],
    *,
    missing: MissingOption = "error",
    as_json: JsonOption = False,
) -> None:
    """Compare predictions with the target of a table."""
    from steepest.model_io import load

    fitted = load(model)
    table, left_out = rows_for(fitted, file, missing, with_target=True)
    figures = fitted.evaluate(inputs(fitted, table), table[fitted.target].to_pylist())
    if as_json:
        head = {"model": str(model), "file": str(file), "target": fitted.target, "loss": fitted.loss}
        metrics = report.metrics_json(figures)
        print_json({**head, "rows": len(table), "left_out": left_out, "metrics": metrics})
    else:
        report.show_evaluation(out, fitted, len(table), left_out, figures)


def export(
    model: ModelArgument,
    onnx: Annotated[Path, typer.Option(metavar="FILE", help="The ONNX file to write: --onnx price.onnx")],
    *,
    int8: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Store coefficients as bytes, and measure on these rows what it costs: --int8 test.csv",
        ),
    ] = None,
    missing: MissingOption = "error",
) -> None:
    """Write a model as ONNX, for other runtimes.

    Its preprocessing is inside: raw rows in, predictions out.
    """
    from steepest.model_io import load
    from steepest.onnx_export import to_onnx

    check_writable(onnx)
    fitted = load(model)
    if int8 is not None:
        from steepest.compression import quantize

        table, _ = rows_for(fitted, int8, missing, with_target=True)
        smaller = quantize(fitted, inputs(fitted, table), table[fitted.target].to_pylist())
        fitted = smaller.model
        out.print(f"int8: the average loss goes from {smaller.loss_before:.6g} to {smaller.loss:.6g}", markup=False)
    proto = to_onnx(fitted, onnx)
    names = [", ".join(each.name for each in part) for part in (proto.graph.input, proto.graph.output)]
    out.print(f"ONNX written to {onnx}: from {names[0]} to {names[1]}", markup=False)


def _number_or_text(given: str) -> float | str:
    try:
        return float(given)
    except ValueError:
        return given


def _draw_loss(path: Path, fitted: Fit) -> None:
    from steepest.curves import plot_loss

    draw(path, lambda ax: plot_loss(fitted, ax))


def _with_bar(body: Any, n_steps: int) -> Any:
    from steepest.progress import watched

    with watched(n_steps, None) as watch:
        return body(watch)
