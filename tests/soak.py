"""Fits of every kind under faults, for as long as you like: what was tried, and what was lost.

    python tests/soak.py --seconds 600 --seed 0

Every trial is a process of its own, with a limit of time. Lost is a trial that ends with other bits than the same fit
in peace, with a file that cannot be read, with an error that is not ours, by a signal that nobody sent, or not at all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "reliability")]

import steepest as st  # noqa: E402
from samples import methods_for  # noqa: E402
from steepest import checkpoint, model_io, segments  # noqa: E402
from steepest.checkpoint import read_checkpoint  # noqa: E402

MOST_SECONDS = 60.0
LOSSES = ("mse", "huber", "poisson", "log_loss", "softmax", "squared_hinge")
STEPS = 40


class Case(NamedTuple):
    """A fit that may be made again."""

    X: Any
    y: Any
    options: dict[str, Any]

    def fit(self, **options: Any) -> bytes:
        """Return the bits that the fit comes to, or the error."""
        try:
            fit = st.descend(self.X, self.y, **self.options, **options)
        except st.DivergenceError as error:
            return str(error).encode()
        return fit.coef.tobytes() + np.asarray(fit.intercept).tobytes() + fit.history.loss.tobytes()


def draw(chance: random.Random, n: int | None = None) -> Case:
    """Return a problem of any loss, layout and type, and a method for it."""
    generator = np.random.default_rng(chance.randrange(2**32))
    n, d = n or chance.randrange(30, 4000), chance.randrange(1, 13)
    X = generator.normal(size=(n, d)) * 10.0 ** generator.integers(-2, 3, size=d)
    scores = X @ generator.normal(size=d) / np.linalg.norm(X, axis=1).mean() + 0.3 * generator.normal(size=n)
    loss = chance.choice(LOSSES)
    y = {
        "poisson": np.round(np.exp(np.clip(scores, -3, 3))),
        "log_loss": scores > 0,
        "squared_hinge": scores > 0,
        "softmax": np.arange(n) % 3,
    }.get(loss, scores)
    X = X.astype(chance.choice([np.float32, np.float64]))
    layout: Any = chance.choice([np.ascontiguousarray, np.asfortranarray, csr_array])
    method = chance.choice([*methods_for(loss), "auto"])
    return Case(
        layout(X),
        y,
        {
            "loss": "log_loss" if loss == "softmax" else loss,
            "method": method,
            "n_steps": STEPS,
            "alpha": chance.choice([0.0, 0.01]),
            "precondition": chance.random() < 0.5,
            "random_state": chance.randrange(9),
            "backend": "rust",
        },
    )


def expect(bits: bytes, reference: bytes, what: str) -> None:
    if bits != reference:
        raise AssertionError(f"other bits: {what}")


def numbers_of_threads(chance: random.Random, folder: Path) -> Counter[str]:  # noqa: ARG001
    case = draw(chance)
    reference = case.fit(n_threads=1)
    threads = chance.randrange(2, 9)
    expect(case.fit(n_threads=threads), reference, f"{threads} threads")
    expect(case.fit(), reference, "all threads")
    return Counter(fits=3)


def fits_beside_each_other(chance: random.Random, folder: Path) -> Counter[str]:  # noqa: ARG001
    cases = [draw(chance) for _ in range(6)]
    references = [case.fit() for case in cases]
    found: dict[int, bytes] = {}

    def fit(number: int) -> None:
        found[number] = cases[number].fit(n_threads=1 + number % 4)

    threads = [threading.Thread(target=fit, args=(number,)) for number in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, reference in enumerate(references):
        expect(found.get(number, b"nothing"), reference, f"thread {number}")
    return Counter(fits=12)


def forks(chance: random.Random, folder: Path) -> Counter[str]:  # noqa: ARG001
    case = draw(chance, n=chance.randrange(20_000, 60_000))
    reference = case.fit(n_threads=2)
    generations = chance.randrange(1, 4)

    def descend(left: int) -> None:
        expect(case.fit(n_threads=2), reference, f"{left} forks to go")
        if left:
            expect_child(lambda: descend(left - 1))

    expect_child(lambda: descend(generations - 1))
    expect(case.fit(n_threads=2), reference, "the parent after the fork")
    return Counter(fits=2 + generations, forks=generations)


def expect_child(body: Callable[[], None], send: Callable[[int], None] | None = None) -> int:
    """Run `body` in a fork; return the signal that it ended by. Only that of `send` is right."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:  # noqa: BLE001 (whatever it is, the parent is told)
            traceback.print_exc()
        finally:
            os._exit(code)
    if send is not None:
        send(child)
    until = time.monotonic() + MOST_SECONDS / 3
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("a fork hangs")
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        if send is None:
            raise AssertionError(f"a fork died of signal {os.WTERMSIG(status)}")
        return os.WTERMSIG(status)
    if os.WEXITSTATUS(status):
        raise AssertionError("a fork failed; its error is above")
    return 0


