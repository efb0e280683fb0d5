"""How many threads the core uses, and who may say so."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import Any

from steepest import _steepest
from steepest.validation import integer

#: What `set_num_threads` was told, if it was.
_chosen: dict[str, int] = {}
#: Ours before that of OpenMP, which may be a list, one number a level of nesting.
OURS, OF_OPENMP = "STEEPEST_NUM_THREADS", "OMP_NUM_THREADS"


def set_num_threads(n_threads: int | None) -> None:
    """Set how many threads every later call uses that is not given `n_threads` itself.

    Parameters
    ----------
    n_threads : int ≥ 1 or None
        None undoes what was set: what counts then is ``STEEPEST_NUM_THREADS``, else ``OMP_NUM_THREADS``, which joblib
        and Dask set in their workers to share the cores, else every core that the process may use, by its affinity
        and the quota of its container.

    Raises
    ------
    InputError
        If it is not a whole number of at least one.

    Notes
    -----
    It holds for the whole process, whichever thread calls it. Results do not depend on it, down to the last bit.
    ``threadpoolctl.threadpool_limits`` sets it too, if threadpoolctl was imported before, or the estimators have been.

    Examples
    --------
    >>> import steepest as st
    >>> st.set_num_threads(2)
    >>> st.get_num_threads()
    2
    >>> st.set_num_threads(None)
    """
    if n_threads is None:
        _chosen.clear()
    else:
        _chosen["n_threads"] = integer("n_threads", n_threads, least=1)


def get_num_threads() -> int:
    """Return how many threads a call uses that is not given `n_threads`.

    Returns
    -------
    int
        What `set_num_threads` was told, else what the environment says, else every core that the process may use.

    Raises
    ------
    InputError
        If ``STEEPEST_NUM_THREADS`` counts, and is not a whole number of at least one.

    Examples
    --------
    >>> import steepest as st
    >>> st.get_num_threads() >= 1
    True
    """
    return _chosen.get("n_threads") or _default()


def thread_count(n_threads: int | None) -> int:
    """Return how many threads to use: those that are asked for, else `get_num_threads`."""
    return get_num_threads() if n_threads is None else integer("n_threads", n_threads, least=1)


def _default() -> int:
    if given := os.environ.get(OURS):
        return integer(OURS, int(given) if given.isdecimal() else given, least=1)
    # Not ours to judge: what we cannot read, others may.
    first = os.environ.get(OF_OPENMP, "").partition(",")[0].strip()
    if first.isdecimal() and int(first) > 0:
        return int(first)
    # The quota is read from files, which small problems would feel; the affinity may change.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return _available(cores)


@cache
def _available(cores: int | None) -> int:  # noqa: ARG001
    """Return how many cores the process may use, with this many in its affinity."""
    return _steepest.available_threads()


def limit_by_threadpoolctl() -> None:
    """Have ``threadpoolctl`` limit and show our threads, once; it is imported."""
    from threadpoolctl import LibController, register  # type: ignore[import-untyped]

    if "controller" in _registered:
        return

    class Controller(LibController):  # type: ignore[misc]
        """Our threads, as one library of those that it knows."""

        user_api = internal_api = "steepest"
        filename_prefixes = ("_steepest",)

        def get_num_threads(self) -> int:
            return get_num_threads()

        def set_num_threads(self, num_threads: int) -> None:
            # The end of a limit sets what was there before: where nobody had set that, nobody has now.
            set_num_threads(None if num_threads == _default() else num_threads)

        def get_version(self) -> str:
            return _steepest.__version__

    register(Controller)
    _registered["controller"] = Controller


_registered: dict[str, Any] = {}

if "threadpoolctl" in sys.modules:
    limit_by_threadpoolctl()
