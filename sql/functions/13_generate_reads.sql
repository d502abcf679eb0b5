-- Generates what the servers read of the orders table: by key, as lists, the totals; and the same for a database without orders.

-- Statements that create what the server reads of the orders table. Beside the shop's columns their parameters stand by number: a
-- column of the same name would take the place of one that stands by its name.
create or replace function orderwire.read_statements(relation regclass, map jsonb, integer_keys boolean) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    keys       constant text[] := orderwire.key_columns(map);
    sorted     constant pg_attribute := orderwire.plain_column(relation, orderwire.map_expression(relation, map ->> 'created_at'));
    -- In templates a per cent sign of the table's name is doubled.
    source     constant text := format('%s as o, lateral orderwire.map_orders(o.*) as m', relation);
    template   constant text := replace(relation::text, '%', '%%');
    key_list   constant text := (select string_agg(format('o.%I', k), ', ') from unnest(keys) as k);
    key_order  constant text := (select string_agg(format('o.%I desc', k), ', ') from unnest(keys) as k);
    key_match  constant text := (
        select string_agg(format('o.%I = orderwire.orders_key_%s(k.key)', k, n), ' and ' order by n)
        from unnest(keys) with ordinality as k (k, n)
    );
    columns    constant text := format(
        'orderwire.order_json(m, %L, orderwire.max_listed_bytes()), %s, m.key',
        integer_keys,
        case when sorted.attname is null then 'null::text' else format('(p.o).%I::text', sorted.attname) end
    );
    -- What a list is sorted by, of a row `p.o`.
    sort_list  constant text := case when sorted.attname is null then '' else format('(p.o).%I, ', sorted.attname) end
        || (select string_agg(format('(p.o).%I', k), ', ') from unnest(keys) as k);
    sort_names constant text[] := case when sorted.attname is null then '{}' else '{sort_column}' end::text[]
        || array(select 'key_' || n from generate_subscripts(keys, 1) as n);
    listed     constant text := format(
        'select l.order_json, l.sort_value, l.key from (%%s) as l (order_json, sort_value, key, %s) order by %s limit %%s',
        array_to_string(sort_names, ', '),
        (
            select string_agg('l.' || n || ' desc' || case n when 'sort_column' then ' nulls last' else '' end, ', ' order by i)
            from unnest(sort_names) with ordinality as s (n, i)
        )
    );
    -- The rows of a list are found and sorted by what totals are made of, which has no joins; only those are mapped whole.
    page       constant text := format(
        '(select %%s, %%s from (select (o.*)::%s as o from %s as o, lateral orderwire.map_totals(o.*) as s where %%s '
        'and %%s order by %%s limit %%s) '
        'as p, lateral orderwire.map_orders(p.o) as m)',
        template, template
    );
    -- The same of the keys $2 of a customer, each once, though it may be spelled in several ways.
    own_keys   constant text := (
        select
            '(select distinct ' || string_agg(format('orderwire.orders_key_%s(u.key) as key_%s', n, n), ', ' order by n)
            || ' from unnest($2) as u (key)) as k'
        from generate_subscripts(keys, 1) as n
    );
    own_match  constant text := (
        select string_agg(format('o.%I = k.key_%s', k, n), ' and ' order by n) from unnest(keys) with ordinality as k (k, n)
    );
    customer   constant text := coalesce(orderwire.field_sql(relation, map, 'customer_id'), 'null::text');
    sort_order text := key_order;
    -- Of a row `o`, by the numbers of the parameters for the value and the key: whether it comes after these in the list.
    positions  constant text[] := '{{$1,$2},{$2,$3},{$4,$5}}';
    after      text[] := '{}';
    key_values text;
    made       text[] := '{}';
    key_types  text[] := '{}';
    sort_type  text := 'text';
    bound      text;
    slack      text;
    type       text;
