"""A progress bar on the terminal. Rich is imported when one is shown."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from steepest.errors import MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from steepest.problem import Callback, StepInfo

SECONDS_BETWEEN = 0.1


@contextmanager
def watched(n_steps: int, callback: Callback | None, read: object = None) -> Iterator[Callback]:
    """Show a bar for `n_steps` steps on standard error while the body runs; yield the callback that moves it.

    `read`, as text, is what has been read so far, where data are not in memory.
    """
    try:
        from rich.console import Console
    except ImportError:
        raise MissingPackageError("the progress bar needs rich; pip install 'steepest[cli]'") from None
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[there]}"),
        *([] if read is None else [TextColumn("{task.fields[read]}")]),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("descend", total=n_steps, there="", read=str(read))
        shown = 0.0
        latest: StepInfo | None = None
        stopped: object = None

        def watch(info: StepInfo) -> object:
            nonlocal shown, latest, stopped
            latest = info
            now = time.monotonic()
            if now - shown >= SECONDS_BETWEEN:
                shown = now
                show(info, info.step)
            stopped = callback(info) if callback is not None else None
            return stopped

        def show(info: StepInfo, completed: int) -> None:
            there = f"loss {info.loss:.6g} gradient norm {info.gradient_norm:.2e}"
            bar.update(task, completed=completed, there=there, read=str(read))

        yield watch
        if latest is not None:
            show(latest, latest.step + (0 if stopped else 1))
