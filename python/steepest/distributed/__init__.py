"""Rows on a cluster of Dask: the user's collections as partitions, and the way to the cluster.

Workers keep nothing but partitions, and those are futures that the scheduler can compute again from where they came:
a worker may die, hang or join at any time. What a descent knows is with the client.

Dask is imported only in this folder, and only when a cluster is asked for.
"""

from __future__ import annotations

import logging
import signal
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.blocks import Rows
from steepest.data import PARQUET
from steepest.distributed.cluster import ANSWER, RETRIES, Partitions
from steepest.distributed.tasks import about, called
from steepest.errors import ClusterError, InputError, MissingPackageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from distributed import Client

#: A cluster of this machine.
LOCAL: dict[str, Any] = {
    "threads_per_worker": 1,
    # Any port: that of a dashboard may be taken.
    "dashboard_address": "127.0.0.1:0",
    "scheduler_kwargs": {"dashboard": False},
    # What workers log of an error is said by the error.
    "silence_logs": logging.CRITICAL,
}


#: While it is there: so long after a death Dask asks whether the worker is back, 15 s by itself, and gives it up for
#: good if it is on its way back from another death just then.
PATIENT = {"distributed.deploy.lost-worker-timeout": "1 hour"}
#: Workers of a cluster of this machine, each of them a process: more do not start on any.
MOST_WORKERS = 1000


def is_distributed(given: Any) -> bool:
    """Return whether `given` is a collection of Dask, or a list of delayed blocks; nothing is imported to find out."""
    if isinstance(given, (list, tuple)):
        return bool(given) and (_is_lazy(given[0]) or _has_lazy(given[0]))
    return _is_lazy(given)


def _has_lazy(block: Any) -> bool:
    return isinstance(block, (list, tuple)) and any(_is_lazy(part) for part in block)


def _is_lazy(given: Any) -> bool:
    kind = type(given)
    return hasattr(kind, "__dask_graph__") or (kind.__module__, kind.__name__) == ("distributed.client", "Future")


def partitions(X: Any, y: Any, sample_weight: Any = None, offset: Any = None) -> Partitions:
    """Return the user's rows as partitions on the current client's cluster, which begins to compute them.

    Parameters
    ----------
    X : dask array, dask dataframe, or list of delayed or futures
        Delayed blocks are tuples (X, y) or (X, y, sample_weight), and then `y` is None.
    y, sample_weight, offset
        Of a dataframe: the name of a column, or a series of the same partitions. Of an array: a dask array, or one in
        memory.

    Raises
    ------
    InputError
        If there is no client, or the parts do not fit each other.
    """
    client = current_client()
    given = {"y": y, "sample_weight": sample_weight, "offset": offset}
    if isinstance(X, (list, tuple)):
        _check_list(X, given)
        return _computed(client, _of_block, [(block,) for block in X])
    if y is None:
        raise InputError("y: expected targets; got None; of a dataframe the name of a column will do")
    if hasattr(X, "columns"):
        names = {name: part for name, part in given.items() if isinstance(part, str)}
        for name, column in names.items():
            if column not in list(X.columns):
                raise InputError(f"{name}: there is no column {column!r}; columns: {', '.join(map(str, X.columns))}")
        frames = X.to_delayed()
        series = {name: _parts(name, part, frames, None) for name, part in given.items() if name not in names}
        return _computed(client, _of_frame, zip(frames, *series.values(), strict=True), names, list(series))
    if not hasattr(X, "chunks"):
        raise InputError(
            f"X: expected a dask array, a dask dataframe or a list of delayed blocks; got {type(X).__name__}"
        )
    X = X[:, np.newaxis] if X.ndim == 1 else X.rechunk({1: -1})
    matrices = X.to_delayed().ravel()
    others = [_parts(name, part, matrices, X.chunks[0]) for name, part in given.items()]
    return _computed(client, _of_arrays, zip(matrices, *others, strict=True))


def _check_list(blocks: Sequence[Any], given: dict[str, Any]) -> None:
    for name, part in given.items():
        if part is not None:
            raise InputError(f"{name}: expected None beside a list of blocks, which hold (X, y, sample_weight)")
    for i, block in enumerate(blocks):
        if _has_lazy(block):
            raise InputError(
                f"X: expected each block to be one delayed tuple or future; block {i} is a tuple of several; "
                "dask.delayed(block) makes one of it"
            )


def current_client() -> Client:
    """Return the client that Dask itself would use, connected."""
    try:
        from distributed import get_client
    except ImportError:
        raise MissingPackageError("X: rows on a cluster need dask.distributed: pip install 'steepest[dask]'") from None
    try:
        client = get_client(timeout=ANSWER)
    except ValueError:
        raise InputError(
            "X: a collection of Dask needs a cluster; client = distributed.Client() starts one on this machine, "
            "distributed.Client('tcp://…:8786') connects to one"
        ) from None
    if client.asynchronous:
        raise InputError("X: expected a client that waits; got an asynchronous one")
    return client


