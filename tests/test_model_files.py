"""Hostile model files: each is refused by its name, quickly, and in little memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from hostile import framed
from steepest import LinearModel, ModelFileError, load, save
from steepest.model_io import CHECKSUM, HEADER
from steepest.tensor_file import METADATA, checksum, read_tensors

MODEL = LinearModel(
    loss="log_loss",
    target="größe",
    classes=["a", 'b"\\', "é"],
    encoder=None,
    coef=np.arange(6, dtype=np.int8).reshape(3, 2),
    intercept=np.ones(3, np.float32),
    training={"steps": 10},
    feature_names=["one", "two", "three"],
    n_features=3,
    kept=np.array([0, 2]),
    scale=np.ones(3, np.float32),
)


def bytes_of(tmp_path: Path) -> bytes:
    save(MODEL, tmp_path / "whole")
    return (tmp_path / "whole").read_bytes()


def refuse(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=path.name) as caught:
        load(path)
    assert len(str(caught.value)) < 700


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = bytes_of(tmp_path)
    for length in range(len(whole)):
        refuse(tmp_path / "cut", whole[:length])


def test_a_file_with_any_byte_flipped_is_refused(tmp_path: Path) -> None:
    whole = bytes_of(tmp_path)
    for position in range(len(whole)):
        # The next number, the other case of a letter, and all bits.
        for bits in (0x01, 0x20, 0xFF):
            changed = bytearray(whole)
            changed[position] ^= bits
            refuse(tmp_path / "flipped", bytes(changed))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_any_bytes_changed_moved_or_added_is_refused(tmp_path: Path, data: st.DataObject) -> None:
    whole = bytes_of(tmp_path)
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 9, len(whole))))
    middle = data.draw(st.binary(max_size=9))
    changed = whole[:start] + middle + whole[end:]
    if changed != whole:
        refuse(tmp_path / "changed", changed)


@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_refused(tmp_path: Path, content: bytes) -> None:
    refuse(tmp_path / "noise", content)
    refuse(tmp_path / "noise", len(content).to_bytes(8, "little") + content)


def entry(shape: list[Any], start: Any, end: Any, dtype: Any = "F64") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def tensor(*numbers: Any, data: bytes = b"\0" * 16, **others: Any) -> bytes:
    return framed({"coef": entry(*numbers), **others}, data)


def many(n: int, value: bytes) -> bytes:
    """Return a JSON table of `n` short names for the same."""
    return b"{" + b",".join(b'"%x":%s' % (i, value) for i in range(n)) + b"}"


DEEP = 400_000
EMPTY = json.dumps(entry([0], 0, 0)).encode()
#: Files that are of no model; most would cost a reader who believes them its memory, its time or its life.
HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: b"\0" * 7,
    "no header": lambda: b"\0" * 8,
    "a header of 2^63 bytes": lambda: (1 << 63).to_bytes(8, "little") + b"{}",
    "a header of 2^64 − 1 bytes": lambda: b"\xff" * 8 + b"{}",
    "a header of 2^63 − 8 bytes": lambda: ((1 << 63) - 8).to_bytes(8, "little") + b"{}",
    "a header longer than the file": lambda: (100).to_bytes(8, "little") + b"{}",
    "a header that is not JSON": lambda: framed(b"pickle"),
    "a pickle": lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "a header that is a list": lambda: framed(b"[]"),
    "a header that is a number": lambda: framed(b"1"),
    "a header in Latin-1": lambda: framed('{"é":1}'.encode("latin-1")),
    "a header in UTF-16": lambda: framed('{"a":1}'.encode("utf-16")),
    "a header with a byte-order mark": lambda: framed(b"\xef\xbb\xbf{}"),
    "a lone surrogate": lambda: framed(b'{"\\ud800":{}}'),
    "padding that is not of spaces": lambda: framed(b"{}\n"),
    "a million metadata keys": lambda: framed(b'{"__metadata__":' + many(1_000_000, b'""') + b"}"),
    "a hundred thousand metadata keys": lambda: framed(b'{"__metadata__":' + many(100_000, b'""') + b"}"),
    "a million tensors": lambda: framed(many(1_000_000, EMPTY)),
    "ten thousand tensors": lambda: framed(many(15_000, EMPTY)),
    "deep lists": lambda: framed(b"[" * DEEP),
    "deep lists, closed": lambda: framed(b'{"a":' + b"[" * DEEP + b"]" * DEEP + b"}"),
    "deep tables": lambda: framed(b'{"a":' * (DEEP // 2) + b"}"),
    "a deep description": lambda: framed({METADATA: {"steepest": "[" * DEEP, "sha256": ""}}),
    "a deep description, closed": lambda: framed({METADATA: {"steepest": "[" * DEEP + "]" * DEEP, "sha256": ""}}),
    "a description that is not JSON": lambda: framed({METADATA: {"steepest": "{", "sha256": ""}}),
    "a long version": lambda: framed({METADATA: {"steepest": json.dumps({"format_version": "9" * 99_999})}}),
    "a version that is a table": lambda: framed({METADATA: {"steepest": '{"format_version":{"a":[1]}}'}}),
    "an integer of a million digits": lambda: framed(b'{"a":' + b"9" * 1_000_000 + b"}"),
    "an integer of four thousand digits": lambda: tensor([int("9" * 4000)], 0, 16),
    "many large factors": lambda: tensor([int("9" * 4000)] * 200, 0, 16),
    "many small factors": lambda: framed(
        b'{"a":{"dtype":"U8","data_offsets":[0,1],"shape":[9' + b",9" * 500_000 + b"]}}"
    ),
    "metadata that are a list": lambda: framed({METADATA: []}),
    "metadata that are numbers": lambda: framed({METADATA: {"steepest": 1}}),
    "metadata that are null": lambda: framed({METADATA: None}),
    "metadata twice": lambda: framed(b'{"__metadata__":{},"__metadata__":{}}'),
    "no metadata": lambda: tensor([2], 0, 16),
    "a long name": lambda: framed({"x" * 900_000: entry([1], 0, 9)}),
    "a tensor that is null": lambda: framed({"coef": None}),
    "a tensor that is a list": lambda: framed({"coef": [1, 2]}),
    "a tensor without a type": lambda: framed({"coef": {"shape": [0], "data_offsets": [0, 0]}}),
    "a tensor without a shape": lambda: framed({"coef": {"dtype": "F64", "data_offsets": [0, 0]}}),
    "a tensor without a place": lambda: framed({"coef": {"dtype": "F64", "shape": [0]}}),
    "half a place": lambda: framed({"coef": {"dtype": "F64", "shape": [0], "data_offsets": [0]}}),
    "an unknown type": lambda: tensor([2], 0, 16, "O"),
    "a type that is a list": lambda: tensor([2], 0, 16, ["F64"]),
    "a type that is not ours": lambda: tensor([8], 0, 16, "BF16"),
    "a negative shape": lambda: tensor([-2], 0, 16),
    "two negative sides": lambda: tensor([-1, -2], 0, 16),
    "a fractional shape": lambda: tensor([2.0], 0, 16),
    "a shape that is true": lambda: tensor([2, True], 0, 16),
    "a shape that is text": lambda: tensor("2", 0, 16),
    "a shape of 2^62": lambda: tensor([1 << 62], 0, 16),
    "a shape that wraps to nothing": lambda: tensor([1 << 32, 1 << 32], 0, 0),
    "a shape of 2^61 numbers and as many bytes": lambda: tensor([1 << 61], 0, 1 << 64),
    "an empty shape beyond all bounds": lambda: tensor([0, 1 << 70], 0, 0, data=b""),
    "an empty shape near the bounds": lambda: tensor([0, 1 << 62], 0, 0, data=b""),
    "a negative place": lambda: tensor([2], -16, 0),
    "a place that runs backwards": lambda: tensor([2], 16, 0),
    "a fractional place": lambda: tensor([2], 0.0, 16.0),
    "a place behind the end": lambda: tensor([2], 8, 24),
    "a gap before": lambda: tensor([1], 8, 16),
    "a gap behind": lambda: tensor([1], 0, 8),
    "a gap between": lambda: tensor([1], 0, 8, data=b"\0" * 24, b=entry([1], 16, 24)),
    "an overlap": lambda: tensor([2], 0, 16, b=entry([1], 8, 16)),
    "the same place twice": lambda: tensor([2], 0, 16, b=entry([2], 0, 16)),
    "bytes that belong to nothing": lambda: framed({}, b"\0"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[kind]())
    started = time.process_time()
    with pytest.raises(ModelFileError, match=path.name) as caught:
        load(path)
    assert time.process_time() - started < 2
    assert len(str(caught.value)) < 700


ONE = LinearModel("mse", "y", None, None, np.ones((1, 2)), np.ones(1), {"steps": 10})


def as_is(value: Any) -> Any:
    return value


def forged(
    tmp_path: Path, description: Any = as_is, header: Any = as_is, text: Any = as_is, data: Any = as_is
) -> bytes:
    """Return the file of a good model with one thing changed, and the checksum of what it then is."""
    save(ONE, tmp_path / "good")
    content = (tmp_path / "good").read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    table, (tensors, metadata) = json.loads(content[8:end]), read_tensors(tmp_path / "good")
    changed = description(metadata[HEADER])
    table[METADATA] |= {HEADER: changed, CHECKSUM: checksum(changed, tensors)}
    return framed(text(json.dumps(header(table), separators=(",", ":"))).encode(), data(content[end:]))


def moved(header: Any) -> Any:
    """Shift all tensors by eight bytes."""
    for name in ("coef", "intercept"):
        header[name]["data_offsets"] = [place + 8 for place in header[name]["data_offsets"]]
    return header


TWICE = '"intercept":{"dtype":"F64","shape":[1],"data_offsets":[16,24]},'
#: Changes that a reader who is not strict would not see.
FORGED: dict[str, dict[str, Any]] = {
    "a name of the description twice": {
        "description": lambda text: text.replace('"target":', '"target":"z","target":')
    },
    "not a number": {"description": lambda text: text.replace('"steps":10', '"steps":NaN')},
    "infinite": {"description": lambda text: text.replace('"steps":10', '"steps":-Infinity')},
    "beyond all numbers": {"description": lambda text: text.replace('"steps":10', '"steps":1e999')},
    "a tensor twice": {"text": lambda text: text.replace("{", "{" + TWICE, 1)},
    "padding that is not of spaces": {"text": lambda text: text + "\n" * 8},
    "a side that is true": {"header": lambda header: header | {"intercept": header["intercept"] | {"shape": [True]}}},
    "a place that is false": {
        "header": lambda header: header | {"coef": header["coef"] | {"data_offsets": [False, 16]}}
    },
    "a gap": {"header": moved, "data": lambda data: bytes(8) + data},
    "bytes behind": {"data": lambda data: data + bytes(8)},
    "half a character as a tensor's name": {"header": lambda header: {**header, "\ud800": entry([0], 24, 24)}},
    "half a character in the description": {"description": lambda text: text.replace('"y"', '"\\ud800"')},
    "half a character as a class": {
        "description": lambda text: text.replace("mse", "log_loss").replace(":null", ':["a","\\ud800"]', 1)
    },
    "more metadata": {"header": lambda header: header | {METADATA: header[METADATA] | {"format": "pt"}}},
}


@pytest.mark.parametrize("kind", FORGED)
def test_forged_files_are_refused(tmp_path: Path, kind: str) -> None:
    assert FORGED[kind]
    (tmp_path / "same").write_bytes(forged(tmp_path, text=lambda text: text + " " * 8))
    assert np.array_equal(load(tmp_path / "same").coef, ONE.coef)
    refuse(tmp_path / "forged", forged(tmp_path, **FORGED[kind]))


def test_the_checksum_is_of_all_that_a_tensor_is() -> None:
    array = np.zeros((2, 4))
    others = [array.view(np.int64), array.reshape(4, 2), array.astype(np.float32).repeat(2), array + 1]
    tables: list[dict[str, Any]] = [{"a": array}, {"b": array}, *({"a": other} for other in others)]
    sums = [checksum("text", tensors) for tensors in tables] + [checksum("other", tables[0])]
    assert len(set(sums)) == len(sums)
    assert checksum("text", {"a": np.asfortranarray(array)}) == sums[0]


MEASURED = """
import re, resource, sys
from pathlib import Path
import steepest
from steepest.model_io import load

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10

