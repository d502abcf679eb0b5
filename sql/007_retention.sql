-- Which journal this is, and tending it: partitions ahead, retention behind.

-- Declare that positions of this epoch mean nothing any more. Several servers may say so at once: the first one is enough.
create function orderwire.renew_epoch(old_epoch text) returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
    update orderwire.journal_identity as i
    set
        epoch = substr(md5(gen_random_uuid()::text), 1, 8),
        system_identifier = c.system_identifier,
        database_oid = d.oid,
        timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    from pg_control_system() as c, pg_database as d
    where d.datname = current_database() and i.epoch = old_epoch
$$;
comment on function orderwire.renew_epoch is 'Declare that positions of this epoch mean nothing any more.';

revoke execute on function orderwire.renew_epoch(text) from public;

-- The journal's epoch, and how far it has been trimmed.
--
-- A copy that finds itself in another cluster or database (a restored dump) is another journal: its transaction numbers
-- are another cluster's, so its events go, and it draws a new epoch. The same journal draws one on another timeline (a
-- standby was promoted: what the old primary had last may be missing), and when events that a server has delivered under
-- the epoch that it knows (the arguments) are not in it: they were lost in a crash with synchronous_commit = off, or the
-- table was restored in place.
create function orderwire.identify(
    known_epoch text,
    delivered_txids xid8[],
    delivered_ids bigint[],
    out epoch text,
    out trimmed_txid xid8
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    old_epoch constant text := (select i.epoch from orderwire.journal_identity as i);
begin
    -- An update, since a second server waits here for the first and finds that nothing is left to do.
    update orderwire.journal_identity as i
    set trimmed_txid = '0', settled_txid = '0', settling_txid = '0'
    from pg_control_system() as c, pg_database as d
    where
        d.datname = current_database()
        and (i.system_identifier <> c.system_identifier or i.database_oid <> d.oid);
    if found then
        delete from orderwire.journal;
        perform orderwire.renew_epoch(old_epoch);
    elsif exists (
        select from orderwire.journal_identity as i
        where i.timeline <> substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    ) or exists (
        select
        from unnest(delivered_txids, delivered_ids) as delivered (txid, id), orderwire.journal_identity as i
        where
            i.epoch = known_epoch
            and delivered.txid > i.trimmed_txid
            and not exists (select from orderwire.journal as j where j.txid = delivered.txid and j.id = delivered.id)
    ) then
        perform orderwire.renew_epoch(old_epoch);
    end if;

    select i.epoch, i.trimmed_txid
    into identify.epoch, identify.trimmed_txid
    from orderwire.journal_identity as i;
end
$$;

-- The journal's partitions, apart from the default one.
create table orderwire.journal_partitions (
    name    text not null,
    from_at timestamptz not null,
    to_at   timestamptz not null,

    constraint journal_partitions_pkey primary key (name),
    constraint journal_partitions_range_check check (from_at < to_at)
);

-- Every transaction below settled_txid ended a while ago, so each server that is connected has read what it wrote.
-- settling_txid is the candidate to follow it.
alter table orderwire.journal_identity
add column settled_txid xid8 not null default '0',
add column settling_txid xid8 not null default '0',
add column settling_since timestamptz not null default now();

-- Make the partitions that will be needed, and remove what is older than the retention time. Any number of servers may
-- call this at any time. Writers never wait for it longer than lock_timeout: what cannot be had now is left for the
-- next call, and the default partition catches what no other covers.
create function orderwire.maintain_partitions(retention interval) returns void
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
    if not pg_try_advisory_xact_lock(hashtext('orderwire.maintain_partitions')) then
        return; -- another server is at it
    end if;
    perform set_config('lock_timeout', '100ms', true);

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
revoke execute on function orderwire.identify(text, xid8[], bigint[]) from public;
