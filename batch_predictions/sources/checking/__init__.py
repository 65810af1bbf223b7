"""The findings of `check-source`.

`check` reads the rows, `findings` measures them, `sums` adds them up by month, `use_cases` says
what each use case can do with them, `suggestions`, `table_suggestions` and `order_lines` propose
settings, `check_report` renders all of it.
"""
