-- What the triggers of attached tables share. orderwire.attach generates the trigger functions themselves (12_generate_triggers.sql).
--
-- They run with the owner's rights, and no other role may call them: a writer needs rights on its own table alone.

-- The key as events carry it. Longer ones are not cut, which would join the histories of two rows: a hash takes the place
-- of the end.
create or replace function orderwire.bounded_key(key text) returns text
language sql immutable parallel safe
return case when octet_length(key) <= 200 then key else left(key, 40) || '~' || md5(key) end;

-- Part of a key that has several columns.
create or replace function orderwire.key_part(value text) returns text
language sql immutable parallel safe
return replace(replace(value, '%', '%25'), ',', '%2C');

-- A total that can be summed and shown: not NaN or infinite, and not of more digits than a sum of money has. Zeros at the end of
-- a long fraction are taken off, since Prisma stores 30 digits.
create or replace function orderwire.finite_total(total numeric) returns numeric
language sql immutable parallel safe
return case
    when total > -1e24 and total < 1e24 then case
        when scale(total) <= 8 then total
        when min_scale(total) <= 20 then round(total, greatest(min_scale(total), 2))
    end
end;

-- Data as it enters the journal: JSON null where it is too long. First by its stored size, which is more than ten times that of
-- its text only for what has less than that: the text of 200 MB can be more than a text may have.
create or replace function orderwire.bounded_data(data jsonb) returns jsonb
language sql stable parallel safe
return case when pg_column_size(data) > 65536 or octet_length(data::text) > 6000 then 'null'::jsonb else data end;

-- The role that the writer works as. `current_user` is the owner of the trigger function.
create or replace function orderwire.writer_role() returns text
language sql stable
return coalesce(nullif(current_setting('role', true), 'none'), session_user::text);

-- Whether a table is a partition or child of `parent`, at any depth. False for one that has left it.
create or replace function orderwire.is_child(relation regclass, parent regclass) returns boolean
language sql stable
as $$
    with recursive parents as (
        select i.inhparent from pg_inherits as i where i.inhrelid = $1
        union
        select i.inhparent from pg_inherits as i join parents as p on i.inhrelid = p.inhparent
    )
    select exists (select from parents as p where p.inhparent = $2)
$$;

-- The same for a writer with an old snapshot, in which pg_inherits is as it was: by what PostgreSQL looks up in its catalogs as
-- they are now.
create or replace function orderwire.is_child_now(relation regclass, parent regclass) returns boolean
language plpgsql stable
as $$
begin
    if exists (select from pg_partition_ancestors(relation) as a (ancestor) where a.ancestor = parent) then
        return true;
    elsif current_setting('transaction_isolation') in ('read committed', 'read uncommitted') then
        return orderwire.is_child(relation, parent);
    end if;
    begin
        execute format('select (null::%s)::%s', relation, parent);
        return true;
    exception
        when cannot_coerce then return false;
        when others then return orderwire.is_child(relation, parent);
    end;
end
$$;

-- The attached table. By a function that attach makes: a writer with a snapshot from before sees it, but no row of
-- attached_tables. Null if it is gone.
create or replace function orderwire.parent_of_children(name text) returns regclass
language plpgsql stable
as $$
declare
    parent regclass;
begin
    if to_regproc('orderwire.parent_' || name) is not null then
        execute format('select orderwire.%I()', 'parent_' || name) into parent;
    end if;
    return parent;
end
$$;

-- SQL that makes the row `r` of a child one of its parent. A cast names both; where the owner of the schema has no right on theirs
-- any more, by JSON, which takes longer.
create or replace function orderwire.row_of_parent(name text, child regclass, parent regclass) returns text
language sql stable
return case
    -- The schema of a name as PostgreSQL prints it: pg_class is older to a writer with an old snapshot.
    when has_schema_privilege((parse_ident(child::text))[1], 'usage') and has_schema_privilege((parse_ident(parent::text))[1], 'usage')
        then format('((r.*)::%s)::%s', child, parent)
    else format('orderwire.%I(to_jsonb(r.*))', 'row_of_' || name)
end;

