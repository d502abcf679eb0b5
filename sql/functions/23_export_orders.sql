-- Exports, and what an upgrade has to make up for.

-- The query of an export: all orders that are asked for, newest first, of one customer where `subject` or `keys` is not null.
-- Null where no table is attached.
create or replace function orderwire.export_query(
    statuses text[],
    from_at timestamptz,
    to_at timestamptz,
    search text,
    subject text,
    keys text[]
) returns text
language plpgsql stable
as $$
declare
    columns constant text := 'm.key, m.number, orderwire.rfc3339(m.created_at) as created_at, m.customer_name, m.customer_id, '
        'm.total::text as total, m.currency, m.status, '
        '(select jsonb_object_agg(d.key, d.value)::text from jsonb_each_text(m.data) as d) as data';
begin
    return case
        when to_regproc('orderwire.order_rows') is null then null
        when subject is null and keys is null
            then orderwire.orders_query(columns, statuses, from_at, to_at, search, null, null, null)
        else format(
            'select %s from ('
            'select c.key, row_number() over () as n from orderwire.list_customer_orders(%L, %L, 2147483647, null, null) as c'
            ') as l, lateral orderwire.orders_by_key(array[l.key]) as m where %s order by l.n',
            columns, subject, coalesce(keys, '{}'), orderwire.order_condition(statuses, from_at, to_at, search)
        )
    end;
end
$$;

-- A table that was attached by an older version of these files has other functions to read it.
do $$
declare
    t orderwire.attached_tables;
begin
    select a.* into t from orderwire.attached_tables as a where a.name = 'orders';
    if t.name is not null and to_regproc('orderwire.order_rows') is null then
        perform orderwire.drop_reads();
        perform orderwire.create_generated(
            t.name,
            orderwire.read_statements(t.relation, t.map, (select i.integer_keys from orderwire.journal_identity as i))
        );
        perform orderwire.replace_write(t.relation, t.map); -- what writes an order finds it by what reads it
    end if;
exception when others then -- a column of the map was renamed
    raise warning 'lists of orders need that the table is attached again: %', sqlerrm;
end
$$;
