-- Whether a table can be attached by a map. All checks come before the first change.

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
    if map -> 'write' is not null then
        perform orderwire.check_write(relation, map);
    end if;
end
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
