"""The self-test: the checks of all parts, one after the other."""

import asyncio
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from agentd import log as logging
from agentd.core.part import Refused
from agentd.part import Check, CheckFailed, CheckSkipped

log = logging.get()


class Result(Struct, frozen=True):
    """The end of a check: passed, failed or skipped; `text` is a sentence, `remedy` what to do, `took` microseconds."""

    name: str
    result: str
    text: str
    remedy: str
    took: int


class SelfTest:
    """Runs the checks that `checks` returns by then. `on_state` hears that the state is another, `on_end` the names of
    the checks that failed; a defect in a check is a failure of it."""

    def __init__(
        self,
        checks: Callable[[], Sequence[Check]],
        on_state: Callable[[], None],
        on_end: Callable[[list[str]], None],
        on_defect: Callable[[str, BaseException], None],
    ) -> None:
        self._checks = checks
        self._on_state, self._on_end, self._on_defect = on_state, on_end, on_defect
        self.state = ""

    async def run(self, *, full: bool, why: str) -> list[Result]:
        """Runs the checks, with `full` also those that take long; returns their results. Raises Refused Busy."""
        if self.state == "running":
            raise Refused("Busy", "a self-test is under way already")
        self._become("running")
        log.info(f"the {'full ' if full else ''}self-test begins: {why}", id="self-test")
        try:
            results = [await self._one(check) for check in self._checks() if full or not check.full]
        except asyncio.CancelledError:
            self._become("")
            raise
        failed = [one.name for one in results if one.result == "failed"]
        self._become("failed" if failed else "passed")
        for one in results:
            if one.result == "failed":
                log.error(f"self-test: {one.name}: {one.text}; {one.remedy}", id="self-test")
        passed = sum(one.result == "passed" for one in results)
        log.info(f"the self-test is over: {passed} passed, {len(failed)} failed", id="self-test")
        self._on_end(failed)
        return results

    def _become(self, state: str) -> None:
        self.state = state
        self._on_state()

    async def _one(self, check: Check) -> Result:
        begin = time.monotonic_ns()
        try:
            text, result = await asyncio.wait_for(check.look(), check.limit), "passed"
        except CheckSkipped as skipped:
            text, result = str(skipped), "skipped"
        except CheckFailed as failed:
            text, result = str(failed), "failed"
        except TimeoutError:
            text, result = f"no answer within {check.limit:g} s", "failed"
        except Exception as error:  # noqa: BLE001 - a check that is broken is told, and the others run
            self._on_defect(f"the check {check.name}", error)
            text, result = f"the check itself is broken: {type(error).__name__}: {error}", "failed"
        return Result(check.name, result, text, check.remedy, (time.monotonic_ns() - begin) // 1000)
