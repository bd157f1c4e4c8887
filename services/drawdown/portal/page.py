"""The wallet page, in the query service until the portal has a process of its own."""

from __future__ import annotations

from fastapi import FastAPI


def add_pages(app: FastAPI) -> None:
    """Add the page to the query service's doors."""
