"""db/attach/map_file.py: what a file may have, the message for each mistake, and that what is written is read again."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from db.attach.facts import Column, Index, Table
from db.attach.guess import Choice, Guess
from db.attach.map_file import UsageError, differences, format_map, load_map, parse_map


def test_a_file_is_the_map_with_the_table_that_it_is_for() -> None:
    file = parse_map(
        """
        table = "public.orders"
        key = ["tenant_id", "id"]
        total = "o.cents * 0.01"
        pending = ["new"]
        actor = true
        payload = "keys"
        [data]
        note = "o.note"
        """,
        "orders.toml",
    )
    assert file.table == "public.orders"
    assert file.stream is None
    assert file.map == {
        "key": ["tenant_id", "id"],
        "total": "o.cents * 0.01",
        "pending": ["new"],
        "actor": True,
        "payload": "keys",
        "data": {"note": "o.note"},
    }


def test_a_file_of_a_stream() -> None:
    file = parse_map('stream = "stock"\nkey = "id"\norder_key = "order_id"\ndata = ["sku"]', "stock.toml")
    assert (file.stream, file.map["order_key"]) == ("stock", "order_id")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key = ", "orders.toml: not TOML: Invalid value (at end of document)"),
        ("", 'orders.toml: "key" is missing: name the columns of the primary key, such as key = "id"'),
        ("key = 1", 'orders.toml: "key" is the number 1; it is a column or a list of columns: key = "id"'),
        (
            'key = [1, "a"]',
            'orders.toml: "key" is a list with something that is no text; it is a column or a list of columns: key = "id"',
        ),
        ('key = ""', 'orders.toml: "key" is empty: leave it out, or write key = "id"'),
        ('key = "id"\nstate = "state"', 'orders.toml: "state" is no member of a map: did you mean statuses?'),
        ('key = "id"\npending = "new"', 'orders.toml: "pending" is the text "new"; it is a list of texts: pending = ["new"]'),
        ('key = "id"\nactor = "yes"', 'orders.toml: "actor" is the text "yes"; it is true or false: actor = true'),
        ('key = "id"\ntotal = 5', 'orders.toml: "total" is the number 5; it is a text: total = "total"'),
        (
            'key = "id"\npayload = "none"',
            'orders.toml: "payload" is the text "none"; it is "full" or "keys": payload = "keys"',
        ),
        ('key = "id"\n[data]\na = 1', 'orders.toml: "data.a" is the number 1; it is an expression: a = "…"'),
        (
            'key = "id"\n[data]\na = "o.a"\npending = ["new"]',
            'orders.toml: "data.pending" is a list; it is an expression: pending = "…" (members of the map come before [data])',
        ),
        ('key = "id"\nwrite = true', 'orders.toml: "write" is true; it is a table: [write] with status = true'),
        (
            'key = "id"\n[write]',
            "orders.toml: [write] says nothing of the status: write status = true, or leave it out",
        ),
        (
            'key = "id"\n[write]\nstatus = "yes"',
            'orders.toml: "write.status" is the text "yes"; it is true or false: status = true',
        ),
        (
            'key = "id"\n[write]\nstatus = true\ntotal = "total"',
            'orders.toml: "write.total" is no member of a map: members of the map come before [write]; '
            "[write] has status and transitions",
        ),
        (
            'key = "id"\n[write]\nstatus = true\ntransitions = ["new"]',
            'orders.toml: "write.transitions" is a list; it is a table of lists of texts: pending = ["confirmed", "cancelled"]',
        ),
        (
            'key = "id"\n[write]\nstatus = true\n[write.transitions]',
            'orders.toml: "write.transitions" is empty: leave it out, or write pending = ["confirmed", "cancelled"]',
        ),
        (
            'key = "id"\n[write]\nstatus = true\n[write.transitions]\nnew = "sent"',
            'orders.toml: "write.transitions.new" is the text "sent"; it is a list of texts, the statuses that may follow',
        ),
        (
            'stream = "stock"\nkey = "id"\n[write]\nstatus = true',
            'orders.toml: "write" is for the table of orders; a stream has key, key_is_unique, where, joins, data, actor, '
            "publications, order_key",
        ),
        (
            'key = "id"\njoins = "left join a on true"',
            'orders.toml: "joins" is for customer_name and data alone, and the map has neither: remove it',
        ),
        ("table = 1", 'orders.toml: "table" is the number 1; it is a text: table = "…"'),
        (
            'stream = "Stock"',
            "orders.toml: a stream cannot be named 'Stock': take lower-case letters, digits and underscores, and none of "
            "orders, order, analytics",
        ),
        (
            'stream = "stock"\nkey = "id"\ntotal = "total"',
            'orders.toml: "total" is for the table of orders; a stream has key, key_is_unique, where, joins, data, actor, '
            "publications, order_key",
        ),
    ],
)
def test_each_mistake_is_one_line_that_says_what_to_write(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_map(text, "orders.toml")
    assert str(raised.value) == message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"missing\.toml: No such file or directory$"):
        load_map(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b"key = '\xe9'")
    with pytest.raises(UsageError, match=r"latin\.toml: the file is not UTF-8$"):
        load_map(tmp_path / "latin.toml")


def guess(**values: object) -> Guess:
    one = Guess(Table("public", "Order", [Column("id", "integer")], [Index(("id",), is_unique=True)]))
    one.choices = {name: Choice(value, f"why {name}\nis so") for name, value in values.items()}
    return one


@pytest.mark.parametrize(
    "value",
    ["total", """o."a" || 'it''s' """, 'o."userId"', "back\\slash", "zwei\nZeilen\t", "\x7f\x01", "Währung 😀", "'''", '"""'],
)
def test_what_is_written_is_read_again(value: str) -> None:
    one = guess(key="id", total=value, pending=[value] * 9, data=[value], key_is_unique=True)
    text = format_map(one)
    file = parse_map(text, "orders.toml")
    assert file.map == one.map
    assert file.table == 'public."Order"'


