"""Values of /metrics of a running server."""

from __future__ import annotations

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.support import Server

__all__ = ["metric_sum"]


async def metric_sum(server: Server, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have at least these labels; 0 if there is none."""
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/metrics") as response:
        text = await response.text()
        assert response.status == 200, text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
