"""The HTTP service: predictions of the current release for applications in any language.

`server/http_app.py` puts it together. A request passes `request_gate.py` (keys, limits, metrics),
then `server/list_route.py` for recommendations of one user, or FastAPI with one module of `routes/`
per subject. All of them read through `service.py`, which knows the current release.
"""
