"""One solver on one case in a fresh process: prints a line of JSON for every tolerance as soon as it is known."""

from __future__ import annotations

import json
import sys
import time
import warnings
from typing import Any

from cases import CASES, Case
from solvers import LOOSE_TO_TIGHT, NotForThisCaseError, exact, solver_for

REPEATS = 3
#: A relative gap at which a solver has arrived; one further point shows where its curve goes.
GOAL = 1e-6


def say(**facts: Any) -> None:
    """Print facts for the driver."""
    print(json.dumps(facts), flush=True)


def timed(fit: Any, seconds_left: float) -> tuple[float, Any]:
    """Return the best time of up to `REPEATS` fits, fewer where they are long, and the last answer."""
    best, spent = float("inf"), 0.0
    for _ in range(REPEATS):
        start = time.perf_counter()
        answer = fit()
        seconds = time.perf_counter() - start
        best, spent = min(best, seconds), spent + seconds
        if spent + seconds > seconds_left:
            break
    return best, answer


def race(case: Case, name: str, best_objective: float, limit: float) -> None:
    """Run one solver from its loosest tolerance on until it has arrived, or its time is up."""
    started = time.perf_counter()
    arrived = False
    for tolerance in LOOSE_TO_TIGHT:
        left = limit - (time.perf_counter() - started)
        if left <= 0:
            say(note=f"{limit:.0f} s were up")
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = solver_for(case, name)(case, tolerance)
            # The first call loads and compiles.
            if tolerance == LOOSE_TO_TIGHT[0]:
                start = time.perf_counter()
                fit()
                say(first=time.perf_counter() - start)
            seconds, answer = timed(fit, left / 2)
        gap = (case.objective(*answer) - best_objective) / best_objective
        say(tolerance=tolerance, seconds=seconds, gap=gap)
        if arrived:
            return
        arrived = gap <= GOAL


def main() -> None:
    """worker.py CASE SOLVER SHRINK LIMIT BEST, or worker.py CASE exact SHRINK."""
    case = CASES[sys.argv[1]](int(sys.argv[3]))
    if sys.argv[2] == "exact":
        say(best=exact(case), title=case.title)
        return
    try:
        race(case, sys.argv[2], float(sys.argv[5]), float(sys.argv[4]))
    except NotForThisCaseError as reason:
        say(note=f"not for this case: {reason}")
    except ImportError as error:
        say(note=f"not installed: {error}")
    except Exception as error:  # noqa: BLE001  whatever a peer raises is its entry in the table
        say(note=f"failed: {type(error).__name__}: {str(error).splitlines()[0][:80]}")


if __name__ == "__main__":
    main()
