"""Requests in flight on a device that two backends share, while drains and the Prefect server are killed."""

from bench.pressure.in_flight import run

__all__ = ["run"]
