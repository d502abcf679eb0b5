-- A checkpoint of the totals, so that a start need not count the whole table.
--
-- Whoever counts the table remembers the result together with the snapshot that it was counted in. A start takes it and adds
-- what has become visible in the journal since: the same sum as the server's own, done here.

create table orderwire.checkpoint (
    only_row       boolean not null default true,
    -- Of which journal the snapshot is a position. A copy, and whatever else makes positions meaningless, draws a new epoch.
    epoch          text not null,
    snapshot       pg_snapshot not null,
    total_orders   bigint not null,
    total_revenue  numeric not null,
    pending_orders bigint not null,
    counted_at     timestamptz not null default now(),

    constraint checkpoint_pkey primary key (only_row),
    constraint checkpoint_only_row_check check (only_row)
);
comment on table orderwire.checkpoint is 'The totals as they were last counted. May be deleted at any time: the next start counts.';

-- Count the table, and remember it. Nobody can hand in a result: what is in the checkpoint has been counted.
--
-- Totals and snapshot come from one statement. Under READ COMMITTED it takes its snapshot when it has its lock on `orders`
-- already, which matters for TRUNCATE: a snapshot from before that waits for its end would find the rows gone, and their
-- events still to come (manual, "Caveats" of concurrency control). So nothing is remembered under another isolation level;
-- nor in a transaction that has written, of which a snapshot says nothing.
create function orderwire.scan_totals(
    out total_orders bigint,
    out total_revenue numeric,
    out pending_orders bigint,
    out snapshot pg_snapshot,
    out newest_txid xid8
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = on
as $$
declare
    -- Another server that is just counting has it: then its result is remembered, and nobody waits.
    remembering constant boolean :=
        current_setting('transaction_isolation') = 'read committed'
        and pg_current_xact_id_if_assigned() is null
        and pg_try_advisory_xact_lock(hashtext('orderwire.checkpoint'));
    epoch       text;
begin
    select
        a.total_orders, a.total_revenue, a.pending_orders, pg_current_snapshot(), i.epoch,
        greatest(i.trimmed_txid, (select j.txid from orderwire.journal as j order by j.txid desc limit 1))
    into
        scan_totals.total_orders, scan_totals.total_revenue, scan_totals.pending_orders, scan_totals.snapshot, epoch,
        scan_totals.newest_txid
    from public.order_analytics as a, orderwire.journal_identity as i;

    if remembering then
        insert into orderwire.checkpoint as c (epoch, snapshot, total_orders, total_revenue, pending_orders)
        values (
            epoch, scan_totals.snapshot, scan_totals.total_orders, scan_totals.total_revenue, scan_totals.pending_orders
        )
        on conflict on constraint checkpoint_pkey do update
        set
            epoch = excluded.epoch,
            snapshot = excluded.snapshot,
            total_orders = excluded.total_orders,
            total_revenue = excluded.total_revenue,
            pending_orders = excluded.pending_orders,
            counted_at = excluded.counted_at;
    end if;
end
$$;
comment on function orderwire.scan_totals is 'The totals by a scan of orders; remembered as the checkpoint.';

-- The same from the checkpoint and the journal; no row where that does not serve. It serves when the snapshot is a position
-- in this journal as it is now: of its epoch, nothing that it lacks has been trimmed, and not from the future (a snapshot
-- that says of transactions that they ended before they began). And when it is the cheaper way: an event folded costs about
-- as much as four orders counted.
--
-- After a crash: the row is there only if its commit is on disk, and with it everything that was written to the log before,
-- the end of each transaction that the snapshot counts as ended among it. So no number that it counts is given out again,
-- and none of the orders that it counts is lost, whatever synchronous_commit is.
create function orderwire.totals_from_checkpoint() returns table (
    total_orders bigint,
    total_revenue numeric,
    pending_orders bigint,
    snapshot pg_snapshot,
    newest_txid xid8
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
    counted constant orderwire.checkpoint := (select c from orderwire.checkpoint as c);
    most    constant bigint := greatest(10000, counted.total_orders / 4);
    folded  bigint;
begin
    select
        counted.total_orders + since.orders, counted.total_revenue + since.revenue, counted.pending_orders + since.pending,
        pg_current_snapshot(), since.events,
        greatest(i.trimmed_txid, (select j.txid from orderwire.journal as j order by j.txid desc limit 1))
    into
        totals_from_checkpoint.total_orders, totals_from_checkpoint.total_revenue, totals_from_checkpoint.pending_orders,
        totals_from_checkpoint.snapshot, folded, totals_from_checkpoint.newest_txid
    from orderwire.journal_identity as i
    cross join lateral (
        select
            count(*) as events,
            count(u.status) - count(u.previous_status) as orders,
            coalesce(
                sum(
                    orderwire.counted_revenue(u.status, u.total)
                    - orderwire.counted_revenue(u.previous_status, u.previous_total)
                ),
                0
            ) as revenue,
            coalesce(
                sum(orderwire.counted_pending(u.status) - orderwire.counted_pending(u.previous_status)), 0
            ) as pending
        from (
            select u.*
            from orderwire.unseen(counted.snapshot, null, null, pg_current_snapshot(), 0) as u
            limit most + 1
        ) as u
    ) as since
    where
        i.epoch = counted.epoch
        and i.trimmed_txid < pg_snapshot_xmin(counted.snapshot)
        and pg_snapshot_xmax(counted.snapshot) <= pg_snapshot_xmax(pg_current_snapshot());
    if folded <= most then -- null when nothing was found
        return next;
    end if;
end
$$;
comment on function orderwire.totals_from_checkpoint is 'The totals from the checkpoint and the journal since; no row where a scan is needed.';

revoke execute on function orderwire.scan_totals(), orderwire.totals_from_checkpoint() from public;

-- As in 010_grants.sql, and the two above.
create or replace function orderwire.grant_serving(server regrole) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('grant usage on schema public, orderwire to %s', server);
    execute format('grant select on public.orders, public.order_analytics to %s', server);
    execute format(
        'grant select on orderwire.journal, orderwire.journal_identity, orderwire.migrations, orderwire.revocations to %s',
        server
    );
    -- These run with their owner's rights: to name a restored copy anew, to make and drop the journal's partitions, and to
    -- remember what was counted.
    execute format(
        'grant execute on function orderwire.identify(text, xid8[], bigint[]), orderwire.maintain_partitions(interval), '
        'orderwire.scan_totals(), orderwire.totals_from_checkpoint() to %s',
        server
    );
end
$$;
