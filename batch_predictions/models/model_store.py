"""The model store: trained models on disk, and the decisions about which version serves a day.

A model is a folder of files in open formats (`<home>/models/<model>/versions/<version>/`) with a
manifest of hashes. Its version is a hash of its content: training again on the same rows gives the
same version. A decision (`decisions/<day>.<kind>.json`) names the version that serves from a day
on: a training decides from its last day on, a roll-back from its own day on. The champion of a day
is the version of the newest decision by that day, so that a backfill of March uses March's models.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import BaseModel, ConfigDict

from batch_predictions.core.durability import (
    atomic_write,
    fsync_ancestors,
    fsync_tree,
    rename_if_absent,
    write_and_fsync,
)
from batch_predictions.core.file_hashes import hash_file, hash_files
from batch_predictions.core.home_bucket import bucket_of, fetch
from batch_predictions.core.relative_paths import FileName, RelativePath
from batch_predictions.settings import Settings

Content = TypeVar("Content", bound=BaseModel)
Verdict = Literal["promoted", "baseline", "kept", "rolled_back"]


class ModelError(RuntimeError):
    """A model is missing, too old or corrupt; the message says what to do."""


class ModelManifest(BaseModel):
    """The manifest of a stored model: what it was trained on, and the hashes of its files.

    Attributes:
        model: recommender, demographic, churn, sentiment or demand.
        version: the model, the last day of its training rows and a hash of its content.
        trained_through: last day of its training rows.
        candidate: name of the candidate, such as als.
        parameters: hyper-parameters of the training.
        data_version: hash of the training rows.
        files: SHA-256 of its files by their path.
        checksum: of the other values; empty in manifests of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: FileName
    version: FileName
    trained_through: dt.date
    candidate: str
    parameters: dict[str, Any]
    data_version: str
    files: dict[RelativePath, str]
    checksum: str = ""

    def compute_checksum(self) -> str:
        """The SHA-256 of the manifest's other values, as they are read back from JSON."""
        written = ModelManifest.model_validate_json(self.model_dump_json())
        text = written.model_dump_json(exclude={"checksum"})
        return hashlib.sha256(text.encode()).hexdigest()


class Decision(BaseModel):
    """A decision on the version of a model that serves from a day on, with the reason.

    Attributes:
        model: name of the model.
        version: the version that serves.
        effective_from: first day on which it does.
        decision: promoted, baseline, kept or rolled_back.
        why: the reason in a sentence.
        data_version: hash of the rows of the training; empty: of a roll-back.
        code: hash of the training's code; empty: of an earlier version of the platform.
        settings: the settings that the training read, as JSON values.
    """

    model_config = ConfigDict(frozen=True)

    model: FileName
    version: FileName
    effective_from: dt.date
    decision: Verdict
    why: str
    data_version: str = ""
    code: str = ""
    settings: dict[str, Any] = {}


