"""Work beside the loop: tasks that are kept until they are done and whose defects are told, and threads."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Tasks:
    """The tasks of one owner. `on_defect` is told of an error that a task did not deal with itself."""

    def __init__(self, on_defect: Callable[[BaseException], None]) -> None:
        self._on_defect = on_defect
        self._tasks: set[asyncio.Task[Any]] = set()

    def do(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts work; the task lives until it is done or close() is called."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def close(self) -> None:
        """Cancels what is under way."""
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_defect(error)


class Threads:
    """Threads for work that may hang for ever: as many as it takes, and the process waits for none when it ends. The
    threads of a pool are few, and joined at the end. Some that have nothing to do are kept, as to start one is dear."""

    def __init__(self, kept: int = 2) -> None:
        self._kept = kept
        self._idle = 0  # threads that take from the queue next, as the loop knows
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def do(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Starts work; returns what is to become of it. The work goes on where nobody waits for that any more."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        whole = partial(self._whole, work, future, loop)
        if self._idle:
            self._idle -= 1
            self._queue.put(whole)
            return future
        try:
            threading.Thread(target=self._serve, args=(whole,), daemon=True).start()
        except RuntimeError as error:  # the system allows no more threads
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Ends each thread as it has nothing to do any more."""
        self._kept = 0
        while self._idle:
            self._idle -= 1
            self._queue.put(None)

    def _serve(self, whole: Callable[[], None] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is no more work
            while whole is not None:
                whole()
                whole = self._queue.get()

    def _whole(self, work: Callable[[], T], future: asyncio.Future[T], loop: asyncio.AbstractEventLoop) -> None:
        """Does work on a thread, and has the loop settle its future. Raises RuntimeError where the loop is closed."""
        try:
            result = work()
        except StopIteration as error:  # which no future takes
            failure = RuntimeError(f"StopIteration: {error}")
            loop.call_soon_threadsafe(self._settle, future, partial(future.set_exception, failure))
        except BaseException as error:  # noqa: BLE001 - is raised where the work is waited for
            loop.call_soon_threadsafe(self._settle, future, partial(future.set_exception, error))
        else:
            loop.call_soon_threadsafe(self._settle, future, partial(future.set_result, result))

    def _settle(self, future: asyncio.Future[T], settle: Callable[[], None]) -> None:
        if not future.done():  # cancelled
            settle()
        if self._idle < self._kept:
            self._idle += 1
        else:
            self._queue.put(None)