begin
    -- The values of a key. Null for a text that is none, so that a request for it finds nothing.
    for type in
        select format_type(orderwire.base_type(a.atttypid), -1)
        from unnest(keys) with ordinality as k (k, n)
        join pg_attribute as a on a.attrelid = relation and a.attname = k.k
        order by k.n
    loop
        key_types := key_types || type;
        made := made || format(
            E'create function orderwire.orders_key_%s(key text) returns %s language plpgsql stable as $key$\nbegin\n'
            -- The cast that RETURN makes by itself would come after the block.
            '    return (%s)::%s;\nexception when others or assert_failure then return null;\nend $key$',
            cardinality(made) + 1, type,
            case
                when cardinality(keys) = 1 then 'key'
                else format('replace(replace(split_part(key, '','', %s), ''%%2C'', '',''), ''%%25'', ''%%'')', cardinality(made) + 1)
            end,
            type
        );
    end loop;
    if sorted.attname is not null then
        type := format_type(orderwire.base_type(sorted.atttypid), -1);
        sort_type := type;
        bound := orderwire.sort_bound_sql(relation, map);
        slack := format('interval %L', case when bound = '($at)' then '0' else '3 hours' end);
        made := made || format(
            E'create function orderwire.orders_sort_value(value text) returns %s language plpgsql stable as $value$\nbegin\n'
            '    return value::%s;\nexception when others or assert_failure then return null;\nend $value$',
            type, type
        );
        sort_order := format(
            'o.%I desc%s, %s', sorted.attname, case when not sorted.attnotnull then ' nulls last' else '' end, key_order
        );
    end if;
    for i in 1..array_length(positions, 1) loop
        key_values := (
            select string_agg(format('orderwire.orders_key_%s(%s)', n, positions[i][2]), ', ') from generate_subscripts(keys, 1) as n
        );
        after := after || format(
            case
                when sorted.attname is null then '(%4$s is null or (%2$s) < (%3$s))'
                when sorted.attnotnull
                    then '(%4$s is null or (o.%1$I, %2$s) < (orderwire.orders_sort_value(%5$s), %3$s))'
                else
                    '(%4$s is null or case when %5$s is null then o.%1$I is null and (%2$s) < (%3$s) else o.%1$I is null '
                    'or (o.%1$I, %2$s) < (orderwire.orders_sort_value(%5$s), %3$s) end)'
            end,
            sorted.attname, key_list, key_values, positions[i][2], positions[i][1]
        );
    end loop;

    return made || orderwire.amount_statements(relation, map) || array[
        format(
            'create function orderwire.orders_sort_order() returns text language sql immutable return %L',
            (
                select string_agg(
                    's.' || n || ' desc' || case when n = 'sort_column' and not sorted.attnotnull then ' nulls last' else '' end,
                    ', ' order by i
                )
                from unnest(sort_names) with ordinality as s (n, i)
            )
        ),
        -- Rows after one, and created between two moments as far as an index of the column can tell (22_find_orders.sql).
        format(
            'create function orderwire.order_rows(after_value text, after_key text, from_at timestamptz, to_at timestamptz) '
            'returns table (o %s, sort_column %s, %s, %s) language sql stable begin atomic '
            'select (o.*)::%s, %s, %s, %s from %s as o where %s%s; end',
            relation, sort_type,
            (select string_agg(format('key_%s %s', k.n, k.type), ', ' order by k.n) from unnest(key_types) with ordinality as k (type, n)),
            (select string_agg(format('%s_column %s', c.field, c.type), ', ' order by c.field) from orderwire.search_columns(relation, map) as c),
            relation,
            case when sorted.attname is null then 'null::text' else format('o.%I::%s', sorted.attname, sort_type) end,
            (select string_agg(format('o.%I::%s', k.k, key_types[k.n]), ', ' order by k.n) from unnest(keys) with ordinality as k (k, n)),
            (select string_agg(c.expression, ', ' order by c.field) from orderwire.search_columns(relation, map) as c),
            relation, after[1],
            case
                when bound is not null then format(
                    ' and ($3 is null or o.%1$I >= %2$s) and ($4 is null or o.%1$I < %3$s)',
                    sorted.attname, replace(bound, '$at', '$3 - ' || slack),
                    replace(bound, '$at', '$4 + ' || slack)
                )
                else ''
            end
        ),
        format(
            'create function orderwire.orders_by_key(keys text[]) returns setof orderwire.mapped_order language sql stable begin atomic '
            'select m.* from unnest($1) as k (key), %s where %s; end',
            source, key_match
        ),
        format(
            'create function orderwire.all_orders() returns setof orderwire.mapped_order language sql stable begin atomic '
            'select m.* from %s; end',
            source
        ),
        format(
            'create function orderwire.list_orders(max_orders integer, after_value text, after_key text) '
            'returns table (order_json text, sort_value text, key text) language sql stable '
            'begin atomic %s; end',
            format(listed, format(page, columns, sort_list, 'true', after[2], sort_order, '$1'), '$1')
        ),
        -- Two ranges of indexes, each cut to what can be needed of it.
        format(
            'create function orderwire.list_customer_orders(subject text, keys text[], max_orders integer, '
            'after_value text, after_key text) '
            'returns table (order_json text, sort_value text, key text) language sql stable '
            'begin atomic %s; end',
            format(
                listed,
                format(page, columns, sort_list, format('%s = $1', customer), after[3], sort_order, '$3')
                || format(
                    ' union all (select %s, %s from (select (o.*)::%s as o from %s, %s as o where %s '
                    'and (%s = $1) is not true and %s) as p, lateral orderwire.map_orders(p.o) as m)',
                    columns, sort_list, relation, own_keys, relation, own_match, customer, after[3]
                ),
                '$3'
            )
        ),
        format(
            'create or replace view orderwire.order_analytics as select '
            'coalesce(sum(c.orders), 0)::bigint as total_orders, '
            'coalesce(sum(c.revenue) %s, 0) as total_revenue, '
            'coalesce(sum(c.pending), 0)::bigint as pending_orders, '
            '%s as revenue_by_currency '
            'from (select %s as currency, count(*) as orders, sum(case when m.is_counted then m.total end) as revenue, '
            'sum(m.is_pending::integer) as pending from %s%s) as c',
            case
                when map ->> 'total_currency' is null or map ->> 'currency' is null then ''
                else format('filter (where c.currency = %L)', map ->> 'total_currency')
            end,
            case
                when map ->> 'currency' is null then 'null::jsonb'
                else 'coalesce(jsonb_object_agg(c.currency, c.revenue) filter (where c.currency is not null and c.revenue <> 0), ''{}'')'
            end,
            case when map ->> 'currency' is null then 'null::text' else 'left(m.currency, 20)' end,
            format('%s as o, lateral orderwire.map_totals(o.*) as m', relation),
            case when map ->> 'currency' is null then '' else ' group by 1' end
        ),
        -- The orders by status, currency ('' for none) and time of creation. Texts are cut as those of an event are. $1, since a
        -- column of the table may be named as the parameter is.
        format(
            'create function orderwire.count_orders(bounds timestamptz[]) returns table (status text, currency text, '
            'interval_number integer, orders bigint, revenue numeric) language sql stable begin atomic '
            'select c.status, c.currency, c.interval_number, count(*), coalesce(sum(c.revenue), 0) from ('
            'select coalesce(left(m.status, 100), '''') as status, coalesce(left(m.currency, 20), '''') as currency, '
            'orderwire.interval_number(m.created_at, $1) as interval_number, case when m.is_counted then m.total end as revenue '
            'from %s as o, lateral orderwire.map_orders_series(o.*) as m) as c group by c.status, c.currency, c.interval_number; end',
            relation
        )
    ];
