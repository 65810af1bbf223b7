"""A state machine: publish, backfill, roll back, sign up, erase, export, crash, against a mapping.

Releases of the store, of the files and of a service that follows them are compared with a plain
dictionary after every step.
"""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, assume
from hypothesis import settings as hypothesis_settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from batch_predictions.core.erasures import ErasedKeys
from batch_predictions.serving.erasure.release_file_erasure import erase_from_folder
from batch_predictions.serving.erasure.store_erasure import erase_users, purge_free_pages
from batch_predictions.serving.lookup import Lookup, NoReleaseError
from batch_predictions.serving.release import publish as publishing
from batch_predictions.serving.release.release_records import releases, rollback
from batch_predictions.serving.release.sign_ups import add_sign_ups
from batch_predictions.serving.release_files import export as exporting
from batch_predictions.serving.release_files.destinations import export_current
from batch_predictions.serving.release_files.folder import list_manifests, read_manifest
from batch_predictions.serving.release_files.release_source import ReleaseFiles
from batch_predictions.serving.store.pointer import ReleaseError
from batch_predictions_tests.worlds.serving import DAY, ServingWorld, open_world

KEEP = 3
USERS = 3
DAYS = st.integers(0, 3)
TAGS = st.sampled_from("abc")
USER_NUMBERS = st.integers(0, USERS - 1)


class CrashError(Exception):
    """The process dies here."""


@dataclass
class ModelRelease:
    """What a release has: its tag, and its users with personal lists."""

    day: int
    tag: str
    users: set[str] = field(default_factory=set)
    is_withdrawn: bool = False


@dataclass
class Served:
    """What is served: day, tag, and users with personal lists."""

    day: int
    tag: str
    users: frozenset[str]


