-- Every change of `orders` is recorded in the journal and rings on channel `orders`, in the writer's own transaction.
--
-- Statement-level, with transition tables: one call per statement however many rows it has. A transition table cannot
-- be combined with several events, hence one trigger per kind of statement (CREATE TRIGGER, "REFERENCING").
--
-- The functions run with the owner's rights and nobody may call them directly: a writer needs rights on `orders` alone.

-- Ring: tell channel `orders` about the `changed` events that this statement has just recorded. Unless `final`,
-- their ids may still change (nested statements, below), and only their number is told.
create function orderwire.notify_changes(changed bigint, final boolean) returns void
language plpgsql volatile
as $$
declare
    -- A payload of 8000 bytes or more would fail the writer: cut by bytes, and say how many events are left out.
    room    constant integer := 7800;
    payload text;
    shown   bigint := 0;
begin
    -- A session may switch the ringing off for itself, since PREPARE TRANSACTION fails after a NOTIFY; and a full
    -- notification queue would fail every COMMIT. The server's fallback read delivers what did not ring.
    if current_setting('orders.notify', true) = 'off' or pg_notification_queue_usage() > 0.5 then
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

-- Nested statements. An application's own AFTER ROW trigger may change the row that the statement has just changed.
-- Its statement is journalled before the outer one is, so that the order's events would be in the wrong order.
-- Therefore a statement at depth 2 or more leaves a mark for its transaction (the setting orderwire.nested: its first
-- event's id), and from the mark on each statement notes where it begins (orderwire.began_<depth>). At its end it gives
-- new and higher ids to what has been recorded since then for its orders: only its own triggers can have done that.
create function orderwire.journal_begin() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config(
        'orderwire.began_' || pg_trigger_depth(), nextval('orderwire.journal_id_seq')::text, true
    );
    return null;
end
$$;

-- The end of a statement that changed the orders `changed_ids` and whose own events have ids above `first_id`.
create function orderwire.renumber_nested(changed_ids bigint[], first_id bigint) returns void
language plpgsql volatile
as $$
declare
    depth     constant integer := pg_trigger_depth();
    marked    constant bigint := nullif(current_setting('orderwire.nested', true), '');
    -- A statement that began before the mark was set may find the note of an earlier one: the mark is higher then.
    began     constant bigint := greatest(
        marked, nullif(current_setting('orderwire.began_' || depth, true), '')::bigint
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
    elsif marked is null then
        perform set_config('orderwire.nested', first_id::text, true);
    end if;
end
$$;

create function orderwire.journal_insert() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed  bigint;
    first_id bigint;
begin
    if pg_trigger_depth() > 1 or current_setting('orderwire.nested', true) <> '' then
        first_id := nextval('orderwire.journal_id_seq');
    end if;

    insert into orderwire.journal (order_id, order_number, customer_id, customer_name, status, total)
    select n.id, n.order_number, n.customer_id, n.customer_name, n.status, n.total
    from new_rows as n;
    get diagnostics changed = row_count;
    if changed = 0 then
        return null;
    end if;

    if first_id is not null then
        perform orderwire.renumber_nested(array(select n.id from new_rows as n), first_id);
    end if;
    perform orderwire.notify_changes(changed, final => first_id is null);
    return null;
end
$$;

create function orderwire.journal_update() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed  bigint;
    first_id bigint;
begin
    if pg_trigger_depth() > 1 or current_setting('orderwire.nested', true) <> '' then
        first_id := nextval('orderwire.journal_id_seq');
    end if;

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
    if changed = 0 then
        return null;
    end if;

    if first_id is not null then
        perform orderwire.renumber_nested(array(select o.id from old_rows as o union all select n.id from new_rows as n), first_id);
    end if;
    perform orderwire.notify_changes(changed, final => first_id is null);
    return null;
end
$$;

create function orderwire.journal_delete() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    changed  bigint;
    first_id bigint;
begin
    if pg_trigger_depth() > 1 or current_setting('orderwire.nested', true) <> '' then
        first_id := nextval('orderwire.journal_id_seq');
    end if;

    insert into orderwire.journal (order_id, order_number, customer_id, previous_status, previous_total)
    select o.id, o.order_number, o.customer_id, o.status, o.total
    from old_rows as o;
    get diagnostics changed = row_count;
    if changed = 0 then
        return null;
    end if;

    if first_id is not null then
        perform orderwire.renumber_nested(array(select o.id from old_rows as o), first_id);
    end if;
    perform orderwire.notify_changes(changed, final => first_id is null);
    return null;
end
$$;

-- TRUNCATE has no transition tables: what it is about to remove is read before it does. Its lock keeps every other
-- writer out from here on. (Under REPEATABLE READ rows newer than the snapshot are truncated unseen, as the manual
-- warns; the server's self-audit mends the totals then.)
create function orderwire.journal_truncate() returns trigger
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
        perform orderwire.notify_changes(changed, final => true);
    end if;
    return null;
end
$$;

-- The WHEN clause keeps it free for whoever has no triggers of their own that write to `orders`.
create trigger orders_00_journal_begin
before insert or update or delete on public.orders
for each statement
when (pg_trigger_depth() > 0 or current_setting('orderwire.nested', true) <> '')
execute function orderwire.journal_begin();

create trigger orders_90_journal_insert
after insert on public.orders
referencing new table as new_rows
for each statement execute function orderwire.journal_insert();

create trigger orders_90_journal_update
after update on public.orders
referencing old table as old_rows new table as new_rows
for each statement execute function orderwire.journal_update();

create trigger orders_90_journal_delete
after delete on public.orders
referencing old table as old_rows
for each statement execute function orderwire.journal_delete();

create trigger orders_90_journal_truncate
before truncate on public.orders
for each statement execute function orderwire.journal_truncate();

-- Triggers run without EXECUTE rights for the writer (CREATE TRIGGER checks its owner's): nobody else needs them.
revoke execute on function
orderwire.notify_changes(bigint, boolean),
orderwire.renumber_nested(bigint[], bigint),
orderwire.journal_begin(),
orderwire.journal_insert(),
orderwire.journal_update(),
orderwire.journal_delete(),
orderwire.journal_truncate()
from public;