end
$$;

-- Statements that create the same for a database without an orders table: there are no orders. The view is that of drop_reads().
create or replace function orderwire.empty_read_statements() returns text[]
language sql immutable
as $$
    select array[
        'create function orderwire.orders_by_key(keys text[]) returns setof orderwire.mapped_order language sql stable '
        'begin atomic select m.* from unnest(null::orderwire.mapped_order[]) as m; end',
        'create function orderwire.all_orders() returns setof orderwire.mapped_order language sql stable '
        'begin atomic select m.* from unnest(null::orderwire.mapped_order[]) as m; end',
        'create function orderwire.list_orders(max_orders integer, after_value text, after_key text) '
        'returns table (order_json text, sort_value text, key text) language sql stable '
        'begin atomic select null::text, null::text, null::text where false; end',
        'create function orderwire.list_customer_orders(subject text, keys text[], max_orders integer, '
        'after_value text, after_key text) returns table (order_json text, sort_value text, key text) language sql stable '
        'begin atomic select null::text, null::text, null::text where false; end',
        'create function orderwire.count_orders(bounds timestamptz[]) returns table (status text, currency text, '
        'interval_number integer, orders bigint, revenue numeric) language sql stable '
        'begin atomic select null::text, null::text, null::integer, null::bigint, null::numeric where false; end',
        'create or replace function orderwire.is_pending(status text) returns boolean language sql immutable parallel safe return false',
        'create or replace function orderwire.is_counted(status text) returns boolean language sql immutable parallel safe return true'
    ]
$$;

-- Drop the functions that read the orders table. Before they go, the view has to name the table no more: it becomes that of a
-- database without orders.
create or replace function orderwire.drop_reads() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    f regprocedure;
begin
    execute 'create or replace view orderwire.order_analytics as select 0::bigint as total_orders, 0::numeric as total_revenue, '
        '0::bigint as pending_orders, null::jsonb as revenue_by_currency';
    for f in
        select p.oid::regprocedure
        from pg_proc as p
        where
            p.pronamespace = 'orderwire'::regnamespace
            and (
                p.proname in (
                    'orders_by_key', 'all_orders', 'list_orders', 'list_customer_orders', 'count_orders', 'order_rows',
                    'orders_amount', 'orders_sort_order', 'orders_sort_value'
                )
                or p.proname like 'orders\_key\_%'
            )
        order by p.proname like 'orders\_%', p.oid desc
    loop
        execute format('drop function if exists %s cascade', f);
    end loop;
end
$$;

do $$
declare
    statement text;
begin
    if to_regproc('orderwire.all_orders') is null then
        perform orderwire.drop_reads();
        foreach statement in array orderwire.empty_read_statements() loop
            execute statement;
        end loop;
    end if;
end
$$;
comment on view orderwire.order_analytics is 'The totals of the dashboard, exact at any moment.';
