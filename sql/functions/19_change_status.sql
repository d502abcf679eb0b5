-- Changes of an order's status through the server, where the map allows them: "write": {"status": true, "transitions": {…}}.
--
-- orderwire.change_order_status checks and records a change; the serving roles may call it, and no other role may. The two
-- functions that name the shop's table are generated, as everything is that does (11_generate_map.sql), and belong to the role
-- that orderwire.write_role says: the shop's triggers run with its rights.

-- Every status that a map lists, in the order of a dashboard.
create or replace function orderwire.listed_statuses(map jsonb) returns text[]
language sql immutable
as $$
    select coalesce(array_agg(l.status order by l.n), '{}')
    from (
        select s.status, min(s.n) as n
        from unnest(
            orderwire.map_list($1, 'statuses') || orderwire.map_list($1, 'pending') || orderwire.map_list($1, 'cancelled')
        ) with ordinality as s (status, n)
        group by s.status
    ) as l
$$;

-- Whether a map allows this change: between two statuses that it lists and, where it has transitions, by one of these.
create or replace function orderwire.allows_transition(map jsonb, from_status text, to_status text) returns boolean
language sql immutable
as $$
    select coalesce(
        ($1 #>> '{write,status}')::boolean and $2 <> $3 and array[$2, $3] <@ orderwire.listed_statuses($1)
        and ($1 #> '{write,transitions}' is null or $1 #> array['write', 'transitions', $2] @> to_jsonb($3)),
        false
    )
$$;

-- The column that the status is, as it is or cast to text; null for any other expression.
create or replace function orderwire.status_column(relation regclass, map jsonb) returns pg_attribute
language sql stable
as $$
    select a
    from pg_attribute as a
    where
        a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
        and orderwire.map_expression($1, $2 ->> 'status') in (format('o.%I', a.attname), format('o.%I::text', a.attname))
$$;

-- The role that changes of the status run as, the shop's triggers with them: the owner of the schema or, where that is a
-- superuser, the owner of the table. Else a role that may create a trigger on the table could become superuser.
create or replace function orderwire.write_role(relation regclass) returns regrole
language sql stable
as $$
    select case when r.rolsuper then c.relowner::regrole else r.oid::regrole end
    from pg_class as c, pg_roles as r
    where c.oid = $1 and r.rolname = current_user
$$;

-- The search_path that they run with, as it stands in SQL: the schema of the table and public, so that the shop's triggers find
-- what they name without a schema; each only if no role may create objects in it but its owner, the role that the changes run as,
-- and superusers. Another could put functions there that match better, and would have that role's rights.
create or replace function orderwire.write_search_path(relation regclass) returns text
language sql stable
as $$
    select array_to_string(
        array['pg_catalog'] || array(
            select quote_ident(n.nspname)
            from pg_namespace as n
            join pg_class as c on c.oid = $1
            where
                (n.oid = c.relnamespace or n.nspname = 'public')
                and not exists (
                    select
                    from aclexplode(n.nspacl) as x
                    left join pg_roles as r on r.oid = x.grantee
                    where
                        x.privilege_type = 'CREATE' and x.grantee not in (n.nspowner, orderwire.write_role($1)::oid)
                        and r.rolsuper is not true
                )
            order by n.oid <> c.relnamespace
        ) || array['pg_temp'],
        ', '
    )
$$;

-- What lets a role run code with the rights of the changes, which are not its own: it may create a trigger on the table or on a
-- partition of it, owns a partition, or owns the function of a trigger. None of this is said of superusers, of the owner of the
-- table, and of `writer`, the role that the changes run as. With the way out.
create or replace function orderwire.foreign_triggers(relation regclass, writer regrole, out problem text, out fix text)
returns setof record
language sql stable
as $$
    with tables as (
        select c.oid::regclass as relation, c.relowner, c.relacl, t.relowner::regrole as trusted
        from pg_class as t
        join pg_class as c on c.oid = t.oid or c.oid in (select p.child from orderwire.children($1) as p (child))
        where t.oid = $1
    )
    select format('%s, so its code would run with the rights of %s', s.what, $2), s.fix
    from (
        select
            x.grantee as role,
            format('%s may create triggers on %s', n.name, t.relation) as what,
            format('revoke trigger on %s from %s', t.relation, n.name) as fix,
            t.trusted
        from tables as t
        cross join aclexplode(t.relacl) as x
        cross join lateral (select case when x.grantee = 0 then 'public' else x.grantee::regrole::text end as name) as n
        where x.privilege_type = 'TRIGGER' and x.grantee <> t.relowner
        union all
        select
            t.relowner,
            format('%s owns %s', t.relowner::regrole, t.relation),
            format('alter table %s owner to %s', t.relation, t.trusted),
            t.trusted
        from tables as t
        union all
        select
            p.proowner,
            format('%s owns the function %s of a trigger on %s', p.proowner::regrole, p.oid::regprocedure, t.relation),
            format('alter function %s owner to %s', p.oid::regprocedure, t.trusted),
            t.trusted
        from tables as t
        join pg_trigger as g on g.tgrelid = t.relation and not g.tgisinternal
        join pg_proc as p on p.oid = g.tgfoid
    ) as s
    left join pg_roles as r on r.oid = s.role
    where s.role not in (s.trusted::oid, $2::oid) and r.rolsuper is not true
    order by s.what
$$;

-- Raise an error that says why a map's `write` cannot be had, with the way out as its hint. Called by check_map.
create or replace function orderwire.check_write(relation regclass, map jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    write     constant jsonb := map -> 'write';
    statuses  constant text[] := orderwire.listed_statuses(map);
    a         constant pg_attribute := orderwire.status_column(relation, map);
    writer    constant regrole := orderwire.write_role(relation);
    found_one text;
    way_out   text;
    exact     boolean;
begin
    select string_agg(k, ', ') into found_one from jsonb_object_keys(write) as k where k not in ('status', 'transitions');
    if found_one is not null then
        raise exception 'the map''s write has unknown members: %', found_one using hint = 'known are: status, transitions';
    elsif
        jsonb_typeof(write -> 'status') is distinct from 'boolean'
        or write -> 'transitions' is not null and jsonb_typeof(write -> 'transitions') <> 'object'
        or jsonb_path_exists(write, 'strict $.transitions.* ? (@.type() != "array" || @[*].type() != "string")', '{}', true)
    then
        raise exception 'the map''s write has the wrong form'
            using hint = '"write": {"status": true, "transitions": {"pending": ["confirmed", "cancelled"]}}';
    elsif not (write ->> 'status')::boolean then
        return;
    end if;

    if a.attname is null then
        raise exception 'the map''s status is not a plain column of %, so it cannot be written', relation
            using hint = 'leave "write" out, or map the status to a column';
    elsif a.attgenerated <> '' or a.attidentity = 'a' then
        raise exception 'the status column % of % is generated, so it cannot be written', a.attname, relation
            using hint = 'leave "write" out';
    elsif not exists (
        select
        from pg_type as t
        where
            t.oid = orderwire.base_type(a.atttypid)
            and (t.typtype = 'e' or t.typcategory = 'S' or t.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype))
    ) then
        raise exception 'the status column % of % is of type %, which is not written', a.attname, relation, a.atttypid::regtype
            using hint = 'it can be a text, an enum or an integer; leave "write" out';
    elsif statuses = '{}' then
        raise exception 'the map lists no statuses that could be written' using hint = 'list them: "statuses": ["new", "shipped"]';
    end if;
    foreach found_one in array statuses loop
        begin
            -- With the length of the column, to which a cast would shorten a longer text.
            execute format(
                'select ($1::%s)::text collate "C" = $1 collate "C"', format_type(a.atttypid, a.atttypmod)
            ) into exact using found_one;
        exception when others then
            exact := false;
        end;
        if exact is not true then
            raise exception 'the status % of the map is no value of the column % of %', left(found_one, 200), a.attname, relation
                using hint = 'write statuses as the column has them';
        end if;
    end loop;
    select string_agg(distinct t.status, ', ') into found_one
    from (
        select k from jsonb_object_keys(coalesce(write -> 'transitions', '{}')) as k
        union all
        select e from jsonb_each(coalesce(write -> 'transitions', '{}')) as m, jsonb_array_elements_text(m.value) as e
    ) as t (status)
    where t.status <> all(statuses);
    if found_one is not null then
        raise exception 'the map''s write.transitions name statuses that the map does not list: %', left(found_one, 200)
            using hint = 'listed are: ' || array_to_string(statuses, ', ');
    elsif not has_column_privilege(writer, relation, a.attnum, 'update') then
        raise exception 'the role % may not update % of %', writer, a.attname, relation
            using hint = format('grant update (%I) on %s to %s', a.attname, relation, writer);
    end if;
    select r.rulename into found_one
    from pg_rewrite as r
    where r.ev_class = relation and r.ev_type = '2' and r.is_instead and r.ev_enabled <> 'D'
    limit 1;
    if found_one is not null then
        raise exception 'the rule % of % takes the place of its updates, so its status cannot be written', found_one, relation
            using hint = format('drop rule %I on %s, or leave "write" out', found_one, relation);
    end if;
    select f.problem, f.fix into found_one, way_out from orderwire.foreign_triggers(relation, writer) as f limit 1;
    if found_one is not null then
        raise exception 'the status of % cannot be written: %', relation, found_one using hint = way_out;
    end if;
end
$$;

-- Statements that create what changes an order's status; none where the map does not allow it. SQL functions with a parsed body,
-- so no search_path decides what they call; the one that they set is for the shop's triggers.
create or replace function orderwire.write_statements(relation regclass, map jsonb) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    keys      constant text[] := orderwire.key_columns(map);
    a         constant pg_attribute := orderwire.status_column(relation, map);
    own_role  constant oid := (select r.oid from pg_roles as r where r.rolname = current_user);
    writer    constant regrole := orderwire.write_role(relation);
    heads     constant text[] := '{orderwire.lock_order(text), "orderwire.set_order_status(text, text)"}';
    options   constant text := format(
        'language sql volatile security definer set search_path = %s', orderwire.write_search_path(relation)
    );
    key_match constant text := (
        select string_agg(format('o.%I = orderwire.orders_key_%s($1)', k.k, k.n), ' and ' order by k.n)
        from unnest(keys) with ordinality as k (k, n)
    );
begin
    if not coalesce((map #>> '{write,status}')::boolean, false) then
        return '{}';
    end if;
    return array[
        format(
            'create function orderwire.lock_order(key text) returns setof boolean %s begin atomic '
            'select true from %s as o where %s for no key update of o; end',
            options, relation, key_match
        ),
        -- Without the length of the type: where the text is longer than that, the assignment raises.
        format(
            'create function orderwire.set_order_status(key text, status text) returns setof boolean %s begin atomic '
            'update %s as o set %I = $2::%s where %s returning true; end',
            options, relation, a.attname, format_type(a.atttypid, -1), key_match
        )
    ]
    || array(select format('revoke execute on function %s from public', h) from unnest(heads) as h)
    || array(select format('alter function %s owner to %s', h, writer) from unnest(heads) as h where writer <> own_role);
end
$$;

-- Make changes of the status possible as a map says, or impossible, and nothing else. Called by attach_table.
create or replace function orderwire.replace_write(relation regclass, map jsonb) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    drop function if exists orderwire.lock_order(text);
    drop function if exists orderwire.set_order_status(text, text);
    perform orderwire.create_generated('orders', orderwire.write_statements(relation, map));
end
$$;

-- The id of an event, as clients have it.
create or replace function orderwire.event_id(epoch text, txid xid8, at timestamptz, id bigint) returns text
language sql stable parallel safe
return epoch || '-' || txid::text || '-' || orderwire.event_tag(at)::text || '-' || id::text;

-- The id of the newest event that this transaction has recorded for an order; null if it has recorded none.
create or replace function orderwire.own_event_id(order_key text) returns text
language sql volatile
as $$
    select orderwire.event_id(i.epoch, j.txid, j.at, j.id)
    from orderwire.journal as j, orderwire.journal_identity as i
    where j.txid = pg_current_xact_id() and j.key = $1 and j.stream is null
    order by j.id desc
    limit 1
$$;

-- The writer of the newest event of an order, as an event names it; null where the journal does not say.
create or replace function orderwire.last_actor_json(order_key text) returns text
language sql stable
as $$
    select json_build_object('role', j.actor_role, 'application_name', j.actor_application)::text
    from (
        select n.actor_role, n.actor_application
        from orderwire.journal as n
        where n.key = $1 and n.stream is null
        order by n.id desc
        limit 1
    ) as j
    where j.actor_role is not null
$$;

-- Whether `undone_event` is a change of this order from `to_status` to `from_status` that the same author made in the last ten
-- seconds, by this role.
create or replace function orderwire.may_undo(order_key text, undone_event text, from_status text, to_status text, author text)
returns boolean
language sql volatile
as $$
    select exists (
        select
        from regexp_match($2, '^([0-9a-f]{8})-([0-9]{1,18})-[0-9]{1,18}-([0-9]{1,18})$') as p (parts)
        join orderwire.journal_identity as i on i.epoch = p.parts[1]
        join orderwire.journal as j on j.txid = p.parts[2]::xid8 and j.id = p.parts[3]::bigint
        where
            orderwire.event_id(i.epoch, j.txid, j.at, j.id) = $2 and j.key = $1 and j.stream is null
            and j.was_order and j.is_order and j.status = $3 and j.previous_status = $4 and j.status <> j.previous_status
            and length(j.previous_status) <= 100 -- a longer one is cut
            and j.actor_role = orderwire.writer_role() and j.actor_application = $5
            and clock_timestamp() - j.at < interval '10 seconds'
    )
$$;

-- Change an order's status from `from_status` to `to_status`, in the transaction of the caller, in the name of `author`: the
-- application_name of this transaction, up to 63 bytes of printable ASCII, which its events name as `actor` whatever the map says.
-- With `undone_event`, the id of an event, it takes that change back, where no other event of the order came after it.
--
-- The row is locked first, so what is checked then is true until the transaction ends. `outcome`:
--
--   changed     `event_id` is that of the newest event of the order by this transaction, null if the triggers recorded none;
--               `order_json` is the order, null if it is none any more
--   not_in_map  the map does not allow changes
--   missing     there is no such order
--   conflict    the status is `present_status`, or the order was changed after the event to undo; `actor`: the writer of its
--               newest event
--   transition  not from this status to that one
--   undo        this event cannot be undone (orderwire.may_undo)
--   refused     a trigger or a policy of the table has kept the row as it is
--
-- An error is raised where a role could run code with the rights of the change (orderwire.foreign_triggers).
create or replace function orderwire.change_order_status(
    order_key text,
    from_status text,
    to_status text,
    author text,
    undone_event text,
    out outcome text,
    out event_id text,
    out order_json text,
    out present_status text,
    out actor text
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    order_map constant jsonb := (select a.map from orderwire.attached_tables as a where a.name = 'orders');
    identity  constant orderwire.journal_identity := (select i from orderwire.journal_identity as i);
    notify    constant text := coalesce(current_setting('orders.notify', true), '');
    first_id  constant bigint := (
        select coalesce(max(j.id), 0) from orderwire.journal as j where j.txid = pg_current_xact_id_if_assigned()
    );
    present   orderwire.mapped_order;
    rows      bigint;
    events    text[];
    refusal   text;
begin
    -- Triggers of the shop may find tables there that they name without a schema.
    if pg_my_temp_schema() <> 0 then
        raise insufficient_privilege using message = 'a session with temporary objects cannot change orders';
    elsif to_regproc('orderwire.set_order_status') is null then
        outcome := 'not_in_map';
        return;
    end if;
    -- Since the table was attached, a role may have got the right to create triggers.
    select f.problem into refusal
    from orderwire.attached_tables as a
    join pg_proc as p on p.oid = to_regproc('orderwire.set_order_status')
    cross join lateral orderwire.foreign_triggers(a.relation, p.proowner::regrole) as f
    where a.name = 'orders'
    limit 1;
    if refusal is not null then
        raise exception '%', refusal using hint = 'python server.py doctor';
    end if;
    author := set_config('application_name', author, true); -- what PostgreSQL makes of it

    select count(*) into rows from orderwire.lock_order(order_key);
    if rows > 1 then
        raise cardinality_violation using message = 'more than one row has the key of this order';
    end if;
    select o.* into present from orderwire.orders_by_key(array[order_key]) as o;
    if present.key is null then
        outcome := 'missing';
        return;
    elsif rows = 0 then
        outcome := 'refused'; -- by a policy
        return;
    end if;
    present_status := left(present.status, 101); -- an answer shows it: no longer than a status can be, and one more
    actor := orderwire.last_actor_json(present.key);
    outcome := case
        when present.status is distinct from from_status then 'conflict'
        when undone_event is null
            then case when not orderwire.allows_transition(order_map, from_status, to_status) then 'transition' end
        when not orderwire.may_undo(present.key, undone_event, from_status, to_status, author) then 'undo'
        when exists (
            select from orderwire.journal as j
            where j.key = present.key and j.stream is null and j.id > substring(undone_event from '[0-9]{1,18}$')::bigint
        ) then 'conflict'
    end;
    if outcome is not null then
        return;
    end if;

    -- The triggers' notification would not name the author.
    perform set_config('orders.notify', 'off', true);
    select count(*) into rows from orderwire.set_order_status(order_key, to_status);
    perform set_config('orders.notify', notify, true);
    update orderwire.journal as j
    set actor_role = orderwire.writer_role(), actor_application = author
    where j.txid = pg_current_xact_id() and j.id > first_id and j.actor_role is null;
    events := array(
        select
            case
                when identity.notify_keys_only then orderwire.event_keys_json(j, identity.epoch, identity.integer_keys)
                else orderwire.event_json(j, identity.epoch, identity.integer_keys)
            end
        from orderwire.journal as j
        where j.txid = pg_current_xact_id() and j.id > first_id
        order by j.id
    );
    if events <> '{}' and orderwire.should_notify() then
        perform orderwire.notify_changes(cardinality(events), events[1:40]);
    end if;

    if rows = 0 then
        outcome := 'refused';
        return;
    end if;
    outcome := 'changed';
    event_id := orderwire.own_event_id(present.key);
    select orderwire.order_json(o, identity.integer_keys, orderwire.max_order_bytes()), o.status
    into order_json, present_status
    from orderwire.orders_by_key(array[order_key]) as o;
end
$$;
comment on function orderwire.change_order_status is 'Change the status of an order, where the map allows it: for the server.';

revoke execute on function
orderwire.replace_write(regclass, jsonb),
orderwire.own_event_id(text),
orderwire.last_actor_json(text),
orderwire.may_undo(text, text, text, text, text),
orderwire.change_order_status(text, text, text, text, text)
from public;
