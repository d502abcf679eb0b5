-- Generates the triggers of an attached table and their functions, which record its changes in the journal. Their bodies are text, so
-- they name nothing of the shop's: what they read is the map of the row (11_generate_map.sql).

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
    has_created  constant boolean := map ->> 'created_at' is not null;
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
            E'insert into orderwire.journal (is_order, key, number, customer_id, customer_name, status, total%s%s%s%s)'
            '\nselect true, m.key, %s, left(m.status, 101), m.total%s%s%s%s\nfrom ',
            case when has_currency then ', currency' else '' end, case when has_created then ', created_at' else '' end,
            case when has_data then ', data' else '' end, common,
            format(cut, 'm'),
            case when has_currency then ', left(m.currency, 20)' else '' end,
            case when has_created then ', m.created_at' else '' end,
            case when has_data then ', orderwire.bounded_data(m.data)' else '' end, common_sql
        );
        del := format(
            E'insert into orderwire.journal (was_order, key, number, customer_id, previous_status, previous_total%s%s%s)'
            '\nselect true, m.key, left(m.number, 201), left(m.customer_id, 201),'
            ' left(m.status, 101), m.total%s%s%s\nfrom ',
            case when has_currency then ', previous_currency' else '' end,
            case when has_created then ', created_at' else '' end, common,
            case when has_currency then ', left(m.currency, 20)' else '' end,
            case when has_created then ', m.created_at' else '' end, common_sql
        );
        changes := 'n.status is distinct from o.status or n.total is distinct from o.total'
            ' or n.customer_name is distinct from o.customer_name or n.number is distinct from o.number'
            ' or n.customer_id is distinct from o.customer_id'
            || case when has_created then ' or n.created_at is distinct from o.created_at' else '' end
            || case when has_currency then ' or n.currency is distinct from o.currency' else '' end
            || case when has_data then ' or n.data is distinct from o.data' else '' end;
        upd := format(
            E'insert into orderwire.journal (was_order, is_order, key, number,'
            ' customer_id, previous_customer_id, customer_name, previous_status, status, previous_total, total%s%s%s%s)'
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
            ' left(o.status, 101), left(n.status, 101), o.total, n.total%s%s%s%s\nfrom ',
            case when has_currency then ', previous_currency, currency' else '' end,
            case when has_created then ', created_at, previous_created_at' else '' end,
            case when has_data then ', data' else '' end, common,
            case when has_currency then ', left(o.currency, 20), left(n.currency, 20)' else '' end,
            case
                when has_created
                    then ', case when n.key is null then o.created_at else n.created_at end,'
                    -- Null says that it is as before.
                    ' case when n.created_at is distinct from o.created_at then coalesce(o.created_at, ''-infinity'') end'
                else ''
            end,
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
