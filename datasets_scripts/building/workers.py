# Copyright 2026 The clipbert authors. Licensed under the Apache License, Version 2.0 (see LICENSE).
"""One function over many files in several processes, of which a file may kill one without ending the work."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar


Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 4  # items in the queue of each process


def run_in_processes(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int, crashed: Result
) -> Iterator[tuple[Item, Result]]:
    """Items with their results, in the order in which they are done.

    Args:
        function (`Callable`): What to do with an item; it, items and results are pickled.
        items (`Iterable`): Hundreds of thousands cost nothing: few are sent ahead.
        num_workers (`int`): Processes; 0 does the work in this one.
        crashed (`Result`): The result of an item whose process dies, as broken files can make FFmpeg do.
    """
    if num_workers == 0:
        yield from ((item, function(item)) for item in items)
        return
    waiting = deque(items)
    while waiting:
        # one of these killed its process and took the others along: alone, each shows whether it was the one
        suspects = yield from run_until_crash(function, waiting, num_workers)
        for item in suspects:
            with start_pool(1) as pool:
                try:
                    result = pool.submit(function, item).result()
                except BrokenProcessPool:
                    result = crashed
            yield item, result


def run_until_crash(function, waiting: deque, num_workers: int) -> Iterator[tuple]:
    """Work off `waiting` until a process dies; returns the items that were under way then."""
    under_way: dict[Future, object] = {}
    with start_pool(num_workers) as pool:
        try:
            while waiting or under_way:
                while waiting and len(under_way) < AHEAD * num_workers:
                    under_way[pool.submit(function, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    yield under_way.pop(future), result
        except BrokenProcessPool:
            return list(under_way.values())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    return []


def start_pool(num_workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(num_workers, initializer=follow_parent)


def follow_parent() -> None:
    """In a worker: end at once, and without a traceback, when the user interrupts or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end_with_parent():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
