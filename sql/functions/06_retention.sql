-- Partitions of the journal: ahead of its events, and retention behind.

-- Make the partitions that will be needed, and remove what is older than the retention time. Any number of servers may
-- call this at any time. Writers never wait for it longer than lock_timeout: what cannot be had now is left for the
-- next call, and the default partition catches what no other covers.
create or replace function orderwire.maintain_partitions(retention interval) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    width     constant interval := least(retention / 4, interval '1 day');
    settling  constant interval := least(retention / 4, interval '1 minute');
    oldest    constant timestamptz := now() - retention;
    newest_in constant text := 'select j.txid from orderwire.%I as j order by j.txid desc limit 1';
    settled   xid8;
    starts    timestamptz;
    partition text;
    newest    xid8;
begin
    -- Of a table of our own, since any role could hold an advisory lock.
    begin
        lock table orderwire.journal_partitions in share row exclusive mode nowait;
    exception when lock_not_available then return; -- another server is at it
    end;
    if orderwire.take_epoch_requests() then
        perform orderwire.renew_epoch((select i.epoch from orderwire.journal_identity as i));
    end if;
    perform set_config('lock_timeout', '100ms', true);
    delete from orderwire.notices;

    update orderwire.journal_identity as i
    set
        settled_txid = i.settling_txid,
        settling_txid = pg_snapshot_xmin(pg_current_snapshot()),
        settling_since = now()
    where i.settling_since < now() - settling;
    select i.settled_txid into settled from orderwire.journal_identity as i;

    -- Ahead: two partitions beyond the current one. The first starts in a while, so that it is empty when attached.
    loop
        select greatest(max(p.to_at), now() + settling) into starts from orderwire.journal_partitions as p;
        exit when starts > now() + 2 * width;
        partition := 'journal_' || to_char(starts at time zone 'UTC', 'YYYYMMDD_HH24MISS');
        begin
            -- ATTACH, since CREATE … PARTITION OF would lock every writer out of the whole journal.
            execute format('create table orderwire.%I (like orderwire.journal including defaults)', partition);
            -- Lets rows be changed where a publication FOR ALL TABLES includes the journal.
            execute format('alter table orderwire.%I replica identity full', partition);
            execute format(
                'alter table orderwire.journal attach partition orderwire.%I for values from (%L) to (%L)',
                partition, starts, starts + width
            );
            insert into orderwire.journal_partitions (name, from_at, to_at) values (partition, starts, starts + width);
        exception
            when lock_not_available or deadlock_detected then exit;
        end;
    end loop;

    -- Behind: what the default partition caught, some at a time.
    with removed as (
        delete from orderwire.journal_default as d
        where
            d.ctid = any(
                array(
                    select e.ctid
                    from orderwire.journal_default as e
                    where e.at < oldest and e.txid < settled
                    limit 50000
                )
            )
        returning d.txid
    )
    select r.txid into newest from removed as r order by r.txid desc limit 1;
    if newest is not null then
        update orderwire.journal_identity as i set trimmed_txid = greatest(i.trimmed_txid, newest);
    end if;

    -- And whole partitions: last, since from the first one on nobody gets at the journal until this transaction ends.
    -- The lock cannot be had while a writer in the partition is still at work; and only under it is certain what the newest
    -- row is, since that writer may commit while we wait.
    for partition in
        select p.name
        from orderwire.journal_partitions as p
        where p.to_at < oldest
        order by p.to_at
    loop
        execute format(newest_in, partition) into newest;
        continue when newest >= settled;
        begin
            lock table only orderwire.journal in access exclusive mode; -- before the partition's, as a reader does
            execute format('lock table orderwire.%I in access exclusive mode', partition);
            execute format(newest_in, partition) into newest;
            exit when newest >= settled;
            execute format('drop table orderwire.%I', partition);
            delete from orderwire.journal_partitions as p where p.name = partition;
            update orderwire.journal_identity as i set trimmed_txid = greatest(i.trimmed_txid, newest);
        exception
            when lock_not_available or deadlock_detected then exit;
        end;
    end loop;
end
$$;
comment on function orderwire.maintain_partitions is 'Partitions ahead, retention behind; the servers call it every minute.';

revoke execute on function orderwire.maintain_partitions(interval) from public;
