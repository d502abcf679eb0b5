"""Count and log the rejections by the request guard, the connection limits and the WebSocket handshake."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict

from push.delivery.rate_limit import TokenBucket, TokenBucketRate
from push.metrics import Metrics

__all__ = ["RejectionNotices", "report_rejection"]

log = logging.getLogger("orderwire.rejections")

# Notices that are remembered, and new ones in a second, beyond a short burst. A client chooses what is in a notice.
MAX_NOTICES = 100
NOTICES_PER_SECOND = 1.0


def report_rejection(metrics: Metrics, reason: str, address: object, *, counted: bool = True) -> None:
    """Count a rejection and log it at DEBUG, by its reason alone: the message to the client may repeat what the client sent.

    ``reason``: the label of ``Metrics.rejections``. ``counted``: false for a rejection that the metric leaves out, such as a
    malformed handshake. ``address``: the client's, None if it is not known.
    """
    if counted:
        metrics.rejections.labels(reason).inc()
    if log.isEnabledFor(logging.DEBUG):  # a flood is rejected here
        log.debug("rejected", extra={"reason": reason, "address": str(address)})


class RejectionNotices:
    """Tells the operator of rejections that a setting could change, each once: a page tries to connect again and again."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(TokenBucketRate(NOTICES_PER_SECOND))
        self._announced: OrderedDict[str, None] = OrderedDict()

    def announce(self, message: str) -> None:
        """Log the message at INFO, unless it was logged before or there were too many."""
        if message in self._announced:
            self._announced.move_to_end(message)
        elif self._bucket.take(1, time.monotonic()):
            self._announced[message] = None
            if len(self._announced) > MAX_NOTICES:
                self._announced.popitem(last=False)
            log.info("%s", message)
