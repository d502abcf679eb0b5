-- Partitions and child tables that come and go after their parent was attached.

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

revoke execute on function
orderwire.detach_former_partitions(timestamptz),
orderwire.attach_partitions()
from public;
