-- What the triggers of attached tables share. orderwire.attach generates the trigger functions themselves (12_triggers.sql).
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

-- A total that can be summed and shown: not NaN or infinite, and not of more digits than a sum of money has.
create or replace function orderwire.finite_total(total numeric) returns numeric
language sql immutable parallel safe
return case when total > -1e24 and total < 1e24 and scale(total) <= 20 then total end;

-- Data as it enters the journal: JSON null where it is too long.
create or replace function orderwire.bounded_data(data jsonb) returns jsonb
language sql stable parallel safe
return case when octet_length(data::text) > 6000 then 'null'::jsonb else data end;

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

-- Whether this statement is nested in another, or a nested statement has recorded events in this transaction. The setting is
-- a hint that saves the search: any session can change it, so nothing is concluded from it but whether to look.
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

-- Nested statements. An AFTER ROW trigger of the shop may change the row that the statement has just changed. Its statement
-- is recorded before the outer one is, so that the order's events would be in the wrong order. Therefore each event has the
-- trigger depth of its statement, and at the end of an outer statement the events of deeper ones are looked at that came since
-- the last one of the same depth or above. They are given new, higher ids if they came after the outer change:
--
--   * what they ended in is not what the outer statement began with; or
--   * what the outer statement ended in is not what the table has now.
--
-- Otherwise they came before it, for example from a trigger of another table that changed the order first.
create or replace function orderwire.renumber_nested(changed bigint) returns void
language plpgsql volatile
as $$
declare
    own_depth constant integer := pg_trigger_depth();
    first_id  bigint;
    nested_id bigint;
begin
    if own_depth > 1 then
        perform set_config('orderwire.nested', 'on', true);
    end if;

    select j.id into first_id
    from orderwire.journal as j
    where j.txid = pg_current_xact_id()
    order by j.id desc
    offset changed - 1
    limit 1;

    for nested_id in
        select nested.id
        from (
            select distinct on (j.key) j.*
            from orderwire.journal as j
            where j.txid = pg_current_xact_id() and j.id < first_id and j.stream is null
            order by j.key, j.id desc
        ) as last_one
        join orderwire.journal as outer_row
            on outer_row.txid = pg_current_xact_id() and outer_row.id >= first_id
            and outer_row.stream is null and outer_row.key = last_one.key
        left join lateral orderwire.orders_by_key(array[outer_row.key]) as current on true
        join orderwire.journal as nested
            on nested.txid = pg_current_xact_id() and nested.id < first_id
            and nested.stream is null and nested.key = last_one.key
        where
            last_one.depth > own_depth
            and nested.id > coalesce(
                (
                    select max(e.id)
                    from orderwire.journal as e
                    where
                        e.txid = pg_current_xact_id() and e.id < first_id
                        and e.stream is null and e.key = last_one.key and coalesce(e.depth, 1) <= own_depth
                ),
                0
            )
            and (
                row(last_one.is_order, last_one.status, last_one.total, last_one.currency) is distinct from
                row(outer_row.was_order, outer_row.previous_status, outer_row.previous_total, outer_row.previous_currency)
                or row(outer_row.is_order, outer_row.status, outer_row.total, outer_row.currency) is distinct from
                row(current.key is not null, left(current.status, 101), current.total, left(current.currency, 20))
                or coalesce(nullif(outer_row.customer_name, '') <> coalesce(left(current.customer_name, 501), ''), false)
                or (
                    outer_row.data is not null and current.key is not null
                    and outer_row.data is distinct from orderwire.bounded_data(current.data)
                )
            )
        order by nested.id
    loop
        update orderwire.journal as j
        set id = default
        where j.txid = pg_current_xact_id() and j.id = nested_id;
    end loop;

    if own_depth = 1 then
        perform set_config('orderwire.nested', '', true);
    end if;
end
$$;

-- The end of a nested statement, or of one after it, that has recorded `changed` events. Their ids may still change, so the
-- notification only says how many there are.
create or replace function orderwire.finish_nested(changed bigint) returns void
language plpgsql volatile
as $$
begin
    perform orderwire.renumber_nested(changed);
    if orderwire.should_notify() then
        perform orderwire.notify_changes(changed, '{}');
    end if;
end
$$;

revoke execute on function
orderwire.nested(),
orderwire.recording_mode(text),
orderwire.renumber_nested(bigint),
orderwire.finish_nested(bigint)
from public;