def test_each_line_says_why_and_what_is_missing_is_said() -> None:
    one = guess(key="id")
    one.choices["status"] = Choice("status", "a doubt", is_sure=False)
    one.notes.append("total: " + "no column has it " * 12)
    lines = format_map(one, "stock").splitlines()
    assert lines[:2] == ["table = 'public.\"Order\"'", 'stream = "stock"']
    assert lines[lines.index('key = "id"') - 1] == "# why key is so"
    assert lines[lines.index('status = "status"') - 1] == "# please check: a doubt"
    assert [line for line in lines if line.startswith("# total: no column")]
    assert all(len(line) <= 100 for line in lines)
    assert tomllib.loads("\n".join(lines))["key"] == "id"


def test_differences_of_a_file_and_the_database() -> None:
    assert differences({"key": ["id"], "pending": [], "payload": "full", "actor": False}, {"key": "id"}) == []
    assert differences({"key": "id", "status": "state"}, {"key": "id", "status": "status", "total": "total"}) == [
        'status: the file has "state", the database "status"',
        'total: the file has nothing, the database "total"',
    ]


@pytest.mark.parametrize(
    ("joins", "kind"),
    [
        ("left join a on a.id = o.a", None),
        ("LEFT OUTER JOIN a on a.id = o.a left join b on b.id = a.b", None),
        ("left join lateral (select c.x from c join d on d.id = c.d, e) as q on true", None),
        ('left join "join" on "join".text = \'a, join\'', None),
        ("join a on a.id = o.a", "join"),
        ("left join a on a.id = o.a inner join b on b.id = a.b", "inner join"),
        ("left join a on a.id = o.a join b on b.id = a.b", "join"),
        ("cross join a", "cross join"),
        ("right outer join a on true", "right join"),
        ("left join a on true, b", "a comma"),
    ],
)
def test_joins_are_left_joins(joins: str, kind: str | None) -> None:
    text = f'key = \'id\'\ncustomer_name = \'a.name\'\njoins = """{joins}"""'
    if kind is None:
        assert parse_map(text, "orders.toml").map["joins"] == joins
    else:
        with pytest.raises(UsageError, match=rf'^orders\.toml: "joins" has {kind} where it needs left join: '):
            parse_map(text, "orders.toml")


def test_changes_of_the_status_are_part_of_the_map() -> None:
    file = parse_map('key = "id"\n[write]\nstatus = true\n[write.transitions]\n"in work" = ["sent"]', "orders.toml")
    assert file.map["write"] == {"status": True, "transitions": {"in work": ["sent"]}}
    assert differences(file.map, {"key": "id"}) == [
        'write: the file has {"status" = true, "transitions" = {"in work" = ["sent"]}}, the database nothing'
    ]
    assert differences({"key": "id", "write": {"status": False}}, {"key": "id"}) == []
