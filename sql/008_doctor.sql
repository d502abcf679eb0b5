-- What would stop events from arriving, or arriving in time; `python server.py doctor` prints it.

create function orderwire.diagnose(out problem text, out fix text) returns setof record
language sql stable
as $$
    -- Triggers that are not there, or not switched on.
    select
        format('the trigger %s on orders is %s: such changes make no events', wanted.name,
            case when t.tgname is null then 'missing' else 'not enabled' end),
        case
            when t.tgname is null then 'create it as in sql/005_triggers.sql'
            else format('alter table public.orders enable trigger %I', wanted.name)
        end
    from unnest(array[
        'orders_90_journal_insert', 'orders_90_journal_update', 'orders_90_journal_delete', 'orders_90_journal_truncate'
    ]) as wanted (name)
    left join pg_trigger as t on t.tgrelid = 'public.orders'::regclass and t.tgname = wanted.name
    where t.tgname is null or t.tgenabled not in ('O', 'A')

    union all
    -- Statement-level triggers of the parent do not fire for a statement that names a partition.
    select
        format('%s is a partition of orders without triggers of its own: writes that name it make no events', c.oid::regclass),
        'write to orders itself'
    from pg_inherits as i
    join pg_class as c on c.oid = i.inhrelid
    where i.inhparent = 'public.orders'::regclass

    union all
    select
        format('orders receives changes by logical replication (subscription %s): they make no events', s.subname),
        'enable always trigger on the journal''s triggers does not help statement-level ones: run Orderwire at the publisher'
    from pg_subscription_rel as r
    join pg_subscription as s on s.oid = r.srsubid
    where r.srrelid = 'public.orders'::regclass and s.subenabled

    union all
    select
        format('%s has the setting %s: %s', coalesce(d.setrole::regrole::text, 'a role'), setting,
            case
                when setting like 'session_replication_role=%' then 'its changes make no events'
                else 'its changes do not notify, events come up to a second late'
            end),
        'alter role or alter database … reset ' || split_part(setting, '=', 1)
    from pg_db_role_setting as d, unnest(d.setconfig) as setting
    where setting in ('session_replication_role=replica', 'session_replication_role=local', 'orders.notify=off')

    union all
    select
        format('the notification queue is %s %% full: beyond 50 %% no change notifies', round(100 * usage)),
        'end the session that listens but sits in a transaction: ' || coalesce(
            (
                select string_agg(format('pid %s since %s', a.pid, a.xact_start), ', ')
                from pg_stat_activity as a
                where a.xact_start < now() - interval '1 minute' and a.state like 'idle in transaction%'
            ),
            'see pg_stat_activity'
        )
    from pg_notification_queue_usage() as usage
    where usage > 0.1

    union all
    select
        'synchronous_commit is off: a crash can take back changes whose events have been delivered',
        'alter system reset synchronous_commit'
    where current_setting('synchronous_commit') = 'off'

    union all
    select
        format('a transaction is open since %s (pid %s): the journal cannot be trimmed beyond it', a.xact_start, a.pid),
        'end it: select pg_terminate_backend(' || a.pid || ')'
    from pg_stat_activity as a
    where a.xact_start < now() - interval '1 hour' and a.backend_xid is not null

    union all
    select
        'a prepared transaction waits since ' || p.prepared || ': the journal cannot be trimmed beyond it',
        format('commit prepared %L, or rollback prepared %L', p.gid, p.gid)
    from pg_prepared_xacts as p
    where p.prepared < now() - interval '1 hour' and p.database = current_database()
$$;
comment on function orderwire.diagnose is 'What would stop events from arriving, and how to fix it.';
