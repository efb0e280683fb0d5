"""Commands that draw: ``steepest plot loss | surface | coefficients | fit | calibration | confusion``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from steepest.cli.options import MissingOption, ModelArgument, check_picture, draw, example, inputs, out, rows_for
from steepest.errors import InputError

app = typer.Typer(
    help="""Draw a picture: PNG, SVG or PDF, by the ending of the file.

\b
  steepest plot coefficients price.safetensors --out price.png
  steepest plot loss gd.csv newton.csv --gap --out race.svg
""",
    no_args_is_help=True,
    rich_markup_mode=None,
)

OutOption = Annotated[
    Path, typer.Option("--out", "-o", metavar="FILE", help="The picture to write: --out picture.png (or .svg, .pdf)")
]
TableArgument = Annotated[
    Path, typer.Argument(metavar="FILE", help="Rows with the target, best those that were not trained on")
]


@app.command(
    epilog=example(
        "steepest fit t.csv --target y --method gd --history gd.csv",
        "steepest fit t.csv --target y --method newton --history newton.csv",
        "steepest plot loss gd.csv newton.csv --gap --out race.png",
    )
)
def loss(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Files written by fit --history")],
    output: OutOption,
    *,
    against: Annotated[
        Literal["step", "seconds"], typer.Option(help="What the loss is drawn against: --against seconds")
    ] = "step",
    gap: Annotated[
        bool, typer.Option("--gap", help="Draw how far the loss is above the least of all runs: --gap")
    ] = False,
) -> None:
    """Draw how the loss fell; several runs race."""
    from steepest.plot import plot_loss
    from steepest.report import read_history

    check_picture(output)
    labels = _labels(runs)
    fits = {label: read_history(run) for label, run in zip(labels, runs, strict=True)}
    _draw(output, lambda ax: plot_loss(fits, ax, against=against, gap=gap))


@app.command(
    epilog=example(
        "steepest plot coefficients price.safetensors --data houses.csv --out price.png",
    )
)
def coefficients(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Files written by fit --model")],
    output: OutOption,
    *,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw what one standard deviation of these rows does: --data train.csv"),
    ] = None,
    most: Annotated[int, typer.Option(metavar="NUMBER", help="Features at the most: --most 10")] = 20,
    missing: MissingOption = "error",
) -> None:
    """Draw the coefficients, the largest first.

    Of several models, they stand side by side.
    """
    from steepest.model_io import load
    from steepest.plot import plot_coefficients
    from steepest.plot.coefficients import height

    check_picture(output)
    fitted = {label: load(model) for label, model in zip(_labels(models), models, strict=True)}
    first = next(iter(fitted.values()))
    X = None if data is None else inputs(first, rows_for(first, data, missing)[0])
    given: Any = first if len(fitted) == 1 else fitted
    shown = min(most, max(model.n_features for model in fitted.values()))
    _draw(output, lambda ax: plot_coefficients(given, X=X, n_most=most, ax=ax), (6.4, height(shown)))


@app.command(
    epilog=example(
        "steepest fit houses.csv --target price --only area --model area.safetensors",
        "steepest plot fit area.safetensors houses.csv --out area.png",
    )
)
def fit(model: ModelArgument, file: TableArgument, output: OutOption, *, missing: MissingOption = "error") -> None:
    """Draw a model of one feature through its points."""
    from steepest.plot import plot_fit

    check_picture(output)
    fitted, X, y = _read(model, file, missing)
    if fitted.n_features != 1:
        raise InputError(
            f"model: expected one of one feature; {model} has {fitted.n_features}; "
            "steepest fit --only COLUMN makes one, steepest plot coefficients draws those of many"
        )
    _draw(output, lambda ax: plot_fit(fitted, X, y, ax=ax))


@app.command(
    epilog=example(
        "steepest plot calibration default.safetensors test.csv --out calibration.png",
    )
)
def calibration(
    model: ModelArgument,
    file: TableArgument,
    output: OutOption,
    *,
    bins: Annotated[int, typer.Option(metavar="NUMBER", help="Points of the curve: --bins 20")] = 10,
    missing: MissingOption = "error",
) -> None:
    """Draw whether probabilities are what they say.

    That is how often the second class comes true among rows with about the same predicted probability.
    """
    from steepest.plot import plot_calibration

    check_picture(output)
    fitted, X, y = _read(model, file, missing)
    _draw(output, lambda ax: plot_calibration(fitted, X, y, n_bins=bins, ax=ax), (4.8, 4.8))


@app.command(
    epilog=example(
        "steepest plot confusion default.safetensors test.csv --out confusion.png",
    )
)
def confusion(
    model: ModelArgument,
    file: TableArgument,
    output: OutOption,
    *,
    normalize: Annotated[
        Literal["true", "pred", "all"] | None,
        typer.Option(help="Shares of the true class, the predicted one, or all rows: --normalize true"),
    ] = None,
    missing: MissingOption = "error",
) -> None:
    """Draw which classes are taken for which."""
    from steepest.plot import plot_confusion
    from steepest.plot.classes import side

    check_picture(output)
    fitted, X, y = _read(model, file, missing)
    _draw(
        output,
        lambda ax: plot_confusion(fitted, X, y, normalize=normalize, ax=ax),
        (side(len(fitted.classes or [])),) * 2,
    )


@app.command(
    epilog=example(
        "steepest plot surface price.safetensors houses.csv --out surface.png",
        "steepest plot surface price.safetensors houses.csv --out descent.gif",
    )
)
def surface(
    model: ModelArgument,
    file: TableArgument,
    output: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="A picture, or an animation: --out descent.gif")
    ],
    *,
    feature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="The two coefficients to draw over, or intercept; the plane of the descent if not given: "
            "--feature carat --feature depth",
        ),
    ] = None,
    method: Annotated[
        list[str],
        typer.Option(
            "--method", "--solver", metavar="NAME", help="Which descents are drawn: --method gd --method nesterov"
        ),
    ] = ["gd"],  # noqa: B006
    steps: Annotated[int, typer.Option(metavar="NUMBER", help="Steps of each: --steps 100")] = 50,
    missing: MissingOption = "error",
) -> None:
    """Draw the loss as a landscape, with descents on it.

    The loss is that of the model, without a penalty; columns are brought to mean zero and deviation one, so that the
    coefficients are effects of one standard deviation.
    """
    from steepest.descend import iterate
    from steepest.plot import animate_descent, plot_surface
    from steepest.plot.surfaces import SIZE
    from steepest.preprocessing import Standardizer
    from steepest.validation import known

    animated = output.suffix.lower() == ".gif"
    check_picture(output, PICTURES)
    fitted, rows, y = _read(model, file, missing)
    design = fitted.design(rows)
    X = _named(Standardizer.learn(design).transform(design), fitted.feature_names)
    options: dict[str, Any] = {"loss": fitted.fitted_loss, "classes": fitted.classes}
    walks = {name: list(iterate(X, y, method=name, n_steps=steps, **options)) for name in dict.fromkeys(method)}
    given: Any = walks if len(walks) > 1 else walks[method[0]]
    if feature is not None and len(feature) != 2:  # noqa: PLR2004
        raise InputError(f"feature: expected two, such as --feature {fitted.feature_names[0]} --feature intercept")
    if feature is not None and len(fitted.intercept) > 1:
        raise InputError("feature: a model of several classes has a coefficient a class; leave --feature out")
    if feature is not None:
        for name in feature:
            known("feature", name, [*fitted.feature_names, "intercept"])
        options["parameters"] = tuple(feature)
    if animated:
        animate_descent(output, X, y, given, **options)
        out.print(f"animation drawn to {output}", markup=False)
    else:
        _draw(output, lambda ax: plot_surface(X, y, given, ax=ax, **options), SIZE)


PICTURES = {".png", ".svg", ".pdf", ".jpg", ".gif"}


def _named(X: Any, names: list[str]) -> Any:
    import pyarrow as pa

    return pa.table(dict(zip(names, X.T, strict=True)))


def _read(model: Path, file: Path, missing: Any) -> tuple[Any, Any, Any]:
    """Return a model, and rows and targets as it takes them."""
    from steepest.model_io import load

    fitted = load(model)
    table, _ = rows_for(fitted, file, missing, with_target=True)
    return fitted, inputs(fitted, table), table[fitted.target].to_pylist()


def _labels(paths: list[Path]) -> list[str]:
    """Return the names of files without their endings, or in full where those are the same."""
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def _draw(path: Path, picture: Any, size: tuple[float, float] | None = None) -> None:
    draw(path, picture, size)
    out.print(f"picture drawn to {path}", markup=False)
