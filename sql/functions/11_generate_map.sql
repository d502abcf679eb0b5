-- The files from here to 13_generate_reads.sql generate the functions, triggers and the view of an attached table: here its map, as
-- functions on a row. Only what is generated names the shop's objects, and only in
-- bodies that PostgreSQL stores parsed: RENAME follows by itself, and DROP COLUMN and ALTER TYPE of a used column are refused.
-- The bodies of PL/pgSQL functions are text, so they name nothing but functions of this schema.

-- The condition that a status is in a list. A comparison with one value takes half as long as one with an array.
create or replace function orderwire.list_condition(list text[]) returns text
language sql immutable
as $$ select case when cardinality($1) = 1 then format('status = %L', $1[1]) else format('status = any(%L::text[])', $1) end $$;

-- The fields of a map and their types, in the order of orderwire.mapped_order, or of orderwire.mapped_row for a stream.
create or replace function orderwire.map_fields(name text) returns table (field text, type text)
language sql immutable
as $$
    select f.field, f.type
    from unnest(
        case
            when $1 <> 'orders' then '{key,order_key,data}'
            else '{key,number,customer_name,customer_id,total,currency,status,created_at,data}'
        end::text[],
        case
            when $1 <> 'orders' then '{text,text,jsonb}'
            else '{text,text,text,text,numeric,text,text,timestamptz,jsonb}'
        end::text[]
    ) with ordinality as f (field, type, n)
    order by f.n
$$;

-- Statements that create the map of a table as a function on its row: `map_<name>(o)` returns no row or one.
create or replace function orderwire.map_statements(name text, relation regclass, map jsonb) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    is_stream constant boolean := name <> 'orders';
    row_type  constant text := case when is_stream then 'mapped_row' else 'mapped_order' end;
    can_raise constant boolean := orderwire.map_can_raise(relation, map);
    condition constant text := coalesce(orderwire.field_sql(relation, map, 'where'), 'true');
    columns   text := '';
    handlers  text := '';
    counts    text := '';
    made      text[] := '{}';
    field     text;
    type      text;
    body      text;
begin
    for field, type in select f.field, f.type from orderwire.map_fields(name) as f loop
        body := coalesce(orderwire.field_sql(relation, map, field), 'null::' || type);
        columns := columns || case when columns = '' then '' else ', ' end || format('%s as %I', body, field);
        if can_raise and body not like 'null::%' then
            made := made || format(
                'create function orderwire.%I(o %s) returns %s language sql stable return %s',
                'map_' || name || '_' || field, relation, type, body
            );
            handlers := handlers || format(
                E'    begin\n        m.%I := orderwire.%I(o);\n    exception when others or assert_failure then %s\n    end;\n',
                field, 'map_' || name || '_' || field, case when field = 'key' then 'return;' else 'null;' end
            );
        end if;
    end loop;
    if not is_stream then
        made := made || array[
            format(
                'create or replace function orderwire.is_pending(status text) returns boolean language sql immutable parallel safe '
                'return coalesce(%s, false)',
                orderwire.list_condition(orderwire.map_list(map, 'pending'))
            ),
            format(
                'create or replace function orderwire.is_counted(status text) returns boolean language sql immutable parallel safe '
                'return coalesce(not %s, true)',
                orderwire.list_condition(orderwire.map_list(map, 'cancelled'))
            )
        ];
        counts := ', orderwire.is_pending(f.status), orderwire.is_counted(f.status)';
        handlers := handlers || E'    m.is_pending := orderwire.is_pending(m.status);\n'
            '    m.is_counted := orderwire.is_counted(m.status);\n';
    end if;

    made := made || format(
        'create function orderwire.%I(o %s) returns setof orderwire.%s language sql stable begin atomic '
        'select %s%s from (select %s) as f where %s and %s; end',
        'map_' || name || case when can_raise then '_exact' else '' end, relation, row_type,
        (select string_agg(format('f.%I', m.field), ', ') from orderwire.map_fields(name) as m), counts, columns, condition,
        -- Not null by declaration when it was attached. Of the column and not of the text that is made of it, for a quick count.
        (select string_agg(format('o.%I is not null', k), ' and ') from unnest(orderwire.key_columns(map)) as k)
    );
    if can_raise then
        made := made || format(
            'create function orderwire.%I(o %s) returns boolean language sql stable return %s',
            'map_' || name || '_where', relation, condition
        );
        made := made || format(
            $f$create function orderwire.%I(o %s) returns setof orderwire.%s language plpgsql stable as $map$
declare
    m orderwire.%s;
begin
    begin
        return query select e.* from orderwire.%I(o) as e;
        return;
    exception when others or assert_failure then null;
    end;
    -- An expression raises for this row: each on its own, null where it fails.
    begin
        if orderwire.%I(o) is not true then
            return;
        end if;
    exception when others or assert_failure then return;
    end;
%s    return next m;
end $map$
$f$,
            'map_' || name, relation, row_type, row_type, 'map_' || name || '_exact', 'map_' || name || '_where', handlers
        );
    end if;
    return made;
end
$$;

-- Statements that create `map_totals(o)`: the same for what totals are made of alone. It has no joins, so a count of a large table
-- does not look up a name for each row, and it is inlined wherever these columns cannot raise. And `map_orders_series(o)`, which also
-- has the time of creation: by itself, since the expression of a time may raise where those of the totals cannot.
create or replace function orderwire.totals_map_statements(relation regclass, map jsonb) returns text[]
language sql stable
as $$
    select array_agg(replace(s.statement, 'orderwire.map_orders', f.function) order by f.function, s.number)
    from (
        values
        ('orderwire.map_totals', '{number,customer_name,customer_id,created_at,joins,data}'::text[]),
        ('orderwire.map_orders_series', '{number,customer_name,customer_id,joins,data}'::text[])
    ) as f (function, left_out)
    cross join lateral unnest(orderwire.map_statements('orders', $1, $2 - f.left_out)) with ordinality as s (statement, number)
$$;

-- Statements that create what triggers need of the table itself: `parent_<name>` and `row_of_<name>` for those of child tables,
-- and `own_<name>`, the rows that a TRUNCATE removes. ONLY, since it fires the triggers of each child table too.
create or replace function orderwire.table_statements(name text, relation regclass) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array[
        format('create function orderwire.%I() returns regclass language sql immutable return %L::regclass', 'parent_' || $1, $2),
        format(
            'create function orderwire.%I(r jsonb) returns %s language sql stable return jsonb_populate_record(null::%s, r)',
            'row_of_' || $1, $2, $2
        ),
        format(
            'create function orderwire.%I() returns setof orderwire.%s language sql stable begin atomic '
            'select m.* from only %s as o, lateral orderwire.%I(o.*) as m; end',
            'own_' || $1, case when $1 = 'orders' then 'mapped_order' else 'mapped_row' end, $2, 'map_' || $1
        )
    ]
$$;
