-- Which journal this is: its epoch, and what changes it.

-- Declare that positions of this epoch mean nothing any more. Several servers may say so at once: the first one is enough.
create or replace function orderwire.renew_epoch(old_epoch text) returns void
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

-- Whether writers have asked for a new epoch. Their requests are deleted; rows that another server is deleting are left to it.
create or replace function orderwire.take_epoch_requests() returns boolean
language sql volatile
as $$
    with taken as (
        delete from orderwire.epoch_requests as r
        where r.ctid = any(array(select e.ctid from orderwire.epoch_requests as e for update skip locked))
        returning 1
    )
    select exists (select from taken)
$$;

-- The journal's epoch, and how far it has been trimmed.
--
-- A copy that finds itself in another cluster or database (a restored dump) is another journal: its transaction numbers
-- are another cluster's, so its events go, and it draws a new epoch. The same journal draws one on another timeline (a
-- standby was promoted: what the old primary had last may be missing), and when events that a server has delivered under
-- the epoch that it knows (the arguments) are not in it: they were lost in a crash with synchronous_commit = off, or the
-- table was restored in place.
create or replace function orderwire.identify(
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
    elsif orderwire.take_epoch_requests() or exists (
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

revoke execute on function orderwire.take_epoch_requests(), orderwire.identify(text, xid8[], bigint[]) from public;
