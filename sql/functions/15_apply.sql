-- How attach and detach change a database: generated functions are created, marked and dropped, and triggers of several tables are
-- created or dropped under locks that writers wait for a second at most.

-- The functions that were generated for a table: create_generated marks them.
create or replace function orderwire.generated_functions(name text) returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select p.oid
    from pg_proc as p
    where p.pronamespace = 'orderwire'::regnamespace and obj_description(p.oid, 'pg_proc') = 'Generated for ' || $1
$$;

-- Run statements that create functions, and mark those as generated for `name`, so that detach finds them.
create or replace function orderwire.create_generated(name text, statements text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    known     constant oid[] := array(select p.oid from pg_proc as p where p.pronamespace = 'orderwire'::regnamespace);
    statement text;
    f         regprocedure;
begin
    foreach statement in array statements loop
        execute statement;
    end loop;
    for f in
        select p.oid
        from pg_proc as p
        where p.pronamespace = 'orderwire'::regnamespace and p.oid <> all(known)
    loop
        execute format('comment on function %s is %L', f, 'Generated for ' || name);
        -- A role that could make one a trigger of its own table could write events.
        if (select p.prorettype = 'trigger'::regtype from pg_proc as p where p.oid = f) then
            execute format('revoke execute on function %s from public', f);
        end if;
    end loop;
end
$$;

-- Drop what was generated for a table. Without `triggers` the trigger functions stay, which are replaced.
create or replace function orderwire.drop_generated(name text, triggers boolean) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    f regprocedure;
begin
    if name = 'orders' then
        perform orderwire.drop_reads();
    end if;
    for f in
        select p.oid
        from pg_proc as p
        where
            p.oid in (select g from orderwire.generated_functions(name) as g)
            and (triggers or p.prorettype <> 'trigger'::regtype)
        order by p.oid desc
    loop
        if to_regprocedure(f::text) is not null then
            execute format('drop function %s cascade', f);
        end if;
    end loop;
end
$$;

-- Run a statement for each of these tables, that creates or drops its triggers, under a lock of all of them: until `deadline`
-- at most, since writers wait behind. It waits for one table at a time while it holds none: a writer that has locked one and
-- wants another would be in a deadlock with what holds some and waits for others. The row of the identity comes last, so that a
-- change of the epoch does not wait either.
create or replace function orderwire.run_locked(relations regclass[], mode text, statements text[], deadline timestamptz) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
set lock_timeout = '1ms'
as $$
declare
    others     integer[];
    waited_for integer := 1; -- the one that could not be locked at the last try
    n          integer;
    patience   integer;
begin
    if cardinality(relations) = 0 then
        return;
    end if;
    loop
        begin
            others := array_remove(array(select i from generate_subscripts(relations, 1) as i), waited_for);
            foreach n in array array[waited_for] || others loop
                patience := case when n = waited_for then extract(epoch from deadline - clock_timestamp()) * 1000 else 0 end;
                perform set_config('lock_timeout', greatest(patience, 1) || 'ms', true);
                -- LOCK TABLE needs more rights than TRIGGER, which the statement needs, and locks by itself.
                if not has_table_privilege(relations[n], 'update, delete, truncate') then
                    execute statements[n];
                else
                    execute format(
                        'lock table only %s in %s mode %s', relations[n], mode, case when patience < 1 then 'nowait' else '' end
                    );
                end if;
            end loop;
            perform set_config('lock_timeout', '1ms', true);
            perform from orderwire.journal_identity as i for update nowait;
            for n in 1 .. cardinality(relations) loop
                if has_table_privilege(relations[n], 'update, delete, truncate') then
                    execute statements[n];
                end if;
            end loop;
            return;
        exception when lock_not_available or deadlock_detected then null; -- all locks are given back here
        end;
        if clock_timestamp() >= deadline then
            raise exception using
                errcode = 'lock_not_available',
                message = format('%s could not be locked within a second: a transaction holds it', relations[n]),
                hint = 'try again, or end that transaction: see pg_stat_activity and pg_prepared_xacts';
        end if;
        waited_for := n;
        perform pg_sleep(0.002);
    end loop;
end
$$;

-- Partitions and child tables of a table, at any depth.
create or replace function orderwire.children(parent regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    with recursive children as (
        select i.inhrelid from pg_inherits as i where i.inhparent = $1
        union
        select i.inhrelid from pg_inherits as i join children as c on c.inhrelid = i.inhparent
    )
    select c.inhrelid from children as c
$$;

-- Those of them that get triggers of their own: where the owner of the schema may, and not foreign tables, which take no
-- transition tables.
create or replace function orderwire.children_for_triggers(parent regclass) returns setof regclass
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select c.child
    from orderwire.children($1) as c (child)
    join pg_class as t on t.oid = c.child
    where t.relkind in ('r', 'p') and has_table_privilege(c.child, 'trigger') and has_table_privilege(c.child, 'select')
$$;

-- Statements, one for each of these tables, that drop all triggers of ours.
create or replace function orderwire.drop_trigger_statements(relations regclass[]) returns text[]
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select array(
        select coalesce(
            (
                select string_agg(format('drop function if exists %s cascade', t.tgfoid::regprocedure), '; ')
                from pg_trigger as t
                join pg_proc as p on p.oid = t.tgfoid
                where t.tgrelid = r.relation and p.pronamespace = 'orderwire'::regnamespace
            ),
            'select'
        )
        from unnest($1) with ordinality as r (relation, n)
        order by r.n
    )
$$;

-- Drop all triggers of these attached tables and of their partitions.
create or replace function orderwire.drop_triggers(names text[]) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    relations constant regclass[] := array(
        select t.tgrelid::regclass
        from pg_trigger as t
        left join orderwire.attached_tables as a on a.relation = t.tgrelid
        where t.tgfoid in (select g from unnest(names) as n, orderwire.generated_functions(n) as g)
        group by t.tgrelid
        -- That of the most writers first, which may take a while; then no writer that goes through it has locked another.
        order by bool_or(a.name is not null) desc, t.tgrelid
    );
begin
    perform orderwire.run_locked(
        relations, 'access exclusive', orderwire.drop_trigger_statements(relations), clock_timestamp() + interval '1 second'
    );
end
$$;

create or replace function orderwire.drop_child_functions(prefix text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    kind text;
begin
    foreach kind in array '{insert,update,delete,truncate}'::text[] loop
        execute format('drop function if exists orderwire.%I()', prefix || '_' || kind);
    end loop;
end
$$;

revoke execute on function
orderwire.run_locked(regclass[], text, text[], timestamptz),
orderwire.drop_child_functions(text),
orderwire.drop_triggers(text[])
from public;
