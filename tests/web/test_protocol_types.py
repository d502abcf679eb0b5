"""The types of the browser client are those of the schemas."""

from __future__ import annotations

import re

from push.protocol.schema import EVENTS, SCHEMAS, SERVER_MESSAGES
from tests.support import ROOT
from web.protocol_types import PATH, protocol_types

CLIENT = ROOT / "web" / "client" / "src" / "messages.ts"


def test_the_file_is_made_from_the_schemas() -> None:
    assert PATH.read_text(encoding="utf-8") == protocol_types(), "run make types"


def test_the_client_knows_every_type() -> None:
    """Those of ``parseMessage``, but for what only a client gets that conflates."""
    known = set(re.findall(r'"([a-z_]+)"', " ".join(re.findall(r"_TYPES = \[(.*?)\];", CLIENT.read_text(encoding="utf-8")))))
    described = {SCHEMAS[name]["properties"]["type"]["const"] for name in (*SERVER_MESSAGES.values(), *EVENTS.values())}
    assert known == described - {"bulk", "position"}
