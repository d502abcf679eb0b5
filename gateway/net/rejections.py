"""What is done with every connection, request and handshake that is rejected: it is counted and logged here."""

from __future__ import annotations

import logging

from push.metrics import Metrics

__all__ = ["report_rejection"]

log = logging.getLogger("orderwire.rejections")


def report_rejection(metrics: Metrics, label: str, address: object, *, counted: bool = True) -> None:
    """Count a rejection and log it at DEBUG, by its label alone: the message to the client may repeat what the client sent.

    ``label``: that of ``Metrics.rejections``. ``counted``: false for a rejection that the metric leaves out, such as a
    malformed handshake. ``address``: the client's, None if it is not known.
    """
    if counted:
        metrics.rejections.labels(label).inc()
    log.debug("rejected", extra={"label": label, "address": str(address)})
