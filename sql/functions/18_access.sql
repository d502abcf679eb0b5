-- What other roles may do: revoke tokens, erase a person's data, serve.

create or replace function orderwire.revoke(subject text) returns void
language sql volatile
as $$
    insert into orderwire.revocations as r (subject) values ($1)
    on conflict on constraint revocations_pkey do update set revoked_at = now()
$$;
comment on function orderwire.revoke is 'Revoke every token that was issued to this subject so far.';

-- The key of an order as its events have it, where it is written otherwise (a uuid in upper case); an unknown key as it is.
create or replace function orderwire.canonical_key(key text) returns text
language sql stable
as $$ select coalesce((select k.key from orderwire.orders_by_key(array[$1]) as k limit 1), $1) $$;

-- Erase a person's data from the journal: name, customer and data of one order. Returns how many events had any. Totals and the
-- order's history stay; so do the rows of the shop's own tables, and what clients have already received.
create or replace function orderwire.erase(key text) returns bigint
language sql volatile
as $$
    with erased as (
        update orderwire.journal as j
        set customer_name = null, customer_id = null, previous_customer_id = null, data = null
        where
            (j.stream is null and j.key = orderwire.canonical_key($1) or j.order_key = orderwire.canonical_key($1))
            and num_nonnulls(j.customer_name, j.customer_id, j.previous_customer_id, j.data) > 0
        returning 1
    )
    select count(*) from erased
$$;
comment on function orderwire.erase is 'Erase name, customer and data of one order from the journal; returns the number of events.';

-- Those of the orders that belong to the customer.
create or replace function orderwire.owned_keys(subject text, keys text[]) returns setof text
language sql stable
as $$ select k.key from orderwire.orders_by_key($2) as k where k.customer_id = $1 $$;

-- The roles that serve: those that grant_serving has given the schema.
create or replace function orderwire.serving_roles() returns setof regrole
language sql stable
as $$
    select distinct x.grantee::regrole
    from pg_namespace as n, aclexplode(n.nspacl) as x
    where n.nspname = 'orderwire' and x.privilege_type = 'USAGE' and x.grantee not in (0, n.nspowner)
$$;

-- The shop's tables that the server reads: those that are attached, and those that their maps join.
create or replace function orderwire.read_relations() returns setof regclass
language sql stable
as $$
    select a.relation from orderwire.attached_tables as a
    union
    select d.refobjid::regclass
    from pg_depend as d
    join pg_proc as p on p.oid = d.objid
    join pg_class as c on c.oid = d.refobjid
    where
        d.classid = 'pg_proc'::regclass and d.refclassid = 'pg_class'::regclass
        and p.pronamespace = 'orderwire'::regnamespace and c.relnamespace <> 'orderwire'::regnamespace
        and c.relkind in ('r', 'p', 'v', 'm', 'f')
$$;

-- Give a role what serving needs: to read the attached tables and the journal, and what the map's `write` allows. Run it as the owner of the
-- schema; attach runs it again for the roles that have it.
create or replace function orderwire.grant_serving(server regrole) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    t           record;
    gave_select boolean;
    gave_usage  boolean;
begin
    execute format('grant usage on schema orderwire to %s', server);
    execute format(
        'grant select on orderwire.journal, orderwire.journal_identity, orderwire.migrations, orderwire.functions, '
        'orderwire.revocations, orderwire.attached_tables, orderwire.attached_partitions, orderwire.order_analytics, '
        'orderwire.events to %s',
        server
    );
    -- These run with their owner's rights: to tell which database this is, to name a restored copy anew, to create and drop the
    -- journal's partitions, to store what was counted, to create triggers on new partitions, to let writers skip their
    -- notifications, to take turns at reading the journal, and to change a status where the map allows it.
    execute format(
        'grant execute on function orderwire.database_identity(), orderwire.identify(text, xid8[], bigint[], bigint[]), '
        'orderwire.maintain_partitions(interval), orderwire.scan_totals(), orderwire.totals_from_checkpoint(), '
        'orderwire.attach_partitions(), orderwire.extend_notify_lease(), '
        'orderwire.hold_relay_lease(text, interval), orderwire.release_relay_lease(text), '
        'orderwire.change_order_status(text, text, text, text, text) to %s',
        server
    );
    for t in
        select r.relation, c.relnamespace::regnamespace as schema from orderwire.read_relations() as r (relation)
        join pg_class as c on c.oid = r.relation
    loop
        begin
            gave_usage := not has_schema_privilege(server, t.schema, 'usage');
            gave_select := not has_table_privilege(server, t.relation, 'select');
            if gave_usage then
                execute format('grant usage on schema %s to %s', t.schema, server);
            end if;
            if gave_select then
                execute format('grant select on %s to %s', t.relation, server);
            end if;
            insert into orderwire.serving_grants as g (relation, role, gave_select, gave_usage)
            select t.relation, r.rolname, gave_select, gave_usage
            from pg_roles as r
            where r.oid = server and (gave_select or gave_usage)
            on conflict on constraint serving_grants_pkey do update
            set gave_select = g.gave_select or excluded.gave_select, gave_usage = g.gave_usage or excluded.gave_usage;
        exception when insufficient_privilege then
            raise warning 'the owner of % has to run: grant select on % to %', t.relation, t.relation, server;
        end;
    end loop;
end
$$;
comment on function orderwire.grant_serving is 'Give a role what the push server needs, and nothing else.';

-- Take back what grant_serving gave on tables that are not read any more, and nothing that the roles had before.
create or replace function orderwire.revoke_serving() returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    g record;
begin
    for g in
        delete from orderwire.serving_grants as d
        where d.relation not in (select r.relation from orderwire.read_relations() as r (relation))
        returning d.*
    loop
        if not exists (select from pg_roles as r where r.rolname = g.role) then
            continue;
        end if;
        begin
            if g.gave_select and exists (select from pg_class as c where c.oid = g.relation) then
                execute format('revoke select on %s from %I', g.relation, g.role);
            end if;
            if g.gave_usage then
                -- Another table of the same schema may still be read.
                update orderwire.serving_grants as other
                set gave_usage = true
                from pg_class as c
                where
                    other.role = g.role and c.oid = other.relation
                    and c.relnamespace = (select o.relnamespace from pg_class as o where o.oid = g.relation);
                if not found and exists (select from pg_class as c where c.oid = g.relation) then
                    execute format(
                        'revoke usage on schema %s from %I',
                        (select c.relnamespace::regnamespace from pg_class as c where c.oid = g.relation), g.role
                    );
                end if;
            end if;
        exception when insufficient_privilege then
            raise warning 'the owner of % has to run: revoke select on % from %', g.relation, g.relation, g.role;
        end;
    end loop;
end
$$;

revoke execute on function orderwire.revoke_serving() from public;
revoke execute on function orderwire.grant_serving(regrole), orderwire.erase(text) from public;
