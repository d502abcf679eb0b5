"""Puts the parts together: the application with its tasks, the processes that serve it, and how they share one reader of the
journal. Another aiohttp program imports ``create_app`` from here (docs/how-to/mount.md).
"""

from service.application import create_app

__all__ = ["create_app"]
