"""A descent that is written down as it goes: in segments, each of which goes on with what the last one remembered.

k steps and then m are k + m to the bit, whatever is remembered, so no backend needs to know of files. A segment costs
what it costs to begin: an evaluation, and the scales or the sufficient statistics of the columns. It is as long as
`SEGMENT_SECONDS`, which is what Ctrl-C may lose, or so long that beginning takes less than a twentieth of it.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.checkpoint import VALIDATION, Saved, read_checkpoint, write_checkpoint
from steepest.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from steepest.checkpoint import Checkpoint
    from steepest.problem import Callback, Solution, StepInfo
    from steepest.setup import Setup

SEGMENT_SECONDS = 1.0
#: The share of the time that may be spent on beginning segments, and on writing.
MOST_OVERHEAD = 0.05
#: A segment is at most so many times longer than the one before: the first few steps are no good measure.
GROWTH = 10
#: Roundings by which the loss at the same point of the same data may differ on another machine.
ROUNDINGS = 1024


def minimise(setup: Setup, callback: Callback | None) -> tuple[Solution, float]:
    """Descend as set up; return where that ended, or its best point, and the seconds since the first start."""
    began = time.perf_counter()
    if setup.checkpoint is not None:
        solution, seconds = Course(setup, setup.checkpoint, callback).run()
        return solution.at_best(), seconds
    solution = setup.engine.minimise(setup.problem, setup.validation, setup.plan, setup.start, setup.state, callback)
    return solution.at_best(), time.perf_counter() - began


def recipe_of(setup: Setup) -> dict[str, str]:
    """Return, as texts, all that decides where a descent leads; what is long by its digest."""
    held_out = setup.validation
    # Those without it have no such part: files that know of none are still theirs.
    texts = {} if held_out is None else {VALIDATION: repr((held_out.shape, held_out.fingerprint()))}
    texts |= {name: repr(value) for name, value in setup.recipe._asdict().items()}
    start = [setup.start, *(setup.state[name] for name in sorted(setup.state))]
    texts["classes"] = _digest(repr(None if setup.problem.classes is None else setup.problem.classes.tolist()).encode())
    texts["start"] = _digest(b"".join(np.ascontiguousarray(part).tobytes() for part in start))
    return texts


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


#: What the user calls parts of a recipe.
CALLED = {
    VALIDATION: "validation data",
    "fingerprint": "data",
    "step_size": "learning_rate",
    "seed": "random_state",
}
#: What is less than plain of a start.
OF_ITS_OWN = ": a descent that begins where another one ended, as with warm_start=True, has a file of its own"


class Course:
    """The segments of a descent, from the start or from a file."""

    def __init__(self, setup: Setup, checkpoint: Checkpoint, callback: Callback | None) -> None:
        self.setup, self.checkpoint, self.callback = setup, checkpoint, callback
        self.recipe = recipe_of(setup)
        self.began = time.perf_counter()
        self.seconds_before = 0.0
        self.parts: list[Solution] = []
        self.known: Solution | None = None
        self.length = setup.steps_per_epoch
        self.is_written, self.due = True, self.began
        if Path(checkpoint.path).exists():
            self._load()

    def _load(self) -> None:
        """Take up what is in the file, which must be of this very descent."""
        path = self.checkpoint.path
        saved = read_checkpoint(path)
        names = [VALIDATION, *self.recipe, *saved.recipe]
        other = [name for name in names if self.recipe.get(name) != saved.recipe.get(name)]
        if other:
            what = CALLED.get(other[0], other[0])
            raise InputError(
                f"checkpoint: {path} is of a descent that differs in its {what}; "
                f"remove it to begin anew, or name another file{OF_ITS_OWN if what == 'start' else ''}"
            )
        if len(saved.solution.parameters) != self.setup.problem.n_parameters:
            raise CheckpointError(f"{path}: expected {self.setup.problem.n_parameters} parameters; remove the file")
        if saved.solution.n_steps > self.setup.plan.n_steps:
            raise InputError(
                f"n_steps: expected at least the {saved.solution.n_steps} steps of the checkpoint {path}; "
                f"got {self.setup.plan.n_steps}"
            )
        self.parts, self.seconds_before = [saved.solution], saved.seconds
        self.known = saved.solution

    @property
    def n_made(self) -> int:
        """Steps made so far."""
        return sum(part.n_steps for part in self.parts)

    @property
    def seconds(self) -> float:
        """How long the descent has taken, with what was made before it was interrupted."""
        return self.seconds_before + time.perf_counter() - self.began

    def run(self) -> tuple[Solution, float]:
        """Make segment after segment until the descent ends; write down what was made, however it ends."""
        try:
            while True:
                began = time.perf_counter()
                part = self._segment()
                if part.status == "diverged":
                    # What is written down is the last point that was finite.
                    return joined(self.parts), self.seconds
                if part.status != "max_steps" or self.n_made == self.setup.plan.n_steps:
                    break
                if time.perf_counter() >= self.due:
                    self._write()
                self.length = self._next_length(part, time.perf_counter() - began)
        except BaseException:
            if not self.is_written:
                self._write()
            raise
        self._write()
        return self.parts[0], self.seconds

    def _segment(self) -> Solution:
        """Make the steps of a segment, and take them in."""
        setup, n_made, seconds = self.setup, self.n_made, self.seconds
        plan = setup.plan
        # Mini-batches are looked at between two epochs.
        n_steps = min(plan.n_steps - n_made, self.length - n_made % setup.steps_per_epoch)
        left = None
        if plan.max_seconds is not None:
            left = max(plan.max_seconds - (seconds - self.seconds_before), np.finfo(float).tiny)
        start, state = (self.parts[-1].parameters, self.parts[-1].state) if self.parts else (setup.start, setup.state)

        def watch(info: StepInfo) -> object:
            return self.callback and self.callback(
                info._replace(step=info.step + n_made, seconds=info.seconds + seconds)
            )

        part = setup.engine.minimise(
            setup.problem,
            setup.validation,
            replace(plan, n_steps=n_steps, max_seconds=left),
            start,
            state,
            None if self.callback is None else watch,
        )
        self._check(part)
        history = dict(part.history)
        history |= {"step": history["step"] + n_made, "seconds": history["seconds"] + seconds}
        part = replace(part, history=history)
        self.parts.append(part)
        self.is_written = part.status == "diverged"
        return part

    def _check(self, part: Solution) -> None:
        """Hold the losses where the file left off to what it says: fingerprints are of some rows, these are of all."""
        known, self.known = self.known, None
        if known is None:
            return
        if part.best is not None and not np.isfinite(part.best).all():
            raise CheckpointError(f"{self.checkpoint.path}: the best point is out of range; remove the file")
        self._check_loss(part, known, "loss", "data")
        if not np.isnan(known.validation_loss):
            self._check_loss(part, known, "validation_loss", "validation data")

    def _check_loss(self, part: Solution, known: Solution, name: str, data: str) -> None:
        seen, expected = part.history[name], getattr(known, name)
        here = float(seen[0]) if len(seen) else getattr(part, name)
        largest = max(abs(expected), *np.abs(known.history[name]), 0.0)
        allowed = ROUNDINGS * float(np.finfo(self.setup.problem.dtype).eps) * largest
        if here != expected and not abs(here - expected) <= allowed:
            raise InputError(
                f"checkpoint: {self.checkpoint.path} is of other {data}: the {name.replace('_', ' ')} where it left "
                f"off is {here:.9g} by these, and {expected:.9g} by those; remove it to begin anew, or name another "
                "file"
            )

    def _next_length(self, part: Solution, took: float) -> int:
        """Return the steps of the next segment: whole epochs, so many that beginning it costs little beside them."""
        steps, seconds = part.history["step"], part.history["seconds"]
        epoch, most = self.setup.steps_per_epoch, GROWTH * self.length
        if len(steps) < 2:  # noqa: PLR2004
            return 2 * self.length
        a_step = max(float((seconds[-1] - seconds[0]) / (steps[-1] - steps[0])), 1e-9)
        beginning = max(took - a_step * part.n_steps, 0.0)
        aim = max(min(SEGMENT_SECONDS, self.checkpoint.seconds), beginning / MOST_OVERHEAD)
        return max(1, min(int(aim / a_step), most) // epoch) * epoch

    def _write(self) -> None:
        """Write down all that was made; what fails to be written is not tried again."""
        self.is_written = True
        self.parts = [joined(self.parts)]
        began = time.perf_counter()
        write_checkpoint(self.checkpoint.path, Saved(self.parts[0], self.seconds, self.recipe))
        now = time.perf_counter()
        self.due = now + max(self.checkpoint.seconds, (now - began) / MOST_OVERHEAD)


def joined(parts: list[Solution]) -> Solution:
    """Return segments as one descent."""
    names: Any = parts[-1].history
    return replace(
        parts[-1],
        n_steps=sum(part.n_steps for part in parts),
        history={name: np.concatenate([part.history[name] for part in parts]) for name in names},
    )
