"""The script for a GPU runs, on an imaginary one, and says so where there is none."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

import steepest as st
from fake_gpu import FakeCupy
from steepest.backends import kernels, resident

SCRIPT = Path(__file__).parent.parent / "benches" / "gpu.py"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location("bench_of_gpu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--rows", "100"])
    return module


def test_without_a_gpu_nothing_is_measured(
    bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert bench.main() == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith('Nothing was measured: backend="cupy" needs CuPy')


def test_every_part_prints_its_table(
    gpu: FakeCupy, bench: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With little data, few repetitions, and few steps: a CPU plays the GPU."""
    monkeypatch.setattr(bench, "READ", f'#include "cuda_shim.hpp"\n{bench.READ}EXPORT(kernel)\n')
    monkeypatch.setattr(bench, "SHAPES", [(128, "float32"), (3, "float16")])
    monkeypatch.setattr(bench, "CLASSES", (3,))
    monkeypatch.setattr(bench, "MANY_CLASSES", (10,))
    layout = kernels.layout_of(128, "float32")
    assert layout is not None
    gpu.bundle = [kernels.row_pass(formula, "float32", layout) for formula in kernels.FORMULAS.values()]
    gpu.bundle += [kernels.any_pass("Softmax<3>", "float32"), kernels.any_pass("LogLoss", "float16")]
    gpu.bundle += [kernels.score_pass("Entropy<ClassTarget>", storage, 10) for storage in ("float32", "float64")]
    gpu.bundle += [kernels.fold("float32"), kernels.fold("float64")]
    seconds, descend = bench.Bench.seconds, st.descend
    monkeypatch.setattr(bench.Bench, "seconds", lambda self, function: seconds(self, function, 1))
    made: list[str] = []

    def briefly(X: Any, y: Any, **options: Any) -> st.Fit:
        gpu.launches.clear()
        fit = descend(X, y, **{**options, "n_steps": min(options["n_steps"], 2)})
        made.extend(gpu.launches)
        return fit

    monkeypatch.setattr(st, "descend", briefly)
    monkeypatch.setattr(bench, "FEW_ROWS", (50, 90))
    monkeypatch.setattr(resident, "BLOCK_BYTES", 50 * 20 * 4)
    assert bench.main() == 0
    out = capsys.readouterr().out
    assert "Imaginary GPU" in out
    for title, (_, columns) in bench.PARTS.items():
        table = out.partition(f"## {title}\n\n")[2].partition("\n\n")[0].splitlines()
        assert len(table) > 2, title
        assert all(line.count(" | ") == len(columns) - 1 for line in [table[0], *table[2:]]), title
    assert "| ten passes by three grids | 1 different result |" in out
    assert "nan" not in out
    assert {"ONE_BLOCK", "FINISH", "QUADRATIC"} <= set(made)
    assert gpu.launches