def kill_9_and_resume(chance: random.Random, folder: Path) -> Counter[str]:
    case, path = draw(chance), folder / "run"
    # Written after every segment, whatever the share of the time.
    segments.MOST_OVERHEAD = 1e9
    reference, done = case.fit(), Counter(fits=2)

    def descend() -> None:
        case.fit(checkpoint=st.Checkpoint(path, 0.0))

    for _ in range(chance.randrange(1, 9)):
        moment = chance.uniform(0.0, 0.05)

        def kill(child: int, moment: float = moment) -> None:
            time.sleep(moment)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

        if expect_child(descend, kill):
            done["kills"] += 1
        if path.exists():
            read_checkpoint(path)
            done["files read"] += 1
    expect(case.fit(checkpoint=path), reference, "resumed")
    return done


def ctrl_c(chance: random.Random, folder: Path) -> Counter[str]:
    case, path = draw(chance, n=chance.choice([100, 50_000])), folder / "run"
    reference = case.fit()
    told, tell = os.pipe()

    def body() -> None:
        os.write(tell, b"!")
        long = case._replace(options=case.options | {"n_steps": 10**7, "n_threads": 2})
        try:
            while True:
                long.fit(checkpoint=path)
                path.unlink(missing_ok=True)
        except KeyboardInterrupt:
            pass
        expect(case.fit(), reference, "after Ctrl-C")

    def interrupt(child: int) -> None:
        os.read(told, 1)
        time.sleep(chance.uniform(0.01, 0.5))
        os.kill(child, signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    expect_child(body, interrupt)
    if path.exists():
        read_checkpoint(path)
    return Counter({"fits": 2, "Ctrl-C": 1})


def files_that_may_not_grow(chance: random.Random, folder: Path) -> Counter[str]:
    case, path, model = draw(chance), folder / "run", folder / "model"
    reference = case.fit()
    case.fit(checkpoint=path, callback=lambda info: info.step >= STEPS // 2)
    st.save(st.descend([0.0, 1.0], [0.0, 1.0], n_steps=1), model)
    most, done = chance.randrange(1, 12_000), Counter(fits=3, writes=2)

    def body() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        for write in (
            lambda: case.fit(checkpoint=path),
            lambda: st.save(st.descend(np.ones((3, 900)), [0.0, 1.0, 2.0], n_steps=1), model),
        ):
            with suppress(OSError):
                write()

    expect_child(body)
    if path.exists():
        read_checkpoint(path)
    st.load(model)
    expect(case.fit(checkpoint=path), reference, "after the disk had room again")
    return done


def hostile_files(chance: random.Random, folder: Path) -> Counter[str]:
    from test_hostile_files import LINE

    from hostile import changed_bytes, resealed
    from test_model_files import MODEL

    st.save(MODEL, folder / "1")
    st.save(LINE, folder / "2")
    st.descend([0.0, 1.0, 2.0], [1.0, 3.0, 5.0], n_steps=STEPS, checkpoint=folder / "3")
    kinds: list[tuple[Any, Any, str, list[Path]]] = [
        (st.load, st.ModelFileError, model_io.HEADER, [folder / "1", folder / "2"]),
        (read_checkpoint, st.CheckpointError, checkpoint.HEADER, [folder / "3"]),
    ]
    refused = 0
    for _ in range(100):
        for read, error, header, seeds in kinds:
            content = chance.choice([seed.read_bytes() for seed in seeds])
            sealed = chance.random() < 0.5
            path = folder / "changed"
            path.unlink(missing_ok=True)
            path.write_bytes(resealed(content, header, chance) if sealed else changed_bytes(content, chance))
            try:
                read(path)
            except error:
                refused += 1
    return Counter({"files read": 200, "refused": refused})


def hostile_input(chance: random.Random, folder: Path) -> Counter[str]:  # noqa: ARG001
    case = draw(chance)
    reference = case.fit()
    dense = np.array(case.X.toarray() if hasattr(case.X, "toarray") else case.X, dtype=np.float64)
    hole = dense.copy()
    hole[chance.randrange(len(dense)), 0] = chance.choice([np.nan, np.inf, -np.inf])
    n = len(dense)
    bad: list[dict[str, Any]] = [
        {"X": hole},
        *(
            {"X": X}
            for X in (dense[:0], dense[:, :0], dense[:-1], dense + 1j, dense.astype(str), dense[None], None, "X")
        ),
        {"X": np.ma.masked_array(dense, dense == dense[0, 0])},
        *({"y": y} for y in (None, case.y[:-1], np.full(n, np.nan), [[]], object())),
        *({"sample_weight": weight} for weight in (-np.ones(n), np.zeros(n), np.ones(n + 1), np.full(n, np.nan))),
        *({name: chance.choice([-1, "x", np.nan, [], 10**400])} for name in ("alpha", "l1_ratio", "n_steps", "tol")),
        *({name: chance.choice([-1, "x", [], object()])} for name in ("method", "learning_rate", "loss", "start")),
        *({name: chance.choice([-1, "x", 3.5, []])} for name in ("backend", "strategy", "n_threads", "random_state")),
    ]
    refused = 0
    for arguments in bad:
        try:
            st.descend(**{"X": case.X, "y": case.y} | case.options | arguments)
        except st.SteepestError:
            refused += 1
        else:
            raise AssertionError(f"not refused: {[*arguments.items()]}")
    expect(case.fit(), reference, "after bad input")
    return Counter({"fits": 2, "bad calls": len(bad), "refused": refused})


TRIALS: dict[str, Callable[[random.Random, Path], Counter[str]]] = {
    "numbers of threads": numbers_of_threads,
    "fits beside each other": fits_beside_each_other,
    "forks": forks,
    "kill -9 and resume": kill_9_and_resume,
    "Ctrl-C": ctrl_c,
    "files that may not grow": files_that_may_not_grow,
    "hostile files": hostile_files,
    "hostile input": hostile_input,
}


def attempt(name: str, seed: str) -> tuple[Counter[str], str | None]:
    """Make one trial in a process of its own; return what it did, and what was lost."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.close(told)
        code = 1
        try:
            warnings.simplefilter("ignore")
            with tempfile.TemporaryDirectory() as folder:
                done = TRIALS[name](random.Random(seed), Path(folder))  # noqa: S311
            os.write(tell, json.dumps(done).encode())
            code = 0
        except BaseException:  # noqa: BLE001 (whatever it is, it is lost and reported)
            os.write(tell, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(code)
    os.close(tell)
    text, until = b"", time.monotonic() + MOST_SECONDS
    while select.select([told], [], [], max(until - time.monotonic(), 0.0))[0]:
        part = os.read(told, 1 << 16)
        if not part:
            break
        text += part
    else:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    os.close(told)
    _, status = os.waitpid(child, 0)
    if status == 0:
        return Counter(json.loads(text)), None
    return Counter(), text.decode() or f"ended by signal {os.WTERMSIG(status)} after {MOST_SECONDS:.0f} s at the most"


def main() -> int:
    """Make trials until the time is up, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, number = time.monotonic(), 0
    tried, lost, done = Counter[str](), Counter[str](), {name: Counter[str]() for name in TRIALS}
    while time.monotonic() < began + given.seconds:
        name = [*TRIALS][number % len(TRIALS)]
        seed = f"{given.seed}/{number}"
        counts, trouble = attempt(name, seed)
        tried[name] += 1
        done[name] += counts
        if trouble is not None:
            lost[name] += 1
            print(f"lost: {name}, seed {seed}\n{trouble}", file=sys.stderr, flush=True)  # noqa: T201
        number += 1
    print("| trial | tried | lost | made of |\n|---|---:|---:|---|")  # noqa: T201
    for name in TRIALS:
        made_of = ", ".join(f"{count:,} {what}" for what, count in sorted(done[name].items()))
        print(f"| {name} | {tried[name]:,} | {lost[name]:,} | {made_of} |")  # noqa: T201
    print(f"| in {time.monotonic() - began:.0f} seconds | {tried.total():,} | {lost.total():,} | seed {given.seed} |")  # noqa: T201
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
