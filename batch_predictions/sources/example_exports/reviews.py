"""Reviews of apps in two stores: JSON Lines and CSV, a third of them German."""

from __future__ import annotations

import datetime as dt
import json
import random
from pathlib import Path

from batch_predictions.sources.example_exports.example_files import FIRST_DAY, write_csv

_ENGLISH = (
    ("awful", "broken", "useless", "a waste of money"),
    ("ok", "average", "nothing special"),
    ("great", "lovely", "perfect", "so easy to use"),
)
_GERMAN = (
    ("furchtbar", "kaputt", "nutzlos", "leider schlecht"),
    ("ganz ok", "mittelmäßig", "nichts besonderes"),
    ("super", "wunderbar", "perfekt", "sehr einfach zu bedienen"),
)


def write_review_export(folder: Path, seed: int = 5, reviews: int = 1200) -> None:
    """Reviews of apps in two stores: JSON Lines with nested users, and CSV with month names.

    A third is German. Some have emoji, HTML, or no text.
    """
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    play, apple = [], [["id", "app", "author", "date", "stars", "title", "review"]]
    for number in range(reviews):
        german = number % 3 == 0
        stars = rng.choice((1, 2, 3, 4, 5, 5))
        words = (_GERMAN if german else _ENGLISH)[0 if stars < 3 else 1 if stars == 3 else 2]
        day = FIRST_DAY + dt.timedelta(days=number * 69 // reviews)
        text = (
            f"das ist ein {rng.choice(words)} programm und ich habe es auf dem telefon {number}"
            if german
            else f"this is {rng.choice(words)} and i have it on the phone {number}"
        )
        kind = number % 20
        if kind == 1:
            text = f"<p>{text} &amp; more</p><br/>"
        elif kind == 2:
            text += " \U0001f600\U0001f44d"
        elif kind == 3:
            text = ""
        app = f"app-{number % 4}"
        if number % 2:
            moment = dt.datetime.combine(day, dt.time(12), dt.UTC)
            play.append(
                {
                    "review_id": f"p{number}",
                    "app": app,
                    "user": {"id": f"u{number % 97}", "locale": "de" if german else "en"},
                    "at": int(moment.timestamp() * 1000),
                    "score": stars,
                    "content": text,
                }
            )
        else:
            date = f"{day:%b} {day.day}, {day.year}"
            apple.append([f"a{number}", app, f"user {number % 89}", date, str(stars), "", text])
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in play)
    (folder / "playstore.jsonl").write_text(lines + "\n", encoding="utf-8")
    write_csv(folder / "appstore.csv", apple)
