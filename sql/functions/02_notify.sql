-- NOTIFY on the channel `orders`, in the writer's transaction; and when it may be skipped.
--
-- A transaction that notifies holds a lock of the whole cluster while it commits, its flush included (PostgreSQL's
-- src/backend/commands/async.c, PreCommit_Notify): group commit is lost, and eight writers share what one could do. So a
-- writer notifies when a server requires it, and otherwise only while no other writer does.
--
-- Three advisory locks of a class of our own. They end with the session or transaction that holds them, so a crash leaves
-- nothing behind; and they are only ever tried for, so no session waits for one (manual, "Advisory Lock Functions").
--
--   1 notify_required  shared, by each session that relies on notifications. A server that polls has released it.
--   2 skipping         shared, by each transaction that may commit without a notification, until it ends.
--   3 notifier         by the one that notifies although none requires it: a transaction, or a server on behalf of writers.
--
-- A session that has got notify_required, and after that finds `skipping` free, is notified of every later commit. The proof is
-- in docs/explanation/notify-suppression.md.

-- Whether no session requires notifications. Tried and released within one expression, where no interrupt comes: held until
-- the end of the transaction it would keep servers from getting it. Two writers that try at the same moment may find each
-- other: one notifies without need then.
create or replace function orderwire.notify_unclaimed() returns boolean
language sql volatile
return case when pg_try_advisory_lock(1869767799, 1) then pg_advisory_unlock(1869767799, 1) else false end;

-- Whether a writer that has recorded an event may commit without a notification. It takes `skipping` first, and then looks:
-- a session that gets notify_required later than this look finds `skipping` taken. CASE, since AND promises no order.
create or replace function orderwire.may_skip_notify() returns boolean
language sql volatile
return
    case
        when not orderwire.notify_unclaimed() then false
        when pg_try_advisory_xact_lock(1869767799, 3) then false
        when not pg_try_advisory_xact_lock_shared(1869767799, 2) then false
        else orderwire.notify_unclaimed()
    end;

-- Whether a writer that has recorded an event has to notify. Not in a session that has switched it off, since PREPARE
-- TRANSACTION fails after a NOTIFY; and not while the notification queue is filling, since a full one would fail every
-- COMMIT: servers poll long before. The constant has its type, since for a comparison with a numeric one there is no exact
-- operator, and one of another schema would be taken.
create or replace function orderwire.should_notify() returns boolean
language sql volatile
return
    case
        when current_setting('orders.notify', true) = 'off' then false
        when orderwire.may_skip_notify() then false
        else pg_notification_queue_usage() <= 0.5::double precision
    end;

-- Notify of `changed` events; `events` are the JSON of the first of them. A payload must be shorter than 8,000 bytes, else the
-- writer fails: as many events as fit are in it, and "more" says how many are not.
create or replace function orderwire.notify_changes(changed bigint, events text[]) returns void
language plpgsql volatile
as $$
declare
    max_bytes constant integer := 7800;
    bytes     integer := 0;
    shown     integer := 0;
    event     text;
begin
    if changed = 1 and octet_length(events[1]) < max_bytes then
        perform pg_notify('orders', events[1]);
        return;
    end if;
    foreach event in array events loop
        bytes := bytes + octet_length(event) + 1;
        exit when bytes >= max_bytes;
        shown := shown + 1;
    end loop;
    perform pg_notify(
        'orders',
        '{"type":"batch","events":[' || array_to_string(events[1:shown], ',') || '],"more":' || (changed - shown)::text || '}'
    );
end
$$;

-- ------------------------------------------------------------ the servers' side, each on its LISTEN connection

-- Require a notification for every change. False: a writer was just looking, ask again.
create or replace function orderwire.require_notify() returns boolean
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_all(); -- notifier
    return pg_try_advisory_lock_shared(1869767799, 1);
end
$$;

-- Whether a transaction that may commit without a notification is still open. A prepared transaction does not count: it may
-- stay for ever, and its events are delivered by the fallback poll.
create or replace function orderwire.silent_writers() returns boolean
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

-- Release the requirement, and try to become the notifier on behalf of all writers. False: another session is it now.
create or replace function orderwire.become_notifier() returns boolean
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_all(); -- notify_required
    return pg_try_advisory_lock(1869767799, 3);
end
$$;

-- Tell other listeners that `event_count` events came, unless the notification queue is filling.
create or replace function orderwire.notify_on_behalf(event_count bigint) returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() <= 0.25 then
        perform pg_notify('orders', '{"type":"batch","events":[],"more":' || event_count::text || '}');
    end if;
end
$$;

-- Let the servers read now, after a change of the attached tables or of the epoch, unless the notification queue is filling.
create or replace function orderwire.wake_servers() returns void
language plpgsql volatile
as $$
begin
    if pg_notification_queue_usage() <= 0.5::double precision then
        perform pg_notify('orders', '{"type":"batch","events":[],"more":0}');
    end if;
end
$$;

revoke execute on function
orderwire.notify_unclaimed(),
orderwire.may_skip_notify(),
orderwire.should_notify(),
orderwire.notify_changes(bigint, text[]),
orderwire.wake_servers()
from public;
