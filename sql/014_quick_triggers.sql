-- The triggers of 005_triggers.sql and the ring of 011_gate.sql, in less of the writer's time.
--
-- A third of what a single-row INSERT paid went into finding out that there is nothing to do. A WHEN clause is read and planned
-- anew by each statement (PostgreSQL's src/backend/commands/trigger.c, TriggerEnabled), and PL/pgSQL prepares each of its
-- expressions anew in each transaction (src/pl/plpgsql/src/pl_exec.c, exec_eval_simple_expr). So there is no WHEN clause, and
-- one question after the INSERT into the journal, of functions that are inlined into it.

-- First, as it waits for those who are writing and lets nobody begin: from here on no writer is at work with half of the old
-- functions.
create or replace trigger orders_00_journal_begin
before insert or update or delete on public.orders
for each statement execute function orderwire.journal_begin();

-- Whether somebody relies on being rung, or it is our turn. Not where a session has switched it off for itself, since PREPARE
-- TRANSACTION fails after a NOTIFY; and not while the notification queue is filling, since a full one would fail every COMMIT:
-- the servers read by the clock long before it is. CASE, since AND promises no order. The constant has its type, since for a
-- comparison with a numeric one there is no exact operator, and somebody else's in another schema would be taken.
create function orderwire.should_notify() returns boolean
language sql volatile
return
    case
        when current_setting('orders.notify', true) = 'off' then false
        when orderwire.may_skip_notify() then false
        else pg_notification_queue_usage() <= 0.5::double precision
    end;

-- Whether this statement is nested, or something nested has come before it in this transaction.
create function orderwire.nested() returns boolean
language sql volatile
return pg_trigger_depth() > 1 or coalesce(current_setting('orderwire.nested', true), '') <> '';

-- Whether a statement with so many events has nothing more to do.
create function orderwire.nothing_left_to_do(changed bigint) returns boolean
language sql volatile
return
    case
        when changed = 0 then true
        when orderwire.nested() then false
        else not orderwire.should_notify()
    end;

-- As in 005_triggers.sql. Whoever is not nested has asked already whether it must.
create or replace function orderwire.notify_changes(changed bigint, final boolean) returns void
language plpgsql volatile
as $$
declare
    -- A payload of 8000 bytes or more would fail the writer: cut by bytes, and say how many events are left out.
    room    constant integer := 7800;
    payload text;
    shown   bigint := 0;
begin
    if not final and not orderwire.should_notify() then
        return;
    end if;

    if final and changed = 1 then
        select orderwire.event_json(
            i.epoch, j.txid, j.id, j.at, j.order_id, j.order_number, j.customer_name,
            j.previous_status, j.status, j.previous_total, j.total
        )
        into payload
        from orderwire.journal as j, orderwire.journal_identity as i
        where j.txid = pg_current_xact_id()
        order by j.id desc
        limit 1;

        if octet_length(payload) < room then
            perform pg_notify('orders', payload);
            return;
        end if;
        payload := null;
    elsif final then
        select string_agg(sized.event, ',' order by sized.id), count(*)
        into payload, shown
        from (
            select mine.id, mine.event, sum(octet_length(mine.event) + 1) over (order by mine.id) as bytes
            from (
                select
                    j.id,
                    row_number() over (order by j.id desc) as nth_last,
                    orderwire.event_json(
                        i.epoch, j.txid, j.id, j.at, j.order_id, j.order_number, j.customer_name,
                        j.previous_status, j.status, j.previous_total, j.total
                    ) as event
                from orderwire.journal as j, orderwire.journal_identity as i
                where j.txid = pg_current_xact_id()
                order by j.id desc
                limit 40 -- more would not fit; a constant, so that the plan stays cached
            ) as mine
            where mine.nth_last <= changed
        ) as sized
        where sized.bytes < room;
    end if;

    perform pg_notify(
        'orders',
        '{"type":"batch","events":[' || coalesce(payload, '') || '],"more":' || (changed - shown)::text || '}'
    );
end
$$;

-- Nested statements, as 005_triggers.sql tells. A statement that begins behind the mark notes the highest id so far in this
-- transaction (the setting orderwire.last) as the setting orderwire.began_<depth>. This function runs with the writer's own
-- rights and search_path, for which every statement would pay: so every name says its schema.
create or replace function orderwire.journal_begin() returns trigger
language plpgsql volatile
as $$
begin
    if pg_catalog.current_setting('orderwire.nested', true) operator(pg_catalog.<>) '' then
        perform pg_catalog.set_config(
            pg_catalog.concat('orderwire.began_', pg_catalog.pg_trigger_depth()),
            pg_catalog.current_setting('orderwire.last', true),
            true
        );
    end if;
    return null;
end
$$;

-- The end of a statement that changed the orders `changed_ids` and has just recorded `changed` events.
drop function orderwire.renumber_nested(bigint[], bigint);
create function orderwire.renumber_nested(changed_ids bigint[], changed bigint) returns void
language plpgsql volatile
as $$
declare
    depth     constant integer := pg_trigger_depth();
    marked    constant bigint := nullif(current_setting('orderwire.nested', true), '');
    -- A statement that began before the mark was set may find the note of an earlier one: the mark is higher then.
    began     constant bigint := greatest(
        marked, nullif(current_setting('orderwire.began_' || depth, true), '')::bigint + 1
    );
    first_id  constant bigint := (
        select j.id
        from orderwire.journal as j
        where j.txid = pg_current_xact_id()
        order by j.id desc
        offset changed - 1
        limit 1
    );
    nested_id bigint;
begin
    if marked is not null then
        for nested_id in
            select j.id
            from orderwire.journal as j
            where
                j.txid = pg_current_xact_id()
                and j.id >= began
                and j.id < first_id
                and j.order_id = any(changed_ids)
            order by j.id
        loop
            update orderwire.journal as j
            set id = default
            where j.txid = pg_current_xact_id() and j.id = nested_id;
        end loop;
    end if;
    if depth = 1 then
        perform set_config('orderwire.nested', '', true);
    else
        perform set_config('orderwire.last', currval('orderwire.journal_id_seq')::text, true);
        if marked is null then
            perform set_config('orderwire.nested', first_id::text, true);
        end if;
    end if;
end
$$;

create or replace function orderwire.journal_insert() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
    nested  boolean;
begin
    insert into orderwire.journal (order_id, order_number, customer_id, customer_name, status, total)
    select n.id, n.order_number, n.customer_id, n.customer_name, n.status, n.total
    from new_rows as n;
    get diagnostics changed = row_count;
    if orderwire.nothing_left_to_do(changed) then
        return null;
    end if;

    nested := orderwire.nested();
    if nested then
        perform orderwire.renumber_nested(array(select n.id from new_rows as n), changed);
    end if;
    perform orderwire.notify_changes(changed, final => not nested);
    return null;
end
$$;

create or replace function orderwire.journal_update() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
    nested  boolean;
begin
    -- A full join by primary key: a changed key is a delete of the old order and an insert of the new one.
    -- Rows in which nothing but updated_at changed are left out. The common columns are compared first; only when they
    -- are equal and the row's image is not (a column of the shop's own) does the slow comparison run.
    insert into orderwire.journal (
        order_id, order_number, customer_id, customer_name, previous_status, status, previous_total, total
    )
    select
        coalesce(n.id, o.id),
        coalesce(n.order_number, o.order_number),
        coalesce(n.customer_id, o.customer_id),
        case when n.customer_name is distinct from o.customer_name then n.customer_name end,
        o.status,
        n.status,
        o.total,
        n.total
    from old_rows as o
    full join new_rows as n on n.id = o.id
    where
        case
            when o.id is null or n.id is null then true
            when o.* *= n.* then false
            when
                n.status <> o.status
                or n.total <> o.total
                or n.customer_name <> o.customer_name
                or n.order_number <> o.order_number
                then true
            else to_jsonb(n) - 'updated_at' <> to_jsonb(o) - 'updated_at'
        end;
    get diagnostics changed = row_count;
    if orderwire.nothing_left_to_do(changed) then
        return null;
    end if;

    nested := orderwire.nested();
    if nested then
        perform orderwire.renumber_nested(array(select o.id from old_rows as o union all select n.id from new_rows as n), changed);
    end if;
    perform orderwire.notify_changes(changed, final => not nested);
    return null;
