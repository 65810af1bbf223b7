"""Personal recommendations in two stages: generators propose candidates, a ranker orders them.

`data` holds interactions, histories and item features; `generators` the candidate generators, which
`candidate_generation` fits together; `features` and `ranker` the second stage, `two_stage` both,
and `training` trains them. `ranking_evaluation` measures on a hold-out, `recommender_selection`
chooses what serves; `business_rules` and `explanations` turn a ranking into a list with reasons.
`kernels` are compiled loops.
"""
