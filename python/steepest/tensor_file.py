"""The safetensors format: a length, a JSON table, numbers. Read and written with NumPy alone, every byte checked.

The format is that of https://github.com/huggingface/safetensors: eight bytes, little-endian, with the length of the
header; the header, which says of each tensor its type, its shape and where its bytes begin and end; the bytes.

It is read by hand, and not by the package of that name, because a model must be servable where there is NumPy and
nothing else, and because what is refused here is more: repeated names, a header that would fill the memory, what is no
file. The tests hold both to each other: either reads what the other writes.
"""

from __future__ import annotations

import hashlib
import json
import math
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
#: Bytes that say how long the header is.
PREFIX = 8
#: A header says what a few tensors are; one of a million entries is not ours and must not fill the memory.
MOST_HEADER = 1 << 20
MOST_DIMENSIONS = 2


def write_tensors(path: str | PathLike[str], tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write named arrays and texts to `path`.

    Raises
    ------
    ValueError
        If what is not numbers takes more than a mebibyte.
    """
    header: dict[str, Any] = {METADATA: metadata}
    position = 0
    # Wide types first: each array then begins where its type may be read in place.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, array in ordered:
        end = position + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % PREFIX)
    if len(text) > MOST_HEADER:
        raise ValueError(f"the description takes {len(text):,} bytes; {MOST_HEADER:,} is the most")
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(PREFIX, "little"))
        file.write(text)
        for _, array in ordered:
            file.write(raw(array))


def raw(array: NDArray[Any]) -> memoryview:
    """Return the bytes of an array, by rows; not copied if they are stored so."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def checksum(description: str, tensors: dict[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of all that a file says: a text, and named arrays."""
    digest = hashlib.sha256(description.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}\0".encode())
        digest.update(raw(array))
    return digest.hexdigest()


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the named arrays and the texts in a file.

    Not more memory is taken than a few times the header, a mebibyte at most, and the size of the file.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the file is not of the format, or any byte of it is not accounted for.
    OSError
        If it cannot be read.
    """
    path = Path(path)
    if not stat.S_ISREG(path.stat().st_mode):
        # To open a pipe would wait for whoever writes to it.
        raise ValueError("expected a file; it is a directory or a device")
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(PREFIX), "little")
        n_bytes = size - PREFIX - length
        if n_bytes < 0:
            raise ValueError("the file is cut off, or of another kind")
        if length > MOST_HEADER:
            raise ValueError(f"the header takes {length:,} bytes; {MOST_HEADER:,} is the most")
        text = file.read(length).decode()
        if not text.rstrip(" ").endswith("}"):
            raise ValueError("the header is no table padded with spaces")
        header = parse_json(text)
        metadata = header.pop(METADATA, {})
        if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
            raise TypeError("the metadata are not texts")
        places = _places(header, n_bytes)
        data = file.read(n_bytes)
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        for name, (dtype, shape, start) in places.items()
    }, metadata


def parse_json(text: str) -> dict[str, Any]:
    """Return the table that JSON text is, in which no name repeats, every number is finite and every text Unicode.

    Raises
    ------
    ValueError, TypeError, RecursionError
        If it is not.
    """
    table = json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_finite, parse_float=_finite)
    if not isinstance(table, dict):
        raise TypeError("the description is no table")
    # JSON may spell half a character, a lone surrogate, which could be neither summed up, nor printed, nor saved again.
    json.dumps(table, ensure_ascii=False).encode()
    return table


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name repeats")
    return table


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no finite number")
    return value


def _places(header: dict[str, Any], n_bytes: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """Return type, shape and first byte of each tensor, which together must take all bytes and none twice."""
    places, ranges = {}, []
    for name, entry in header.items():
        shape, (start, end), dtype = entry["shape"], entry["data_offsets"], DTYPES[entry["dtype"]]
        numbers = [*shape, start, end]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise ValueError(f"tensor {name!r}: expected counts; got {str(numbers)[:80]}")
        if len(shape) > MOST_DIMENSIONS:
            raise ValueError(f"tensor {name!r}: expected at most {MOST_DIMENSIONS} dimensions; got {len(shape)}")
        if math.prod(shape) * dtype.itemsize != end - start or end > n_bytes:
            raise ValueError(f"tensor {name!r}: shape {str(shape)[:80]} does not fit its bytes")
        places[name] = (dtype, tuple(shape), start)
        ranges.append((start, end))
    position = 0
    for start, end in sorted(ranges):
        if start != position:
            raise ValueError("tensors overlap or leave a gap")
        position = end
    if position != n_bytes:
        raise ValueError(f"{n_bytes - position:,} bytes belong to no tensor")
    return places