-- Whether this statement is nested in another, or a nested statement may have recorded events before it in this transaction. The
-- setting only saves a search (see finish_nested): any session can change it, so nothing is concluded from it but whether to
-- look.
create or replace function orderwire.nested() returns boolean
language sql volatile
return pg_trigger_depth() > 1 or coalesce(current_setting('orderwire.nested', true), '') <> '';

-- How a statement's events are to be recorded. One question, since PL/pgSQL prepares each of its expressions again in each
-- transaction (src/pl/plpgsql/src/pl_exec.c, exec_eval_simple_expr).
--
--   step_aside  the map function was dropped, with all that depends on it: nothing is recorded, and the doctor says so
--   nested      orderwire.finish_nested follows
--   silent      without a notification
--   notify      with one that shows the events
create or replace function orderwire.recording_mode(map_function text) returns text
language sql volatile
return case
    when to_regproc(map_function) is null then 'step_aside'
    when orderwire.nested() then 'nested'
    when orderwire.should_notify() then 'notify'
    else 'silent'
end;

-- Whether the table has what an event of an order ended in. Names and the like are compared where the event has them.
create or replace function orderwire.is_current(e orderwire.journal) returns boolean
language plpgsql stable
as $$
declare
    o orderwire.mapped_order;
begin
    begin
        select k.* into o from orderwire.orders_by_key(array[e.key]) as k limit 1;
    exception when insufficient_privilege or undefined_function or undefined_table then
        return true; -- the table cannot be read any more, and the doctor says so
    end;
    if o.key is null and e.key ~ '~[0-9a-f]{32}$' then
        return true; -- a shortened key, by which nothing is found (orderwire.bounded_key)
    elsif o.key is null then
        return not e.is_order;
    end if;
    return e.is_order
        and row(e.status, e.total, e.currency, e.created_at)
        is not distinct from row(left(o.status, 101), o.total, left(o.currency, 20), o.created_at)
        and coalesce(e.customer_name = coalesce(left(o.customer_name, 501), ''), true)
        and coalesce(e.number = left(o.number, 201), true)
        and coalesce(e.customer_id = left(o.customer_id, 201), true)
        and coalesce(e.data = coalesce(orderwire.bounded_data(o.data), '{}'), true);
end
$$;

-- Nested statements. An AFTER ROW trigger of the shop may change the row that the statement has just changed. Its statement
-- is recorded before the outer one is, so that the order's events would be in the wrong order. Therefore the events of nested
-- statements have their trigger depth, and at the end of an outer statement each of its orders is compared with the events of
-- deeper statements that came since the last one of its own depth:
--
--   * They came before it, for example from a trigger of another table, if the table does not have what they ended in; or if
--     they ended in what it began with, and the table has what it ended in. Their ids stay.
--   * Otherwise those came after it from which on they began with what it ended in. They get new, higher ids. Where some came
--     before and some after, the chain of states has a gap between them.
--
-- Called for the `changed` events that the statement has just recorded.
create or replace function orderwire.renumber_nested(changed bigint) returns void
language plpgsql volatile
set enable_seqscan = off
as $$
declare
    own_depth constant integer := pg_trigger_depth();
    first_id  bigint;
    recent_id bigint; -- nothing before it is needed; null if not known
    moved     bigint[];
    moved_id  bigint;
