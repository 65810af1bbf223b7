"""The routes of FastAPI, one module per subject."""
