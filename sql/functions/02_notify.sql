-- NOTIFY on the channel `orders`, in the writer's transaction; and when it may be skipped.
--
-- A transaction that notifies holds a lock of the whole cluster while it commits, its flush included (PostgreSQL's
-- src/backend/commands/async.c, PreCommit_Notify): group commit is lost, and eight writers share what one could do. So a
-- writer notifies when a server requires it, and otherwise only while no other writer does.
--
-- Three advisory locks of a class of our own. They end with the session or transaction that holds them, so a crash leaves
-- nothing behind; and they are only ever tried for, so no session waits for one (manual, "Advisory Lock Functions"). Any role may
-- take an advisory lock, so one that is held may only ever lead to more notifications, never to fewer: what leads to fewer is the
-- lease (orderwire.notify_lease), which no other role can set.
--
--   1 notify_required  shared, by each session that relies on notifications. A server that polls has released it.
--   2 skipping         shared, by each transaction that may commit without a notification, until it ends.
--   3 notifier         by the one server, of those that poll, that notifies on behalf of writers.
--
-- A session that has got notify_required, and after that finds `skipping` free, is notified of every later commit. The proof is
-- in docs/explanation/notify-suppression.md.

-- Whether no session requires notifications. Tried and released within one expression, where no interrupt comes: held until
-- the end of the transaction it would keep servers from getting it. Two writers that try at the same moment may find each
-- other: one notifies without need then.
create or replace function orderwire.notify_unclaimed() returns boolean
language sql volatile
return case when pg_try_advisory_lock(1869767799, 1) then pg_advisory_unlock(1869767799, 1) else false end;

-- The same without this need: where the lock is held exclusively, as for a moment by another writer that tries, no session can
-- have it shared; and where it has become free since the first try, the second one succeeds. For COMMIT, where many writers come
-- at the same moment.
create or replace function orderwire.notify_surely_unclaimed() returns boolean
language sql volatile
return
    case
        when pg_try_advisory_lock(1869767799, 1) then pg_advisory_unlock(1869767799, 1)
        when not pg_try_advisory_lock_shared(1869767799, 1) then true
        when not pg_advisory_unlock_shared(1869767799, 1) then false
        when pg_try_advisory_lock(1869767799, 1) then pg_advisory_unlock(1869767799, 1)
        else false
    end;

-- Milliseconds since 1970.
create or replace function orderwire.now_ms() returns bigint
language sql volatile
return (date_part('epoch', clock_timestamp()) * 1000::double precision)::bigint;

-- How much of the lease is left, in milliseconds; below 0 where it has ended, null where none was ever taken.
create or replace function orderwire.lease_ms_left() returns bigint
language sql volatile
return pg_sequence_last_value('orderwire.notify_lease'::regclass) / 64::bigint - orderwire.now_ms();

-- Whether the lease holds: a server notifies on behalf of writers, or a writer has notified in the last 200 ms. PL/pgSQL, so that it
-- costs nothing where it is not called. No lease is longer than two seconds: one that seems to be is of a clock that has
-- been set back.
create or replace function orderwire.lease_holds() returns boolean
language plpgsql volatile
as $$
declare
    ms_left constant bigint := orderwire.lease_ms_left();
begin
    return coalesce(ms_left between 0::bigint and 2000::bigint, false);
end
$$;

-- Whether a statement may leave its notification to the lease. A server's lease, of more than 200 ms, lasts until its server has
-- missed an extension for most of a second. A writer's ends soon, and a transaction may go on for longer: only one that has just
-- begun, and so mostly ends before the lease does, skips under it. The others record a notification, and decide at COMMIT.
drop function if exists orderwire.server_lease_holds();
create or replace function orderwire.lease_covers_statement() returns boolean
language plpgsql volatile
as $$
declare
    ms_left constant bigint := orderwire.lease_ms_left();
begin
    return coalesce(
        ms_left between 0::bigint and 2000::bigint
        and (ms_left > 200::bigint or statement_timestamp() - transaction_timestamp() < '100 ms'::interval),
        false
    );
end
$$;

