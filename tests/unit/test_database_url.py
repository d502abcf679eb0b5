"""database_url: the connection URLs of known hosters, libpq's parameters and those of other drivers; what is wrong is named."""

from __future__ import annotations

from typing import Any

import pytest

from database_url import ENVIRONMENT, SSL_MODES, DatabaseUrl
from settings import BadSetting, Settings

PASSWORD = "sEcReT"

# As the hosters' consoles and manuals show them: (URL, addresses, user, database, sslmode, ignored parameters).
HOSTED = {
    "Neon": (
        f"postgresql://neondb_owner:{PASSWORD}@ep-cool-1.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=require",
        "ep-cool-1.eu-central-1.aws.neon.tech:5432",
        ("neondb_owner", "neondb", "require", ["channel_binding=require"]),
    ),
    "Neon, by an option": (
        f"postgres://u:{PASSWORD}@eu.aws.neon.tech/db?sslmode=require&options=endpoint%3Dep-cool-1&connect_timeout=15",
        "eu.aws.neon.tech:5432",
        ("u", "db", "require", []),
    ),
    "Supabase, direct": (
        f"postgresql://postgres:{PASSWORD}@db.abcdefgh.supabase.co:5432/postgres",
        "db.abcdefgh.supabase.co:5432",
        ("postgres", "postgres", "prefer", []),
    ),
    "Supabase, for Prisma": (
        f"postgres://postgres.abcdefgh:{PASSWORD}@aws-0-eu-west-1.pooler.supabase.com:6543/postgres"
        "?pgbouncer=true&connection_limit=1&schema=public",
        "aws-0-eu-west-1.pooler.supabase.com:6543",
        ("postgres.abcdefgh", "postgres", "prefer", ["pgbouncer=true", "connection_limit=1", "schema=public"]),
    ),
    "Supabase, by Vercel": (
        f"postgres://postgres.a:{PASSWORD}@aws-0-us-east-1.pooler.supabase.com:5432/postgres?sslmode=require&supa=base-pooler.x",
        "aws-0-us-east-1.pooler.supabase.com:5432",
        ("postgres.a", "postgres", "require", ["supa=base-pooler.x"]),
    ),
    "Heroku": (
        f"postgres://abcdef:{PASSWORD}@ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:5432/d1abc",
        "ec2-1-2-3-4.eu-west-1.compute.amazonaws.com:5432",
        ("abcdef", "d1abc", "prefer", []),
    ),
    "Heroku, for Node.js": (
        f"postgres://abcdef:{PASSWORD}@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d1abc?ssl=true&sslmode=no-verify",
        "ec2-1-2-3-4.compute-1.amazonaws.com:5432",
        ("abcdef", "d1abc", "no-verify", []),
    ),
    "RDS": (
        f"postgresql://shop:{PASSWORD}@shop.abc.eu-west-1.rds.amazonaws.com:5432/shop"
        "?sslmode=verify-full&sslrootcert=/etc/ssl/global-bundle.pem",
        "shop.abc.eu-west-1.rds.amazonaws.com:5432",
        ("shop", "shop", "verify-full", []),
    ),
    "Cloud SQL": (
        f"postgresql://shop:{PASSWORD}@/shop?host=/cloudsql/project:europe-west1:instance",
        "/cloudsql/project:europe-west1:instance",
        ("shop", "shop", "prefer", []),
    ),
    "Cloud SQL, for Prisma": (
        f"postgresql://shop:{PASSWORD}@localhost/shop?host=/cloudsql/project:europe-west1:instance",
        "/cloudsql/project:europe-west1:instance",
        ("shop", "shop", "prefer", []),
    ),
    "Cloud SQL, in the host": (
        f"postgresql://shop:{PASSWORD}@%2Fcloudsql%2Fproject%3Aeurope-west1%3Ainstance/shop",
        "/cloudsql/project:europe-west1:instance",
        ("shop", "shop", "prefer", []),
    ),
    "Azure": (
        f"postgresql://shop:{PASSWORD}@shop.postgres.database.azure.com:5432/postgres?sslmode=require",
        "shop.postgres.database.azure.com:5432",
        ("shop", "postgres", "require", []),
    ),
    "Azure, single server": (
        f"postgres://shop%40server:{PASSWORD}@server.postgres.database.azure.com/postgres?sslmode=require",
        "server.postgres.database.azure.com:5432",
        ("shop@server", "postgres", "require", []),
    ),
    "Aiven": (
        f"postgres://avnadmin:{PASSWORD}@pg-1-shop.aivencloud.com:12691/defaultdb?sslmode=require",
        "pg-1-shop.aivencloud.com:12691",
        ("avnadmin", "defaultdb", "require", []),
    ),
    "DigitalOcean": (
        f"postgresql://doadmin:{PASSWORD}@db-postgresql-fra1-1-do-user-1-0.b.db.ondigitalocean.com:25060/defaultdb?sslmode=require",
        "db-postgresql-fra1-1-do-user-1-0.b.db.ondigitalocean.com:25060",
        ("doadmin", "defaultdb", "require", []),
    ),
    "Render": (
        f"postgresql://shop:{PASSWORD}@dpg-abc-a/shop_x1y2",
        "dpg-abc-a:5432",
        ("shop", "shop_x1y2", "prefer", []),
    ),
    "Railway": (
        f"postgresql://postgres:{PASSWORD}@postgres.railway.internal:5432/railway",
        "postgres.railway.internal:5432",
        ("postgres", "railway", "prefer", []),
    ),
    "Fly": (
        f"postgres://shop:{PASSWORD}@shop-db.flycast:5432/shop?sslmode=disable",
        "shop-db.flycast:5432",
        ("shop", "shop", "disable", []),
    ),
    "Fly, by its address": (
        f"postgres://postgres:{PASSWORD}@[fdaa:0:1:a7b::2]:5433/postgres",
        "[fdaa:0:1:a7b::2]:5433",
        ("postgres", "postgres", "prefer", []),
    ),
    "CockroachDB": (
        f"postgresql://shop:{PASSWORD}@a.cockroachlabs.cloud:26257/defaultdb?sslmode=verify-full&options=--cluster%3Da-1",
        "a.cockroachlabs.cloud:26257",
        ("shop", "defaultdb", "verify-full", []),
    ),
    "PlanetScale": (
        f"postgresql://u.branch:{PASSWORD}@eu.pg.psdb.cloud:5432/postgres?sslmode=verify-full&sslrootcert=system",
        "eu.pg.psdb.cloud:5432",
        ("u.branch", "postgres", "verify-full", []),
    ),
}


