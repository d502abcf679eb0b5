-- The map of an attached table: SQL expressions over its row, which is named `o`. This file turns a map into expressions and
-- checks it; 11_generate_map.sql makes functions of them.
--
-- Members of a map, all but `key` optional:
--   key            column, or list of columns: unique and not null
--   number, customer_name, customer_id, total, currency, status, created_at      column or expression
--   where          condition: rows for which it is not true are no orders
--   joins          SQL after FROM (left joins), for customer_name and data
--   data           list of columns, or object of name and expression
--   pending, cancelled, statuses      lists of status values
--   total_currency the currency of total_revenue
--   actor          true: events name the writer's role and application
--   payload        'full' or 'keys': what NOTIFY carries
--   publications   true: publications FOR ALL TABLES have been seen to
--   write          object: whether the server may change the status, and how (19_change_status.sql)

-- A column's name as an expression; everything else is one already.
create or replace function orderwire.map_expression(relation regclass, expression text) returns text
language sql stable
as $$
    select coalesce(
        (
            select format('o.%I', a.attname)
            from pg_attribute as a
            where a.attrelid = $1 and a.attname = $2 and a.attnum > 0 and not a.attisdropped
        ),
        $2
    )
$$;

-- The column that an expression is, with or without a cast to text, or whose order it follows; null for anything else.
create or replace function orderwire.plain_column(relation regclass, expression text) returns pg_attribute
language sql stable
as $$
    select a
    from pg_attribute as a
    where
        a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
        and format('o.%I', a.attname) = any(
            array[
                orderwire.map_expression($1, $2),
                (regexp_match($2, '^(o\.(?:"(?:[^"]|"")+"|\w+))::text$'))[1],
                (regexp_match($2, '^(o\.(?:"(?:[^"]|"")+"|\w+)) at time zone ''[^'']+''$', 'i'))[1],
                (regexp_match($2, '^to_timestamp\((o\.(?:"(?:[^"]|"")+"|\w+))(?: / [0-9.]+)?\)$', 'i'))[1],
                (regexp_match($2, '^(o\.(?:"(?:[^"]|"")+"|\w+)) / [1-9][0-9.]*$'))[1],
                (regexp_match($2, '^(o\.(?:"(?:[^"]|"")+"|\w+)) \* 0\.0*1$'))[1]
            ]
        )
$$;

-- The type of a column without its domains.
create or replace function orderwire.base_type(type oid) returns oid
language sql stable
as $$
    with recursive types as (
        select t.oid, t.typbasetype, t.typtype from pg_type as t where t.oid = $1
        union all
        select t.oid, t.typbasetype, t.typtype
        from types as d
        join pg_type as t on t.oid = d.typbasetype
        where d.typtype = 'd'
    )
    select t.oid from types as t where t.typtype <> 'd'
$$;

