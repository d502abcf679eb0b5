-- Which journal this is: its epoch, and what changes it.

-- The database that a session is in, which its address need not say: system_identifier and database_oid are those of a cluster
-- and of all its standbys and copies, and the timeline tells a promoted standby from its old primary. It is null on a standby.
-- With its owner's rights, since some hosters keep the functions that it calls from other roles.
create or replace function orderwire.database_identity(
    out system_identifier bigint, out database_oid oid, out timeline text
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    system_identifier := (select c.system_identifier from pg_control_system() as c);
    database_oid := (select d.oid from pg_database as d where d.datname = current_database());
    if not pg_is_in_recovery() then
        -- Not that of pg_control_checkpoint(), which lags behind a promotion.
        timeline := substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
    end if;
end
$$;
comment on function orderwire.database_identity is 'Which database this is: system identifier, oid, timeline (null on a standby).';

revoke execute on function orderwire.database_identity() from public;

-- Declare that positions of this epoch mean nothing any more. Several servers may say so at once: the first one is enough.
create or replace function orderwire.renew_epoch(old_epoch text) returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
    update orderwire.journal_identity as i
    set
        epoch = substr(md5(gen_random_uuid()::text), 1, 8),
        system_identifier = d.system_identifier,
        database_oid = d.database_oid,
        timeline = d.timeline
    from orderwire.database_identity() as d
    where i.epoch = old_epoch
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

-- The journal's epoch, how far it has been trimmed, and a version that changes whenever this row is written anew.
--
-- A copy that finds itself in another cluster or database (a restored dump) is another journal: its transaction numbers
-- are another cluster's, so its events go, and it draws a new epoch. The same journal draws one when events that a server has
-- delivered under the epoch that it knows (the arguments) are not in it: they were lost in a crash with
-- synchronous_commit = off, with a primary that failed, or because a backup was put back. On another timeline (a standby was
-- promoted) it does so too, unless a server shows that all that it has delivered is there.
create or replace function orderwire.identify(
    known_epoch text,
    delivered_txids xid8[],
    delivered_ids bigint[],
    delivered_tags bigint[],
    out epoch text,
    out trimmed_txid xid8,
    out version xid
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    old_epoch constant text := (select i.epoch from orderwire.journal_identity as i);
    here      constant record := orderwire.database_identity();
    lost      boolean;
begin
    -- pg_restore fills the tables first and creates the primary keys afterwards: until then some of the data is missing.
    if old_epoch is null or not exists (
        select from pg_index as x where x.indrelid = 'orderwire.journal_identity'::regclass and x.indisprimary
    ) then
        raise exception using
            errcode = 'undefined_table',
            message = 'orderwire.journal_identity is not complete: is a dump being restored?';
    end if;

    -- An update, since a second server waits here for the first and finds that nothing is left to do.
    update orderwire.journal_identity as i
    set trimmed_txid = '0', settled_txid = '0', settling_txid = '0'
    where i.system_identifier <> here.system_identifier or i.database_oid <> here.database_oid;
    if found then
        delete from orderwire.journal;
        perform orderwire.renew_epoch(old_epoch);
    else
        lost := exists (
            select
            from unnest(delivered_txids, delivered_ids, delivered_tags) as delivered (txid, id, tag),
                orderwire.journal_identity as i
            where
                i.epoch = known_epoch
                and delivered.txid > i.trimmed_txid
                and not exists (
                    select from orderwire.journal as j
                    where j.txid = delivered.txid and j.id = delivered.id and orderwire.event_tag(j.at) = delivered.tag
                )
        );
        if orderwire.take_epoch_requests() or lost or exists (
            select from orderwire.journal_identity as i
            where
                i.timeline <> here.timeline
                and (known_epoch is distinct from i.epoch or coalesce(cardinality(delivered_txids), 0) = 0)
        ) then
            perform orderwire.renew_epoch(old_epoch);
        else
            update orderwire.journal_identity as i set timeline = here.timeline where i.timeline <> here.timeline;
        end if;
    end if;

    select i.epoch, i.trimmed_txid, i.xmin
    into identify.epoch, identify.trimmed_txid, identify.version
    from orderwire.journal_identity as i;
end
$$;

revoke execute on function
orderwire.take_epoch_requests(), orderwire.identify(text, xid8[], bigint[], bigint[]) from public;