@pytest.mark.parametrize("hoster", HOSTED)
def test_a_hosters_url_is_understood(hoster: str) -> None:
    text, address, expected = HOSTED[hoster]
    url = DatabaseUrl.parse(text)
    assert (url.address, url.password) == (address, PASSWORD)
    assert (url.user, url.database, url.parameters["sslmode"], list(url.ignored)) == expected
    assert Settings.from_environment({"DATABASE_URL": text}).database_url == text


@pytest.mark.parametrize(
    ("text", "password"),
    [
        ("postgres://u:p%40%2F%3a%25@h/d", "p@/:%"),
        ("postgres://u:a@b@h/d", "a@b"),
        ("postgres://u:a:b#c@h/d", "a:b#c"),
        ("postgres://u:[x]@h/d", "[x]"),
        ("postgres://u:%D0%B6@h/d", "ж"),
        ("postgres://u@h/d?password=a+b%26", "a+b&"),
        ("postgres://u:first@h/d?password=second", "second"),
        ("postgres://u@h/d", None),
        ("postgres://u:@h/d", None),
    ],
)
def test_a_password_is_decoded(text: str, password: str | None) -> None:
    assert DatabaseUrl.parse(text).password == password
    assert password is None or password not in repr(DatabaseUrl.parse(text))


