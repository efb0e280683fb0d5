"""Files outlive what kills their writer: kill −9, a full disk, a folder that may not be written to."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import steepest as st
from steepest import files
from steepest.checkpoint import read_checkpoint
from steepest.files import written_whole
from steepest.segments import Course

PROFILE = os.environ.get("STEEPEST_TEST_PROFILE", "dev")
KILLS = 10_000 if PROFILE == "deep" else 300

GENERATOR = np.random.default_rng(3)
X = GENERATOR.normal(size=(2000, 20))
Y = X @ GENERATOR.normal(size=20)
OPTIONS: dict[str, Any] = {
    "method": "nesterov",
    "learning_rate": 1e-3,
    "n_threads": 1,
    "fit_intercept": False,
    "backend": "rust",
}

# A process that has imported everything, has made no thread, and forks.
KILLED = """
import os, random, signal, sys, time, warnings
from pathlib import Path
import numpy as np
import steepest as st
from steepest import segments
from steepest.checkpoint import read_checkpoint

path, n_kills = Path(sys.argv[1]), int(sys.argv[2])
data = np.load(sys.argv[3])
options = dict(method="nesterov", learning_rate=1e-3, n_threads=1, fit_intercept=False, backend="rust")
# Written after every step, whatever the share of the time.
segments.MOST_OVERHEAD = 1e9
# What is imported late is imported now.
st.descend(data["X"], data["y"], n_steps=2, checkpoint=sys.argv[3] + ".first", **options)
moments = random.Random(0)
reached, midst = 0, 0
for _ in range(n_kills):
    child = os.fork()
    if child == 0:
        st.descend(data["X"], data["y"], n_steps=10**6, checkpoint=st.Checkpoint(path, seconds=0.0), **options)
        os._exit(3)
    time.sleep(moments.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    if path.exists():
        n_steps = read_checkpoint(path).solution.n_steps
        assert n_steps >= reached, (n_steps, reached)
        reached = n_steps
    for left in path.parent.glob(".steepest-*"):
        midst += 1
        left.unlink()
print(reached, midst)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_kill_9_at_any_moment_leaves_a_checkpoint_that_goes_on(tmp_path: Path) -> None:
    path, data = tmp_path / "run", tmp_path / "data.npz"
    np.savez(data, X=X, y=Y)
    command = [sys.executable, "-c", KILLED, str(path), str(KILLS), str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=KILLS, check=False)
    assert done.returncode == 0, done.stderr
    reached, in_the_midst = map(int, done.stdout.split())
    # Steps were made between the kills, and some kills met a file half written.
    assert reached > KILLS / 10
    assert in_the_midst > KILLS / 100
    n_steps = reached + 100
    fit, whole = (
        st.descend(X, Y, n_steps=n_steps, checkpoint=checkpoint, **OPTIONS)
        for checkpoint in (st.Checkpoint(path), None)
    )
    assert fit.coef.tobytes() == whole.coef.tobytes()
    assert fit.history.loss.tobytes() == whole.history.loss.tobytes()


FULL = """
import resource, sys
import numpy as np
import steepest as st
from steepest.checkpoint import read_checkpoint

st.descend(np.arange(9.0), np.arange(9.0), learning_rate=1e-3, n_steps=3, checkpoint=sys.argv[1])
if sys.argv[2] == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    st.descend(np.arange(9.0), np.arange(9.0), learning_rate=1e-3, n_steps=5000, checkpoint=sys.argv[1])
except OSError as error:
    print(error.strerror)
# The segments before the one that did not fit.
assert read_checkpoint(sys.argv[1]).solution.n_steps < 5000
before = open(sys.argv[1], "rb").read()
model = st.descend(np.ones((2, 50_000)), [0.0, 1.0], n_steps=1)
try:
    st.save(model, sys.argv[1])
except OSError as error:
    print(error.strerror)
assert open(sys.argv[1], "rb").read() == before
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_file_that_may_not_grow_is_an_error_and_the_old_one_stays(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "run"), "limit"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "File too large\n" * 2
    assert os.listdir(tmp_path) == ["run"]  # noqa: PTH208


def test_a_full_disk_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    """On a disk of 64 KiB, which takes a superuser to mount."""
    mounted = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=64k none "$0" && exec "$@"', str(tmp_path)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*mounted, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no disk can be mounted here")
    command = [*mounted, sys.executable, "-c", FULL, str(tmp_path / "run"), "disk"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No space left on device\n" * 2


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that anybody may look into."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="there are no such permissions here")
def test_a_folder_that_may_not_be_written_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Course, "_next_length", lambda *_: 5)
    path = folder / "run"
    fit = st.descend(X, Y, n_steps=3, checkpoint=path, **OPTIONS)
    before = path.read_bytes()
    folder.chmod(0o555)
    # The superuser may write everywhere, so be somebody else.
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises((PermissionError, st.InputError), match=r"Permission denied|cannot be written to"):
            st.descend(X, Y, n_steps=9, checkpoint=path, **OPTIONS)
        with pytest.raises(PermissionError):
            st.save(fit, path)
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
    assert path.read_bytes() == before
    assert os.listdir(folder) == ["run"]  # noqa: PTH208


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()

    def remove(info: st.StepInfo) -> None:
        if info.step == 3:
            shutil.rmtree(tmp_path / "folder")

    with pytest.raises(FileNotFoundError):
        st.descend(X, Y, n_steps=9, checkpoint=tmp_path / "folder" / "run", callback=remove, **OPTIONS)
    with pytest.raises(st.InputError, match=r"the directory .*folder does not exist; create it first"):
        st.descend(X, Y, n_steps=9, checkpoint=tmp_path / "folder" / "run", **OPTIONS)
    with pytest.raises(st.InputError, match="expected a file name; it is a directory"):
        st.descend(X, Y, n_steps=9, checkpoint=tmp_path, **OPTIONS)


@pytest.mark.parametrize("name", ["Ñoño 日本.safetensors", " blanks at the ends ", "x" * 200, "🦀"])
def test_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    fit = st.descend(X, Y, n_steps=3, checkpoint=path, **OPTIONS)
    st.descend(X, Y, n_steps=4, checkpoint=str(path), **OPTIONS)
    assert read_checkpoint(path).solution.n_steps == 4
    st.save(fit, path)
    assert np.array_equal(np.ravel(st.load(str(path)).coef), fit.coef)
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither such permissions nor links for everybody")
def test_permissions_are_kept_and_links_are_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "run", tmp_path / "link"
    st.descend(X, Y, n_steps=1, checkpoint=path, **OPTIONS)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    link.symlink_to(path)
    st.descend(X, Y, n_steps=2, checkpoint=link, **OPTIONS)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_checkpoint(path).solution.n_steps == 2


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, OSError])
def test_whatever_ends_the_writing_leaves_the_old_file_and_nothing_else(tmp_path: Path, kind: type[Exception]) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def write() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise kind

    with pytest.raises(kind):
        write()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_bytes_are_on_the_disk_before_the_name_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the file is synced, then it is renamed, then the folder is synced."""
    path, done = tmp_path / "file", list[str]()
    synced, renamed = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
        synced(handle)

    def replace(self: Path, target: Path) -> Path:
        done.append("rename")
        return renamed(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with written_whole(path) as temporary:
        temporary.write_text("four")
    assert done == ["file of 4", "rename", *([] if os.name == "nt" else ["folder"])]


INTERRUPTED = """
import sys
import numpy as np
import steepest as st

X = np.random.default_rng(0).normal(size=(20_000, 10))
y = X @ np.arange(10.0)
def say(info):
    if info.step == 0:
        print("ready", flush=True)
try:
    st.descend(X, y, learning_rate=1e-6, n_steps=10**9, checkpoint=st.Checkpoint(sys.argv[1], 1e6), callback=say)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process alone")
def test_ctrl_c_writes_down_what_was_made(tmp_path: Path) -> None:
    """Though nobody asked for a file more often than once in a million seconds."""
    path = tmp_path / "run"
    command = [sys.executable, "-c", INTERRUPTED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=2.5)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
    saved = read_checkpoint(path)
    assert saved.solution.n_steps > 1
    # No more than a segment is lost.
    assert saved.seconds > 1.0


FIT = st.descend(X, Y, n_steps=2)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_an_error_names_the_file_that_was_to_be_written() -> None:
    with pytest.raises(OSError, match="No space left on device") as caught:
        st.save(FIT, "/dev/full")
    assert caught.value.filename == "/dev/full"


def test_an_error_without_a_number_keeps_its_words_and_names_the_file(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match=r"300 requested and 100 written: .*m\.safetensors"),
        written_whole(tmp_path / "m.safetensors"),
    ):
        raise OSError("300 requested and 100 written")


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(st.InputError, match=r"^checkpoint: expected a file name; got 'a"):
        st.descend(X, Y, checkpoint="a\0b")
    with pytest.raises(st.InputError, match=r"^path: expected a file name; got 'a"):
        st.save(FIT, "a\0")


class Held:
    """A file that others hold for a while, as on Windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, tries: float, windows: bool) -> None:
        self.tries, self.slept = tries, 0.0
        self.replace = Path.replace
        monkeypatch.setattr(files, "WINDOWS", windows)
        monkeypatch.setattr(Path, "replace", lambda old, new: self(old, new))  # noqa: PLW0108 (it is asked as a method)
        monkeypatch.setattr(time, "sleep", self.sleep)

    def __call__(self, old: Path, new: Path) -> Path:
        self.tries -= 1
        if self.tries >= 0:
            raise PermissionError(13, "held by another process", str(old), None, str(new))
        return self.replace(old, new)

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


def test_a_file_that_another_process_reads_is_replaced_once_it_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.save(FIT, tmp_path / "model")
    old = (tmp_path / "model").read_bytes()
    held = Held(monkeypatch, tries=2, windows=True)
    st.save(st.descend(X, Y, n_steps=3), tmp_path / "model")
    assert held.slept > 0
    assert (tmp_path / "model").read_bytes() != old
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("windows", [True, False])
def test_a_file_that_is_held_for_longer_is_the_error_that_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, windows: bool
) -> None:
    held = Held(monkeypatch, tries=np.inf, windows=windows)
    with pytest.raises(PermissionError, match="held by another process") as caught:
        st.save(FIT, tmp_path / "model")
    assert caught.value.filename == str(tmp_path / "model")
    # About a second, and only where it helps.
    assert 0.9 < held.slept < 1.1 if windows else held.slept == 0
    assert list(tmp_path.iterdir()) == []
