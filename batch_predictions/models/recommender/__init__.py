"""Personal recommendations in two stages: generators propose, a ranker decides, a contest judges.

`data`, `histories` and `facts` hold what users did and what is known of items; `generators` lists
the sources of candidates (`als`, `ease`, `neighbours`, `sequences`, `popularity`, `simple`),
`bundle` fits them; `pair_features` and `pair_traits` are the features of `pairs`, `trees` and
`two_stage` the ranking, `lessons` what it learns from; `evaluation` measures on days not seen,
`selection` picks the one that may serve, `tuning` looks for parameters; `rules` and `reasons` turn
a ranking into a list.
"""
