"""What has to be set before the client is published."""

from __future__ import annotations

from web.client_fields import missing_fields


def test_a_package_without_licence_and_repository_is_not_ready() -> None:
    assert len(missing_fields({"license": "UNLICENSED"})) == len(missing_fields({})) == 2
    assert missing_fields({"license": "MIT"}) == ["repository"]
    assert missing_fields({"license": "MIT", "repository": {"type": "git", "url": "git+https://shop.example/o.git"}}) == []
