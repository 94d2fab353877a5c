"""The HTTP door: health, status, webhooks, uploads and reviews, on loopback. See interfaces/http/app.py."""

from interfaces.http.app import create_app

__all__ = ["create_app"]
