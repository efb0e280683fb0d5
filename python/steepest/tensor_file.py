"""The safetensors format: a length, a JSON table, numbers. Read and written with NumPy alone, every byte checked.

The format is that of https://github.com/huggingface/safetensors: eight bytes, little-endian, with the length of the
header; the header, which says of each tensor its type, its shape and where its bytes begin and end; the bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from os import PathLike

    from numpy.typing import NDArray

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"
#: A header says what a few tensors are; one of a million entries is not ours and must not fill the memory.
MOST_HEADER = 1 << 20


def write_tensors(path: str | PathLike[str], tensors: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write named arrays and texts to `path`."""
    header: dict[str, Any] = {METADATA: metadata}
    position = 0
    # Wide types first: each array then begins where its type may be read in place.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    for name, array in ordered:
        end = position + array.nbytes
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER:
        raise ValueError(f"the description takes {len(text):,} bytes; {MOST_HEADER:,} is the most")
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).tobytes())


def read_tensors(path: str | PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Return the named arrays and the texts in a file.

    Raises
    ------
    ValueError
        If the file is not of the format, or any byte of it is not accounted for.
    """
    with Path(path).open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:  # noqa: PLR2004
            raise ValueError("the file is cut off, or of another kind")
        if length > MOST_HEADER:
            raise ValueError(f"the header takes {length:,} bytes; {MOST_HEADER:,} is the most")
        header = json.loads(file.read(length).decode(), object_pairs_hook=_without_repeats)
        if not isinstance(header, dict):
            raise TypeError("the header is no table")
        metadata = header.pop(METADATA, {})
        if not (isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())):
            raise TypeError("the metadata are not texts")
        places = _places(header, size - 8 - length)
        data = file.read()
    return {
        name: np.frombuffer(data, dtype, math.prod(shape), start).reshape(shape)
        for name, (dtype, shape, start) in places.items()
    }, metadata


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a name repeats")
    return table


def _places(header: dict[str, Any], n_bytes: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """Return type, shape and first byte of each tensor, which together must take all bytes and none twice."""
    places, ranges = {}, []
    for name, entry in header.items():
        shape, (start, end), dtype = entry["shape"], entry["data_offsets"], DTYPES[entry["dtype"]]
        numbers = [*shape, start, end]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise ValueError(f"tensor {name!r}: expected counts; got {str(numbers)[:80]}")
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
