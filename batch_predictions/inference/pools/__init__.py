"""Workers of the batch engine behind one protocol: threads, processes, Ray actors."""
