"""Serving: the champion answers people over HTTP, and what it said is kept."""
