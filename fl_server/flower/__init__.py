"""Flower on the server: the transport over its message API, its app, its command line and its servers."""