class ModelStore(dg.ConfigurableResource[Any]):
    """Saves, loads, promotes and rolls back the models of one home folder."""

    home: str

    @classmethod
    def of(cls, settings: Settings) -> ModelStore:
        """The model store of a home folder."""
        return cls(home=str(settings.home.absolute()))

    def save(
        self,
        model: str,
        trained_through: dt.date,
        write: Callable[[Path], None],
        *,
        candidate: str,
        parameters: Mapping[str, object],
        data_version: str,
    ) -> ModelManifest:
        """Stores a model atomically; an equal one that is stored already stays.

        Args:
            model: recommender, demographic, churn, sentiment or demand.
            trained_through: last day of its training rows.
            write: writes the model's files into the given folder.
            candidate: name of the candidate, such as als.
            parameters: hyper-parameters of the training (JSON).
            data_version: hash of the training rows.
        """
        draft = self.model_folder(model) / f".draft-{os.getpid()}-{uuid.uuid4().hex}"
        draft.mkdir(parents=True)
        try:
            write(draft)
            files = hash_files(draft)
            content = json.dumps([candidate, dict(parameters), files], sort_keys=True)
            digest = hashlib.sha256(content.encode()).hexdigest()[:8]
            manifest = ModelManifest(
                model=model,
                version=f"{model}-{trained_through}-{digest}",
                trained_through=trained_through,
                candidate=candidate,
                parameters=dict(parameters),
                data_version=data_version,
                files=files,
            )
            manifest = manifest.model_copy(update={"checksum": manifest.compute_checksum()})
            target = self.model_folder(model) / "versions" / manifest.version
            if not target.exists():
                write_and_fsync(draft / "manifest.json", manifest.model_dump_json(indent=2))
                fsync_tree(draft)
                target.parent.mkdir(parents=True, exist_ok=True)
                rename_if_absent(draft, target)
                fsync_ancestors(target.parent, Path(self.home))
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return manifest

    def manifest(self, model: str, version: str) -> ModelManifest:
        """A stored model's manifest.

        Raises:
            ModelError: there is no such version, or its manifest cannot be read.
        """
        path = self.folder(model, version) / "manifest.json"
        if not path.exists():
            stored = ", ".join(self.versions(model)) or "none"
            raise ModelError(f"{model} has no version {version} (stored: {stored})")
        return _read_json(
            path,
            ModelManifest,
            f"`batch-predictions run` moves {version} aside and trains it again",
        )

    def folder(self, model: str, version: str) -> Path:
        """The folder of a version's files."""
        return self.model_folder(model) / "versions" / version

    def verified_folder(self, model: str, version: str) -> Path:
        """The folder of a version's files, whose hashes are verified.

        Raises:
            ModelError: there is no such version, or a file is missing or has changed.
        """
        self.manifest(model, version)
        fetch(self.folder(model, version))
        damaged = self.damaged_file(model, version)
        if damaged is not None:
            raise ModelError(
                f"{damaged} is missing or has changed: `batch-predictions run` moves {version} "
                "aside and trains it again"
            )
        return self.folder(model, version)

    def damaged_file(self, model: str, version: str) -> Path | None:
        """The first file of a version that is missing, unreadable or changed; None: intact."""
        folder = self.folder(model, version)
        try:
            manifest = self.manifest(model, version)
        except (ModelError, OSError, ValueError):
            return folder / "manifest.json"
        is_own = (manifest.model, manifest.version) == (model, version)
        if not is_own or manifest.checksum not in ("", manifest.compute_checksum()):
            return folder / "manifest.json"
        paths = {folder / name: digest for name, digest in manifest.files.items()}
        if bucket_of(Path(self.home)) is not None:
            # What a bucket has is verified when it is downloaded.
            paths = {path: digest for path, digest in paths.items() if path.exists()}
        return next((path for path, digest in paths.items() if not _has_hash(path, digest)), None)

    def is_intact(self, model: str, version: str) -> bool:
        """Returns whether a version is stored and its files have their hashes."""
        return self.damaged_file(model, version) is None

    def version_of(self, model: str, day: dt.date) -> str | None:
        """The version of the newest decision by a day; None if there is none."""
        decisions = self.decisions_by(model, day)
        return decisions[-1].version if decisions else None

    def versions(self, model: str) -> list[str]:
        """Stored versions, oldest training first."""
        folder = self.model_folder(model) / "versions"
        return sorted(path.parent.name for path in folder.glob("*/manifest.json"))

    def models(self) -> list[str]:
        """Models that have a stored version or a decision."""
        root = Path(self.home) / "models"
        return sorted(path.name for path in root.iterdir()) if root.is_dir() else []

    # --- champions ------------------------------------------------------------------------------

    def decide(self, decision: Decision) -> None:
        """Writes a decision; it replaces that of an earlier run of the same training."""
        self.manifest(decision.model, decision.version)
        kind = "rollback" if decision.decision == "rolled_back" else "training"
        folder = self.model_folder(decision.model) / "decisions"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{decision.effective_from}.{kind}.json"
        atomic_write(path, decision.model_dump_json(indent=2))
        fsync_ancestors(folder, Path(self.home))

    def decisions(self, model: str) -> list[Decision]:
        """All decisions in the order in which they take effect.

        A roll-back comes after the training of its day.
        """
        return list(self.decisions_by_file(model).values())

    def decisions_by_file(self, model: str) -> dict[Path, Decision]:
        """All decisions by the path of their files, in the order in which they take effect."""
        folder = self.model_folder(model) / "decisions"
        # By name alone, "….rollback.json" would come before "….training.json".
        paths = sorted(
            folder.glob("*.json"), key=lambda p: (p.name[:10], p.name.endswith("rollback.json"))
        )
        return {path: _read_decision(path) for path in paths}

    def unreadable_decisions(self, model: str) -> list[tuple[Path, str]]:
        """The files of decisions that cannot be read, and why."""
        unreadable = []
        for path in sorted((self.model_folder(model) / "decisions").glob("*.json")):
            try:
                _read_decision(path)
            except ModelError as error:
                unreadable.append((path, str(error.__cause__).splitlines()[0]))
        return unreadable

    def version_folders(self, model: str) -> list[str]:
        """Names of the folders of versions, complete or not."""
        folder = self.model_folder(model) / "versions"
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def training(self, model: str, trained_through: dt.date) -> Decision | None:
        """The decision of one training; None if that week was not trained."""
        path = self.model_folder(model) / "decisions" / f"{trained_through}.training.json"
        if not path.exists():
            return None
        return _read_decision(path)

    def newest_training(self, model: str, before: dt.date) -> dt.date | None:
        """The last day of the newest training that had ended before a day; None: there is none."""
        trained = [
            decision.effective_from
            for decision in self.decisions(model)
            if decision.decision != "rolled_back" and decision.effective_from < before
        ]
        return max(trained, default=None)

    def champion(self, model: str, day: dt.date, max_age_days: int, week: dt.date) -> ModelManifest:
        """The model that serves a day: the version of the newest decision by that day.

        Args:
            day: as of the end of this day.
            max_age_days: how old the newest training may be.
            week: the weekly partition to materialize, for the message.

        Raises:
            ModelError: there is no decision by that day, or the newest training is too old.
        """
        decisions = self.decisions_by(model, day)
        if not decisions:
            raise ModelError(
                f"there is no training of {model} for {day}: materialize models/{model} for the "
                f"week {week}, or use `batch-predictions run --date {day}`"
            )
        # A roll-back does not count as a training.
        trainings = [d for d in decisions if d.decision != "rolled_back"] or decisions
        trained = trainings[-1].effective_from
        if (day - trained).days > max_age_days:
            raise ModelError(
                f"the newest training of {model} for {day} is of {trained}, older than "
                f"recommender.max_age_days = {max_age_days}: materialize models/{model} for the "
                f"week {week}"
            )
        return self.manifest(model, decisions[-1].version)

    def roll_back(self, model: str, day: dt.date, to: str | None, why: str) -> Decision:
        """Makes an older version serve from a day on, until the next training decides.

        Args:
            model: recommender, demographic, churn, sentiment or demand.
            day: first day that the version serves.
            to: the version; None: the one that served before the current one.
            why: the reason, for the log of decisions.

        Raises:
            ModelError: there is no such version, or no earlier one.
        """
        if to is None:
            versions = [decision.version for decision in self.decisions_by(model, day)]
            earlier = [version for version in versions if version != versions[-1]]
            if not earlier:
                current = versions[-1] if versions else None
                raise ModelError(f"{model} has no champion before {current} as of {day}")
            to = earlier[-1]
        decision = Decision(
            model=model, version=to, effective_from=day, decision="rolled_back", why=why
        )
        self.decide(decision)
        return decision

    def decisions_by(self, model: str, day: dt.date) -> list[Decision]:
        """Reads the decisions about a model that are effective by a day, oldest first."""
        return [d for d in self.decisions(model) if d.effective_from <= day]

    def model_folder(self, model: str) -> Path:
        """The folder of all versions and decisions of a model."""
        return Path(self.home) / "models" / model


def _read_decision(path: Path) -> Decision:
    remedy = (
        "`batch-predictions doctor --repair` moves it aside, and the next run trains the week again"
    )
    return _read_json(path, Decision, remedy)


def _read_json(path: Path, kind: type[Content], remedy: str) -> Content:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} cannot be read: {remedy}") from error


def _has_hash(path: Path, digest: str) -> bool:
    try:
        return hash_file(path) == digest
    except OSError:
        return False
