"""The explorer: pages of the HTTP service on which people see what is predicted, and why."""
