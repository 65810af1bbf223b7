"""The findings of `check-source`.

`check` reads a sample, `findings` measures it, `use_cases` says
what each use case can do with it, `suggestions` and `table_suggestions` propose settings, `report`
renders all of it.
"""
