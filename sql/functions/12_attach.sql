-- Attach a table, and take it out again. One transaction each, nothing half-done; all checks come before the first change.

-- Raise an error that says why a table cannot be attached by a map, with the way out as its hint.
create or replace function orderwire.check_map(name text, relation regclass, map jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    is_stream constant boolean := name <> 'orders';
    known     constant text[] := case
        when is_stream then '{key,order_key,where,joins,data,actor,publications,key_is_unique}'
        else '{key,number,customer_name,customer_id,total,currency,status,created_at,where,joins,data,pending,cancelled,'
            'statuses,total_currency,actor,payload,publications,key_is_unique,write}'
    end::text[];
    c         pg_class;
    keys      text[];
    member    text;
    found_one text;
    field     text;
    type      text;
    plan      text;
begin
    select r.* into c from pg_class as r where r.oid = relation;
    if c.relkind not in ('r', 'p') then
        raise exception '% is not a table', relation using hint = 'attach the table that it reads';
    elsif c.relnamespace in ('orderwire'::regnamespace, 'pg_catalog'::regnamespace) or c.relpersistence = 't' then
        raise exception '% is a table of Orderwire, of PostgreSQL or a temporary one', relation using hint = 'attach a table of the shop';
    elsif c.relpersistence = 'u' then
        raise exception '% is unlogged: a crash would empty it without an event', relation
            using hint = format('alter table %s set logged', relation);
    elsif c.relispartition then
        raise exception '% is a partition', relation using hint = 'attach its parent';
    elsif getdatabaseencoding() = 'SQL_ASCII' then
        raise exception 'the database has the encoding SQL_ASCII, of which no JSON can be made' using hint = 'use a database with UTF8';
    end if;

    if jsonb_typeof(map) is distinct from 'object' then
        raise exception 'the map is not an object' using hint = 'see docs/how-to/attach.md';
    end if;
    select string_agg(k, ', ') into found_one from jsonb_object_keys(map) as k where k <> all(known);
    if found_one is not null then
        raise exception 'the map has unknown members: %', found_one using hint = 'known are: ' || array_to_string(known, ', ');
    end if;
    for member in select m.key from jsonb_each(map) as m loop
        if (
            case
                when member = 'key' then jsonb_typeof(map -> member) not in ('string', 'array')
                when member in ('pending', 'cancelled', 'statuses') then jsonb_typeof(map -> member) <> 'array'
                when member in ('actor', 'publications', 'key_is_unique') then jsonb_typeof(map -> member) <> 'boolean'
                when member = 'data' then jsonb_typeof(map -> member) not in ('array', 'object')
                when member = 'write' then jsonb_typeof(map -> member) <> 'object'
                else jsonb_typeof(map -> member) <> 'string'
            end
            or jsonb_typeof(map -> member) = 'array' and exists (
                select
                from jsonb_array_elements(map -> member) as e (element)
                where jsonb_typeof(e.element) <> 'string' and (jsonb_typeof(e.element) <> 'number' or member in ('key', 'data'))
            )
        ) then
            raise exception 'the map''s member % has the wrong type', member using hint = 'see docs/how-to/attach.md';
        end if;
    end loop;
    if coalesce(map ->> 'payload', 'full') not in ('full', 'keys') then
        raise exception 'the map''s payload is %', map ->> 'payload' using hint = 'it is "full" or "keys"';
    end if;

    select string_agg(l.value, ', ') into found_one
    from unnest('{pending,cancelled,statuses}'::text[]) as m, unnest(orderwire.map_list(map, m)) as l (value)
    where length(l.value) > 100;
    if found_one is not null then
        raise exception 'a status of the map is longer than 100 characters: %', left(found_one, 200)
            using hint = 'map the status to shorter texts with an expression';
    end if;

    -- The key: unique and not null by declaration, since events of two rows with one key would be one history.
    keys := orderwire.key_columns(map);
    if keys is null or cardinality(keys) = 0 then
        raise exception 'the map has no key' using hint = 'name a column that is unique and not null';
    end if;
    foreach member in array keys loop
        if not exists (
            select from pg_attribute as a where a.attrelid = relation and a.attname = member and a.attnum > 0 and not a.attisdropped
        ) then
            raise exception 'the key % is not a column of %', member, relation using hint = 'the key is a column, or a list of columns';
        elsif not exists (
            select from pg_attribute as a where a.attrelid = relation and a.attname = member and a.attnotnull
        ) then
            raise exception 'the key column % of % may be null', member, relation using hint = 'take a column that is not null';
        elsif not exists (
            select from pg_attribute as a
            where a.attrelid = relation and a.attname = member and orderwire.base_type(a.atttypid) in (
                'int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype, 'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype
            )
        ) then
            raise exception 'the key column % of % is neither an integer, a uuid nor a text', member, relation
                using hint = 'take another unique column';
        end if;
    end loop;
    if not exists (
        select
        from pg_index as x
        where
            x.indrelid = relation and x.indisunique and x.indisvalid and x.indimmediate and x.indpred is null and x.indexprs is null
            and (
                select array_agg(a.attname::text order by a.attname)
                from generate_series(0, x.indnkeyatts - 1) as n
                join pg_attribute as a on a.attrelid = relation and a.attnum = x.indkey[n]
            ) = (select array_agg(k order by k) from unnest(keys) as k)
    ) and not (c.relkind = 'p' and coalesce((map ->> 'key_is_unique')::boolean, false)) then
        raise exception 'the key % of % has no unique index of its own', array_to_string(keys, ', '), relation
            using hint = case
                when c.relkind = 'p' then 'where the partition column must be part of every unique index: "key_is_unique": true'
                else 'take the columns of a unique index'
            end;
    end if;

    -- Rights, and what hides or bypasses.
    select string_agg(r::text, ', ') into found_one
    from (select relation union select * from orderwire.children(relation)) as rs (r)
    where not has_table_privilege(r, 'trigger') or not has_table_privilege(r, 'select');
    if found_one is not null then
        raise exception 'the role % may not create triggers on %, or not read it', current_user, found_one
            using hint = format('grant trigger, select on %s to %I', found_one, current_user);
    elsif c.relrowsecurity and (c.relforcerowsecurity or not pg_has_role(c.relowner, 'usage')) and not (
        select r.rolbypassrls or r.rolsuper from pg_roles as r where r.rolname = current_user
    ) then
        raise exception 'row level security hides rows of % from the role %', relation, current_user
            using hint = format('alter role %I bypassrls', current_user);
    end if;
    select string_agg(s.subname, ', ') into found_one
    from pg_subscription_rel as r
    join pg_subscription as s on s.oid = r.srsubid
    where r.srrelid = relation;
    if found_one is not null then
        raise exception '% receives its rows by logical replication (%), for which statement triggers do not fire', relation, found_one
            using hint = 'attach the table at the publisher';
    end if;
    select string_agg(p.pubname, ', ') into found_one from pg_publication as p where p.puballtables;
    if found_one is not null and not coalesce((map ->> 'publications')::boolean, false) then
        raise exception 'the publication % is FOR ALL TABLES: it sends the journal too, and its subscribers stop', found_one
            using hint = 'create the schema orderwire at each subscriber (pg_dump --schema-only --schema=orderwire), then '
                'set "publications": true in the map; or publish the shop''s tables by name';
    end if;
    select string_agg(t.tgname, ', ') into found_one
    from pg_trigger as t
    join pg_proc as p on p.oid = t.tgfoid
    where t.tgrelid = relation and t.tgname like 'zz\_orderwire\_%' and p.pronamespace <> 'orderwire'::regnamespace;
    if found_one is not null then
        raise exception 'the table % has triggers of these names already: %', relation, found_one using hint = 'rename them';
    end if;
    select string_agg(ch.oid::regclass::text, ', ') into found_one
    from pg_partition_tree(relation) as t
    join pg_class as ch on ch.oid = t.relid
    where ch.relkind = 'f';
    if found_one is not null then
        raise exception '% has foreign tables as partitions: %', relation, found_one using hint = 'triggers cannot see their rows';
    end if;

    -- A map is run with the owner's rights. Its texts are expressions and nothing more.
    select string_agg(distinct t.member, ', ') into found_one
    from (
        select m.key as member, m.value from jsonb_each_text(map) as m where jsonb_typeof(map -> m.key) = 'string'
        union all
        select 'data', d.value
        from jsonb_each_text(case jsonb_typeof(map -> 'data') when 'object' then map -> 'data' else '{}' end) as d
    ) as t (member, value)
    where t.member in ('order_key', 'number', 'customer_name', 'customer_id', 'total', 'currency', 'status', 'created_at', 'where', 'joins', 'data')
        and not orderwire.is_self_contained(t.value)
        and not exists (
            select from pg_attribute as a where a.attrelid = relation and a.attname = t.value and a.attnum > 0 and not a.attisdropped
        );
    if found_one is not null then
        raise exception 'the map''s % is not one expression', found_one
            using hint = 'no semicolons, comments, dollar quotes or E'''' strings, and every parenthesis in its pair';
    end if;

    -- Each expression on its own, so that the message names it; in a condition, where no aggregate and no set is allowed.
    for field, type in
        select f.field, f.type from orderwire.map_fields(name) as f
        union all
        select 'where', 'boolean'
    loop
        begin
            -- A loop, since a cursor takes one statement only.
            for plan in execute format(
                'explain select from %s as o where (%s)::%s is null',
                relation, coalesce(orderwire.field_sql(relation, map, field), 'null'), type
            ) loop
                exit;
            end loop;
        exception when others then
            raise exception 'the map''s % does not work: %', field, sqlerrm
                using hint = 'it is a column, or an SQL expression over the row "o"; names outside pg_catalog say their schema';
        end;
    end loop;
    if exists (
        select from pg_attribute as a
        where
            a.attrelid = relation and to_jsonb(a) ->> 'attgenerated' = 'v'
            and (
                orderwire.map_can_raise(relation, map)
                or exists (select from jsonb_each_text(map) as m where m.value ~ ('\m' || a.attname || '\M'))
            )
    ) then
        raise exception 'the map would read a virtual generated column of %, which triggers cannot see', relation
            using hint = 'write its expression in the map, over plain columns only; or make the column stored';
    end if;
end
$$;

-- The functions that were generated for a table: create_generated marks them.
create or replace function orderwire.generated_functions(name text) returns setof oid
language sql stable
set search_path = pg_catalog, pg_temp
as $$
    select p.oid
    from pg_proc as p
    where p.pronamespace = 'orderwire'::regnamespace and obj_description(p.oid, 'pg_proc') = 'Generated for ' || $1
$$;

-- Raise an error if a function that was generated from a map depends on anything but the row: a volatile function, the current
-- time, a setting, the session's time zone.
create or replace function orderwire.check_volatility(name text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    culprit text;
begin
    select string_agg(distinct f.oid::regprocedure::text, ', ') into culprit
    from pg_proc as p
    cross join lateral regexp_matches(p.prosqlbody::text, ':(?:funcid|opfuncid|aggfnoid) (\d+)', 'g') as m
    join pg_proc as f on f.oid = m[1]::oid
    where
        p.oid in (select g from orderwire.generated_functions(name) as g)
        and p.proname like 'map\_%'
        and f.pronamespace <> 'orderwire'::regnamespace
        and (
            f.provolatile = 'v'
            or f.provolatile = 's' and (
                'timestamptz'::regtype = any(f.proargtypes::oid[]) or f.prorettype = 'timestamptz'::regtype
                or f.proname in ('current_setting', 'current_database', 'inet_client_addr', 'pg_backend_pid', 'current_schema')
            ) and f.proname not in ('timestamptz_cmp_date', 'to_timestamp')
        );
    if culprit is null then
        select 'a time as text' into culprit
        from pg_proc as p
        where
            p.oid in (select g from orderwire.generated_functions(name) as g)
            -- A cast to text, which calls no function, of a column that is a date, a time, an interval or money.
            and p.prosqlbody::text ~ '\{COERCEVIAIO :arg \{FIELDSELECT :arg \{[^{}]*\} :fieldnum \d+ :resulttype (?:1082|1083|1114|1184|1186|1266|790) ';
    end if;
    if culprit is null then
        select '"current_date" or the like' into culprit
        from pg_proc as p
        where
            p.oid in (select g from orderwire.generated_functions(name) as g)
            and p.prosqlbody::text ~ '\{SQLVALUEFUNCTION';
    end if;
    if culprit is not null then
        raise exception 'the map depends on more than the row: %', culprit
            using hint = 'an expression must give the same for the same row at any time and in any session: '
                'write "at time zone ''UTC''" for times, and no now() or random()';
    end if;

    select string_agg(f.field, ', ') into culprit
    from unnest('{order_key,number,customer_id,total,currency,status,created_at,where}'::text[]) as f (field)
    join pg_proc as p on p.oid = to_regproc('orderwire.map_' || name || '_' || f.field)
    where p.prosqlbody::text like '%:rtekind 0 :relid %';
    if culprit is not null then
        raise exception 'the map reads another table for %', culprit
            using hint = 'a change of that table makes no event, so totals would be wrong: only customer_name and data may read others';
    end if;
end
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

-- Create the triggers of partitions and child tables that have none yet, and remove those of tables that are none any more.
-- Called by the servers every minute: until then, writes that name a new partition make no events. Returns how many have got
-- triggers. What cannot be locked within a second in all is left to the next call.
create or replace function orderwire.attach_partitions() returns integer
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    deadline  timestamptz;
    t         orderwire.attached_tables;
    child     regclass;
    prefix    text;
    made      integer := 0;
    has_rows  boolean := false;
    rows_came boolean := false;
    one_left  boolean;
begin
    begin
        lock table orderwire.attached_tables in share row exclusive mode nowait;
    exception when lock_not_available then return 0; -- another session attaches, detaches or does this
    end;
    deadline := clock_timestamp() + interval '1 second';
    for t in select a.* from orderwire.attached_tables as a loop
        for child in
            select c.child
            from orderwire.children_for_triggers(t.relation) as c (child)
            where not exists (select from orderwire.attached_partitions as p where p.relation = c.child)
            order by random() -- so that one that is locked for long does not stand before the others
        loop
            exit when clock_timestamp() >= deadline;
            prefix := t.name || '_p' || child::oid;
            begin
                perform orderwire.create_generated(
                    t.name, orderwire.trigger_function_statements(t.name, prefix, t.map, of_child => true)
                );
                perform orderwire.run_locked(
                    array[child], 'share row exclusive',
                    array[array_to_string(orderwire.trigger_statements(child, prefix), '; ')],
                    case when made > 0 then now() else deadline end
                );
                insert into orderwire.attached_partitions (name, relation) values (t.name, child)
                on conflict on constraint attached_partitions_pkey do nothing;
                made := made + 1;
                execute format('select exists (select from only %s)', child) into has_rows;
                rows_came := rows_came or has_rows;
            exception when others then
                raise warning 'the triggers of % could not be created: %', child, sqlerrm;
            end;
        end loop;
    end loop;
    one_left := orderwire.detach_former_partitions(case when made > 0 then now() else deadline end);
    -- What a table brings or takes away has no events.
    if rows_came or one_left then
        perform orderwire.renew_epoch((select i.epoch from orderwire.journal_identity as i));
        perform orderwire.wake_servers();
    end if;
    return made;
end
$$;

-- Remove the triggers of tables that are no partitions or child tables of an attached one any more. Those that cannot be
-- locked are left to the next call. Returns whether there was one.
create or replace function orderwire.detach_former_partitions(deadline timestamptz) returns boolean
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    former   orderwire.attached_partitions;
    one_left boolean := false;
begin
    for former in
        select p.*
        from orderwire.attached_partitions as p
        join orderwire.attached_tables as a on a.name = p.name
        where p.relation not in (select c.child from orderwire.children(a.relation) as c (child))
    loop
        begin
            if exists (select from pg_class as c where c.oid = former.relation) then
                perform orderwire.run_locked(
                    array[former.relation], 'access exclusive', orderwire.drop_trigger_statements(array[former.relation]), deadline
                );
                deadline := now(); -- not to wait for another while this one is locked
            end if;
            -- Those of a table that was dropped.
            perform orderwire.drop_child_functions(former.name || '_p' || former.relation::oid);
            delete from orderwire.attached_partitions as p where p.relation = former.relation;
            one_left := true;
        exception when lock_not_available then null;
        end;
    end loop;
    return one_left;
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
orderwire.run_locked(regclass[], text, text[], timestamptz),
orderwire.detach_former_partitions(timestamptz),
orderwire.drop_child_functions(text),
orderwire.drop_triggers(text[]),
orderwire.attach_table(text, regclass, jsonb),
orderwire.attach(regclass, jsonb),
orderwire.attach_stream(text, regclass, jsonb),
orderwire.attach_partitions(),
orderwire.detach(text),
orderwire.uninstall()
from public;