@contextmanager
def connected(address: str) -> Iterator[Client]:
    """Yield a client of a scheduler, ``"tcp://…"``, or of a new cluster of processes on this machine, ``"local:4"``.

    Raises
    ------
    InputError
        If nobody answers there, in seconds.
    ClusterError
        If processes of this machine do not start.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise MissingPackageError("cluster: a cluster needs dask.distributed: pip install 'steepest[dask]'") from None
    kind, _, count = address.partition(":")
    if kind == "local":
        # Python itself reads no number of thousands of digits.
        if not (count.isdecimal() and len(count) < 9 and 0 < int(count) <= MOST_WORKERS):  # noqa: PLR2004
            raise InputError(f"cluster: expected local:N with N workers, {MOST_WORKERS:,} at most; got {address!r}")
        with dask.config.set(PATIENT):
            try:
                with _deaf():
                    workers = LocalCluster(n_workers=int(count), **LOCAL)
            except RuntimeError as error:
                raise ClusterError(
                    f"cluster: workers do not start on this machine: {error}; 'dask worker ADDRESS' by itself shows why"
                ) from error
            with workers, Client(workers, timeout=ANSWER) as client:
                yield client
        return
    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise InputError(f"cluster: no scheduler answers at {address}: {error}; 'dask scheduler' starts one") from error
    with client:
        yield client


@contextmanager
def _deaf() -> Iterator[None]:
    """Let threads that are made meanwhile, and all processes that they ever start, not hear Ctrl-C.

    A terminal sends it to every process; this one closes the cluster. It hears of it after the body.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The first process of all would take the mask away.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def read_frames(pattern: str, target: str, only: Sequence[str] | None, drop: Collection[str]) -> Any:
    """Return the table in Parquet or CSV files, which workers will read, as a dask dataframe of some columns."""
    import dask.dataframe as dd

    read = dd.read_parquet if _is_parquet(pattern) else dd.read_csv
    try:
        frames = read(pattern)
    except (OSError, ValueError) as error:
        raise InputError(f"file: {pattern} cannot be read: {error}") from error
    columns = [str(column) for column in frames.columns]
    if not columns:
        raise InputError(f"file: {pattern} names no file that has columns")
    for argument, names in (("target", [target]), ("only", only or []), ("drop", drop)):
        for name in names:
            if name not in columns:
                raise InputError(f"{argument}: there is no column {name!r}; columns: {', '.join(columns)}")
    return frames[[name for name in columns if name == target or (name in only if only else name not in drop)]]


@contextmanager
def named_by_file(pattern: str, columns: Collection[str]) -> Iterator[None]:
    """Say which Parquet file lacks a column, if one does, where Dask knows but which partition cannot be read."""
    try:
        yield
    except ClusterError as error:
        for path, names in _parquet_columns(pattern):
            for column in columns:
                if column not in names:
                    raise InputError(
                        f"file: {path}: expected the columns of the first file; it has no {column!r}"
                    ) from error
        raise


def _is_parquet(pattern: str) -> bool:
    return Path(pattern).suffix.lower() in PARQUET


def _parquet_columns(pattern: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the Parquet files that a pattern names and what columns they have, as far as this process can read them."""
    if not _is_parquet(pattern):
        return
    from fsspec import open_files  # type: ignore[import-untyped]
    from pyarrow import parquet

    with suppress(OSError, ValueError):
        for file in open_files(pattern):
            with file as source:
                yield file.path, parquet.read_schema(source).names


def _parts(name: str, given: Any, blocks: Sequence[Any], lengths: Sequence[Any] | None) -> Sequence[Any]:
    """Return what belongs to each block of X."""
    if given is None:
        return [None] * len(blocks)
    if not _is_lazy(given):
        if lengths is None or any(np.isnan(lengths)):
            raise InputError(f"{name}: X does not know how many rows its partitions have; pass {name} as a part of it")
        array = np.asarray(given)
        if not array.ndim:
            raise InputError(f"{name}: expected an array, of dask or in memory; got {given!r}")
        if len(array) != sum(lengths):
            raise InputError(f"{name}: expected {sum(lengths)} rows as X has; got {len(array)}")
        return np.split(array, np.cumsum(lengths)[:-1])
    if lengths is not None and not np.isnan([*lengths, *given.chunks[0]]).any():
        if sum(lengths) != given.shape[0]:
            raise InputError(f"{name}: expected {sum(lengths)} rows as X has; got {given.shape[0]}")
        given = given.rechunk({0: tuple(lengths)} | dict.fromkeys(range(1, given.ndim), -1))
    parts: list[Any] = np.ravel(given.to_delayed()).tolist()
    if len(parts) != len(blocks):
        raise InputError(f"{name}: expected {len(blocks)} partitions as X has; got {len(parts)}")
    return parts


def _computed(client: Client, make: Callable[..., Rows], blocks: Iterable[Any], *settings: Any) -> Partitions:
    from dask import delayed

    lazy = [delayed(about)(number, make, number, settings, *block) for number, block in enumerate(blocks)]
    return Partitions(client, client.compute(lazy, retries=RETRIES))


def _of_arrays(number: int, _settings: Any, *arrays: Any) -> Rows:
    return Rows(called(number), *arrays)


def _of_block(number: int, _settings: Any, block: Any) -> Rows:
    if not isinstance(block, (tuple, list)) or not 2 <= len(block) <= 3:  # noqa: PLR2004
        raise InputError(f"X: expected blocks (X, y) or (X, y, sample_weight); got {type(block).__name__}")
    return Rows(called(number), *block)


def _of_frame(number: int, settings: tuple[dict[str, str], list[str]], frame: Any, *series: Any) -> Rows:
    names, others = settings
    given = {name: frame[column] for name, column in names.items()} | dict(zip(others, series, strict=True))
    return Rows(called(number), frame.drop(columns=list(names.values())), **given)
