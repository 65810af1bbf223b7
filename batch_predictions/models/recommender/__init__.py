"""Personal recommendations: one contract (`base`), three families, one fair contest (`selection`).

`data` holds what users did, `als`, `ease` and `popularity` learn from it, `evaluation` measures
them on days they have not seen, `selection` picks the one that may serve.
"""