@pytest.mark.parametrize(
    ("query", "mode"),
    [
        ("", "prefer"),
        *((f"sslmode={mode}", mode) for mode in SSL_MODES),
        ("ssl=true", "require"),
        ("ssl=1", "require"),
        ("ssl=False", "disable"),
        ("ssl=verify-full", "verify-full"),
        ("ssl=true&sslmode=verify-ca", "verify-ca"),
        ("sslrootcert=system", "verify-full"),
        ("sslmode=require&sslnegotiation=direct", "require"),
    ],
)
def test_sslmode_of_the_url(query: str, mode: str) -> None:
    assert DatabaseUrl.parse(f"postgres://h/d?{query}").parameters["sslmode"] == mode


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("", None),
        ("connect_timeout=0", None),
        ("connect_timeout=-1", None),
        ("connect_timeout=1", 2),
        ("connect_timeout=30", 30),
    ],
)
def test_connect_timeout_is_that_of_libpq(query: str, seconds: float | None) -> None:
    assert DatabaseUrl.parse(f"postgres://h/d?{query}").connect_timeout == seconds


IGNORED = [
    "keepalives=1",
    "keepalives_idle=30",
    "keepalives_interval=10",
    "keepalives_count=3",
    "tcp_user_timeout=5000",
    "client_encoding=UTF8",
    "channel_binding=require",
    "pgbouncer=true",
    "connection_limit=5",
    "pool_timeout=10",
    "schema=shop",
    "statement_cache_size=0",
    "prepareThreshold=0",
    "ApplicationName=shop",
    "pool_max_conns=5",
    "uselibpqcompat=true",
]


def test_a_parameter_without_effect_is_named() -> None:
    assert list(DatabaseUrl.parse("postgres://h/d?" + "&".join(IGNORED)).ignored) == sorted(
        IGNORED, key=lambda item: item == "channel_binding=require"
    )
    assert DatabaseUrl.parse("postgres://h/d?channel_binding=prefer&gssencmode=disable").ignored == ()


def test_psql_gets_no_parameter_that_it_rejects() -> None:
    kept = "sslmode=require&ssl=true&channel_binding=require&keepalives=1&options=-c%20geqo%3Doff"
    assert DatabaseUrl.for_psql(f"postgres://u:p@h/d?pgbouncer=true&{kept}&schema=x") == f"postgres://u:p@h/d?{kept}"
    assert DatabaseUrl.for_psql("postgres://u:p@h/d?connection_limit=1") == "postgres://u:p@h/d"
    assert DatabaseUrl.for_psql("postgres://u:p@h/d") == "postgres://u:p@h/d"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("sslmode=on", "expected sslmode=on to be one of disable, allow, prefer, "),
        ("ssl=maybe", "expected ssl=maybe to be one of true, "),
        ("sslmod=require", "sslmod is none"),
        ("statement_timeout=5000", "statement_timeout is none: for a setting of PostgreSQL write options=-c%20name%3Dvalue"),
        ("sslmode", "expected an address like .*name=value&name=value"),
        ("sslmode=require&sslrootcert=system", "sslmode=verify-full with sslrootcert=system, and not sslmode=require"),
        ("sslnegotiation=direct", "sslmode=require or stronger with sslnegotiation=direct, and not sslmode=prefer"),
        ("sslnegotiation=maybe", "expected sslnegotiation=maybe to be one of postgres, direct"),
        ("ssl_min_protocol_version=SSLv3", "expected ssl_min_protocol_version=SSLv3 to be one of TLSv1, "),
        ("connect_timeout=soon", "expected connect_timeout=soon to be a whole number of seconds"),
        ("channel_binding=maybe", "expected channel_binding=maybe to be one of disable, prefer, require"),
        ("gssencmode=require", "expected no gssencmode=require, which the driver does not have: use sslmode"),
        ("target_session_attrs=master", "expected target_session_attrs=master to be one of any, read-write, "),
        (
            "target_session_attrs=standby",
            "expected no target_session_attrs=standby: the server writes, and reads from the primary",
        ),
        ("port=1,2", "expected as many ports as hosts: there are 1 hosts and 2 ports"),
        ("port=x", "with a port from 1 to 65535"),
        ("options=%zz", "expected an address like .*, with each % of the password written as %25"),
        ("host=/" + "x" * 100, "expected the directory of a socket whose path has at most 107 bytes"),
    ],
)
def test_a_wrong_parameter_is_an_error_at_once(query: str, text: str) -> None:
    with pytest.raises(BadSetting, match=f"^DATABASE_URL is not usable: expected .*{text.removeprefix('expected ')}"):
        Settings.from_environment({"DATABASE_URL": f"postgresql://u:{PASSWORD}@h/d?{query}"})


