"""A stream of items worked on by several threads, each computing alone, with the results in order.

torch divides every operation among all threads by default, and all wait for the slowest at the end
of each. Where another program or a decoder takes a processor for a moment, they all stand still.
Threads that have items of their own wait for nobody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def map_side_by_side(
    function: Callable[[_Item], _Result], items: Iterable[_Item], workers: int
) -> Generator[_Result]:
    """Apply a function to items in several threads, which share torch's threads evenly.

    Close it where it may not be exhausted: torch's threads are the caller's again after that.

    Parameters
    ----------
    function : callable
        Called in several threads at once.
    items : iterable
        Taken in the caller's thread, when there is somebody to work on the next.
    workers : int
        Number of threads.

    Yields
    ------
    object
        The results, in the order of the items; two more than there are workers exist at most.

    Raises
    ------
    Exception
        What `items` or the function raises, in the place of the result.
    """
    threads = torch.get_num_threads()
    pending: deque[Future[_Result]] = deque()
    executor = ThreadPoolExecutor(
        workers,
        thread_name_prefix="compute",
        initializer=torch.set_num_threads,
        initargs=(max(threads // workers, 1),),
    )
    try:
        for item in items:
            pending.append(executor.submit(function, item))
            # One more than there are workers, so that none waits while the caller uses a result.
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        executor.shutdown(cancel_futures=True)
        # It is a setting of the whole process for libraries that torch uses.
        torch.set_num_threads(threads)