begin
    select j.id into first_id
    from orderwire.journal as j
    where j.txid = pg_current_xact_id()
    order by j.id desc
    offset changed - 1
    limit 1;

    -- Where each order has an event of this depth among the last ones of the transaction, as in a loop that changes one order
    -- again and again, reading all events of these orders each time would take a quadratic time.
    if changed <= 10 then
        select case when count(*) = count(l.id) then min(l.id) end into recent_id
        from (
            select distinct r.key
            from orderwire.journal as r
            where r.txid = pg_current_xact_id() and r.id >= first_id and r.stream is null
        ) as o
        cross join lateral (
            select max(p.id) as id
            from (
                select j.id, j.key, j.depth, j.stream
                from orderwire.journal as j
                where j.txid = pg_current_xact_id() and j.id < first_id
                order by j.id desc
                limit 100
            ) as p
            where p.key = o.key and p.depth <= own_depth and p.stream is null
        ) as l;
    end if;

    select array_agg(l.id order by l.id) into moved
    from (
        select
            (c.nested).id,
            min((c.nested).id) filter (
                where
                row((c.nested).was_order, (c.nested).previous_status, (c.nested).previous_total, (c.nested).previous_currency)
                is not distinct from row((c.own).is_order, (c.own).status, (c.own).total, (c.own).currency)
            ) over (partition by (c.own).key) as first_later_id,
            first_value(
                orderwire.is_current(c.nested)
                and (
                    row((c.nested).is_order, (c.nested).status, (c.nested).total, (c.nested).currency) is distinct from
                    row((c.own).was_order, (c.own).previous_status, (c.own).previous_total, (c.own).previous_currency)
                    or not orderwire.is_current(c.own)
                )
            ) over (partition by (c.own).key order by (c.nested).id desc) as came_later
        from (
            select n.*, max((n.nested).id) filter (where n.gap) over (partition by (n.own).key) as chain_start
            from (
                select
                    e.own,
                    e.nested,
                    row((e.nested).was_order, (e.nested).previous_status, (e.nested).previous_total, (e.nested).previous_currency)
                    is distinct from
                    lag(row((e.nested).is_order, (e.nested).status, (e.nested).total, (e.nested).currency))
                        over (partition by (e.own).key order by (e.nested).id) as gap
                from (
                    select
                        o.own,
                        j.nested,
                        max((j.nested).id) filter (where (j.nested).depth <= own_depth) over (partition by (o.own).key)
                            as last_outer_id
                    from (
                        select r as own
                        from orderwire.journal as r
                        where r.txid = pg_current_xact_id() and r.id >= first_id and r.stream is null
                        offset 0
                    ) as o
                    -- For each of them by journal_key_idx: the cast keeps the other index away, which would find all events of
                    -- the transaction.
                    cross join lateral (
                        select n as nested
                        from orderwire.journal as n
                        where
                            n.key = (o.own).key and n.txid::text = pg_current_xact_id()::text and n.depth is not null
                            and n.id < first_id and n.stream is null and recent_id is null
                        union all
                        select n
                        from orderwire.journal as n
                        where
                            n.txid = pg_current_xact_id() and n.id >= recent_id and n.key = (o.own).key and n.depth is not null
                            and n.id < first_id and n.stream is null
                        offset 0
                    ) as j
                ) as e
                where (e.nested).id > coalesce(e.last_outer_id, 0)
            ) as n
        ) as c
        where (c.nested).id >= c.chain_start
    ) as l
    where l.came_later and l.id >= l.first_later_id;

    foreach moved_id in array coalesce(moved, '{}') loop
        update orderwire.journal as j
        set id = default
        where j.txid = pg_current_xact_id() and j.id = moved_id;
    end loop;
end
$$;

-- The end of a nested statement, or of one that may have nested ones, that has recorded `changed` events. Their ids may still
-- change, so the notification only says how many there are. Nothing that came before a TRUNCATE is renumbered: its trigger
-- fires first.
--
-- The setting orderwire.nested is "<start of the client's command> <depth>" of the deepest statement of that command that has
-- recorded events. Earlier commands of the transaction had ended before this statement began.
create or replace function orderwire.finish_nested(changed bigint, operation text) returns void
language plpgsql volatile
as $$
declare
    own_depth constant integer := pg_trigger_depth();
    command   constant text := extract(epoch from statement_timestamp())::text;
    noted     constant text[] := regexp_match(current_setting('orderwire.nested', true), '^([^ ]+) ([1-9][0-9]{0,3})$');
    deepest   constant integer := case when noted[1] = command then noted[2]::integer else 1 end;
begin
    if own_depth > deepest then
        perform set_config('orderwire.nested', command || ' ' || own_depth, true);
    elsif deepest > own_depth and operation <> 'TRUNCATE' then
        perform orderwire.renumber_nested(changed);
    end if;
    if orderwire.should_notify() then
        perform orderwire.notify_changes(changed, '{}');
    end if;
end
$$;

revoke execute on function
orderwire.parent_of_children(text),
orderwire.nested(),
orderwire.recording_mode(text),
orderwire.is_current(orderwire.journal),
orderwire.renumber_nested(bigint),
orderwire.finish_nested(bigint, text)
from public;
