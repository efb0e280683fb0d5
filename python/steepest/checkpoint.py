"""A descent on its way, as a file: what it takes to go on after the process has died.

The format is that of models: safetensors, a JSON description, the SHA-256 of both. Reading it runs no code, and checks
every byte. The tensors are ``parameters``, those of the last point, ``state.…``, what the method remembers and the best
point by the validation loss, and ``history.…``.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from steepest.errors import CheckpointError, InputError
from steepest.files import check_name, check_writable, written_whole
from steepest.problem import BEST, OF_BEST, STATUSES, Solution, StepInfo
from steepest.tensor_file import checksum, parse_json, read_tensors, write_tensors
from steepest.validation import integer, known, number

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 2
#: Before there could be validation data.
WITHOUT_VALIDATION = 1
HEADER, CHECKSUM = "steepest_checkpoint", "sha256"
STATE, HISTORY = "state.", "history."
#: The numbers of a solution that the description has under their own names.
NUMBERS = ("loss", "gradient_norm", "seconds")
#: Those that need not be there, nor be finite.
TEXTS = ("condition", "validation_loss")
FIELDS = {"format_version", "recipe", "n_steps", "status", *TEXTS, *NUMBERS}
#: The part of a recipe that tells validation data.
VALIDATION = "validation"
#: What methods and step sizes remember: so many numbers, none negative; of which these are counts; …
SCALARS = {"n_made": 1, "n_seen": 1, "t": 1, "rate": 1, "step_size": 1, "patience": 2}
COUNTS = {"n_made", "n_seen"}
#: … one number a parameter; several vectors of such; the losses of some steps.
VECTORS = {"point", "previous", "mean", "square", "before", "gradient_before", BEST}
STACKS = {"moves", "changes"}
LOSSES = "losses"
#: Beside the first of these are the others.
TOGETHER = [
    ("mean", "square", "n_seen"),
    ("square", "mean"),
    ("moves", "changes"),
    ("changes", "moves"),
    ("before", "gradient_before", LOSSES, "step_size"),
    (BEST, OF_BEST),
    (OF_BEST, BEST),
]
MOST_COUNTED = 2**53
#: What an error tells of what it found in a file.
MOST_SHOWN = 300


@dataclass(frozen=True)
class Checkpoint:
    """Where a descent is written down as it goes, and how often.

    If the file is there when the descent begins, it goes on from it as if it had never stopped, to the same bits: the
    same command, run again after a crash, ends where it would have ended. A file of another descent (other data,
    another loss, penalty, method, step size, seed or start) is an error and is left as it is.

    :seconds: at least this many between two times of writing. It is written between two steps, for mini-batches
              between two epochs, at the end, and when Ctrl-C or an error ends the descent; less often where that took
              more than a twentieth of the time. What is at the path is whole at any moment.

    Examples
    --------
    >>> import steepest as st
    >>> st.Checkpoint("run.safetensors", seconds=60.0)
    Checkpoint(path='run.safetensors', seconds=60.0)
    """

    path: str | PathLike[str]
    seconds: float = 10.0

    def __post_init__(self) -> None:
        """Check the settings."""
        if not isinstance(self.path, (str, PathLike)):
            raise InputError(f"checkpoint: expected a path or a Checkpoint; got {self.path!r}")
        number("seconds", self.seconds, least=0.0)


class Saved(NamedTuple):
    """What a checkpoint holds."""

    solution: Solution
    seconds: float
    """That the descent took up to there."""
    recipe: dict[str, str]


def as_checkpoint(given: Any) -> Checkpoint | None:
    """Return the user's checkpoint, a path or a description, to which a file can be written."""
    if given is None:
        return None
    checkpoint = given if isinstance(given, Checkpoint) else Checkpoint(given)
    check_name("checkpoint", checkpoint.path)
    check_writable(checkpoint.path)
    return checkpoint


def write_checkpoint(path: str | PathLike[str], saved: Saved) -> None:
    """Write a descent to a file, all of it or nothing.

    Raises
    ------
    OSError
        If the file cannot be written; an old one is then left as it was.
    """
    solution = saved.solution
    tensors = {"parameters": solution.parameters}
    tensors |= {STATE + name: values for name, values in solution.state.items()}
    tensors |= {HISTORY + name: values for name, values in solution.history.items()}
    description = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "recipe": saved.recipe,
            "n_steps": solution.n_steps,
            "status": solution.status,
            # JSON has no number that is infinite.
            "condition": None if solution.condition is None else repr(solution.condition),
            "validation_loss": repr(solution.validation_loss) if BEST in solution.state else None,
            **dict(zip(NUMBERS, (solution.loss, solution.gradient_norm, saved.seconds), strict=True)),
        },
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
    )
    with written_whole(path) as temporary:
        write_tensors(temporary, tensors, {HEADER: description, CHECKSUM: checksum(description, tensors)})


