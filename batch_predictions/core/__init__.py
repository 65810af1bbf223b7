"""What all stages stand on: the home folder, locks, durable writes, hashes, redaction, stores."""