class ReleaseMachine(RuleBasedStateMachine):
    """The store, its files and a service, beside a dictionary of what they must say."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="releases-"))
        self.world: ServingWorld = open_world(self.folder / "home")
        self.files = ReleaseFiles(self.folder / "files", poll_seconds=None)
        self.model: dict[str, ModelRelease] = {}
        self.predicted: dict[int, str] = {}
        self.current: str | None = None
        self.exported: list[Served] = []
        """What the folder of files would serve, oldest export first."""

    def teardown(self) -> None:
        self.files.close()
        self.world.store.close()
        shutil.rmtree(self.folder)

    # --- steps ----------------------------------------------------------------------------------

    @rule(day=DAYS, tag=TAGS)
    def publish(self, day: int, tag: str) -> None:
        """A day is predicted and published; an older one than that served is a backfill."""
        date = self._predict(day, tag)
        release = self.world.publish(date, keep=KEEP)
        self._expect_published(release.release_id, day, tag)
        self._forget_pruned()

    def _predict(self, day: int, tag: str) -> dt.date:
        date = DAY + dt.timedelta(days=day)
        if self.predicted.get(day) != tag:
            self.world.predict(date, tag, USERS)
            self.predicted[day] = tag
        return date

    def _expect_published(self, release_id: str, day: int, tag: str) -> None:
        known = self.model.setdefault(
            release_id, ModelRelease(day, tag, {f"u{n}" for n in range(USERS)})
        )
        served = self.model.get(self.current or "")
        is_newer = served is None or served.day <= day
        if is_newer and not known.is_withdrawn:
            self.current = release_id

    @precondition(lambda self: self.current is not None)
    @rule()
    def roll_back(self) -> None:
        """The release before the served one is served again, if there is one."""
        stored = [release.release_id for release in releases(self.world.store)]
        assert self.current is not None
        older = [
            release_id
            for release_id in stored[stored.index(self.current) + 1 :]
            if not self.model[release_id].is_withdrawn
        ]
        if not older:
            with pytest.raises(ReleaseError):
                rollback(self.world.store)
            return
        rollback(self.world.store)
        for release_id in stored[: stored.index(older[0])]:
            self.model[release_id].is_withdrawn = True
        self.current = older[0]

    @precondition(lambda self: self.current is not None)
    @rule(user=USER_NUMBERS)
    def erase(self, user: int) -> None:
        """A user leaves every kept release and every file."""
        name = f"u{user}"
        keys = ErasedKeys(lambda other: other == name, frozenset([name]))
        erase_users(self.world.store.engine, keys)
        assert purge_free_pages(self.world.store.engine)
        erase_from_folder(self.folder / "files", keys)
        for release in self.model.values():
            release.users.discard(name)
        self.exported = [
            Served(entry.day, entry.tag, entry.users - {name}) for entry in self.exported
        ]
        self.files.look()

    @precondition(lambda self: self.current is not None)
    @rule(user=st.sampled_from(["ann", "new"]))
    def sign_up(self, user: str) -> None:
        """Attributes of a user; nobody gets a personal list by it."""
        add_sign_ups(self.world.store, [{"user_id": user, "gender": "F"}])

    @precondition(lambda self: self.current is not None)
    @rule()
    def export(self) -> None:
        """The served release becomes a file, which the service finds."""
        export_current(self.world.settings, self.folder / "files")
        self._expect_exported()
        self.files.look()

    def _expect_exported(self) -> None:
        served = self._expected()
        assert served is not None
        newest = self._newest_number()
        if not self.exported or newest != getattr(self, "_number", None):
            self.exported.append(served)
        self._number = newest

    @precondition(lambda self: self.current is not None)
    @rule(after=st.sampled_from(["write_release", "place_export"]), is_done=st.booleans())
    def export_crashes(self, after: str, is_done: bool) -> None:
        """The exporter dies before or after a step; a file is there whole or not at all."""
        before = self._newest_number()
        with self._dying(exporting, after, is_done):
            try:
                export_current(self.world.settings, self.folder / "files")
            except CrashError:
                pass
            else:
                # The newest file has these rows: nothing was to be placed.
                assert after == "place_export"
        if self._newest_number() != before:
            self._expect_exported()
        self.files.look()
        assert self.files.status.refused == 0

    @rule(day=DAYS, tag=TAGS, step=st.sampled_from(["_copy_and_verify", "_serve", "prune"]))
    def publish_crashes(self, day: int, tag: str, step: str) -> None:
        """The publisher dies before a step; the release before it stays until the pointer moves."""
        date = self._predict(day, tag)
        before = self._served(Lookup(self.world.settings))
        with self._dying(publishing, step, False):
            try:
                self.world.publish(date, keep=KEEP)
            except CrashError:
                pass
            else:
                # The release was there already: the step was not needed.
                assert step == "_copy_and_verify"
        ids = {release.release_id for release in releases(self.world.store)}
        if step == "prune" or (step == "_copy_and_verify" and self._is_stored(day, tag)):
            [release_id] = [i for i in ids if i not in self.model] or [self._id_of(day, tag)]
            self._expect_published(release_id, day, tag)
        else:
            assert self._served(Lookup(self.world.settings)) == before
            for release in releases(self.world.store):
                if release.release_id not in self.model:
                    users = {f"u{n}" for n in range(USERS)}
                    self.model[release.release_id] = ModelRelease(day, tag, users)
        self._forget_pruned()

    @rule(day=DAYS, tag=TAGS, other=DAYS, other_tag=TAGS)
    def publish_beside_another(self, day: int, tag: str, other: int, other_tag: str) -> None:
        """Another publisher serves its day after this one has read the pointer: compare-and-set."""
        assume(day != other)
        dates = self._predict(day, tag), self._predict(other, other_tag)
        original = publishing._serve

        def serve_after_another(*arguments: Any) -> Any:
            patch.undo()
            release = self.world.publish(dates[1], keep=KEEP)
            self._expect_published(release.release_id, other, other_tag)
            return original(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(publishing, "_serve", serve_after_another)
            try:
                release = self.world.publish(dates[0], keep=KEEP)
            except ReleaseError:
                # The other publisher has removed it, as the oldest of more than are kept.
                assert self.model[self.current or ""].day > day
            else:
                self._expect_published(release.release_id, day, tag)
        self._forget_pruned()

    def _is_stored(self, day: int, tag: str) -> bool:
        return any((r.day, r.tag) == (day, tag) for r in self.model.values())

    def _id_of(self, day: int, tag: str) -> str:
        [found] = [i for i, r in self.model.items() if (r.day, r.tag) == (day, tag)]
        return found

    def _dying(self, module: Any, name: str, is_done: bool) -> Any:
        patch = pytest.MonkeyPatch.context()
        original: Callable[..., Any] = getattr(module, name)

        class Dying:
            """Replaces a function while the block runs."""

            def __enter__(self) -> None:
                def die(*arguments: Any, **named: Any) -> Any:
                    if is_done:
                        original(*arguments, **named)
                    raise CrashError

                patch.__enter__().setattr(module, name, die)

            def __exit__(self, *error: object) -> None:
                patch.__exit__(None, None, None)

        return Dying()

    @rule()
    def restart_service(self) -> None:
        """A service that starts anew serves what the one before did."""
        self.files.close()
        self.files = ReleaseFiles(self.folder / "files", poll_seconds=None)

    # --- comparisons ----------------------------------------------------------------------------

    @invariant()
    def store_is_as_expected(self) -> None:
        assert self._served(Lookup(self.world.settings)) == self._expected()

    @invariant()
    def files_are_as_expected(self) -> None:
        expected = self.exported[-1] if self.exported else None
        assert self._served(Lookup(self.files), close=False) == expected

    @invariant()
    def kept_releases_are_bounded_and_whole(self) -> None:
        stored = releases(self.world.store)
        assert {release.release_id for release in stored} == {*self.model}
        assert len(list_manifests(self.folder / "files")) <= KEEP
        for path in list_manifests(self.folder / "files"):
            assert read_manifest(path).tables["recommendations"].rows % 4 == 0

    def _expected(self) -> Served | None:
        if self.current is None:
            return None
        release = self.model[self.current]
        return Served(release.day, release.tag, frozenset(release.users))

    def _forget_pruned(self) -> None:
        stored = {release.release_id for release in releases(self.world.store)}
        assert self.current is None or self.current in stored
        self.model = {i: release for i, release in self.model.items() if i in stored}

    def _newest_number(self) -> int:
        manifests = list_manifests(self.folder / "files")
        return read_manifest(manifests[0]).number if manifests else 0

    def _served(self, lookup: Lookup, close: bool = True) -> Served | None:
        """What lookups say, of every user, in one snapshot."""
        try:
            answers = lookup.in_one_snapshot(
                lambda one: [one.recommendations(f"u{n}") for n in range(USERS)]
            )
        except NoReleaseError:
            return None
        finally:
            if close:
                lookup.close()
        [day] = {(dt.date.fromisoformat(answer["as_of"]) - DAY).days for answer in answers}
        [tag] = {answer["model_version"][-1] for answer in answers}
        assert all(item["item_id"][0] == tag for answer in answers for item in answer["items"])
        personal = {a["user_id"] for a in answers if a["source"] == "personal"}
        return Served(day, tag, frozenset(personal))


ReleaseMachine.TestCase.settings = hypothesis_settings(
    max_examples=3, stateful_step_count=12, deadline=None, phases=[Phase.generate]
)
TestReleases = ReleaseMachine.TestCase
