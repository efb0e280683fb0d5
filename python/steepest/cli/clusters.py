"""``steepest fit --cluster``: a table in many files, read and trained on where workers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from steepest import report
from steepest.cli.options import inputs, note, out, print_json, rows_for, show_written
from steepest.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from steepest.blocks import Blocks
    from steepest.result import Fit
    from steepest.training import Options

#: Different targets of which more need not be known to choose a loss.
MOST_SEEN = 1000


def train_on(address: str, file: Path, target: str, only: list[str] | None, options: Options) -> tuple[Any, Fit]:
    """Return the model of a table in files, and the descent to it."""
    from steepest.distributed import connected, named_by_file, partitions, read_frames
    from steepest.model import LinearModel, describe
    from steepest.preprocessing import Encoder, Numeric
    from steepest.progress import watched
    from steepest.training import descended

    if options.categorical:
        raise InputError("categorical: expected none with --cluster, where columns are numbers; encode them before")
    if options.n_threads is not None:
        raise InputError("threads: expected none with --cluster, whose workers have theirs; 'dask worker --nthreads 2'")
    with connected(address) as client:
        frames = read_frames(str(file), target, only, options.drop)
        rows = partitions(frames.dropna() if options.missing == "drop" else frames, target)
        note(f"{len(rows)} partitions on {len(client.nthreads())} workers")
        with named_by_file(str(file), [str(column) for column in frames.columns]):
            loss = options.loss or _loss_for(rows, target)
            with watched(options.n_steps, None) as watch:
                fit, warning = descended(rows, None, loss, options, watch)
    if warning:
        note(warning)
    model = LinearModel(
        loss=fit.loss_name,
        target=target,
        classes=None if fit.classes is None else fit.classes.tolist(),
        encoder=Encoder(tuple(Numeric(name) for name in fit.feature_names or [])),
        coef=np.atleast_2d(fit.coef),
        intercept=np.atleast_1d(fit.intercept),
        training=describe(fit),
    )
    return model, fit


def _loss_for(rows: Blocks, target: str) -> str:
    """Return the loss that the different values of the target ask for."""
    seen = rows.reduce(_different, _both)
    if seen is None or len(seen) == 1:
        raise InputError(f"target: every value of {target!r} is {'none' if seen is None else seen[0]!r}")
    return "mse" if seen.dtype.kind in "fiu" and len(seen) > 2 else "log_loss"  # noqa: PLR2004


def _different(rows: Any) -> Any:
    """Return different targets of a partition."""
    return np.unique(np.asarray(rows.y))[:MOST_SEEN] if rows.n_rows else None


def _both(one: Any, other: Any) -> Any:
    return np.union1d(one, other)[:MOST_SEEN]


def show(
    model: Any, fit: Fit, evaluation: Path | None, missing: str, written: dict[str, str], *, as_json: bool
) -> None:
    """Print how the descent went, and how good the model is on rows of its own."""
    n_rows, n_columns = fit.recipe.shape
    table, left_out, figures = None, 0, {}
    if evaluation is not None:
        table, left_out = rows_for(model, evaluation, missing, with_target=True)
        figures = model.evaluate(inputs(model, table), table[model.target].to_pylist())
    if as_json:
        about = {"loss": fit.loss_name, "method": fit.method, "status": fit.status, "converged": fit.converged}
        about |= {"rows": n_rows, "steps": fit.n_steps, "seconds": fit.seconds, "objective": fit.loss}
        coefficients = [dict(zip(model.feature_names, line, strict=True)) for line in model.coef.tolist()]
        about |= {"coefficients": coefficients, "intercept": model.intercept.tolist()}
        print_json({**about, "metrics": report.metrics_json(figures), "written": written})
        return
    out.print(f"{n_rows:,} rows of {n_columns} columns, {fit.loss_name}", markup=False)
    out.print(f"method: {fit.method}, because {fit.reason}", markup=False)
    out.print(f"{report.ending(fit, fit.seconds)}: {fit.loss:.6g}", markup=False)
    if table is not None:
        report.show_evaluation(out, model, len(table), left_out, figures)
    else:
        note("no rows were held out; --eval FILE names some to test on")
    show_written(written)
