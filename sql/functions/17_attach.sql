-- Attach a table, and take it out again. One transaction each, nothing half-done.

create or replace function orderwire.attach_table(name text, relation regclass, map jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    before       orderwire.attached_tables;
    are_integers boolean := false;
    children     regclass[];
    server       regrole;
begin
    -- Read after the wait: another session may have attached or detached meanwhile.
    lock table orderwire.attached_tables in share row exclusive mode;
    select a.* into before from orderwire.attached_tables as a where a.name = attach_table.name;
    if before.relation is not null and before.relation <> relation then
        raise exception '% is attached as % already', before.relation, name
            using hint = format('detach it first: select orderwire.detach(%L)', name);
    end if;
    if exists (
        select from orderwire.attached_tables as a where a.relation = attach_table.relation and a.name <> attach_table.name
    ) then
        raise exception '% is attached under another name already', relation using hint = 'a table is attached once';
    end if;
    perform orderwire.check_map(name, relation, map);
    -- Where only `write` changes, events go on as they are: nothing is locked, and the epoch stays.
    if before.map <> map and before.map - 'write' = map - 'write' then
        if not exists (select from orderwire.diagnose_attached() as d where d.stops_events) then
            perform orderwire.replace_write(relation, map);
            update orderwire.attached_tables as a set map = attach_table.map where a.name = attach_table.name;
            return;
        end if;
    end if;

    if before.relation is not null then
        perform orderwire.drop_generated(name, triggers => false);
    elsif name = 'orders' then
        perform orderwire.drop_reads();
    end if;
    perform orderwire.create_generated(name, orderwire.map_statements(name, relation, map));
    if name = 'orders' then
        perform orderwire.create_generated(name, orderwire.totals_map_statements(relation, map));
    end if;
    perform orderwire.check_volatility(name);

    if name = 'orders' then
        if cardinality(orderwire.key_columns(map)) = 1 then
            select orderwire.base_type(a.atttypid) in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) into are_integers
            from pg_attribute as a
            where a.attrelid = relation and a.attname = (orderwire.key_columns(map))[1];
            if are_integers then
                execute format(
                    'select coalesce(max(o.%1$I) <= 9007199254740991 and min(o.%1$I) >= -9007199254740991, true) from %2$s as o',
                    (orderwire.key_columns(map))[1], relation
                ) into are_integers;
            end if;
        end if;
        perform orderwire.create_generated(name, orderwire.read_statements(relation, map, are_integers));
        perform orderwire.replace_write(relation, map);
    end if;
    perform orderwire.create_generated(name, orderwire.table_statements(name, relation));
    -- Writers wait a millisecond for each: further ones are left to attach_partitions.
    children := array(
        select c.child
        from orderwire.children_for_triggers(relation) as c (child)
        order by exists (select from orderwire.attached_partitions as p where p.relation = c.child), c.child
        limit 200
    );
    perform orderwire.create_generated(
        name,
        orderwire.trigger_function_statements(name, name, map, of_child => false)
        || array(
            select unnest(orderwire.trigger_function_statements(name, name || '_p' || c.child::oid, map, of_child => true))
            from orderwire.children_for_triggers(relation) as c (child)
            where c.child = any(children) or exists (select from orderwire.attached_partitions as p where p.relation = c.child)
        )
    );

    -- From here on writers wait. Those of before have ended, so every later one has triggers and map.
    perform orderwire.run_locked(
        relation || children,
        'share row exclusive',
        array(
            select array_to_string(
                orderwire.trigger_statements(r.r, name || case when r.r = relation then '' else '_p' || r.r::oid end), '; '
            )
            from unnest(relation || children) with ordinality as r (r, n)
            order by r.n
        ),
        clock_timestamp() + interval '1 second'
    );
    insert into orderwire.attached_tables as a (name, relation, relation_name, map)
    values (name, relation, relation::text, map)
    on conflict on constraint attached_tables_pkey do update
    set relation_name = excluded.relation_name, map = excluded.map, attached_at = now();
    insert into orderwire.attached_partitions (name, relation)
    select attach_table.name, c.child from unnest(children) as c (child)
    on conflict on constraint attached_partitions_pkey do nothing;
    perform orderwire.detach_former_partitions(now());

    if name = 'orders' then
        perform orderwire.renew_epoch((select i.epoch from orderwire.journal_identity as i));
        if before.relation is null then
            -- The journal's events are of a table that was attached before, whose keys this one may have for other orders: nothing
            -- reads them any more.
            update orderwire.journal_identity as i
            set trimmed_txid = greatest(i.trimmed_txid, (select j.txid from orderwire.journal as j order by j.txid desc limit 1));
        end if;
        update orderwire.journal_identity as i
        set integer_keys = are_integers, notify_keys_only = coalesce(map ->> 'payload' = 'keys', false);
    end if;
    -- Roles that serve have to read the table.
    for server in select r from orderwire.serving_roles() as r loop
        perform orderwire.grant_serving(server);
    end loop;
    perform orderwire.wake_servers();