-- The column of `case o.column when constant then constant … else constant end`, the usual map of a code; null for anything else.
-- Such an expression cannot raise.
create or replace function orderwire.case_column(expression text) returns text
language sql immutable
as $$
    select (
        regexp_match(
            $1,
            '^case (o[.](?:"(?:[^"]|"")+"|[[:alnum:]_]+))'
            '(?: when (?:''(?:[^'']|'''')*''|-?[0-9]+|true|false) then (?:''(?:[^'']|'''')*''|null))+'
            '(?: else (?:''(?:[^'']|'''')*''|null))? end$',
            'i'
        )
    )[1]
$$;

-- Whether an expression of this field cannot raise an error, whatever the row: a column whose cast cannot fail.
create or replace function orderwire.cannot_raise(relation regclass, field text, expression text) returns boolean
language sql stable
as $$
    select coalesce(
        case
            when $3 is null then true
            when $2 in ('number', 'customer_name', 'customer_id', 'currency', 'status') and orderwire.case_column($3) is not null then true
            when $2 = 'total' and $3 ~* 'at time zone|to_timestamp' then false
            when $2 = 'total'
                then orderwire.base_type(a.atttypid) in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
            when $2 = 'created_at'
                then
                    orderwire.base_type(a.atttypid) in ('timestamptz'::regtype, 'timestamp'::regtype)
                    and $3 !~* 'at time zone ''(?!UTC'')'
            when $2 in ('key', 'number', 'customer_name', 'customer_id', 'currency', 'status')
                then
                    $3 !~* ' [/*] |at time zone|to_timestamp'
                    and (
                        orderwire.base_type(a.atttypid) in (
                            'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype, 'uuid'::regtype,
                            'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype, 'bool'::regtype
                        )
                        or exists (select from pg_type as t where t.oid = a.atttypid and t.typtype = 'e')
                    )
            when $2 = 'data' and $3 !~ '^o[.]("([^"]|"")+"|[[:alnum:]_]+)$' then false
            when $2 = 'data'
                then orderwire.base_type(a.atttypid) in (
                    'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype, 'bool'::regtype, 'date'::regtype,
                    'timestamptz'::regtype, 'timestamp'::regtype
                ) or (orderwire.base_type(a.atttypid) in ('numeric'::regtype, 'varchar'::regtype) and a.atttypmod > 0)
                or exists (select from pg_type as t where t.oid = a.atttypid and t.typtype = 'e')
            when $2 = 'where' then false
        end,
        false
    )
    from (select) as one
    left join lateral orderwire.plain_column($1, $3) as a on true
$$;

-- A condition of comparisons that cannot raise: of columns with constants, or with null.
create or replace function orderwire.condition_cannot_raise(condition text) returns boolean
language sql immutable
as $$
    select $1 is null or not exists (
        select
        from regexp_split_to_table($1, '\s+and\s+', 'i') as part
        where part !~* '^\s*\(?(not\s+)?o\.("[^"]+"|\w+)(\s+is\s+(not\s+)?(null|true|false)|\s*(=|<>)\s*(''[^'']*''|\d+|true|false)|\s+(not\s+)?in\s*\((''[^'']*''|\d+)(,\s*(''[^'']*''|\d+))*\))?\)?\s*$'
    )
$$;

-- The columns of a map's key.
create or replace function orderwire.key_columns(map jsonb) returns text[]
language sql immutable
as $$
    select case
        when jsonb_typeof($1 -> 'key') = 'array' then array(select * from jsonb_array_elements_text($1 -> 'key'))
        when $1 ->> 'key' is not null
            then array[coalesce((regexp_match($1 ->> 'key', '^o\."((?:[^"]|"")+)"$'))[1], regexp_replace($1 ->> 'key', '^o\.', ''))]
    end
$$;

-- A map's list of texts as an array.
create or replace function orderwire.map_list(map jsonb, member text) returns text[]
language sql immutable
as $$
    select case
        when jsonb_typeof($1 -> $2) = 'array' then array(select * from jsonb_array_elements_text($1 -> $2))
        else '{}'::text[]
    end
$$;

-- `expression`, in a sub-select over the map's joins if it has any: at most one row, so that a join never doubles an order.
create or replace function orderwire.joined_expression(map jsonb, expression text) returns text
language sql immutable
as $$
    select case
        when coalesce($1 ->> 'joins', '') = '' then $2
        else format('(select %s from (values (true)) as the_row (is_there) %s limit 1)', $2, $1 ->> 'joins')
    end
$$;

-- Whether a text of a map stays within its place: no statement or comment after it, and no parenthesis that closes one outside.
create or replace function orderwire.is_self_contained(sql_text text) returns boolean
language plpgsql immutable
set standard_conforming_strings = on
as $$
declare
    rest text := regexp_replace($1, '''([^'']|'''')*''|"([^"]|"")*"', 'q', 'g');
    before text;
begin
    -- E'…' and U&'…' have escapes, $…$ is a quote of its own.
    if rest ~ '[''"$;]|--|/[*]' or $1 ~* '(^|[^[:alnum:]_])(e|u&)''' then
        return false;
    end if;
    loop
        before := rest;
        rest := regexp_replace(rest, '[(][^()]*[)]', 'p', 'g');
        exit when rest = before;
    end loop;
    return rest !~ '[()]';
end
$$;

-- The SQL of one field of a map, with its cast; null where the map has no such field.
create or replace function orderwire.field_sql(relation regclass, map jsonb, field text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    expression constant text := orderwire.map_expression(relation, map ->> field);
    a          pg_attribute;
    parts      text[];
    name       text;
    value      text;
begin
    if map -> field is null or map ->> field is null then
        return null;
    end if;
    case field
        when 'key' then
            foreach name in array orderwire.key_columns(map) loop
                parts := parts || format('(o.%I)::text', name);
            end loop;
            if cardinality(parts) = 1 then
                a := orderwire.plain_column(relation, name);
                return case
                    when orderwire.base_type(a.atttypid) in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype)
                        then parts[1]
                    else format('orderwire.bounded_key(%s)', parts[1])
                end;
            end if;
            return format(
                'orderwire.bounded_key(%s)',
                (select string_agg(format('orderwire.key_part(%s)', p), ' || '','' || ') from unnest(parts) as p)
            );
        when 'total' then
            a := orderwire.plain_column(relation, expression);
            return case
                when (orderwire.base_type(a.atttypid) in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) and expression !~ ' / ')
                    then format('(%s)::numeric', expression)
                when
                    orderwire.base_type(a.atttypid) = 'numeric'::regtype and a.atttypmod > 0
                    and (a.atttypmod - 4) >> 16 <= 24 and (a.atttypmod - 4) & 2047 <= 20 and expression !~ ' [/*] '
                    then format('nullif((%s)::numeric, ''NaN'')', expression) -- NaN is in a column of any precision
                else format('orderwire.finite_total((%s)::numeric)', expression)
            end;
        when 'created_at' then
            return format('(%s)::timestamptz', expression);
        when 'customer_name' then
            return orderwire.joined_expression(map, format('(%s)::text', expression));
        when 'data' then
            for name, value in
                select d.column_name, d.column_name
                from jsonb_array_elements_text(case jsonb_typeof(map -> 'data') when 'array' then map -> 'data' else '[]' end)
                    as d (column_name)
                union all
                select d.key, d.value
                from jsonb_each_text(case jsonb_typeof(map -> 'data') when 'object' then map -> 'data' else '{}' end) as d
            loop
                value := orderwire.map_expression(relation, value);
                a := orderwire.plain_column(relation, value);
                if orderwire.base_type(a.atttypid) = 'timestamptz'::regtype and value !~ '::' then
                    value := format('orderwire.rfc3339(%s)', value);
                elsif exists (
                    -- Of a type of the shop's own, a cast to json could be created later, and would run with the owner's rights.
                    select
                    from pg_type as t
                    left join pg_type as e on e.oid = t.typelem
                    where t.oid = orderwire.base_type(a.atttypid)
                        and coalesce(e.typnamespace, t.typnamespace) <> 'pg_catalog'::regnamespace
                ) then
                    value := format('(%s)::text', value);
                end if;
                parts := parts || format('%L, %s', name, value);
            end loop;
            return orderwire.joined_expression(map, format('jsonb_build_object(%s)', array_to_string(parts, ', ')));
        when 'where' then
            return format('(%s)', expression);
        else
            return format('(%s)::text', expression);
    end case;
end
$$;

-- Whether the functions of a map need handlers for errors.
create or replace function orderwire.map_can_raise(relation regclass, map jsonb) returns boolean
language sql stable
as $$
    select
        coalesce($2 ->> 'joins', '') <> ''
        or not orderwire.condition_cannot_raise($2 ->> 'where')
        or exists (
            select
            from unnest('{number,customer_name,customer_id,total,currency,status,created_at}'::text[]) as f
            where not orderwire.cannot_raise($1, f, orderwire.map_expression($1, $2 ->> f))
        )
        or exists (
            select from unnest(orderwire.key_columns($2)) as k
            where not orderwire.cannot_raise($1, 'key', orderwire.map_expression($1, k))
        )
        or jsonb_typeof($2 -> 'data') = 'object'
        or exists (
            select from unnest(orderwire.map_list($2, 'data')) as d
            where not orderwire.cannot_raise($1, 'data', orderwire.map_expression($1, d))
        )
$$;
