"""A worker: DBOS hands it turns of jobs, it does them, and takes over what dead workers left."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
import uuid
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig, WorkflowStatus
from sqlalchemy import exc

from bcshopper._session import Session
from bcshopper.errors import BCShopperError, InvalidInputError
from bcshopper.fleet._presence import GONE, LOOKS_EVERY, Presence, lock_file
from bcshopper.fleet._rows import CHUNK_WORKFLOW, QUEUE, VERSION, Job, Rows, Turn, item_of
from bcshopper.fleet._stores import OpenSession, Stores
from bcshopper.fleet._work import Result, act, back_off, judge, make_plan

T = TypeVar("T")
_log = logging.getLogger("bcshopper.fleet")

AT_ONCE = 64
"""Chunks of different stores that a worker does at once; each holds some 500 ids."""

POLLED_EVERY = 0.1  # seconds; what a store waits for its next chunk, at most
_DISTRUST = GONE - 2 * LOOKS_EVERY
"""Seconds without a sign of life after which a worker stops its chunks: others may begin them."""
_PAUSE = 0.5  # seconds between tries to reach the database
_REST = 60.0  # seconds after what should not happen

_at_work: Worker | None = None  # DBOS knows functions of modules, and one application in a process


@DBOS.workflow(name=CHUNK_WORKFLOW)
async def _do_turn(job: int, number: int, start: int, attempt: int) -> None:
    assert _at_work is not None  # noqa: S101 - DBOS runs only within `Worker.run`
    await _at_work.do(Turn(job, number, start, attempt))


class Worker:
    """One worker of a database.

    Args:
        rows: the jobs and their rows.
        open_session: makes the session of a store.
    """

    def __init__(self, rows: Rows, open_session: OpenSession) -> None:
        self._rows = rows
        self._open_session = open_session
        # One that comes back under the same id would be taken for the one that is gone.
        self._executor_id = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex}"
        self._under_way: dict[str, asyncio.Task[Any]] = {}  # by workflow
        self._interrupted: set[str] = set()
        self._may_work = asyncio.Event()
        self._stops = False

    async def run(self) -> None:
        """Do chunks until cancelled; what is under way then goes to others at once.

        Raises:
            InvalidInputError: there is a worker already: in this process, or at this SQLite file.
        """
        global _at_work  # noqa: PLW0603
        if _at_work is not None:
            raise InvalidInputError("there is a worker in this process already: one is enough")
        _at_work = self
        try:
            self._stores = Stores(self._open_session)
            try:
                await self._run()
            finally:
                await self._stores.aclose()
        finally:
            _at_work = None

    async def _run(self) -> None:
        with ExitStack() as stack:
            presence = None
            if self._rows.is_sqlite:
                stack.enter_context(closing(lock_file(str(self._rows.url.database))))
            else:
                presence = stack.enter_context(
                    closing(Presence(self._rows.engine, self._executor_id))
                )
            await self._look_around(presence)
            DBOS(config=self._config())
            try:
                DBOS.launch()
                await DBOS.register_queue_async(
                    QUEUE,
                    partition_concurrency=1,  # a store is with one worker at a time
                    worker_concurrency=AT_ONCE,
                    polling_interval_sec=POLLED_EVERY,
                )
                await self._watch(presence)
            finally:
                await asyncio.shield(self._stop())

    def _config(self) -> DBOSConfig:
        return DBOSConfig(
            name="bcshopper-fleet",
            system_database_url=self._rows.text_url,
            application_version=str(VERSION),
            executor_id=self._executor_id,
            log_level="ERROR",
        )

    async def _stop(self) -> None:
        """End what is under way, and put it back into the queue."""
        self._stops = True
        await self._interrupt()
        # What begins now finds threads that are no more, and goes to others all the same.
        logging.getLogger("dbos").setLevel(logging.CRITICAL)
        await asyncio.to_thread(DBOS.destroy)
        # DBOS has made its threads, which are no more, those of the event loop.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())
        with suppress(exc.DBAPIError):  # others find it, once they miss this worker
            mine = await asyncio.to_thread(self._under_way_with, self._executor_id)
            await self._resume(self._executor_id, {one.workflow_id for one in mine})

    # -- signs of life

    async def _watch(self, presence: Presence | None) -> None:
        """Show that this worker lives, and see who does not."""
        last = time.monotonic()
        while True:
            try:
                await self._look_around(presence)
                last = time.monotonic()
                if self._interrupted:
                    await self._resume(self._executor_id, self._interrupted)
                    self._interrupted.clear()
                self._may_work.set()
            except exc.SQLAlchemyError as error:
                _log.warning("the database can't be reached: %s", error)
                if time.monotonic() - last > _DISTRUST:
                    await self._interrupt()
            await asyncio.sleep(LOOKS_EVERY)

    async def _look_around(self, presence: Presence | None) -> None:
        """Take over what the dead left: without a presence, all others are."""
        found = await asyncio.to_thread(self._under_way_with)
        others = {one.executor_id for one in found if one.executor_id} - {self._executor_id}
        if presence is None:
            for dead in others:
                await self._resume(dead)
            return
        for dead in await asyncio.to_thread(presence.look, others):
            if await asyncio.to_thread(presence.claim, dead):
                try:
                    await self._resume(dead)
                finally:
                    await asyncio.to_thread(presence.release, dead)

    def _under_way_with(self, executor_id: str | None = None) -> list[WorkflowStatus]:
        return self._rows.queue.list_workflows(
            status="PENDING", queue_name=QUEUE, executor_id=executor_id, load_input=False
        )

    async def _resume(self, executor_id: str, only: Collection[str] | None = None) -> None:
        """Put into the queue again what is under way with a worker, or these of its workflows."""
        found = await asyncio.to_thread(self._under_way_with, executor_id)
        ids = [one.workflow_id for one in found if only is None or one.workflow_id in only]
        await asyncio.to_thread(self._rows.queue.resume_workflows, ids, queue_name=QUEUE)
        if only is None and ids:
            _log.warning("took over %d chunks of worker %s, which is gone", len(ids), executor_id)

    async def _interrupt(self) -> None:
        """Stop all chunks: another worker may be about to begin them."""
        self._may_work.clear()
        tasks = dict(self._under_way)
        self._interrupted |= tasks.keys()
        for task in tasks.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks.values())

    # -- turns

    async def do(self, turn: Turn) -> None:
        """Do a turn, and let the next one begin; whatever becomes of the store, it never fails."""
        workflow_id, task = str(DBOS.workflow_id), asyncio.current_task()
        assert task is not None  # noqa: S101 - DBOS makes one for each workflow
        self._under_way[workflow_id] = task
        try:
            while True:
                if self._stops:
                    raise asyncio.CancelledError
                await self._may_work.wait()
                try:
                    return await self._do(turn)
                except Exception:  # noqa: BLE001 - all that there may be:
                    # DBOS would take it for the end of the turn, and so of the job.
                    _log.exception("turn %d of job %d is tried again", turn.number, turn.job)
                    await asyncio.sleep(_REST)
        finally:
            if self._under_way.get(workflow_id) is task:
                del self._under_way[workflow_id]

    async def _do(self, turn: Turn) -> None:
        job = await self._ask(self._rows.job, turn.job)
        if job is None or job.turn != turn.number or job.state != "running":
            return  # deleted, cancelled, begun anew, or done by whoever took it over
        began = time.time()
        try:
            async with self._stores.session(job.store) as session:
                result = await self._work(session, job, turn)
                if result is None:
                    return
                if result.trouble is None:
                    await self._note(job, turn, result, began, session)
                    await _until_the_window_opens(session)
                    return
        except exc.SQLAlchemyError:
            raise
        except Exception as error:  # noqa: BLE001 - also what a token command may raise
            if not isinstance(error, BCShopperError):
                _log.warning("store %s: %s", job.store, error, exc_info=True)
            words = str(error) or type(error).__name__
            result = back_off(words, start=turn.start, attempt=turn.attempt)
        await self._stores.forget(job.store)
        if result.delay is None:
            await self._ask(self._rows.end, turn, why=result.trouble, doubts=result.doubts)
        else:
            await self._note(job, turn, result, began)

    async def _work(self, session: Session, job: Job, turn: Turn) -> Result | None:
        """What is to be noted of a turn at the store; None: it is all noted."""
        if not job.planned:
            await self._plan(session, job, turn)
            return None
        rows = await self._ask(self._rows.open, turn)
        if not rows:
            await self._ask(self._rows.end, turn)
            return None
        first = job.first_removal
        removes = first is not None and rows[0][0] >= first
        if first is not None and not removes:
            rows = [row for row in rows if row[0] < first]
        parse = item_of(job)
        pairs = [(position, parse(item)) for position, item in rows]
        report = await act(session, job, [item for _, item in pairs], removes=removes)
        return judge(pairs, report, start=turn.start, attempt=turn.attempt)

    async def _plan(self, session: Session, job: Job, turn: Turn) -> None:
        wanted: list[tuple[int, int]] = []
        after = Turn(turn.job, turn.number)
        while some := await self._ask(self._rows.open, after):
            wanted += [(position, int(item)) for position, item in some]
            after = Turn(turn.job, turn.number, some[-1][0] + 1)
        plan = await make_plan(session, job, wanted)
        if plan.refusal is not None:
            await self._ask(self._rows.end, turn, why=plan.refusal)
            return
        first = wanted[-1][0] + 1 if wanted else 0
        await self._ask(self._rows.plan, turn, new=plan.new, unchanged=plan.unchanged, first=first)

    async def _note(
        self, job: Job, turn: Turn, result: Result, began: float, session: Session | None = None
    ) -> None:
        fields: dict[str, Any] = {"moved_at": time.time()}
        fields["handled"] = job.handled + len(result.noted)
        if job.began_at is None:
            fields["began_at"] = began
        if session is not None and (quota := session.quota) is not None:
            fields["quota"] = quota.limit / quota.window
        await self._ask(
            self._rows.note,
            turn,
            result.noted,
            start=result.start,
            attempt=result.attempt,
            delay=result.delay or 0.0,
            doubts=result.doubts,
            trouble=result.trouble,
            **fields,
        )

    async def _ask(self, method: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call a method of the rows, again and again while the database can't be reached."""
        while True:
            try:
                return await asyncio.to_thread(method, *args, **kwargs)
            except exc.OperationalError as error:
                _log.info("the database can't be reached: %s", error.orig)
                await asyncio.sleep(_PAUSE)


async def _until_the_window_opens(session: Session) -> None:
    """Keep the store while its quota is spent: a worker that comes to it then draws a 429."""
    quota = session.quota
    if quota is not None and quota.remaining == 0:
        await asyncio.sleep(quota.reset_in)
