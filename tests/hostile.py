"""Files of models and descents, changed by chance: anywhere, or in a part, with the checksum that they then have."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

from steepest import CheckpointError, ModelFileError, checkpoint, load, model_io, save
from steepest.tensor_file import DTYPES, METADATA, PREFIX, checksum

#: What the description is called, of each kind of file.
HEADERS = {"model": model_io.HEADER, "checkpoint": checkpoint.HEADER}
LONGEST_ERROR = 700


def is_refused(path: Path, kind: str) -> bool:
    """Return whether a file is refused by name; if not, what it holds is finite, and is read again once it is saved."""
    again = path.with_name("again")
    refused = ModelFileError if kind == "model" else CheckpointError
    try:
        found: Any = load(path) if kind == "model" else checkpoint.read_checkpoint(path)
    except refused as error:
        message = str(error)
        assert path.name in message
        assert len(message) < LONGEST_ERROR, message
        return True
    if kind == "model":
        save(found, again)
        numbers, same = found.coef, load(again).coef
    else:
        checkpoint.write_checkpoint(again, found)
        numbers, same = found.solution.parameters, checkpoint.read_checkpoint(again).solution.parameters
    assert np.isfinite(numbers).all()
    assert same.tobytes() == numbers.tobytes()
    return False


ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, 1e308, -0.0, 2**31, 2**53, 2**63, 2**64, 10**400),
    *("", "\0", "nan", "mse", "softmax", "x" * 5000, "\ud800", [], {}, [[]], [0, 1, 2], {"a": {"b": []}}),
]


def changed_text(text: str, generator: random.Random) -> str:
    """Return JSON with one place of it, at any depth, removed, repeated or become something else."""
    table: Any = json.loads(text)
    places: list[tuple[Any, Any]] = []

    def visit(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            visit(node[key])

    visit(table)
    node, key = generator.choice(places)
    match generator.randrange(4):
        case 0:
            del node[key]
        case 1:
            node[key] = generator.choice(places)[0]
            return json.dumps(table) if not _is_circle(table) else text
        case 2 if isinstance(node, dict):
            node[generator.choice(["a", "coef", "classes", "é"])] = node[key]
        case _:
            node[key] = generator.choice(ODD)
    return json.dumps(table)


def _is_circle(table: Any) -> bool:
    try:
        json.dumps(table)
    except ValueError:
        return True
    return False


def changed_bytes(content: bytes, generator: random.Random) -> bytes:
    """Return bytes of which some are others, gone, there twice, or elsewhere."""
    changed = bytearray(content)
    for _ in range(generator.choice([1, 1, 2, 5])):
        start = generator.randrange(len(changed) + 1)
        end = min(len(changed), start + generator.choice([1, 1, 4, 8, 100]))
        match generator.randrange(5):
            case 0:
                changed[start:end] = b""
            case 1:
                changed[start:start] = changed[start:end]
            case 2:
                changed[start:end] = generator.randbytes(end - start)
            case 3:
                changed[:8] = generator.choice([0, 1, 2**20, 2**31, 2**63, 2**64 - 1, len(changed)]).to_bytes(
                    8, "little"
                )
            case _:
                changed[start:end] = generator.choice([b"\0", b"\xff", b'"', b"{", b"}", b"[", b",", b"9" * 30]) * 2
    return bytes(changed)


def framed(header: Any, data: bytes = b"") -> bytes:
    """Return a file with any text, or what JSON makes of a header, as its header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def taken_apart(content: bytes, header: str) -> tuple[str, dict[str, Any], bytes]:
    """Return the description of a file, its table of tensors, and their bytes."""
    end = PREFIX + int.from_bytes(content[:PREFIX], "little")
    table = json.loads(content[PREFIX:end])
    return table.pop(METADATA)[header], table, content[end:]


def sealed(header: str, description: str, table: dict[str, Any], data: bytes) -> bytes:
    """Return the file of these parts, with the checksum of what they are, so that they are read to the end."""
    metadata = {header: description, "sha256": ""}
    try:
        tensors = {
            name: np.frombuffer(data[slice(*entry["data_offsets"])], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in table.items()
        }
        metadata["sha256"] = checksum(description, tensors)
    except (KeyError, TypeError, ValueError, OverflowError):
        # No tensors, so there is nothing to sum up: it is refused before.
        pass
    return framed({METADATA: metadata, **table}, data)


def resealed(content: bytes, header: str, generator: random.Random) -> bytes:
    """Return a file with a change to what it says, and the checksum of what it then is."""
    description, table, data = taken_apart(content, header)
    if data and generator.random() < 0.3:
        at = generator.randrange(-(-len(data) // 8)) * 8
        number = np.float64(generator.choice([np.nan, np.inf, -1.0, 1e308, 5e-324, 0.0])).tobytes()
        data = data[:at] + number[: len(data) - at] + data[at + 8 :]
    if generator.random() < 0.8:
        description = changed_text(description, generator)
    if generator.random() < 0.1:
        table = json.loads(changed_text(json.dumps(table), generator))
    return sealed(header, description, table, data)
