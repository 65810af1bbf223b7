"""Personal recommendations in two stages: generators propose candidates, a ranker orders them.

`data` holds interactions, histories and item features; `generators` the candidate generators, which
`candidate_generation` fits together; `features` and `ranker` the second stage, which `training`
trains; `two_stage` is both stages. `evaluation` measures on a hold-out, `selection` chooses what
serves; `rules` and `explanations` turn a ranking into a list with reasons. `kernels` are compiled
loops.
"""
