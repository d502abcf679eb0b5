-- Generates the functions, triggers and the view of an attached table. Only these functions name the shop's objects, and only in
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
-- does not look up a name for each row, and it is inlined wherever these columns cannot raise.
create or replace function orderwire.totals_map_statements(relation regclass, map jsonb) returns text[]
language sql stable
as $$
    select array_agg(replace(s.statement, 'orderwire.map_orders', 'orderwire.map_totals') order by s.number)
    from unnest(
        orderwire.map_statements('orders', $1, $2 - '{number,customer_name,customer_id,created_at,joins,data}'::text[])
    ) with ordinality as s (statement, number)
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

-- The statements that record what the triggers of a table see: of an insert, an update, a delete and a truncate, in this order.
-- `with_depth`: of a nested statement, whose rows have a depth. `of_child`: formats, for what the row of a child table is made
-- by (%1$s) and for the table (%2$s).
create or replace function orderwire.recording_statements(name text, map jsonb, of_child boolean, with_depth boolean) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    is_stream    constant boolean := name <> 'orders';
    has_actor    constant boolean := coalesce((map ->> 'actor')::boolean, false);
    has_currency constant boolean := map ->> 'currency' is not null;
    has_data     constant boolean := map -> 'data' is not null;
    map_call     constant text := format('orderwire.%I(%s)', 'map_' || name, case when of_child then '%1$s' else 'r.*' end);
    own_rows     constant text := case
        when of_child then format('only %%2$s as r, lateral %s as m', map_call)
        else format('orderwire.%I() as m', 'own_' || name)
    end;
    common       constant text := case when with_depth then ', depth' else '' end
        || case when has_actor then ', actor_role, actor_application' else '' end
        || case when is_stream then ', stream' else '' end;
    common_sql   constant text := case when with_depth then ', pg_trigger_depth()' else '' end
        || case when has_actor then ', orderwire.writer_role(), current_setting(''application_name'')' else '' end
        || case when is_stream then format(', %L', name) else '' end;
    cut          constant text := 'left(%1$s.number, 201), left(%1$s.customer_id, 201), left(%1$s.customer_name, 501)';
    ins          text;
    upd          text;
    del          text;
    changes      text;