@pytest.mark.parametrize(
    "url",
    [
        f"postgres://u:{PASSWORD}%@h/d",
        f"postgres://u:{PASSWORD}%2@h/d",
        f"postgres://u:{PASSWORD}%00@h/d",
        f"postgres://u:x?{PASSWORD}=y&z@h/d",
        f"postgres://u:1/{PASSWORD}@h/d",
        f"postgres://u:{PASSWORD}@a,,b/d",
        f"postgres://u@h/d?sslpassword={PASSWORD}&sslmode=x",
        f"jdbc:postgresql://h/d?password={PASSWORD}",
        f"host=h password={PASSWORD}",
    ],
)
def test_the_password_is_not_in_the_error(url: str) -> None:
    with pytest.raises(BadSetting, match=r"^DATABASE_URL is not usable: expected ") as raised:
        Settings.from_environment({"DATABASE_URL": url})
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "defaults", "expected"),
    [
        ("postgres:///", {"host": "h", "port": "7", "user": "u", "dbname": "d"}, ("h:7", "u", "d", "prefer")),
        (
            "postgres://v@g:8/e?sslmode=disable",
            {"host": "h", "port": "7", "user": "u", "dbname": "d"},
            ("g:8", "v", "e", "disable"),
        ),
        ("postgres://h/d", {"sslmode": "require", "port": "7"}, ("h:7", None, "d", "require")),
        ("postgres://h/d?host=g", {}, ("g:5432", None, "d", "prefer")),
        ("postgres://h/d?hostaddr=10.0.0.1", {}, ("h:5432", None, "d", "prefer")),
        ("postgres:///d?hostaddr=::1", {}, ("[::1]:5432", None, "d", "prefer")),
        ("postgres://a,b:6,[::1]/d?port=7", {}, ("a:7,b:6,[::1]:7", None, "d", "prefer")),
        ("postgres://a,b/d?port=7,8", {}, ("a:7,b:8", None, "d", "prefer")),
        ("postgres:///d", {}, (None, None, "d", "prefer")),
    ],
)
def test_what_the_url_leaves_out_comes_from_the_defaults(
    text: str, defaults: dict[str, str], expected: tuple[Any, ...]
) -> None:
    url = DatabaseUrl.parse(text, defaults)
    assert (url.address, url.user, url.database, url.parameters["sslmode"]) == expected


def test_every_variable_of_the_environment_is_understood() -> None:
    values = {
        "port": "1",
        "connect_timeout": "1",
        "target_session_attrs": "any",
        "sslmode": "require",
        "sslnegotiation": "direct",
    }
    values |= {"ssl_min_protocol_version": "TLSv1.3", "ssl_max_protocol_version": "TLSv1.3", "gsslib": "gssapi"}
    values |= {"gssencmode": "prefer"}
    for name in ENVIRONMENT.values():
        value = values.get(name, "x")
        extra = "&sslmode=require" if name == "sslnegotiation" else ""
        assert DatabaseUrl.parse(f"postgres://h/d?{name}={value}{extra}").parameters[name] == value
