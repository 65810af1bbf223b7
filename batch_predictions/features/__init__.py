"""What was known at the end of each day: SQL over the raw tables, point-in-time correct.

Every query filters by `date <= $date`, so a partition never sees what happened after it. One file
per table, of the table's name.
"""