end
$$;

create or replace function orderwire.journal_delete() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
    nested  boolean;
begin
    insert into orderwire.journal (order_id, order_number, customer_id, previous_status, previous_total)
    select o.id, o.order_number, o.customer_id, o.status, o.total
    from old_rows as o;
    get diagnostics changed = row_count;
    if orderwire.nothing_left_to_do(changed) then
        return null;
    end if;

    nested := orderwire.nested();
    if nested then
        perform orderwire.renumber_nested(array(select o.id from old_rows as o), changed);
    end if;
    perform orderwire.notify_changes(changed, final => not nested);
    return null;
end
$$;

create or replace function orderwire.journal_truncate() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed bigint;
begin
    insert into orderwire.journal (order_id, order_number, customer_id, previous_status, previous_total)
    select o.id, o.order_number, o.customer_id, o.status, o.total
    from public.orders as o
    order by o.id;
    get diagnostics changed = row_count;
    if changed > 0 then
        perform set_config('orderwire.last', currval('orderwire.journal_id_seq')::text, true);
        if orderwire.should_notify() then
            perform orderwire.notify_changes(changed, final => true);
        end if;
    end if;
    return null;
end
$$;

revoke execute on function
orderwire.should_notify(),
orderwire.nested(),
orderwire.nothing_left_to_do(bigint),
orderwire.renumber_nested(bigint[], bigint)
from public;
