"""A model as a file: safetensors, with a JSON description of everything that is not numbers.

Loading reads numbers and text; it never runs code, and checks every byte. It needs NumPy alone, unless the model is of
a table.

The file holds the tensors ``coef`` and ``intercept``; ``kept`` and ``scale`` of a smaller model; ``feature_names`` as
bytes, with a zero between two. Its metadata are two texts: the description, and the SHA-256 of that and the tensors.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steepest.errors import InputError, ModelFileError
from steepest.files import written_whole
from steepest.model import LinearModel, as_model
from steepest.tensor_file import checksum, parse_json, read_tensors, write_tensors
from steepest.validation import expect_different, integer, number

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

FORMAT_VERSION = 1
HEADER, CHECKSUM = "steepest", "sha256"
#: Names are bytes, since there may be very many; those of a table are in its description.
NAMES = "feature_names"
#: The fields of a model that are numbers, and those that it may have besides.
NUMBERS, EXTRAS = ("coef", "intercept"), ("kept", "scale")
#: The fields that are in the description under their own names, with their types.
TEXTS: dict[str, type | tuple[type, ...]] = {
    "loss": str,
    "parameter": (int, float),
    "target": str,
    "classes": (list, type(None)),
    "n_features": int,
    "training": dict,
}
#: What an error tells of what it found in a file.
MOST_SHOWN = 300


def save(model: Any, path: str | PathLike[str]) -> None:
    """Write a model to a file, all of it or nothing.

    Parameters
    ----------
    model : LinearModel, Fit, GDRegressor or GDClassifier
        A fitted one. Coefficients, labels, names, preprocessing and how it was trained are written; no code, no pickle.
    path : path-like
        A safetensors file; by custom the name ends so.

    Raises
    ------
    InputError
        If it is not such a model, or its labels are neither text nor numbers.
    OSError
        If the file cannot be written; an old one is then left as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import steepest as st
    >>> fit = st.descend([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0], method="newton", n_steps=9)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     st.save(fit, Path(folder) / "line.safetensors")
    ...     model = st.load(Path(folder) / "line.safetensors")
    >>> model.predict([[3.0]]).round(6)
    array([7.])
    """
    model = as_model(model)
    description = _describe(model)
    tensors = {name: getattr(model, name) for name in (*NUMBERS, *EXTRAS) if getattr(model, name) is not None}
    if model.feature_names is not None and model.encoder is None:
        tensors[NAMES] = _as_bytes(model.feature_names)
    metadata = {HEADER: description, CHECKSUM: checksum(description, tensors)}
    with written_whole(path) as temporary:
        try:
            write_tensors(temporary, tensors, metadata)
        except ValueError as error:
            raise InputError(f"model: {error}") from error


def _describe(model: LinearModel) -> str:
    description = {"format_version": FORMAT_VERSION, **{name: getattr(model, name) for name in TEXTS}}
    description["columns"] = None if model.encoder is None else model.encoder.to_json()
    text = json.dumps(description, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    _encoded("model", text)
    return text


def _as_bytes(names: list[str]) -> NDArray[np.uint8]:
    if any("\0" in name for name in names):
        raise InputError("feature_names: expected names without the character \\0")
    return np.frombuffer(_encoded("feature_names", "\0".join(names)), np.uint8)


def _encoded(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start : error.end]
        raise InputError(f"{name}: expected Unicode; got {half!r}, half a character that no file can hold") from None


def load(path: str | PathLike[str]) -> LinearModel:
    """Read a model that `save` wrote.

    Parameters
    ----------
    path : path-like
        The file.

    Returns
    -------
    LinearModel
        With `predict`, `predict_proba`, `decision_function`. NumPy is all that it needs; a model of a table needs
        narwhals too.

    Raises
    ------
    ModelFileError
        If the file is not there, is not such a file, is damaged, is of a newer format, or does not hold a finite model.

    Examples
    --------
    >>> import steepest as st
    >>> st.load("no.safetensors")
    Traceback (most recent call last):
        ...
    steepest.errors.ModelFileError: no.safetensors: there is no such model file
    """
    path = Path(path)
    try:
        tensors, metadata = read_tensors(path)
        description = metadata[HEADER]
        header = parse_json(description)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such model file") from None
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, RecursionError, MemoryError) as error:
        raise ModelFileError(f"{path}: not a steepest model file ({_shown(error)})") from error
    version = header.get("format_version")
    if version != FORMAT_VERSION or isinstance(version, bool):
        newer = isinstance(version, int) and version > FORMAT_VERSION
        cure = "; a newer steepest wrote it: pip install --upgrade steepest" if newer else ""
        shown = reprlib.repr(version)
        raise ModelFileError(f"{path}: format version {shown}; this steepest reads {FORMAT_VERSION}{cure}")
    if set(metadata) != {HEADER, CHECKSUM} or metadata[CHECKSUM] != checksum(description, tensors):
        raise ModelFileError(f"{path}: the checksum does not match: the file is damaged or was changed")
    try:
        return _model(header, tensors)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelFileError(f"{path}: the description does not hold together ({_shown(error)})") from error


def _shown(error: Exception) -> str:
    text = f"{error} is missing" if isinstance(error, KeyError) else str(error) or type(error).__name__
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _model(header: dict[str, Any], tensors: dict[str, Any]) -> LinearModel:
    """Return the model of a description and tensors; what goes with what, `LinearModel` checks itself."""
    strange = {*tensors} - {*NUMBERS, *EXTRAS, NAMES} or {*header} - {*TEXTS, "columns", "format_version"}
    if strange:
        raise ValueError(f"unknown: {min(strange)!r}")
    for name, kinds in TEXTS.items():
        if not isinstance(header[name], kinds):
            raise TypeError(f"{name}: expected {kinds}; got {reprlib.repr(header[name])}")
    # Less would stand for "not given".
    integer("n_features", header["n_features"], least=1)
    number("parameter", header["parameter"], least=0.0)
    encoder = None if header["columns"] is None else _encoder(header["columns"])
    names = encoder.feature_names if encoder is not None else None
    if NAMES in tensors:
        if encoder is not None:
            raise ValueError("names of features beside a table's")
        names = tensors[NAMES].astype(np.uint8, casting="safe").tobytes().decode().split("\0")
    return LinearModel(
        encoder=encoder,
        feature_names=names,
        **{name: header[name] for name in TEXTS},
        **{name: tensors[name] for name in NUMBERS},
        **{name: tensors[name] for name in EXTRAS if name in tensors},
    )


def _encoder(columns: Any) -> Any:
    from steepest.preprocessing import Categorical, Encoder

    encoder = Encoder.from_json(columns)
    expect_different("column names", encoder.column_names, (str,), 1)
    for column in encoder.columns:
        if isinstance(column, Categorical):
            expect_different(f"levels of {column.name!r}", list(column.levels), (str,), 1)
    if encoder.to_json() != columns:
        raise ValueError(f"columns: got {reprlib.repr(columns)}")
    return encoder
