"""A click stream with views, carts and purchases, and a planted purchase intent.

    python benchmarks/generate_click_stream.py FOLDER [--users 2000] [--items 800] [--days 70]

The one of `batch-predictions init --example clicks`, in any size: Parquet files as trackers write
them, FOLDER/events/dt=YYYY-MM-DD/part-0.parquet with user, product, event_name (page_view,
add_to_cart, purchase, and search, which has no product), price, and ts in nanoseconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from batch_predictions.sources.example_exports.click_stream import write_click_stream


def main() -> None:
    """Writes one click stream."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--items", type=int, default=800)
    parser.add_argument("--days", type=int, default=70)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    events = write_click_stream(args.folder, args.users, args.items, args.days, args.seed)
    print(f"{events.num_rows:,} events of {args.users:,} users in {args.folder}")


if __name__ == "__main__":
    main()