def read_checkpoint(path: str | PathLike[str]) -> Saved:
    """Return the descent in a file.

    Raises
    ------
    CheckpointError
        If the file is not such a file, is damaged, is of another format, or does not hold a descent that could go on.
    """
    path = Path(path)
    cure = "; remove it to begin anew, or name another file"
    try:
        tensors, metadata = read_tensors(path)
        description = metadata[HEADER]
        header = parse_json(description)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of steepest ({_shown(error)}){cure}") from error
    if set(metadata) != {HEADER, CHECKSUM} or metadata[CHECKSUM] != checksum(description, tensors):
        raise CheckpointError(f"{path}: the checksum does not match: the file is damaged or was changed{cure}")
    if header.get("format_version") not in (WITHOUT_VALIDATION, FORMAT_VERSION):
        raise CheckpointError(f"{path}: of another version of steepest{cure}")
    try:
        return _saved(header, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the description does not hold together ({_shown(error)}){cure}") from error


def _shown(error: Exception) -> str:
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _saved(header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Saved:
    fields = FIELDS - {"validation_loss"} if header["format_version"] == WITHOUT_VALIDATION else FIELDS
    if set(header) != fields:
        raise ValueError(f"unknown or missing: {min(set(header) ^ fields)!r}")
    recipe, condition, validation_loss = header["recipe"], header["condition"], header.get("validation_loss")
    if not (isinstance(recipe, dict) and all(isinstance(text, str) for text in recipe.values())):
        raise TypeError("the recipe is no table of texts")
    if condition is not None and not (isinstance(condition, str) and float(condition) >= 0):
        raise ValueError("condition: expected a number ≥ 0")
    if validation_loss is not None and not isinstance(validation_loss, str):
        raise TypeError("validation_loss: expected a number as text")
    numbers = {name: number(name, header[name]) for name in NUMBERS}
    parameters = _vector("parameters", tensors.pop("parameters"), finite=True)
    parts: dict[str, dict[str, NDArray[Any]]] = {STATE: {}, HISTORY: {}}
    for name, values in tensors.items():
        prefix, dot, rest = name.partition(".")
        parts[prefix + dot][rest] = _vector(name, values, finite=prefix + dot == STATE and rest != OF_BEST)
    history = parts[HISTORY]
    if set(history) != set(StepInfo._fields) or len({len(column) for column in history.values()}) != 1:
        raise ValueError("the history is no table")
    _check_state(parts[STATE], len(parameters))
    if len({BEST in parts[STATE], VALIDATION in recipe, validation_loss is not None}) != 1:
        raise ValueError("it is said to have validation data, and not to have them")
    return Saved(
        Solution(
            parameters=parameters,
            loss=numbers["loss"],
            gradient_norm=numbers["gradient_norm"],
            validation_loss=math.nan if validation_loss is None else float(validation_loss),
            n_steps=integer("n_steps", header["n_steps"], least=0),
            status=known("status", header["status"], STATUSES),
            history=history,
            state=parts[STATE],
            condition=None if condition is None else float(condition),
        ),
        numbers["seconds"],
        recipe,
    )


def _vector(name: str, values: NDArray[Any], *, finite: bool) -> NDArray[Any]:
    """Return a copy, for what is read from a file cannot be written to."""
    expected = np.int64 if name == "history.step" else np.float64
    if values.ndim != 1 or values.dtype != expected:
        raise TypeError(f"{name}: expected a vector of {np.dtype(expected)}")
    if finite and not np.isfinite(values).all():
        raise ValueError(f"{name}: expected finite numbers")
    return values.astype(expected)


def _is_count(value: float) -> bool:
    return 0 <= value < MOST_COUNTED and value % 1 == 0


def _check_state(state: dict[str, NDArray[Any]], n_parameters: int) -> None:
    """Raise an error if no method could have remembered this; backends take it as it is."""
    for name, values in state.items():
        if name in SCALARS:
            fits = len(values) == SCALARS[name] and bool((values >= 0).all())
            fits = fits and (name not in COUNTS or all(map(_is_count, values)))
        elif name in STACKS:
            fits = len(values) % max(n_parameters, 1) == 0
        elif name == OF_BEST:
            # A validation loss may be anything.
            fits = len(values) == 4 and bool(np.isfinite(values[:2]).all()) and _is_count(values[3])  # noqa: PLR2004
        else:
            fits = len(values) > 0 if name == LOSSES else name in VECTORS and len(values) == n_parameters
        if not fits:
            raise ValueError(f"{STATE}{name}: no method remembers this")
    for first, *others in TOGETHER:
        if first in state and not all(name in state for name in others):
            raise ValueError(f"{STATE}{first}: something is missing beside it")
    if len(state.get("moves", ())) != len(state.get("changes", ())):
        raise ValueError(f"{STATE}moves: as many changes were expected")
