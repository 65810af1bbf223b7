"""Training data of forecasters: the panel of series, the calendar and features."""
