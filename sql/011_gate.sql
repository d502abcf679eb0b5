-- The gate: when many commit, NOTIFY steps aside.
--
-- A transaction that notifies holds a lock of the whole cluster while it commits, its flush included (PostgreSQL's
-- src/backend/commands/async.c, PreCommit_Notify): group commit is gone, and eight writers share what one could do.
-- So a writer rings when somebody relies on it, and otherwise only while nobody else is ringing.
--
-- Three advisory locks, of a class of our own. They end with whoever holds them, so that nobody has to tidy up after a
-- crash; and all of them are only ever tried for, so that nobody ever waits for one (manual, "Advisory Lock Functions").
--
--   1 wanted  shared, by each session that relies on being rung. A server that reads by the clock has given it back.
--   2 silent  shared, by each transaction that may commit without ringing, until it ends.
--   3 turn    by whoever rings although nobody relies on it: one transaction at a time, or a server in everybody's stead.
--
-- A session that has got `wanted`, and after that finds `silent` free, will hear of every later commit. Why:
-- docs/explanation/notify-suppression.md.

-- Whether nobody relies on being rung. Tried and let go within one expression, where no interrupt comes: held until the
-- end of the transaction it would keep servers from getting it. Two writers that try at once may find each other: one
-- rings without need then.
create function orderwire.notify_unclaimed() returns boolean
language sql volatile
return case when pg_try_advisory_lock(1869767799, 1) then pg_advisory_unlock(1869767799, 1) else false end;

-- Asked by a writer that has recorded an event: may it commit without ringing? First `silent`, then the look that counts:
-- whoever gets `wanted` later than this look finds `silent` taken. CASE, since AND promises no order.
create function orderwire.may_skip_notify() returns boolean
language sql volatile
return
    case
        when not orderwire.notify_unclaimed() then false
        when pg_try_advisory_xact_lock(1869767799, 3) then false
        when not pg_try_advisory_xact_lock_shared(1869767799, 2) then false
        else orderwire.notify_unclaimed()
    end;

-- As in 005_triggers.sql, and silent where it may be.
create or replace function orderwire.notify_changes(changed bigint, final boolean) returns void
language plpgsql volatile
as $$
declare
    -- A payload of 8000 bytes or more would fail the writer: cut by bytes, and say how many events are left out.
    room    constant integer := 7800;
    payload text;
    shown   bigint := 0;
begin
    -- A session may switch the ringing off for itself, since PREPARE TRANSACTION fails after a NOTIFY; and a full
    -- notification queue would fail every COMMIT: the servers read by the clock long before it is.
    if
        current_setting('orders.notify', true) = 'off'
        or orderwire.may_skip_notify()
        or pg_notification_queue_usage() > 0.5
    then
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

-- ------------------------------------------------------------ the servers' side, each on its LISTEN connection

-- Ask to be rung for every change. False: a writer was just looking, ask again.
create function orderwire.require_notify() returns boolean
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_all(); -- the turn
    return pg_try_advisory_lock_shared(1869767799, 1);
end
$$;

-- Whether somebody is still at work who may commit without ringing. A prepared transaction does not count: nobody knows
-- whether it ever ends, and two-phase commit is the fallback read's.
create function orderwire.silent_writers() returns boolean
language plpgsql volatile
as $$
begin
    if pg_try_advisory_lock(1869767799, 2) then
        perform pg_advisory_unlock(1869767799, 2);
        return false;
    end if;
    return exists (
        select
        from pg_locks as l
        where
            l.locktype = 'advisory'
            and l.database = (select d.oid from pg_database as d where d.datname = current_database())
            and (l.classid, l.objid, l.objsubid) = (1869767799, 2, 2)
            and l.mode = 'ShareLock'
            and l.pid is not null -- of a prepared transaction it is
    );
end
$$;

-- Not to rely on being rung any more, and to ring in everybody's stead. False: somebody else has the turn just now.
create function orderwire.become_notifier() returns boolean
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_all(); -- wanted
    return pg_try_advisory_lock(1869767799, 3);
end
$$;

-- Tell other listeners that `event_count` events came, unless the notification queue is filling.
create function orderwire.notify_on_behalf(event_count bigint) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() <= 0.25 then
        perform pg_notify('orders', '{"type":"batch","events":[],"more":' || event_count::text || '}');
    end if;
end
$$;

revoke execute on function orderwire.notify_unclaimed(), orderwire.may_skip_notify() from public;
