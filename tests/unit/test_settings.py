"""settings: which values are accepted, and what is said of the others."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from push.protocol.access import Role
from settings import BadSetting, Settings, parse_duration
from tests.helpers.tokens import SECRET

PASSWORD = "sEcReT"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("HOST", ["/tmp/x", "a\tb", "..", "a" * 64]),
        (
            "BASE_PATH",
            [*("/api", "admin/x", "/client/", "/a b", "/a//b", "/../x", "/a/.", "/ä", "https://x", "/x?y"), *("/%41", "/a#b")],
        ),
        ("PORT", ["-1", "65536", "1.5", "0x50", "9" * 50]),
        ("HEARTBEAT_SECONDS", ["0", "-1", "inf", "1e3", "3601", "thirty"]),
        ("SEND_QUEUE_FRAMES", ["-1", "1.5", "1000001", "many"]),
        ("SEND_QUEUE_BYTES", ["0", "-1", "1.5MiB", "MiB", "1 TiB"]),
        ("LOG_LEVEL", ["10", "INFO,DEBUG"]),
        ("COMPRESSION", ["2", "maybe"]),
        ("CURRENCY", ["zł", "EURO"]),
        ("TIME_ZONE", ["Europe/Nowhere", "+02:00", "../etc/passwd", "/UTC", "Europe", "localtime", "Factory", "posix/UTC"]),
        ("JOURNAL_RETENTION", ["9s", "3651d", "72", "1w"]),
        ("NOTIFY_MODE", ["sometimes"]),
        ("NODE_ROLE", ["relay"]),
        ("BROKER_REPLICAS", ["0", "7", "all"]),
        ("TRUSTED_PROXIES", ["proxy.example", "10.0.0.1/33", "10.0.0.1 10.0.0.2"]),
        (
            "ALLOWED_ORIGINS",
            [
                *("shop.example", "https://shop.example/page", "https://shop.example:443", "http://shop.example:80", "null"),
                *(
                    "https://",
                    "http://_",
                    "capacitor:localhost",
                    "1app://x",
                    "app://a b",
                    "app://x/page",
                    "*",
                    "//shop.example",
                ),
            ],
        ),
        (
            "ALLOWED_HOSTS",
            ["https://shop.example", "shop.example:8000", "*.shop.example", "[::1]", "a..b", "shop example", "shop.example/x"],
        ),
        ("JWT_ROLE_MAP", ["admin", "shop-admin:owner", ":admin", "a:admin,a:viewer", "a:Admin"]),
        (
            "LOGIN_URL",
            [
                *(
                    "login",
                    "//evil.example/login",
                    "/\\\\evil.example",
                    "https://",
                    "https://x:0/",
                    "https://u@x/",
                    "https://x:y/",
                ),
                *(
                    "javascript:alert(1)",
                    "ftp://shop.example/",
                    "https://shop.example/#a",
                    "/a b",
                    '/a"b',
                    "https://shop.example/<b>",
                ),
            ],
        ),
        ("JWT_JWKS_URL", ["http://login.example/jwks", "https://", "https://login.example:0/jwks", "ftp://localhost/"]),
    ],
)
def test_a_value_that_is_not_usable_is_named(name: str, values: list[str]) -> None:
    for value in values:
        with pytest.raises(BadSetting, match=f"^{name}=") as raised:
            Settings.from_environment({name: value})
        assert f"{name}={value} is not usable: expected " in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{PASSWORD}@host:4222",
        f"nats://user:{PASSWORD}@host:port",
        f"nats://user:{PASSWORD}@host:0",
        f"nats://user:{PASSWORD}@one,tls://two",
        f"nats://user:{PASSWORD}@host/path",
        "nats://",
        "host:4222",
        ",",
    ],
)
def test_a_malformed_broker_url_is_rejected_without_repeating_it(url: str) -> None:
    with pytest.raises(BadSetting, match=r"^BROKER_URL is not usable: expected addresses like nats://") as raised:
        Settings.from_environment({"BROKER_URL": url})
    assert PASSWORD not in str(raised.value)


MALFORMED_URLS = [
    "nonsense",
    f"mysql://user:{PASSWORD}@host/shop",
    f"postgresql:/user:{PASSWORD}@host/shop",
    f"postgresql://user:{PASSWORD}@host:port/shop",
    f"postgresql://user:{PASSWORD}@host:0/shop",
    f"postgresql://user:{PASSWORD}@host:65536/shop",
    f"postgresql://user:{PASSWORD}@host:1,other:x/shop",
    f"postgresql://user:{PASSWORD}@[::1/shop",
    f"postgresql://user:{PASSWORD}@host..name/shop",
    f"postgresql://user:{PASSWORD}@{'a' * 64}/shop",
    f"postgresql://user:{PASSWORD}/with-a-slash@host/shop",
    f"postgresql:///shop?host=host&port=x&password={PASSWORD}",
]


@pytest.mark.parametrize("url", MALFORMED_URLS)
def test_a_malformed_database_url_is_rejected_without_repeating_it(url: str) -> None:
    with pytest.raises(BadSetting, match=r"^DATABASE_URL is not usable: expected an address like postgresql://") as raised:
        Settings.from_environment({"DATABASE_URL": url})
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///shop",
        "postgres://user@host/shop?sslmode=require",
        "postgresql://user:p%2Fw@[::1]:5433/shop",
        "postgresql://user@one:5432,two:5433/shop",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/shop",
        "postgresql:///shop?host=/tmp&port=5433",
    ],
)
def test_a_database_url_that_psql_accepts_is_accepted(url: str) -> None:
    assert Settings.from_environment({"DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("HOST", "[::1]", "::1"),
        ("HOST", "::", "::"),
        ("BASE_PATH", "/", ""),
        ("BASE_PATH", "orderwire", "/orderwire"),
        ("BASE_PATH", "/Shop/order-wire.v2_~/", "/Shop/order-wire.v2_~"),
        ("PORT", "0", 0),
        ("PORT", " 8080 ", 8080),
        ("PORT", "", 8000),
        ("HEARTBEAT_SECONDS", "0.05", 0.05),
        ("SEND_QUEUE_BYTES", "512KiB", 512 * 1024),
        ("SEND_QUEUE_BYTES", "1 mb", 1_000_000),
        ("COMPRESSION", "OFF", False),
        ("CURRENCY", "eur", "EUR"),
        ("TIME_ZONE", "utc", "UTC"),
        ("TIME_ZONE", "europe/warsaw", "Europe/Warsaw"),
        ("TIME_ZONE", "America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("JOURNAL_RETENTION", "90m", timedelta(minutes=90)),
        ("NOTIFY_MODE", "Always", "always"),
        ("BROKER_URL", "nats://one, nats://user:pw@two:4333,", ("nats://one:4222", "nats://user:pw@two:4333")),
        ("BROKER_URL", "tls://[::1]:4222", ("tls://[::1]:4222",)),
        ("TRUSTED_PROXIES", "10.0.0.1, fd00::/8,", (ip_network("10.0.0.1"), ip_network("fd00::/8"))),
        ("ALLOWED_ORIGINS", "https://A.example/, http://[::1]:3000", frozenset(["https://a.example", "http://[::1]:3000"])),
        (
            "ALLOWED_ORIGINS",
            "capacitor://localhost,ionic://localhost/,tauri://localhost,app://.,app://,moz-extension://0a-1b,http://localhost",
            frozenset(
                [
                    *("capacitor://localhost", "ionic://localhost", "tauri://localhost", "app://.", "app://"),
                    *("moz-extension://0a-1b", "http://localhost"),
                ]
            ),
        ),
        ("ALLOWED_HOSTS", "Shop.example., .internal,hub", frozenset(["shop.example", ".internal", "hub"])),
        ("ALLOWED_HOSTS", "*", frozenset(["*"])),
        ("JWT_JWKS_URL", "http://127.0.0.1/jwks", "http://127.0.0.1/jwks"),
        ("LOGIN_URL", "https://shop.example/login?from=orders", "https://shop.example/login?from=orders"),
        ("LOGIN_URL", "/login", "/login"),
        ("JWT_ROLE_CLAIM", "https://shop.example/roles", "https://shop.example/roles"),
        ("JWT_ROLE_MAP", "urn:x:staff:viewer, shop-admin : admin,", (("urn:x:staff", "viewer"), ("shop-admin", "admin"))),
    ],
)
def test_a_usable_value_is_parsed(name: str, text: str, value: Any) -> None:
    assert getattr(Settings.from_environment({name: text}), name.lower()) == value


def test_the_roles_of_the_map_are_those_of_grants() -> None:
    assert Settings.from_environment({"JWT_ROLE_MAP": ",".join(f"x-{role}:{role}" for role in Role)}).jwt_role_map == tuple(
        (f"x-{role}", role.value) for role in Role
    )


@pytest.mark.parametrize(("text", "seconds"), [("10s", 10), ("90M", 5400), ("12 h", 43_200), ("3650d", 315_360_000)])
def test_a_duration_has_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"JWT_SECRET": SECRET, "JWT_PUBLIC_KEY": "key.pem"}, "JWT_SECRET and JWT_PUBLIC_KEY are both set"),
        ({"JWT_PUBLIC_KEY": "key.pem", "JWT_JWKS_URL": "https://a.example/"}, "JWT_PUBLIC_KEY and JWT_JWKS_URL are both set"),
        ({"BROKER_CERT_FILE": "cert.pem"}, "BROKER_CERT_FILE and BROKER_KEY_FILE go together"),
        ({"NODE_ROLE": "edge", "DATABASE_URL": "postgresql:///shop"}, "NODE_ROLE=edge needs BROKER_URL"),
        ({"NODE_ROLE": "edge", "BROKER_URL": "nats://one"}, "NODE_ROLE=edge needs DATABASE_URL"),
        ({"TLS_CERT_FILE": "cert.pem"}, "TLS_CERT_FILE and TLS_KEY_FILE go together"),
        ({"TLS_KEY_FILE": "key.pem"}, "TLS_CERT_FILE and TLS_KEY_FILE go together"),
        (
            {"TLS_CERT_FILE": "c", "TLS_KEY_FILE": "k", "WEBSOCKET_IO": "io_uring"},
            "WEBSOCKET_IO=io_uring cannot be had with TLS",
        ),
    ],
)
def test_settings_that_exclude_each_other_are_rejected(environment: dict[str, str], message: str) -> None:
    with pytest.raises(BadSetting, match=message):
        Settings.from_environment(environment)


def test_a_short_secret_is_rejected_without_repeating_it() -> None:
    with pytest.raises(BadSetting, match=r"^JWT_SECRET is not usable: expected at least 32 bytes") as raised:
        Settings.from_environment({"JWT_SECRET": PASSWORD})
    assert PASSWORD not in str(raised.value)


def test_a_connection_is_kept_longer_than_load_balancers_keep_it() -> None:
    """Otherwise one may send a request while the server closes. A minute is the default of most."""
    settings = Settings.from_environment({})
    assert settings.keep_alive_seconds > 60
    assert 2 * settings.heartbeat_seconds <= 60


def test_a_key_makes_login_required() -> None:
    assert not Settings.from_environment({}).login_required
    for name, value in (("JWT_SECRET", SECRET), ("JWT_PUBLIC_KEY", "key.pem"), ("JWT_JWKS_URL", "https://a.example/")):
        assert Settings.from_environment({name: value}).login_required


def test_secrets_are_not_in_the_repr() -> None:
    settings = Settings.from_environment({"DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d", "JWT_SECRET": SECRET})
    assert PASSWORD not in repr(settings)
    assert SECRET not in repr(settings)


def test_the_description_has_one_line_for_each_setting() -> None:
    lines = Settings.describe().splitlines()
    assert [line.split()[0] for line in lines] == [item.name.upper() for item in fields(Settings)]
    assert all(line.endswith(")") and "(default: " in line for line in lines)
