"""The CUDA source compiles for every architecture, into kernels that fit its registers."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import Any

import pytest

import nvrtc
from steepest.backends.kernels import (
    FORMULAS,
    JOINT_FORMULAS,
    MOST_CLASSES,
    RULES,
    STORAGES,
    Layout,
    any_pass,
    csr_product,
    finish,
    fold,
    layout_of,
    one_block,
    options_of,
    quadratic,
    row_pass,
    score_pass,
    source,
)

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None, reason='NVRTC is not installed: pip install "nvidia-cuda-nvrtc>=13,<14"'
)
ARCHITECTURES = ("sm_75", "sm_80", "sm_90", "sm_100")
#: With 128 threads a block, three blocks fit a multiprocessor.
MOST_REGISTERS = 170
DEEP = os.environ.get("STEEPEST_TEST_PROFILE") == "deep"


def layouts(storage: str) -> list[Layout]:
    """Return every way in which rows are spread over a warp."""
    found = {layout_of(d, storage) for d in range(1, 1025)}
    return sorted(layout for layout in found if layout is not None)


def lines() -> list[str]:
    """Return what makes each kernel: every loss, every storage, every layout; every combination only if deep."""
    made = []
    for number, (formula, storage) in enumerate(itertools.product(FORMULAS.values(), STORAGES)):
        found = layouts(storage)
        if formula == "LogLoss":
            chosen = found if storage == "float32" or DEEP else [found[-1]]
        else:
            # The others in one layout after the other, of one storage after the other.
            turn = number % len(STORAGES) == list(FORMULAS.values()).index(formula) % len(STORAGES)
            chosen = found if DEEP else [found[number % len(found)]] if turn else []
        made += [row_pass(formula, storage, layout, f"row_{number}_{index}") for index, layout in enumerate(chosen)]
        if formula == "LogLoss" or DEEP:
            made.append(any_pass(formula, storage, f"any_{number}"))
    # The most and the fewest classes, and all of them only if deep.
    classes = [(MOST_CLASSES, "float64"), (MOST_CLASSES, "bfloat16"), (3, "float32")]
    if DEEP:
        classes = list(itertools.product(range(3, MOST_CLASSES + 1), STORAGES))
    made += [any_pass(f"Softmax<{n}>", storage, f"softmax_{n}_{storage}") for n, storage in classes]
    # One score, a few, as many as take the most registers, and too many; every layout only if deep.
    formulas = [*(f"Mean<{formula}>" for formula in FORMULAS.values()), *JOINT_FORMULAS.values()]
    scores = [(0, "float32", 1), (3, "float64", 17), (5, "float32", 10), (5, "float32", 512), (5, "float64", 256)]
    scores += [(6, "float64", 4), (6, "float32", 32), (5, "float32", 1025), (6, "float64", 1025)]
    if DEEP:
        scores = list(itertools.product(range(len(formulas)), ("float32", "float64"), (2**k for k in range(10))))
        scores = [case for case in scores if case[1:] != ("float64", 512)]
        scores += list(itertools.product(range(len(formulas)), ("float32", "float64"), (1025,)))
    made += [score_pass(formulas[f], number, width, f"scores_{f}_{number}_{width}") for f, number, width in scores]
    made += [fold(storage, f"fold_{storage}") for storage in ("float32", "float64")]
    for storage, index in itertools.product(("float32", "float64"), ("int32", "int64")):
        made += [
            csr_product(storage, index, out, f"csr_{storage}_{index}_{out}") for out in sorted({storage, "float64"})
        ]
    return made


def descents() -> list[str]:
    """Return what makes each kernel of a descent: every method, every loss, every type; all of it only if deep."""
    types = [("float32", "float32"), ("float64", "float32"), ("float64", "float64")]
    wanted = list(itertools.product(RULES, types)) if DEEP else list(zip(RULES, [*types, types[2]], strict=True))
    made = [finish(method, *pair, f"finish_{method}_{pair[0]}_{pair[1]}") for method, pair in wanted]
    made += [quadratic(method, f"quadratic_{method}") for method in (RULES if DEEP else ["adam"])]
    for number, (formula, storage) in enumerate(itertools.product(FORMULAS.values(), ("float32", "float64"))):
        chosen = RULES if DEEP else [list(RULES)[number // 2 % 4]] if number % 4 in {0, 3} else []
        made += [one_block(formula, method, storage, f"block_{formula}_{method}_{storage}") for method in chosen]
    return made


def name_of(line: str) -> str:
    (name,) = re.findall(r"\((\w+),", line)
    return str(name)


def test_there_are_as_many_kernels_as_are_counted() -> None:
    made = [*lines(), *descents()]
    assert len(set(map(name_of, made))) == len(made)
    assert DEEP or len(made) * len(ARCHITECTURES) == (40 + 10) * 4
    softmax = {line.split(", ")[1] for line in made if "Softmax" in line}
    assert {"Softmax<3>", f"Softmax<{MOST_CLASSES}>"} <= softmax
    assert set(JOINT_FORMULAS.values()) < {line.split(", ")[1] for line in made if "SCORE" in line}
    for kernel in ("ROW_PASS", "ONE_BLOCK"):
        assert {line.split(", ")[1] for line in made if line.startswith(kernel)} == set(FORMULAS.values())
    assert {line.split(", ")[1] for line in made if line.startswith("FINISH")} == set(RULES.values())


@pytest.mark.parametrize("group", [lines, descents])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_kernel_compiles_without_spills(architecture: str, group: Any, shim_folder: Path) -> None:
    made = group()
    options = {options_of(line) for line in made}
    assert len(options) == 1
    code, log = nvrtc.kept(shim_folder, "\n".join([source(), *made]), architecture, options.pop())
    assert code.startswith(b"\x7fELF")
    account = re.findall(
        r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads.*?"
        r"Used (\d+) registers",
        log,
        flags=re.DOTALL,
    )
    # A guard for newer architectures would leave the older ones without a kernel and no error.
    assert {name for name, *_ in account} == set(map(name_of, made))
    assert all(name.encode() in code for name, *_ in account)
    assert {found for _, found, *_ in account} == {architecture}
    for name, _, stores, loads, registers in account:
        assert stores == loads == "0", f"{name} spills"
        assert int(registers) <= MOST_REGISTERS, f"{name} takes {registers} registers"


def test_an_error_is_an_error() -> None:
    with pytest.raises(AssertionError, match=r'identifier "nowhere" is undefined'):
        nvrtc.compiled(f"{source()}\n__global__ void kernel() {{ nowhere = 1; }}", ARCHITECTURES[0], ())
