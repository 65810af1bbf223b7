"""`lstm`: a bidirectional LSTM with the maximum over time (Hochreiter and Schmidhuber 1997)."""

from __future__ import annotations

from functools import partial

from batch_predictions.models.sentiment.models.net import NetArchitecture, net_spec
from batch_predictions.models.sentiment.models.recurrent import build_recurrent

LSTM = NetArchitecture("lstm", partial(build_recurrent, "LSTM"))
lstm = net_spec(LSTM)