-- Take the lease for 200 ms, to notify. False: it holds, or another transaction takes it at this moment.
--
-- The sequence holds the end of the lease in 64ths of a millisecond. nextval, the only way to read and change it in one step,
-- decides between transactions that have read the same: the first one that adds to a whole millisecond takes the lease. Those that
-- read while that one has not yet set it add further 64ths, and so does one that comes after it has: that one takes its 64th
-- back, since none could take the lease later. If the first one never sets it, since the server has crashed, the 64th takes it.
create or replace function orderwire.take_lease() returns boolean
language plpgsql volatile
as $$
declare
    lease constant bigint := coalesce(pg_sequence_last_value('orderwire.notify_lease'::regclass), 0::bigint);
    added bigint;
begin
    if orderwire.lease_holds() then
        return false;
    end if;
    added := nextval('orderwire.notify_lease');
    if added = lease + 1::bigint and lease % 64::bigint = 0::bigint then
        return setval('orderwire.notify_lease', (orderwire.now_ms() + 200::bigint) * 64::bigint) is not null;
    elsif added / 64::bigint > lease / 64::bigint then
        return setval('orderwire.notify_lease', added - added % 64::bigint) is null;
    end if;
    return false;
end
$$;

-- Whether a writer that has recorded an event may commit without a notification. It takes `skipping` first, and then looks:
-- a session that gets notify_required later than this look finds `skipping` taken. CASE, since AND promises no order.
create or replace function orderwire.may_skip_notify() returns boolean
language sql volatile
return
    case
        when not orderwire.notify_unclaimed() then false
        when not orderwire.lease_covers_statement() then false
        when not pg_try_advisory_xact_lock_shared(1869767799, 2) then false
        else orderwire.notify_unclaimed()
    end;

-- The same at COMMIT, where no session required notifications just now: then this transaction notifies if it can take the lease.
-- Taken earlier, by a transaction that is rolled back or goes on for hours, it would silence others in vain.
create or replace function orderwire.leaves_notify_to_lease() returns boolean
language plpgsql volatile
as $$
begin
    return
        case
            when orderwire.take_lease() then false
            when not pg_try_advisory_xact_lock_shared(1869767799, 2) then false
            else orderwire.notify_surely_unclaimed()
        end;
end
$$;

-- Whether a writer that has recorded an event has to notify. Not in a session that has switched it off, since PREPARE
-- TRANSACTION fails after a NOTIFY.
create or replace function orderwire.should_notify() returns boolean
language sql volatile
return
    case
        when current_setting('orders.notify', true) = 'off' then false
        else not orderwire.may_skip_notify()
    end;

-- The payload for `changed` events, of which `events` are the first, as JSON. It must be shorter than 8,000 bytes, else the writer
-- fails: as many events as fit are in it, and "more" says how many are not.
create or replace function orderwire.batch_json(changed bigint, events text[]) returns text
language plpgsql immutable
as $$
declare
    bytes integer := 0;
    shown integer := 0;
    event text;
begin
    foreach event in array events loop
        bytes := bytes + octet_length(event) + 1;
        exit when bytes >= 7800;
        shown := shown + 1;
    end loop;
    return '{"type":"batch","events":[' || array_to_string(events[1:shown], ',') || '],"more":' || (changed - shown)::text || '}';
end
$$;

-- Notify of `changed` events when the transaction commits; `events` are the JSON of the first of them. Returns `changed`.
--
-- Not at once: a full notification queue fails the COMMIT, and at the time of the statement it is not known how long the
-- transaction goes on. The payloads wait in a setting of the transaction, one to a line, and a row of orderwire.notices for its
-- deferred trigger; a rollback to a savepoint takes back both. A session that changes the setting takes the notifications from
-- its own transactions alone. Few expressions, since each is prepared again in each transaction; and assignments, since PERFORM
-- would start the executor.
drop function if exists orderwire.notify_changes(bigint, text[]);
create function orderwire.notify_changes(changed bigint, events text[]) returns bigint
language plpgsql volatile
as $$
declare
    waiting text := current_setting('orderwire.notices', true);
    payload text := case
        when changed = 1::bigint and octet_length(events[1]) < 7800 then events[1] else orderwire.batch_json(changed, events)
    end;
