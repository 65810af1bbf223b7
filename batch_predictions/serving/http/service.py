"""The state that all routes share: the source, the current release, threads, metrics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from batch_predictions.serving.http.access import AccessControl, RateLimiter
from batch_predictions.serving.http.current_release import CurrentRelease, ReleaseWatcher
from batch_predictions.serving.http.experiment_buckets import Experiments
from batch_predictions.serving.http.posting import Posting
from batch_predictions.serving.http.problems import NO_PLACE_FOR_WRITES, ProblemError
from batch_predictions.serving.http.recommendation_answers import (
    ListRequest,
    ReadyAnswer,
    make_answer,
)
from batch_predictions.serving.http.service_metrics import Metrics
from batch_predictions.serving.lookup import Lookup
from batch_predictions.serving.lookup.lookup_source import LookupSource, SnapshotSource, SourceIds
from batch_predictions.serving.release_files.release_source import FolderStatus, ReleaseFiles
from batch_predictions.serving.release_files.remote import RemoteFolder, local_folder
from batch_predictions.serving.store.snapshot import ReadStore, RunStatement, ServedRelease
from batch_predictions.serving.store.store import store_url
from batch_predictions.settings import Settings
from batch_predictions.sources.posted_rows.posted_schema import posted_url
from batch_predictions.sources.posted_rows.sign_ups_of_today import PostedUsers, timezone_of
from batch_predictions.sources.posted_rows.writer import PostedRowsWriter

T = TypeVar("T")
READING_THREADS = 8
"""Reads that wait for the store at the same time, so that its connections suffice."""


class Recommended(NamedTuple):
    """Answers, and their release."""

    answers: list[ReadyAnswer]
    release: CurrentRelease


class PredictionService:
    """Reads predictions for the routes.

    Attributes:
        settings: of the home.
        watcher: knows the current release.
        access: checks keys.
        limiter: limits requests per client.
        metrics: counters for Prometheus.
        posted_users: reads sign-ups that clients have posted.
        experiments: which users get another list.
        posting: makes rows of what clients post.
        writer: writes these rows.
    """

    def __init__(self, settings: Settings, source: LookupSource | None = None) -> None:
        """Takes the settings and the source to read; None: the home's serving store."""
        self.settings = settings
        self._ids_of_settings = SourceIds.of(settings)
        self.source = source or _open_source(settings)
        self.access = AccessControl.from_environment(any_host=settings.http.allow_without_keys)
        self.limiter = RateLimiter(settings.http.requests_per_second)
        self.timezone = timezone_of(settings)
        self.watcher = ReleaseWatcher(self.source, self._make_release)
        self.metrics = Metrics(self.watcher, lambda: self.files_status)
        self.posted_users = PostedUsers(posted_url(settings), self.timezone)
        self.experiments = Experiments(settings.serving.experiments)
        self.posting = Posting(settings, lambda: self.ids, self.timezone, self._bucket_of)
        self.writer = PostedRowsWriter(posted_url(settings))
        self._threads = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="read")

    @property
    def ids(self) -> SourceIds:
        """Rules of the source's ids, from the release file or else from the settings."""
        if isinstance(self.source, ReleaseFiles) and self.source.ids is not None:
            return SourceIds(dict(self.source.ids))
        return self._ids_of_settings

    @property
    def files_status(self) -> FolderStatus | None:
        """State of the folder of release files; None where a store is served."""
        return self.source.status if isinstance(self.source, ReleaseFiles) else None

    @property
    def refused_files(self) -> int | None:
        """Newer release files that are damaged or not complete; None where a store is served."""
        return self.files_status.refused if self.files_status else None

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follows the pointer while the service runs, and closes the source at its end."""
        await self.in_thread(self.watcher.refresh)
        await self.in_thread(self.writer.prepare)
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.posted_users.close()
            await asyncio.to_thread(self.writer.close)
            self._threads.shutdown(wait=True, cancel_futures=True)
            self.source.close()

    async def in_thread(self, function: Callable[[], T]) -> T:
        """Runs a function that waits for the store in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def look_up(
        self, look_up: Callable[[Lookup], T], release_id: str | None = None
    ) -> tuple[T, CurrentRelease]:
        """Runs lookups in one release; returns their result and the release.

        Args:
            look_up: gets a Lookup, all of whose answers are of the release.
            release_id: the release; None: the current one.

        Raises:
            NoReleaseError, ReleaseRemovedError, NotPublishedError, StoreError: see `Lookup`.
        """

        def query(db: sa.Connection, served: ServedRelease) -> tuple[T, ServedRelease]:
            lookup = Lookup(SnapshotSource(db, served), self.ids, self.posted_users)
            return look_up(lookup), served

        result, served = await self.in_thread(lambda: self.source.read(query, release_id))
        return result, self.watcher.release_of(served, is_pointed_to=release_id is None)

    async def recommend(self, requests: Sequence[ListRequest]) -> Recommended:
        """Answers requests for lists, all from one release."""
        if self.source.is_file and self.posted_users.is_file and len(requests) == 1:
            # A thread would take longer than the read.
            return self.recommend_at_once(requests)
        return await self.in_thread(lambda: self.recommend_at_once(requests))

    def recommend_at_once(self, requests: Sequence[ListRequest]) -> Recommended:
        """Answers requests for lists from one release, in the calling thread."""

        def query(run: RunStatement, served: ServedRelease) -> Recommended:
            release = self.watcher.release_of(served)
            answers = [
                make_answer(run, served, release, request, self.posted_users, self.experiments)
                for request in requests
            ]
            return Recommended(answers, release)

        return self.source.read_rows(query)

    def require_place_for_writes(self) -> None:
        """Checks that what is posted reaches a pipeline.

        Raises:
            ProblemError: release files are served on a machine without the home.
        """
        settings = self.settings
        if isinstance(self.source, ReleaseFiles) and not (
            settings.serving.posted_url or (settings.home / "warehouse").is_dir()
        ):
            raise ProblemError(NO_PLACE_FOR_WRITES, "This service cannot store what it is sent.")

    def _bucket_of(self, user_id: str) -> str | None:
        """The experiment's bucket that answers to a user have now."""
        current = self.watcher.current
        assigned = self.experiments.assign(user_id, current.served.tables if current else {})
        return assigned.bucket if assigned else None

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self.settings.http.refresh_seconds)
            await self.in_thread(self.watcher.refresh)

    def _make_release(self, served: ServedRelease) -> CurrentRelease:
        http = self.settings.http
        zone = self.timezone
        if isinstance(self.source, ReleaseFiles) and self.source.timezone:
            zone = ZoneInfo(self.source.timezone)
        return CurrentRelease(served, zone, http.cache_mb << 20, http.cache_seconds)


def _open_source(settings: Settings) -> LookupSource:
    """The release files or the serving store that the settings name."""
    http = settings.http
    if http.release_dir is None:
        return ReadStore(store_url(settings))
    folder, polling = local_folder(http.release_dir), http.release_poll_seconds
    if folder is not None:
        return ReleaseFiles(folder, copy_to=http.release_copy_dir, poll_seconds=polling)
    copies = http.release_copy_dir or settings.home / "release_copies"
    return ReleaseFiles(copies, remote=RemoteFolder(http.release_dir), poll_seconds=polling)
