"""Nights of `three_weeks.py` in which the source is at fault: what must be noticed of it."""

from __future__ import annotations

import json
from typing import Any

from weeks_night import Night
from weeks_shop import BUYERS, day_of

WRONG_DAYS = 28
GARBAGE = b"\x00\xff\xfegarbage{[" * 200


def calm(night: Night) -> None:
    """A day arrives, and is predicted."""
    night.world.shop.write_day(night.day)
    night.run()
    night.look()


def bad_day(night: Night) -> None:
    """Half of the rows are missing."""
    night.event = "bad day: half of the rows are missing"
    shop = night.world.shop
    shop.write_day(night.day, shop.purchases(night.day)[: BUYERS // 2])
    night.run()
    night.expect(night.look(), "unusual:raw.interactions")


def first_burst(night: Night) -> None:
    """The bad day comes again, whole; new users sign up."""
    night.event = "the bad day is delivered again; 30 new users"
    night.world.shop.write_day(day_of(night.number - 1))
    _burst(night, 30)
    summary = _deliver_and_recover(night)
    if str(day_of(night.number - 1)) not in summary["corrected"]:
        night.problems.append("the corrected day was not read again")


def _burst(night: Night, number: int) -> None:
    """New users, whom applications ask for from now on, before the run and after it."""
    new = [f"new{night.number}_{n}" for n in range(number)]
    night.world.new_users.extend(new)
    for application in night.world.applications:
        application.ask_for(night.world.new_users)
    night.world.shop.add_users(new)


def _deliver_and_recover(night: Night) -> dict[str, Any]:
    """The day arrives; the run also reads what has changed, and days that are stale are remade."""
    night.world.shop.write_day(night.day)
    summary = night.run()
    stale = sorted({day for days in summary.get("stale", {}).values() for day in days})
    if stale:
        night.recover("--from", stale[0], "--date", str(night.day))
    night.look()
    return summary


def late_day(night: Night) -> None:
    """The day does not arrive."""
    night.event = "the day does not arrive"
    night.run()
    night.expect(night.look(), "source_age")


def gap(night: Night) -> None:
    """The next day arrives, while the day before is missing."""
    night.event = "the next day arrives without it"
    night.world.shop.write_day(night.day)
    night.run()
    night.expect(night.look(), "missing:raw.interactions")


def late_arrival(night: Night) -> None:
    """The late day arrives with that of the night."""
    night.event = "the late day arrives, two days late"
    night.world.shop.write_day(day_of(night.number - 2))
    _deliver_and_recover(night)


def worse_model(night: Night) -> None:
    """An export with a wrong join: four weeks of purchases are written to other users.

    The rows of a trained week have changed, so that it is trained again: the gate refuses it.
    """
    night.event = "four weeks delivered again with a wrong join: a worse model"
    shop, before = night.world.shop, _versions(night)
    for number in range(night.number - WRONG_DAYS, night.number + 1):
        day = day_of(number)
        shop.write_day(day, shop.purchases(day, shuffled=True))
    summary = night.run()
    kept = {entry["model"]: entry for entry in summary["trained"] if entry["decision"] == "kept"}
    night.expect(night.look(), "refused_model:demographic")
    if "demographic" not in kept:
        night.problems.append(f"the worse model serves: {summary['trained']}")
    after = _versions(night)
    # The champion of the newest training may be replaced by that of the one before.
    promoted = night.world.promoted
    for name in kept:
        if after[name] not in promoted:
            night.problems.append(f"{after[name]} serves, which was not promoted")
    night.lines += [f"{name}: {before[name]}, then {after[name]}" for name in kept]


def _versions(night: Night) -> dict[str, str]:
    """Versions that serve, by model, as `status` names them."""
    status = night.world.home.execute("status", "--json", **night.world.variables())
    versions: dict[str, str] = json.loads(status.stdout)["models"]
    return versions


def corrected_weeks(night: Night) -> None:
    """The wrong weeks are delivered again, right: the models are trained again."""
    night.event = "the four weeks are delivered again, right"
    for number in range(night.number - 1 - WRONG_DAYS, night.number):
        night.world.shop.write_day(day_of(number))
    summary = _deliver_and_recover(night)
    trained = [(entry["model"], entry["decision"]) for entry in summary["trained"]]
    if ("demographic", "promoted") not in trained:
        night.problems.append("the demographic model was not trained again")


def garbage_rows(night: Night) -> None:
    """Rows that cannot be read, and absurd ones."""
    night.event = "garbage: unreadable times, no user, year 2999, amounts x 10,000"
    shop = night.world.shop
    rows = []
    for number, row in enumerate(shop.purchases(night.day)):
        user, item, time_, quantity, amount = row.split(",")
        if number < 20:
            time_ = "yesterday-ish"
        elif number < 30:
            user = ""
        elif number < 40:
            time_ = time_.replace("2024", "2999")
        elif number < 50:
            amount = str(float(amount) * 10_000)
        rows.append(",".join((user, item, time_, quantity, amount)))
    shop.write_day(night.day, rows)
    night.run()
    night.expect(night.look(), "unusual:raw.interactions")


def garbage_file(night: Night) -> None:
    """A file that is no text."""
    night.event = "garbage: a file of bytes that mean nothing"
    night.world.shop.write_day(night.day)
    night.world.shop.interactions(night.day).write_bytes(GARBAGE)
    night.unread_days.add(str(night.day))
    night.run(expect=1)
    night.expect(night.look(), "source")


def second_burst(night: Night) -> None:
    """The garbage is delivered again; new users sign up."""
    night.event = "both days are delivered again; 60 new users"
    for number in (night.number - 2, night.number - 1):
        night.world.shop.write_day(day_of(number))
    _burst(night, 60)
    _deliver_and_recover(night)