begin
    if waiting <> '' then
        if octet_length(waiting) < 65536 then
            waiting := set_config('orderwire.notices', waiting || E'\n' || payload, true);
        else
            -- Further statements of a transaction are only counted.
            waiting := substring(current_setting('orderwire.notices_left_out', true) from '^[0-9]{1,15}$');
            waiting := set_config('orderwire.notices_left_out', (coalesce(waiting::bigint, 0) + changed)::text, true);
        end if;
    else
        payload := set_config('orderwire.notices', payload, true);
        insert into orderwire.notices default values;
    end if;
    return changed;
end
$$;

-- The end of the transaction, or SET CONSTRAINTS … IMMEDIATE. Of the owner's rights, as the triggers of tables are: from PostgreSQL 18
-- on it has them in any case, before that those of the role at COMMIT.
create or replace function orderwire.send_notices() returns trigger
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    -- Empty where the session has reset it.
    notices  text := coalesce(
        nullif(current_setting('orderwire.notices', true), ''), '{"type":"batch","events":[],"more":1}'
    );
    left_out text;
    line     text;
begin
    if (
        case
            when pg_notification_queue_usage() > 0.5::double precision then true -- servers poll long before
            when orderwire.notify_surely_unclaimed() then orderwire.leaves_notify_to_lease()
            else false
        end
    ) then
        null;
    elsif strpos(notices, E'\n') = 0 then
        if pg_notify('orders', notices) is null then null; end if; -- PERFORM would start the executor
    else
        foreach line in array string_to_array(notices, E'\n') loop
            if pg_notify('orders', line) is null then null; end if;
        end loop;
        left_out := substring(current_setting('orderwire.notices_left_out', true) from '^[0-9]{1,15}$');
        if left_out is not null and pg_notify('orders', concat('{"type":"batch","events":[],"more":', left_out, '}')) is null then
            null;
        end if;
        left_out := set_config('orderwire.notices_left_out', '', true);
    end if;
    notices := set_config('orderwire.notices', '', true);
    return null;
end
$$;

do $$
begin
    if not exists (select from pg_trigger as t where t.tgrelid = 'orderwire.notices'::regclass and t.tgname = 'send_at_commit') then
        create constraint trigger send_at_commit after insert on orderwire.notices
        deferrable initially deferred for each row execute function orderwire.send_notices();
    end if;
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

-- Release the requirement, and try to become the notifier on behalf of all writers. False: another server is it now.
create or replace function orderwire.become_notifier() returns boolean
language plpgsql volatile
as $$
begin
    perform pg_advisory_unlock_all(); -- notify_required
    return pg_try_advisory_lock(1869767799, 3);
end
$$;

-- As the notifier: for two seconds writers may skip their notifications. To be called each second. No commit waits for a flush, as
-- a lease that a crash takes back is worth nothing to any reader; the same goes for notifications.
create or replace function orderwire.extend_notify_lease() returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform set_config('synchronous_commit', 'off', true);
    perform setval('orderwire.notify_lease', (orderwire.now_ms() + 2000) * 64);
end
$$;

-- As the notifier: tell other listeners that `event_count` events came, unless the notification queue is filling.
create or replace function orderwire.notify_on_behalf(event_count bigint) returns void
language plpgsql volatile
as $$
begin
    perform set_config('synchronous_commit', 'off', true);
    if pg_notification_queue_usage() <= 0.25 then
        perform pg_notify('orders', '{"type":"batch","events":[],"more":' || event_count::text || '}');
    end if;
end
$$;

-- Let the servers read after a change of the attached tables or of the epoch.
create or replace function orderwire.wake_servers() returns void
language sql volatile
as $$ select orderwire.notify_changes(0, '{}') $$;

revoke execute on function
orderwire.notify_unclaimed(),
orderwire.notify_surely_unclaimed(),
orderwire.lease_ms_left(),
orderwire.lease_covers_statement(),
orderwire.may_skip_notify(),
orderwire.should_notify(),
orderwire.now_ms(),
orderwire.lease_holds(),
orderwire.take_lease(),
orderwire.leaves_notify_to_lease(),
orderwire.batch_json(bigint, text[]),
orderwire.extend_notify_lease(),
orderwire.send_notices(),
orderwire.notify_changes(bigint, text[]),
orderwire.wake_servers()
from public;
