"""What is done with every connection, request and handshake that is rejected: it is counted and logged here."""

from __future__ import annotations

import logging

from push.metrics import Metrics

__all__ = ["report_rejection"]

log = logging.getLogger("orderwire.rejections")


def report_rejection(metrics: Metrics, label: str | None, message: str, address: object) -> None:
    """Count a rejection and log it at DEBUG.

    ``label``: that of ``Metrics.rejections``; None for a rejection that the metric does not count, such as a malformed
    handshake. ``message``: what the client is told; it may repeat what the client sent, hence the escaping. ``address``: the
    client's, None if it is not known.
    """
    if label is not None:
        metrics.rejections.labels(label).inc()
    log.debug("rejected: %r", message, extra={"label": label, "address": str(address)})
