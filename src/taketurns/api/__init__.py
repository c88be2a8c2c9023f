"""The HTTP API, as an application of its own or as routers for another one.

``taketurns.api.app.create_app`` makes the application, ``taketurns.api.mounting`` the routers; ``taketurns.api.auth``
needs no FastAPI.
"""
