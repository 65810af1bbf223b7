"""The findings of `check-source`.

`check` checks a source, `table_checks` reads the rows of a table, `findings` measures them, `sums`
adds them up by month, `use_cases` says what each use case can do with them. `suggestions`,
`table_suggestions` and `order_lines` propose settings and ask what they assume; `repeated_rows` and
`tax_columns` ask about rows and amounts that may count twice. `check_report` renders all of it.
"""
