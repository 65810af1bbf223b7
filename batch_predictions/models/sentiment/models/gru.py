"""`gru`: a bidirectional GRU with the maximum over time (Cho et al. 2014)."""

from __future__ import annotations

from functools import partial

from batch_predictions.models.sentiment.models.net import NetArchitecture, net_spec
from batch_predictions.models.sentiment.models.recurrent import build_recurrent

GRU = NetArchitecture("gru", partial(build_recurrent, "GRU"))
gru = net_spec(GRU)