most = status("VmSize") + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
# What is measured is the highest from here on.
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
for path in sys.argv[1:]:
    try:
        load(path)
    except steepest.ModelFileError:
        print(path)
print((status("VmHWM") - before) / (1 << 20))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_hostile_files_are_refused_in_little_memory(tmp_path: Path) -> None:
    """All of them in one process that may take 100 MiB in all beside what it has, and takes less than 40."""
    paths = []
    for number, kind in enumerate(HOSTILE):
        paths.append(str(tmp_path / str(number)))
        Path(paths[-1]).write_bytes(HOSTILE[kind]())
    # A terabyte that takes no room on the disk: what it claims to hold is right, and cannot be read.
    vast = tmp_path / "vast"
    text = framed({METADATA: {"steepest": "{}", "sha256": ""}, "coef": entry([1 << 37], 0, 1 << 40)})
    with vast.open("wb") as file:
        file.write(text)
        file.truncate(len(text) + (1 << 40))
    paths += [str(vast), "/dev/zero", "/dev/full", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", MEASURED, *paths], capture_output=True, text=True, check=True)
    *refused, peak = done.stdout.splitlines()
    assert refused == paths
    assert float(peak) < 40


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """Devices, folders, pipes that nobody writes to, and links to them."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to itself").symlink_to(tmp_path / "link to itself")
    for number, target in enumerate((Path("/dev/zero"), Path("/dev/null"), tmp_path, tmp_path / "pipe")):
        (tmp_path / f"link {number}").symlink_to(target)
        for path in (target, tmp_path / f"link {number}"):
            with pytest.raises(ModelFileError, match=r"not a steepest model file \(expected a file"):
                load(path)
    with pytest.raises(ModelFileError, match="cannot be read: "):
        load(tmp_path / "link to itself")
    with pytest.raises(ModelFileError, match="there is no such model file"):
        load(tmp_path / "nothing")
    with pytest.raises(ModelFileError, match=r"cannot be read: Not a directory|there is no such model file"):
        load(tmp_path / "pipe" / "inside")
    with pytest.raises(ModelFileError, match="null"):
        load("a\0b")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such permissions here")
def test_a_file_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    path = tmp_path / "private"
    save(MODEL, path)
    path.chmod(0)
    # The superuser may read everything, so be somebody else.
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(ModelFileError, match="cannot be read: Permission denied"):
            load(path)
    finally:
        os.seteuid(user)
