"""What applications post to the HTTP service, as rows of raw tables: sign-ups and feedback."""
