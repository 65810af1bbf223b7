"""What a run has to do: days, weeks and trainings that are missing, damaged or out of date."""
