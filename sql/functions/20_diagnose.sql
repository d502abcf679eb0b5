-- What would stop events from arriving, or arriving in time; `python server.py doctor` prints it.

-- What is wrong with the attached tables. `stops_events`: changes of a table make no events until a person acts, which
-- /readyz says.
create or replace function orderwire.diagnose_attached(out problem text, out fix text, out stops_events boolean) returns setof record
language sql stable
as $$
    select
        'no table of orders is attached: there are no events',
        'python server.py attach lists the tables that may be one',
        false -- the server does what it can
    where not exists (select from orderwire.attached_tables as a where a.name = 'orders')

    union all
    select
        format('the table %s, attached as %s, does not exist any more', a.relation_name, a.name),
        format('select orderwire.detach(%L), then attach the table that took its place', a.name),
        true
    from orderwire.attached_tables as a
    where not exists (select from pg_class as c where c.oid = a.relation)

    union all
    select
        format('%s is attached as %s, but another table has its old name %s', a.relation, a.name, a.relation_name),
        format('if that one has the orders now: select orderwire.detach(%L), and attach it', a.name),
        true
    from orderwire.attached_tables as a
    where exists (
        -- to_regclass() fails without USAGE on the schema.
        select
        from pg_class as c
        join pg_namespace as n on n.oid = c.relnamespace
        where array[n.nspname, c.relname]::text[] = parse_ident(a.relation_name) and c.oid <> a.relation
    )

    union all
    -- Triggers that are not there, or not enabled.
    select
        format('the trigger %s of %s is %s: such changes make no events', wanted.trigger, r.relation,
            case when t.tgname is null then 'missing' else 'not enabled' end),
        case
            when t.tgname is null then format('attach it again: python server.py attach %s --map FILE --apply', r.relation)
            else format('alter table %s enable trigger %I', r.relation, wanted.trigger)
        end,
        true
    from (
        select a.name, a.relation from orderwire.attached_tables as a
        union all
        select p.name, p.relation from orderwire.attached_partitions as p
    ) as r
    join pg_class as c on c.oid = r.relation
    cross join unnest('{insert,update,delete,truncate}'::text[]) as kind
    cross join lateral (select 'zz_orderwire_' || kind as trigger) as wanted
    left join pg_trigger as t on t.tgrelid = r.relation and t.tgname = wanted.trigger
    where (t.tgname is null or t.tgenabled not in ('O', 'A')) and (kind <> 'truncate' or c.relkind = 'r')

    union all
    select
        format('the map function of %s is gone: its changes are not recorded', a.relation),
        format('attach it again: python server.py attach %s --map FILE --apply', a.relation),
        true
    from orderwire.attached_tables as a
    where to_regproc('orderwire.map_' || a.name) is null

    union all
    select
        format('the function orderwire.%s is gone: lists, totals, TRUNCATE or partitions of %s do not work', f.name, a.relation),
        format('attach it again: python server.py attach %s --map FILE --apply', a.relation),
        false -- events flow
    from orderwire.attached_tables as a
    cross join lateral unnest(
        array['own_' || a.name, 'parent_' || a.name, 'row_of_' || a.name]
        || case when a.name = 'orders' then '{all_orders,orders_by_key,list_orders,list_customer_orders,count_orders}'::text[] end
    ) as f (name)
    where to_regproc('orderwire.map_' || a.name) is not null and to_regproc('orderwire.' || f.name) is null

    union all
    -- A map whose expressions may raise is a function for each, and goes on without.
    select
        format('a part of the map of %s is gone, with a column or function that was dropped: it is null in events', a.relation),
        format('attach it again with a map that does without: python server.py attach %s --map FILE --apply', a.relation),
        to_regproc('orderwire.map_' || a.name || '_key') is null or to_regproc('orderwire.map_' || a.name || '_where') is null
    from orderwire.attached_tables as a
    join pg_proc as p on p.oid = to_regproc('orderwire.map_' || a.name)
    join pg_language as l on l.oid = p.prolang
    where l.lanname = 'plpgsql' and to_regproc('orderwire.map_' || a.name || '_exact') is null

    union all
    select
        format('the partition %s of %s has no triggers yet: writes that name it make no events', c.child, a.relation),
        case
            when not has_schema_privilege(n.nspowner, t.relnamespace, 'usage')
                then format('grant usage on schema %s to %s', t.relnamespace::regnamespace, n.nspowner::regrole)
            when has_table_privilege(n.nspowner, c.child, 'trigger') and has_table_privilege(n.nspowner, c.child, 'select')
                then 'select orderwire.attach_partitions(); the servers do it every minute'
            else format('grant trigger, select on %s to %s', c.child, n.nspowner::regrole)
        end,
        false
    from orderwire.attached_tables as a
    join pg_namespace as n on n.nspname = 'orderwire'
    cross join orderwire.children(a.relation) as c (child)
    join pg_class as t on t.oid = c.child
    where t.relkind <> 'f' and not exists (select from orderwire.attached_partitions as p where p.relation = c.child)

    union all
    select
        format('the foreign table %s belongs to %s: triggers cannot see its rows', c.child, a.relation),
        case
            when t.relispartition then format('alter table %s detach partition %s', i.inhparent::regclass, c.child)
            else format('alter foreign table %s no inherit %s', c.child, i.inhparent::regclass)
        end || '; or see to it that its rows do not change',
        false
    from orderwire.attached_tables as a
    cross join orderwire.children(a.relation) as c (child)
    join pg_class as t on t.oid = c.child
    join pg_inherits as i on i.inhrelid = c.child
    where t.relkind = 'f'

    union all
    select
        format('%s is no partition of %s any more, but still has triggers', c.oid::regclass, a.relation),
        'select orderwire.attach_partitions(); the servers do it every minute',
        false
    from orderwire.attached_partitions as p
    join orderwire.attached_tables as a on a.name = p.name
    join pg_class as c on c.oid = p.relation
    where p.relation not in (select c.child from orderwire.children(a.relation) as c (child))

    union all
    select
        format('the owner of the schema orderwire, %s, may not read %s', n.nspowner::regrole, a.relation),
        format('grant select on %s to %s', a.relation, n.nspowner::regrole),
        false -- events flow: only totals and lists lack the table
    from orderwire.attached_tables as a
    join pg_class as c on c.oid = a.relation
    cross join pg_namespace as n
    where n.nspname = 'orderwire' and not has_table_privilege(n.nspowner, a.relation, 'select')

    union all
    -- Without this right, fields of a map with joins are null, and lists fail otherwise.
    select
        format('the role %s, which serves, may not read %s', s.role, r.relation),
        format('grant select on %s to %s', r.relation, s.role),
        false
    from orderwire.serving_roles() as s (role)
    cross join orderwire.read_relations() as r (relation)
    where not has_table_privilege(s.role, r.relation, 'select')

    union all
    -- Where the map allows changes of the status.
    select
        format('the role %s may not update %I of %s: the status of orders cannot be changed', p.proowner::regrole, s.attname, a.relation),
        format('grant update (%I) on %s to %s', s.attname, a.relation, p.proowner::regrole),
        false
    from orderwire.attached_tables as a
    join pg_proc as p on p.oid = to_regproc('orderwire.set_order_status')
    cross join lateral orderwire.status_column(a.relation, a.map) as s
    where a.name = 'orders' and not has_column_privilege(p.proowner, a.relation, s.attnum, 'update')

    union all
    select format('%s: the status of orders cannot be changed', f.problem), f.fix, false
    from orderwire.attached_tables as a
    join pg_proc as p on p.oid = to_regproc('orderwire.set_order_status')
    cross join lateral orderwire.foreign_triggers(a.relation, p.proowner::regrole) as f
    where a.name = 'orders'

    union all
    select
        format('the role %s, which serves, may not call %s: it cannot change the status of orders', s.role, p.oid::regprocedure),
        format('select orderwire.grant_serving(%L)', s.role),
        false
    from orderwire.serving_roles() as s (role)
    join pg_proc as p on p.oid = to_regproc('orderwire.change_order_status')
    where to_regproc('orderwire.set_order_status') is not null and not has_function_privilege(s.role, p.oid, 'execute')

    union all
    select
        format('row level security is forced on %s: totals and lists may lack rows', a.relation),
        format('alter role %s bypassrls', n.nspowner::regrole),
        false
    from orderwire.attached_tables as a
    join pg_class as c on c.oid = a.relation
    cross join pg_namespace as n
    join pg_roles as o on o.oid = n.nspowner
    where n.nspname = 'orderwire' and c.relrowsecurity and (c.relforcerowsecurity or c.relowner <> n.nspowner)
        and not (o.rolsuper or o.rolbypassrls)

    union all
    select
        format('%s receives changes by logical replication (subscription %s): they make no events', a.relation, s.subname),
        'statement triggers do not fire for them: attach the table at the publisher',
        true
    from orderwire.attached_tables as a
    join pg_subscription_rel as r on r.srrelid = a.relation
    join pg_subscription as s on s.oid = r.srsubid
    where s.subenabled
