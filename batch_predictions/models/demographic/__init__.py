"""The fallback: recommendations for users without history, by age bracket, gender and location.

`demographic_segments` says who belongs together; counts (`demographic_model`) and `ridge` (fitted
by `ridge_fit`) are two ways to adjust popularity to a segment; `promotion_uplift` adjusts it to
the promotions of the coming week; `demographic_model` ranks.
`demographic_evaluation` measures on hidden users, `demographic_selection` chooses, `assets` trains.
"""
