"""Options that several commands share, and those that a file sets."""

from __future__ import annotations

import difflib
import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from steepest.data import read_table
from steepest.errors import InputError
from steepest.files import check_writable, written_whole

out = Console(highlight=False, soft_wrap=True)

BackendOption = Annotated[
    Literal["auto", "rust", "numpy", "cupy"],
    typer.Option(help="What computes; steepest backends lists them: --backend numpy"),
]
MissingOption = Annotated[
    Literal["error", "drop"],
    typer.Option(help="Rows with missing values: refuse them, or leave them out: --missing drop"),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON object and nothing else: --json > result.json"),
]
ModelArgument = Annotated[Path, typer.Argument(metavar="MODEL", help="A file written by fit --model")]
PlotOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Draw the loss against the step: --plot loss.png (or .svg, .pdf)"),
]
#: Keys of a configuration that would refer to itself, or say nothing.
NOT_IN_FILES = {"config", "help"}
#: What is said of files that were written.
SENTENCES = {
    "model": "model written to",
    "history": "history written to",
    "plot": "loss curve drawn to",
}


def example(*lines: str) -> str:
    """Return what stands below a command's help, line by line as it is typed."""
    return "\b\nFor example:\n" + "\n".join(f"  {line}" for line in lines)


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Let a TOML file say what the command line does not."""
    if path is None:
        return None
    import tomllib

    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    # Tables in tables without end are read by functions that call themselves.
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: expected TOML; {error}") from None
    places: dict[str, Any] = {}
    for each in context.command.params:
        names = [name.lstrip("-") for name in each.opts if name.startswith("--")] or [each.name or ""]
        places |= dict.fromkeys(names, each)
    places = {name: each for name, each in places.items() if name not in NOT_IN_FILES}
    values: dict[str, Any] = {}
    for key, value in given.items():
        parameter: Any = places.get(key.replace("_", "-"))
        if parameter is None:
            near = difflib.get_close_matches(key.replace("_", "-"), places, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"{path}: there is no option {key!r}{hint}; options: {', '.join(sorted(places))}")
        if parameter.name in values:
            raise InputError(f"{path}: {key!r} says again what another name of it says; keep one")
        values[parameter.name] = _as_typed(path, key, value, several=getattr(parameter, "multiple", False))
    context.default_map = values
    return path


def _as_typed(path: Path, key: str, value: Any, *, several: bool) -> Any:
    """Return a value of a file as it would be typed, so that the command line checks it."""
    if several and isinstance(value, str):
        return [value]
    if several and isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    if several or isinstance(value, (list, dict)):
        expected = "a list of texts" if several else "one value"
        raise InputError(f"{path}: {key}: expected {expected}; got {value!r}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def strength(penalty: str | None, alpha: float, l1_ratio: float | None) -> tuple[float, float]:
    """Return α and ρ for a penalty by name, or as they are given."""
    if penalty is None:
        return alpha, 0.0 if l1_ratio is None else l1_ratio
    if penalty == "none":
        if alpha:
            raise InputError(f"penalty: none has no strength; leave out --alpha {alpha:g}, or name a penalty")
        return 0.0, 0.0
    if not alpha:
        raise InputError(f"penalty: {penalty} needs a strength, such as --alpha 0.01")
    if penalty == "elasticnet":
        return alpha, 0.5 if l1_ratio is None else l1_ratio
    own = {"l2": 0.0, "l1": 1.0}[penalty]
    if l1_ratio not in {None, own}:
        raise InputError(f"penalty: {penalty} has l1_ratio {own:g}; got {l1_ratio:g}; elasticnet takes any")
    return alpha, own


def rows_for(fitted: Any, file: Path, missing: Any, *, with_target: bool = False) -> tuple[Any, int]:
    """Return the rows of a file that a model can predict from, and how many were left out."""
    from steepest.preprocessing import require_columns, without_missing

    columns = [] if fitted.encoder is None else fitted.encoder.columns
    names = [column.name for column in columns] or fitted.feature_names
    if names is None:
        raise InputError("model: it was trained on an array and knows no names of columns; steepest.load reads it")
    needed = [*names, *([fitted.target] if with_target else [])]
    # What was text in training is text here too, even where every cell looks like a number.
    as_text = [column.name for column in columns if hasattr(column, "levels")]
    if with_target and fitted.classes and isinstance(fitted.classes[0], str):
        as_text.append(fitted.target)
    table = read_table(file, as_text)
    require_columns(table, needed, str(file))
    return without_missing(table.select(needed) if fitted.encoder is None else table, needed, missing)


def inputs(fitted: Any, table: Any) -> Any:
    """Return the columns of a table that a model predicts from."""
    return table if fitted.encoder is not None else table.select(fitted.feature_names)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n")


def show_written(written: dict[str, str]) -> None:
    """Print what a command wrote, and where to."""
    for what, where in written.items():
        out.print(f"{SENTENCES[what]} {where}", markup=False)


def note(text: str) -> None:
    """Say on standard error what is no result."""
    print(text, file=sys.stderr)  # noqa: T201


def check_picture(path: Path | None, formats: set[str] | None = None) -> None:
    """Raise an error now if a picture could not be drawn to `path` later."""
    if path is not None:
        from steepest.curves import FORMATS, check_format

        check_format(path, FORMATS if formats is None else formats)
        check_writable(path)


def draw(path: Path, picture: Any, size: tuple[float, float] | None = None) -> None:
    """Draw a picture to a file, whole or not at all."""
    from steepest.curves import SIZE, save_picture

    with written_whole(path) as temporary:
        save_picture(picture, temporary, size or SIZE)


def write_text(path: Path, text: str) -> None:
    """Write a text to a file, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
