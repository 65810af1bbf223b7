"""Feature tables: the state of users, items and demand at the end of each day, by SQL.

Every query filters by `date <= $date`, so that a partition never sees what happened after it. A
table is a `FeatureTable`, its query the file `sql/<table>.sql`.
"""