end
$$;

-- Attach a table of orders: from the end of this transaction on, every change of it makes an event. Repeatable; another map
-- for the same table changes the epoch, so clients fetch anew.
create or replace function orderwire.attach(relation regclass, map jsonb) returns void
language sql volatile
as $$ select orderwire.attach_table('orders', $1, $2) $$;
comment on function orderwire.attach is 'Attach a table of orders by a map: see docs/how-to/attach.md.';

-- Attach a further table as a stream: its events go to the topics <name> and <name>:<key>, and with an order_key in the map
-- also to order:<order_key>.
create or replace function orderwire.attach_stream(name text, relation regclass, map jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    if name !~ '^[a-z][a-z0-9_]{0,39}$' or name in ('orders', 'order', 'analytics') then
        raise exception 'a stream cannot be named %', name
            using hint = 'take lower-case letters, digits and underscores, and none of orders, order, analytics';
    end if;
    if exists (
        select from pg_proc as p
        where
            p.pronamespace = 'orderwire'::regnamespace
            and p.proname in (
                'map_' || name, 'own_' || name, 'parent_' || name, 'row_of_' || name, name || '_insert', name || '_update', name || '_delete', name || '_truncate'
            )
            and p.oid not in (select g from orderwire.generated_functions(name) as g)
    ) then
        raise exception 'a stream cannot be named %: a function of the schema orderwire has such a name', name
            using hint = 'take another name';
    end if;
    -- The names of generated functions begin with those of the tables.
    if exists (
        select
        from (select a.name from orderwire.attached_tables as a union select 'orders') as other
        where starts_with(attach_stream.name, other.name || '_') or starts_with(other.name, attach_stream.name || '_')
    ) then
        raise exception 'a stream cannot be named %: an attached table has a name that begins with it, or that it begins with', name
            using hint = 'take another name';
    end if;
    perform orderwire.attach_table(name, relation, map);
end
$$;
comment on function orderwire.attach_stream is 'Attach a further table as a stream of events: see docs/how-to/attach.md.';

-- Remove the triggers of a table, and all that was generated for it. Its events stay in the journal until they are trimmed.
create or replace function orderwire.detach(name text default 'orders') returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    t         orderwire.attached_tables;
    statement text;
begin
    -- Read after the wait: another session may have attached or detached meanwhile.
    lock table orderwire.attached_tables in share row exclusive mode;
    select a.* into t from orderwire.attached_tables as a where a.name = detach.name;
    if t.name is null then
        raise exception 'no table is attached as %', name
            using hint = 'attached are: ' || coalesce((select string_agg(a.name, ', ') from orderwire.attached_tables as a), 'none');
    end if;
    perform orderwire.drop_triggers(array[name]);
    perform orderwire.drop_generated(name, triggers => true);
    if name = 'orders' then
        foreach statement in array orderwire.empty_read_statements() loop
            execute statement;
        end loop;
        perform orderwire.renew_epoch((select i.epoch from orderwire.journal_identity as i));
    end if;
    delete from orderwire.attached_tables as a where a.name = detach.name;
    perform orderwire.revoke_serving();
    perform orderwire.wake_servers();
end
$$;
comment on function orderwire.detach is 'Remove the triggers of an attached table, and all that was generated for it.';

-- Remove everything: detach all tables, drop the schema, and the starter table if it is empty. A schema dump is then as
-- before the installation.
create or replace function orderwire.uninstall() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    name text;
    has_rows boolean;
begin
    -- Of all tables at once, so as not to wait for one while another is locked.
    perform orderwire.drop_triggers(array(select a.name from orderwire.attached_tables as a));
    for name in select a.name from orderwire.attached_tables as a loop
        perform orderwire.detach(name);
    end loop;
    if obj_description(to_regclass('public.orders'), 'pg_class') like 'Starter table of Orderwire.%' then
        drop view if exists public.order_analytics;
        execute 'select exists (select from public.orders)' into has_rows;
        if not has_rows then
            drop table public.orders;
            drop function public.orders_set_number();
            drop function public.orders_touch_updated_at();
        end if;
    end if;
    set constraints orderwire.send_at_commit immediate; -- a table with pending triggers cannot be dropped
    drop schema orderwire cascade;
end
$$;
comment on function orderwire.uninstall is 'Remove everything that Orderwire has installed; a starter table with rows stays.';

revoke execute on function
orderwire.attach_table(text, regclass, jsonb),
orderwire.attach(regclass, jsonb),
orderwire.attach_stream(text, regclass, jsonb),
orderwire.detach(text),
orderwire.uninstall()
from public;
