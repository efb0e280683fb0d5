"""Files that somebody made to do harm, or a bad disk changed: refused by name, soon, in little memory.

`test_model_files.py` has hostile models; here are checkpoints, and both under random changes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import steepest as st
from hostile import HEADERS, changed_bytes, is_refused, resealed
from steepest import checkpoint
from steepest.checkpoint import Saved, read_checkpoint, write_checkpoint
from steepest.tensor_file import checksum, read_tensors
from test_model_files import HOSTILE, MEASURED, MODEL
from test_resume import REMEMBERING, SCORES, Recipe, X, run

PROFILE = os.environ.get("STEEPEST_TEST_PROFILE", "dev")
#: Changed files that each loader is given, and the seconds that it may take over one.
N_CHANGED = 500_000 if PROFILE == "deep" else 2000
SECONDS = 2.0
FUZZED = Path(__file__).parent.parent.parent / "fuzz" / "corpus"
TYPICAL = [Recipe(method, "auto", "l2") for method in ("gd", "nesterov", "adam", "sgd", "lbfgs")]


@pytest.fixture(autouse=True)
def no_syncs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody will cut the power here."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def saved_by(path: Path, recipe: Recipe, backend: str = "rust") -> Saved:
    run(backend, "poisson", n_steps=9, checkpoint=path, **recipe.options)
    return read_checkpoint(path)


def refuse(path: Path, content: bytes) -> None:
    # A file that is cut to nothing and written again is on the disk before it is closed; a new one is not.
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    started = time.process_time()
    with pytest.raises(st.CheckpointError, match=path.name) as caught:
        read_checkpoint(path)
    assert time.process_time() - started < SECONDS
    assert len(str(caught.value)) < 700


def test_a_checkpoint_cut_anywhere_or_with_any_byte_flipped_is_refused(tmp_path: Path) -> None:
    saved_by(tmp_path / "whole", TYPICAL[1])
    whole = (tmp_path / "whole").read_bytes()
    for position in range(len(whole)):
        refuse(tmp_path / "cut", whole[:position])
        changed = bytearray(whole)
        changed[position] ^= 0x20
        refuse(tmp_path / "flipped", bytes(changed))


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_no_checkpoints(tmp_path: Path, kind: str) -> None:
    refuse(tmp_path / "hostile", HOSTILE[kind]())


@pytest.mark.skipif(sys.platform != "linux", reason="measures by /proc")
def test_hostile_files_are_refused_in_little_memory(tmp_path: Path) -> None:
    """All of them in one process that may take 100 MiB in all beside what it has, and takes less than 40."""
    paths = []
    for number, kind in enumerate(HOSTILE):
        paths.append(str(tmp_path / str(number)))
        Path(paths[-1]).write_bytes(HOSTILE[kind]())
    script = MEASURED.replace(
        "from steepest.model_io import load", "from steepest.checkpoint import read_checkpoint as load"
    )
    script = script.replace("steepest.ModelFileError", "steepest.CheckpointError")
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True, check=True)
    *refused, peak = done.stdout.splitlines()
    assert refused == paths
    assert float(peak) < 40


#: Descriptions and tensors that go with their checksum, and with nothing else.
FORGED: dict[str, Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]] = {
    "a status of no descent": lambda header, _: header.update(status="fine"),
    "a status that is a list": lambda header, _: header.update(status=["converged"]),
    "a negative number of steps": lambda header, _: header.update(n_steps=-1),
    "half a step": lambda header, _: header.update(n_steps=0.5),
    "2^64 steps": lambda header, _: header.update(n_steps=2**64),
    "steps that are true": lambda header, _: header.update(n_steps=True),
    "a loss that is text": lambda header, _: header.update(loss="0"),
    "no loss": lambda header, _: header.pop("loss"),
    "more than there is": lambda header, _: header.update(more=1),
    "a condition that is a number": lambda header, _: header.update(condition=1.0),
    "a condition that is no number": lambda header, _: header.update(condition="nan"),
    "a condition that is text": lambda header, _: header.update(condition="bad"),
    "a recipe that is a list": lambda header, _: header.update(recipe=[]),
    "a recipe of numbers": lambda header, _: header.update(recipe={"loss": 1}),
    "half a character in a recipe": lambda header, _: header.update(recipe={"loss": "\ud800"}),
    "another version": lambda header, _: header.update(format_version=3),
    "the version before": lambda header, _: header.update(format_version=1),
    "a version that is a list": lambda header, _: header.update(format_version=[1]),
    "no parameters": lambda _, tensors: tensors.pop("parameters"),
    "parameters that are not finite": lambda _, tensors: tensors.update(parameters=np.full(4, np.nan)),
    "parameters in single precision": lambda _, tensors: tensors.update(parameters=np.zeros(4, np.float32)),
    "parameters that are a table": lambda _, tensors: tensors.update(parameters=np.zeros((2, 2))),
    "a state that is not finite": lambda _, tensors: tensors.update({"state.step_size": np.array([np.inf])}),
    "a state of nobody": lambda _, tensors: tensors.update({"state.evil": np.zeros(4)}),
    "a tensor of nobody": lambda _, tensors: tensors.update({"evil": np.zeros(4)}),
    "no history": lambda _, tensors: [tensors.pop(name) for name in [*tensors] if name.startswith("history.")],
    "half a history": lambda _, tensors: tensors.pop("history.seconds"),
    "a history of two lengths": lambda _, tensors: tensors.update({"history.loss": np.zeros(1)}),
    "steps that are fractions": lambda _, tensors: tensors.update({"history.step": np.zeros(9)}),
}


def forge(path: Path, change: Callable[[dict[str, Any], dict[str, NDArray[Any]]], object]) -> bytes:
    """Return the file of a checkpoint with something changed, and the checksum of what it then is."""
    from steepest.tensor_file import write_tensors

    tensors, metadata = read_tensors(path)
    header = json.loads(metadata[checkpoint.HEADER])
    change(header, tensors)
    text = json.dumps(header)
    write_tensors(path, tensors, {checkpoint.HEADER: text, checkpoint.CHECKSUM: checksum(text, tensors)})
    return path.read_bytes()


@pytest.mark.parametrize("kind", FORGED)
def test_forged_checkpoints_are_refused(tmp_path: Path, kind: str) -> None:
    saved_by(tmp_path / "good", TYPICAL[0])
    assert forge(tmp_path / "good", lambda *_: None)
    assert read_checkpoint(tmp_path / "good").solution.n_steps == 9
    refuse(tmp_path / "forged", forge(tmp_path / "good", FORGED[kind]))


CHANGES: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "shorter": lambda values: values[:-1],
    "longer": lambda values: np.append(values, 1.0),
    "empty": lambda values: values[:0],
    "a million": lambda _: np.ones(1_000_000),
    "negative": lambda values: -np.abs(values) - 1,
    "huge": lambda values: np.full_like(values, 1e300),
    "tiny": lambda values: np.full_like(values, 5e-324),
    "half": lambda values: np.full_like(values, 0.5),
    "zero": np.zeros_like,
}


@pytest.mark.parametrize("recipe", [recipe for recipe in REMEMBERING if recipe.penalty == "l2"], ids="-".join)
@pytest.mark.filterwarnings("ignore::steepest.ConvergenceWarning")
def test_no_memory_of_a_method_does_harm(tmp_path: Path, backend: str, recipe: Recipe) -> None:
    """Whatever it is said to have remembered: refused, or a descent that ends with a number or an error."""
    saved = saved_by(tmp_path / "good", recipe, backend)
    path = tmp_path / "forged"
    refused = 0
    for name, change in [(name, change) for name in saved.solution.state for change in CHANGES.values()]:
        state = saved.solution.state | {name: change(saved.solution.state[name])}
        write_checkpoint(path, saved._replace(solution=replace(saved.solution, state=state)))
        try:
            fit = run(backend, "poisson", n_steps=12, checkpoint=path, **recipe.options)
        except (st.CheckpointError, st.DivergenceError) as error:
            refused += isinstance(error, st.CheckpointError)
        else:
            assert np.isfinite(fit.loss)
            assert np.isfinite(fit.coef).all()
    assert refused >= 3 * len(saved.solution.state)


def test_parameters_of_another_length_are_refused(tmp_path: Path) -> None:
    saved = saved_by(tmp_path / "good", TYPICAL[0])
    longer = np.append(saved.solution.parameters, 1.0)
    solution = replace(saved.solution, parameters=longer, state={})
    write_checkpoint(tmp_path / "longer", saved._replace(solution=solution))
    with pytest.raises(st.CheckpointError, match="longer: expected 4 parameters; remove the file"):
        run("rust", "poisson", n_steps=12, checkpoint=tmp_path / "longer", **TYPICAL[0].options)


def changed_files(seeds: list[bytes], header: str, n: int) -> Iterator[bytes]:
    generator = random.Random(0)  # noqa: S311
    for _ in range(n):
        content = generator.choice(seeds)
        yield resealed(content, header, generator) if generator.random() < 0.5 else changed_bytes(content, generator)


LINE = st.LinearModel("mse", "y", None, None, np.ones((1, 2)), np.ones(1), {"steps": 10}, feature_names=["a", "b"])


@pytest.mark.parametrize("kind", ["model", "checkpoint"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of memory for a process by itself")
def test_changed_files_are_refused_or_hold_together(tmp_path: Path, kind: str) -> None:
    """Under a limit of 512 MiB, in a process of its own; `read_them` says what holds together."""
    folder = tmp_path / "seeds"
    folder.mkdir()
    if kind == "model":
        for number, model in enumerate((MODEL, LINE)):
            st.save(model, folder / str(number))
    else:
        for number, recipe in enumerate(TYPICAL):
            saved_by(folder / str(number), recipe)
        st.descend(X, SCORES, n_steps=9, validation_fraction=0.3, checkpoint=folder / "validated")
    command = [sys.executable, __file__, kind, str(folder), str(N_CHANGED)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    n_read, n_refused, slowest = map(float, done.stdout.split())
    assert n_read + n_refused == N_CHANGED
    assert slowest < SECONDS
    # Neither of them is all.
    assert n_read > N_CHANGED / 100
    assert n_refused > N_CHANGED / 2


@pytest.mark.parametrize("kind", HEADERS)
def test_files_that_led_a_fuzzer_to_new_places(tmp_path: Path, kind: str) -> None:
    """Those of ``make fuzz``, which goes on from them; the same again without it."""
    corpus = sorted((FUZZED / kind).iterdir())
    refused = 0
    for path in corpus:
        (tmp_path / "given").write_bytes(path.read_bytes())
        refused += is_refused(tmp_path / "given", kind)
    assert 0 < refused < len(corpus)


def read_them(kind: str, folder: Path, n: int) -> tuple[int, int, float]:
    """Read changed files; return how many held together, how many were refused, and the seconds of the slowest."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
    path, n_read, slowest = folder.parent / "changed", 0, 0.0
    seeds = [seed.read_bytes() for seed in sorted(folder.iterdir())]
    for content in changed_files(seeds, HEADERS[kind], n):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        started = time.process_time()
        n_read += not is_refused(path, kind)
        slowest = max(slowest, time.process_time() - started)
    return n_read, n - n_read, slowest


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(*read_them(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))  # noqa: T201
