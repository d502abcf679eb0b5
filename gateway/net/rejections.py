"""Count and log the rejections by the request guard, the connection limits and the WebSocket handshake."""

from __future__ import annotations

import logging

from push.metrics import Metrics

__all__ = ["report_rejection"]

log = logging.getLogger("orderwire.rejections")


def report_rejection(metrics: Metrics, reason: str, address: object, *, counted: bool = True) -> None:
    """Count a rejection and log it at DEBUG, by its reason alone: the message to the client may repeat what the client sent.

    ``reason``: the label of ``Metrics.rejections``. ``counted``: false for a rejection that the metric leaves out, such as a
    malformed handshake. ``address``: the client's, None if it is not known.
    """
    if counted:
        metrics.rejections.labels(reason).inc()
    if log.isEnabledFor(logging.DEBUG):  # a flood is rejected here
        log.debug("rejected", extra={"reason": reason, "address": str(address)})
