"""Blocks that are read ahead, or side by side: in order, so many at a time, and no thread is left however it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import steepest as st
from steepest.streams import IN_FLIGHT, read_ahead, side_by_side


def test_reading_ahead_is_bounded_and_ends() -> None:
    made: list[int] = []
    closed = threading.Event()

    def blocks() -> Iterator[int]:
        try:
            for i in range(100):
                made.append(i)
                yield i
        finally:
            closed.set()

    before = threading.active_count()
    ahead = read_ahead(blocks())  # type: ignore[arg-type]
    assert next(ahead) == 0
    time.sleep(0.1)
    assert len(made) == 1 + IN_FLIGHT
    assert threading.active_count() == before + 1
    ahead.close()
    assert closed.is_set()
    assert threading.active_count() == before


def test_side_by_side_in_order() -> None:
    before = threading.active_count()
    at_once: list[str] = []

    def slow(item: int) -> int:
        at_once.append(threading.current_thread().name)
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(side_by_side(slow, range(100), 3)) == [item * item for item in range(100)]
    assert len(set(at_once)) == 3
    assert threading.active_count() == before
    at_once.clear()
    some = side_by_side(slow, range(1000), 3)
    assert next(some) == 0
    some.close()
    assert len(at_once) < 500
    assert threading.active_count() == before


def test_the_first_error_of_those_side_by_side_is_raised() -> None:
    def fails(item: int) -> int:
        if item == 3:
            time.sleep(0.05)
        if item in {3, 4, 40}:
            raise ZeroDivisionError(item)
        return item

    before = threading.active_count()
    for _ in range(3):
        answers = side_by_side(fails, range(100), 2)
        assert [next(answers) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ZeroDivisionError, match=r"^3$"):
            next(answers)
        assert threading.active_count() == before


def test_an_interrupt_while_a_thread_is_started_leaves_none_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    done: list[int] = []
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        while not begun:
            time.sleep(0.001)
        raise KeyboardInterrupt

    def slow(item: int) -> None:
        begun.append(item)
        time.sleep(0.05)
        done.append(item)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(side_by_side(slow, range(100), 2))
    assert done == begun


def test_what_the_reader_raises_is_raised_here() -> None:
    def blocks() -> Iterator[Any]:
        yield np.ones((3, 1)), np.ones(3)
        raise ZeroDivisionError("the disk is gone")

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="the disk is gone"):
        st.descend(blocks, method="auto")
    assert threading.active_count() == before