$$;

-- Sessions that hold locks of ours for longer than ours do, or have no business with them: any role may take an advisory lock.
create or replace function orderwire.diagnose_locks(out problem text, out fix text) returns setof record
language sql stable
as $$
    select
        format(
            'pid %s (role %s, application_name %L) holds the lock %s of notify suppression: %s',
            a.pid, a.usename, a.application_name, l.objid, case l.objid::integer
                when 1 then 'every change notifies, so commits wait for one another'
                when 2 then 'servers poll the journal all the time'
                else 'of many changes at the same moment more notify than have to'
            end
        ),
        format('if it is no server of yours: select pg_terminate_backend(%s)', a.pid)
    from pg_locks as l
    join pg_stat_activity as a on a.pid = l.pid
    join pg_namespace as n on n.nspname = 'orderwire'
    left join pg_roles as r on r.oid = a.usesysid
    where
        l.locktype = 'advisory' and l.granted and l.classid = 1869767799 and l.objid in (1, 2, 3) and l.objsubid = 2
        and l.database = (select d.oid from pg_database as d where d.datname = current_database())
        -- The server's connection.
        and not (
            a.application_name = 'orderwire listener'
            and (r.rolsuper or pg_has_role(r.oid, n.nspowner, 'member') or r.oid in (select s.s from orderwire.serving_roles() as s (s)))
        )
        -- A writer holds them until its transaction ends. Another role's transactions may be hidden from this one.
        and case when a.state is null then l.objid = 1 else coalesce(a.xact_start < now() - interval '1 minute', true) end

    union all
    select
        format(
            'the partitions of the journal have not been maintained since %s: old events stay, and new ones may be slow%s',
            i.settling_since,
            (
                select '; ' || string_agg(
                    format('pid %s (role %s, application_name %L) holds a lock', a.pid, a.usename, a.application_name), ', '
                )
                from pg_locks as l
                join pg_stat_activity as a on a.pid = l.pid
                where
                    l.relation = 'orderwire.journal_partitions'::regclass and l.granted and l.pid <> pg_backend_pid()
                    and l.mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')
            )
        ),
        'run a server, which does it every minute; its log says why if it cannot'
    from orderwire.journal_identity as i
    where i.settling_since < now() - interval '6 hours'
$$;

create or replace function orderwire.diagnose(out problem text, out fix text) returns setof record
language sql stable
as $$
    select d.problem, d.fix from orderwire.diagnose_attached() as d

    union all
    select l.problem, l.fix from orderwire.diagnose_locks() as l

    union all
    select
        format('the publication %s is FOR ALL TABLES and sends the journal too', p.pubname),
        'its subscribers need the schema orderwire, or publish the shop''s tables by name'
    from pg_publication as p
    where p.puballtables and not exists (
        select from orderwire.attached_tables as a where (a.map ->> 'publications')::boolean
    )

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