begin
    if is_stream then
        ins := format(
            E'insert into orderwire.journal (is_order, key, order_key, data%s)'
            '\nselect true, m.key, m.order_key, orderwire.bounded_data(m.data)%s\nfrom ',
            common, common_sql
        );
        del := format(
            E'insert into orderwire.journal (was_order, key, order_key%s) select true, m.key, m.order_key%s\nfrom ',
            common, common_sql
        );
        changes := 'n.order_key is distinct from o.order_key or n.data is distinct from o.data';
        upd := format(
            E'insert into orderwire.journal (was_order, is_order, key, order_key, data%s)'
            '\nselect o.key is not null, n.key is not null, coalesce(n.key, o.key), coalesce(n.order_key, o.order_key),'
            ' orderwire.bounded_data(n.data)%s\nfrom ',
            common, common_sql
        );
    else
        ins := format(
            E'insert into orderwire.journal (is_order, key, number, customer_id, customer_name, status, total%s%s%s)'
            '\nselect true, m.key, %s, left(m.status, 101), m.total%s%s%s\nfrom ',
            case when has_currency then ', currency' else '' end, case when has_data then ', data' else '' end, common,
            format(cut, 'm'),
            case when has_currency then ', left(m.currency, 20)' else '' end,
            case when has_data then ', orderwire.bounded_data(m.data)' else '' end, common_sql
        );
        del := format(
            E'insert into orderwire.journal (was_order, key, number, customer_id, previous_status, previous_total%s%s)'
            '\nselect true, m.key, left(m.number, 201), left(m.customer_id, 201),'
            ' left(m.status, 101), m.total%s%s\nfrom ',
            case when has_currency then ', previous_currency' else '' end, common,
            case when has_currency then ', left(m.currency, 20)' else '' end, common_sql
        );
        changes := 'n.status is distinct from o.status or n.total is distinct from o.total'
            ' or n.customer_name is distinct from o.customer_name or n.number is distinct from o.number'
            ' or n.customer_id is distinct from o.customer_id or n.created_at is distinct from o.created_at'
            || case when has_currency then ' or n.currency is distinct from o.currency' else '' end
            || case when has_data then ' or n.data is distinct from o.data' else '' end;
        upd := format(
            E'insert into orderwire.journal (was_order, is_order, key, number,'
            ' customer_id, previous_customer_id, customer_name, previous_status, status, previous_total, total%s%s%s)'
            '\nselect o.key is not null, n.key is not null, coalesce(n.key, o.key),'
            -- An update that takes the number or the name away: empty, since null says that it is as before.
            ' left(coalesce(n.number, case when n.key is null then o.number when o.number is not null then '''' end), 201),'
            ' left(case when n.key is null then o.customer_id else n.customer_id end, 201),'
            -- To its new customer the order is new: then the event has all that a new order has.
            ' left(case when o.key = n.key and n.customer_id is distinct from o.customer_id'
            ' then coalesce(o.customer_id, '''') end, 201),'
            ' left(case when n.key is null then null when o.key is null then n.customer_name'
            ' when n.customer_name is distinct from o.customer_name or n.customer_id is distinct from o.customer_id'
            ' then coalesce(n.customer_name, '''') end, 501),'
            ' left(o.status, 101), left(n.status, 101), o.total, n.total%s%s%s\nfrom ',
            case when has_currency then ', previous_currency, currency' else '' end, case when has_data then ', data' else '' end,
            common,
            case when has_currency then ', left(o.currency, 20), left(n.currency, 20)' else '' end,
            case
                when has_data
                    then ', case when n.key is not null and (n.data is distinct from o.data'
                    ' or n.customer_id is distinct from o.customer_id)'
                    ' then coalesce(orderwire.bounded_data(n.data), ''{}'') end'
                else ''
            end,
            common_sql
        );
    end if;

    return array[
        ins || format('new_rows as r, lateral %s as m', map_call),
        upd || format(
            E'(select m.* from old_rows as r, lateral %s as m) as o\n'
            'full join (select m.* from new_rows as r, lateral %s as m) as n on n.key = o.key\n'
            'where o.key is null or n.key is null or %s',
            map_call, map_call, changes
        ),
        del || format('old_rows as r, lateral %s as m', map_call),
        del || own_rows
    ];
end
$$;

-- Statements that create the trigger functions `<prefix>_insert`, `_update`, `_delete`, `_truncate`; with `of_child` those of a
-- partition or child table. Such a table comes and goes, so nothing may depend on it: their statements are texts, and say what
-- the row is of when they run. It is made one of the parent by the names of its columns, which may stand in another order.
create or replace function orderwire.trigger_function_statements(name text, prefix text, map jsonb, of_child boolean) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    map_function constant text := 'orderwire.map_' || name;
    declarations constant text := case
        when of_child then format(
            E'    parent  constant regclass := orderwire.parent_of_children(%L);\n'
            '    mode    constant text := case\n'
            '        when orderwire.is_child_now(tg_relid, parent) then orderwire.recording_mode(%L) else ''step_aside''\n'
            '    end;\n'
            '    row_sql constant text := case when mode <> ''step_aside'' then orderwire.row_of_parent(%L, tg_relid, parent) end;\n',
            name, map_function, name
        )
        else format(E'    mode    constant text := orderwire.recording_mode(%L);\n', map_function)
    end;
    -- How a trigger function runs a statement.
    run          constant text := case when of_child then 'execute format(%L, row_sql, tg_relid::regclass)' else '%s' end;
    -- The statement that records is there three times: only where statements are nested its rows have a depth, only where a
    -- notification shows them it returns them, and in the silent mode, that of a busy database, there is nothing else. Each
    -- expression in it costs a single-row statement more than its evaluation: it is prepared again every time. So the row of
    -- an event has constants where the statement records nothing: of orderwire.event_json, which is inlined, only that is left
    -- which such an event can have.
    function_sql constant text := $f$create or replace function orderwire.%1$I() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $trigger$
declare
%2$sbegin
    if mode = 'silent' then
        %3$s;
    elsif mode = 'notify' then
        declare
            changed bigint := 0;
            events  text[];
            i       record;
            j       record;
        begin
            for j in
                %4$s
            loop
                changed := changed + 1;
                if changed = 1 then
                    select k.epoch, k.integer_keys, k.notify_keys_only into i from orderwire.journal_identity as k;
                end if;
                if changed > 40 then
                    null; -- more would not fit
                elsif i.notify_keys_only then
                    events[changed] := orderwire.event_keys_json(%8$s, i.epoch, i.integer_keys);
                %9$selse
                    events[changed] := orderwire.event_json(%8$s, i.epoch, i.integer_keys);
                end if;
            end loop;
            if changed > 0 then
                changed := orderwire.notify_changes(changed, events); -- PERFORM would start the executor
            end if;
        end;
    elsif mode = 'nested' then
        declare
            changed bigint;
        begin
            %7$s;
            get diagnostics changed = row_count;
            if changed > 0 then
                perform orderwire.finish_nested(changed, tg_op);
            end if;
        end;
    end if;
%6$s    return null;
%5$send
$trigger$
$f$;
    -- Rows that cannot be read are not recorded: everything that was counted before is to be counted again.
    on_unreadable constant text := E'exception when insufficient_privilege or undefined_function or undefined_table then\n'
        '    insert into orderwire.epoch_requests default values;\n    return null;\n';
    -- A snapshot from before the TRUNCATE may not see rows that it removes.
    on_old_snapshot constant text := E'    if current_setting(''transaction_isolation'') <> ''read committed'' then\n'
        '        insert into orderwire.epoch_requests default values;\n    end if;\n';
    -- By far the most frequent update.
    of_an_order  constant text := E'elsif j.was_order and j.is_order then\n'
        '                    events[changed] := orderwire.event_json(%s, i.epoch, i.integer_keys);\n                ';
    kind         text;
    plain        text;
    nested       text;
    returned     text[];
    event_row    text;
    made         text[] := '{}';
begin
    for kind, plain, nested in
        select s.kind, s.plain, s.nested
        from unnest(
            '{insert,update,delete,truncate}'::text[],
            orderwire.recording_statements(name, map, of_child, with_depth => false),
            orderwire.recording_statements(name, map, of_child, with_depth => true)
        ) with ordinality as s (kind, plain, nested, n)
        order by s.n
    loop
        -- Events do not show whose order it is.
        select
            array_agg(a.attname) filter (where r.is_returned),
            string_agg(
                case
                    when r.is_returned then 'j.' || a.attname
                    when a.attname not in ('was_order', 'is_order') then 'null'
                    else r.is_recorded::text
                end,
                ', ' order by a.attnum
            )
        into returned, event_row
        from pg_attribute as a
        cross join lateral (
            select
                is_recorded,
                a.attname in ('id', 'txid', 'at')
                or is_recorded and a.attname not in ('customer_id', 'previous_customer_id')
                and (kind = 'update' or a.attname not in ('was_order', 'is_order'))
            from (
                select a.attname = any(string_to_array(substring(plain from '^insert into orderwire\.journal \(([^)]*)\)'), ', '))
            ) as s (is_recorded)
        ) as r (is_recorded, is_returned)
        where a.attrelid = 'orderwire.journal'::regclass and a.attnum > 0 and not a.attisdropped;
        event_row := format('row(%s)::orderwire.journal', event_row);

        made := made || format(
            function_sql, prefix || '_' || kind, declarations,
            format(run, plain), format(run, plain || ' returning ' || array_to_string(returned, ', ')),
            case when kind = 'truncate' then on_unreadable else '' end,
            case when kind = 'truncate' then on_old_snapshot else '' end,
            format(run, nested),
            event_row,
            case
                when kind <> 'update' then ''
                else format(of_an_order, replace(event_row, 'j.was_order, j.is_order', 'true, true'))
            end
        );
    end loop;
    return made;
end
$$;

-- Statements that create the triggers of a relation. A partitioned table has no rows of its own to truncate.
create or replace function orderwire.trigger_statements(relation regclass, prefix text) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array_agg(
        case kind
            when 'truncate' then format(
                'create or replace trigger %I before truncate on %s for each statement execute function orderwire.%I()',
                'zz_orderwire_truncate', $1, $2 || '_truncate'
            )
            else format(
                'create or replace trigger %I after %s on %s referencing %s for each statement execute function orderwire.%I()',
                'zz_orderwire_' || kind, kind, $1,
                case kind
                    when 'insert' then 'new table as new_rows'
                    when 'delete' then 'old table as old_rows'
                    else 'old table as old_rows new table as new_rows'
                end,
                $2 || '_' || kind
            )
        end
    )
    from unnest('{insert,update,delete,truncate}'::text[]) as kind
    where kind <> 'truncate' or (select c.relkind from pg_class as c where c.oid = $1) = 'r'
$$;

-- Statements that create what the server reads of the orders table.
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
    key_values constant text := (
        select string_agg(format('orderwire.orders_key_%s(after_key)', n), ', ') from generate_subscripts(keys, 1) as n
    );
    key_match  constant text := (
        select string_agg(format('o.%I = orderwire.orders_key_%s(k.key)', k, n), ' and ' order by n)
        from unnest(keys) with ordinality as k (k, n)
    );
    columns    constant text := format(
        'orderwire.order_json(m, %L, orderwire.max_listed_bytes()), %s, m.key, left(m.number, 1000), left(m.customer_name, 1000)',
        integer_keys,
        case when sorted.attname is null then 'null::text' else format('(p.o).%I::text', sorted.attname) end
    );
    -- What a list is sorted by, of a row `p.o`.
    sort_list  constant text := case when sorted.attname is null then '' else format('(p.o).%I, ', sorted.attname) end
        || (select string_agg(format('(p.o).%I', k), ', ') from unnest(keys) as k);
    sort_names constant text[] := case when sorted.attname is null then '{}' else '{sort_column}' end::text[]
        || array(select 'key_' || n from generate_subscripts(keys, 1) as n);
    listed     constant text := format(
        'select l.order_json, l.sort_value, l.key, l.number, l.customer_name from (%%s) '
        'as l (order_json, sort_value, key, number, customer_name, %s) order by %s limit max_orders',
        array_to_string(sort_names, ', '),
        (
            select string_agg('l.' || n || ' desc' || case n when 'sort_column' then ' nulls last' else '' end, ', ' order by i)
            from unnest(sort_names) with ordinality as s (n, i)
        )
    );
    -- The rows of a list are found and sorted by what totals are made of, which has no joins; only those are mapped whole.
    page       constant text := format(
        '(select %%s, %%s from (select (o.*)::%s as o from %s as o, lateral orderwire.map_totals(o.*) as s where %%s '
        'and (only_status is null or s.status = only_status) and (after_key is null or %%s) order by %%s limit max_orders) '
        'as p, lateral orderwire.map_orders(p.o) as m)',
        template, template
    );
    customer   constant text := coalesce(orderwire.field_sql(relation, map, 'customer_id'), 'null::text');
    sort_order text := key_order;
    after      text := format('(%s) < (%s)', key_list, key_values);
    made       text[] := '{}';
    type       text;
begin
    -- The values of a key. Null for a text that is none, so that a request for it finds nothing.
    for type in
        select format_type(orderwire.base_type(a.atttypid), -1)
        from unnest(keys) with ordinality as k (k, n)
        join pg_attribute as a on a.attrelid = relation and a.attname = k.k
        order by k.n
    loop
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
        made := made || format(
            E'create function orderwire.orders_sort_value(value text) returns %s language plpgsql stable as $value$\nbegin\n'
            '    return value::%s;\nexception when others or assert_failure then return null;\nend $value$',
            type, type
        );
        if sorted.attnotnull then
            sort_order := format('o.%I desc, %s', sorted.attname, key_order);
            after := format('(o.%I, %s) < (orderwire.orders_sort_value(after_value), %s)', sorted.attname, key_list, key_values);
        else
            sort_order := format('o.%I desc nulls last, %s', sorted.attname, key_order);
            after := format(
                'case when after_value is null then o.%1$I is null and (%2$s) < (%3$s) else o.%1$I is null '
                'or (o.%1$I, %2$s) < (orderwire.orders_sort_value(after_value), %3$s) end',
                sorted.attname, key_list, key_values
            );
        end if;
    end if;

    return made || array[
        format(
            'create function orderwire.orders_by_key(keys text[]) returns setof orderwire.mapped_order language sql stable begin atomic '
            'select m.* from unnest(keys) as k (key), %s where %s; end',
            source, key_match
        ),
        format(
            'create function orderwire.all_orders() returns setof orderwire.mapped_order language sql stable begin atomic '
            'select m.* from %s; end',
            source
        ),
        format(
            'create function orderwire.list_orders(max_orders integer, only_status text, after_value text, after_key text) '
            'returns table (order_json text, sort_value text, key text, number text, customer_name text) language sql stable '
            'begin atomic %s; end',
            format(listed, format(page, columns, sort_list, 'true', after, sort_order))
        ),
        -- Two ranges of indexes, each cut to what can be needed of it.
        format(
            'create function orderwire.list_customer_orders(subject text, keys text[], max_orders integer, only_status text, '
            'after_value text, after_key text) '
            'returns table (order_json text, sort_value text, key text, number text, customer_name text) language sql stable '
            'begin atomic %s; end',
            format(
                listed,
                format(page, columns, sort_list, format('%s = subject', customer), after, sort_order)
                || format(
                    ' union all (select %s, %s from (select (o.*)::%s as o from unnest(keys) as k (key), %s as o where %s '
                    'and (%s = subject) is not true and (after_key is null or %s)) as p, lateral orderwire.map_orders(p.o) as m '
                    'where only_status is null or m.status = only_status)',
                    columns, sort_list, relation, relation, key_match, customer, after
                )
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
        'create function orderwire.list_orders(max_orders integer, only_status text, after_value text, after_key text) '
        'returns table (order_json text, sort_value text, key text, number text, customer_name text) language sql stable '
        'begin atomic select null::text, null::text, null::text, null::text, null::text where false; end',
        'create function orderwire.list_customer_orders(subject text, keys text[], max_orders integer, only_status text, '
        'after_value text, after_key text) returns table (order_json text, sort_value text, key text, number text, customer_name text) language sql stable '
        'begin atomic select null::text, null::text, null::text, null::text, null::text where false; end',
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
                p.proname in ('orders_by_key', 'all_orders', 'list_orders', 'list_customer_orders', 'orders_sort_value')
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
