-- The totals: counted from the table, or the last count plus the events since.

-- Revenue by currency, with that of `added` added to it. A currency whose revenue is 0 has no entry, as in a count of the table
-- that finds no counted order of it.
create or replace function orderwire.add_revenue(revenue jsonb, added jsonb) returns jsonb
language sql immutable parallel safe
as $$
    select coalesce(jsonb_object_agg(c.currency, c.revenue) filter (where c.revenue <> 0), '{}')
    from (
        select e.key as currency, sum(e.value::numeric) as revenue
        from (
            select * from jsonb_each_text($1)
            union all
            select * from jsonb_each_text($2)
        ) as e
        group by e.key
    ) as c
$$;

-- Count the table, and store the result as the checkpoint. No caller can pass a result: what the checkpoint has was counted.
--
-- Totals and snapshot come from one statement. Under READ COMMITTED it takes its snapshot when it has its lock on the table
-- already, which matters for TRUNCATE: a snapshot from before that waits for its end would find the rows gone, and their
-- events still to come (manual, "Caveats" of concurrency control). So nothing is remembered under another isolation level;
-- nor in a transaction that has written, of which a snapshot says nothing.
create or replace function orderwire.scan_totals(
    out total_orders bigint,
    out total_revenue numeric,
    out pending_orders bigint,
    out revenue_by_currency jsonb,
    out snapshot pg_snapshot,
    out newest_txid xid8
)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = on
as $$
declare
    remembering boolean :=
        current_setting('transaction_isolation') = 'read committed' and pg_current_xact_id_if_assigned() is null;
    epoch       text;
begin
    -- A server that counts at the same time holds the lock: its result is stored, and this one does not wait. It is that of a table
    -- of our own, since any role could hold an advisory lock.
    if remembering then
        begin
            lock table orderwire.checkpoint in share row exclusive mode nowait;
        exception when lock_not_available then
            remembering := false;
        end;
    end if;
    select
        a.total_orders, a.total_revenue, a.pending_orders, a.revenue_by_currency, pg_current_snapshot(), i.epoch,
        greatest(i.trimmed_txid, (select j.txid from orderwire.journal as j order by j.txid desc limit 1))
    into
        scan_totals.total_orders, scan_totals.total_revenue, scan_totals.pending_orders, scan_totals.revenue_by_currency,
        scan_totals.snapshot, epoch,
        scan_totals.newest_txid
    from orderwire.order_analytics as a, orderwire.journal_identity as i;

    if remembering then
        insert into orderwire.checkpoint as c (
            epoch, snapshot, total_orders, total_revenue, pending_orders, revenue_by_currency
        )
        values (
            epoch, scan_totals.snapshot, scan_totals.total_orders, scan_totals.total_revenue, scan_totals.pending_orders,
            scan_totals.revenue_by_currency
        )
        on conflict on constraint checkpoint_pkey do update
        set
            epoch = excluded.epoch,
            snapshot = excluded.snapshot,
            total_orders = excluded.total_orders,
            total_revenue = excluded.total_revenue,
            pending_orders = excluded.pending_orders,
            revenue_by_currency = excluded.revenue_by_currency,
            counted_at = excluded.counted_at;
    end if;
end
$$;
comment on function orderwire.scan_totals is 'The totals by a scan of the table; stored as the checkpoint.';

-- The same from the checkpoint and the journal; no row where that does not serve. It serves when the snapshot is a position
-- in this journal as it is now: of its epoch, nothing that it lacks has been trimmed, and not from the future (a snapshot
-- that says of transactions that they ended before they began). And when it is the cheaper way: an event folded costs about
-- as much as four orders counted.
--
-- After a crash: the row is there only if its commit is on disk, and with it everything that was written to the log before,
-- the end of each transaction that the snapshot counts as ended among it. So no number that it counts is given out again,
-- and none of the orders that it counts is lost, whatever synchronous_commit is.
create or replace function orderwire.totals_from_checkpoint() returns table (
    total_orders bigint,
    total_revenue numeric,
    pending_orders bigint,
    revenue_by_currency jsonb,
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
    -- The currency of total_revenue; null where all revenue is in it.
    only_in constant text := (
        select a.map ->> 'total_currency'
        from orderwire.attached_tables as a
        where a.name = 'orders' and a.map ->> 'currency' is not null
    );
    folded  bigint;
begin
    select
        counted.total_orders + since.orders, counted.total_revenue + since.revenue, counted.pending_orders + since.pending,
        case
            when counted.revenue_by_currency is not null
                then orderwire.add_revenue(counted.revenue_by_currency, since.revenue_by_currency)
        end,
        pg_current_snapshot(), since.events,
        greatest(i.trimmed_txid, (select j.txid from orderwire.journal as j order by j.txid desc limit 1))
    into
        totals_from_checkpoint.total_orders, totals_from_checkpoint.total_revenue, totals_from_checkpoint.pending_orders,
        totals_from_checkpoint.revenue_by_currency, totals_from_checkpoint.snapshot, folded,
        totals_from_checkpoint.newest_txid
    from orderwire.journal_identity as i
    cross join lateral (
        select
            coalesce(sum(c.events), 0)::bigint as events,
            coalesce(sum(c.orders), 0)::bigint as orders,
            coalesce(sum(c.revenue) filter (where only_in is null or c.currency = only_in), 0) as revenue,
            coalesce(sum(c.pending), 0)::bigint as pending,
            jsonb_object_agg(c.currency, c.revenue) filter (where c.currency is not null) as revenue_by_currency
        from (
            -- One row for each currency, with what came after and what was taken away.
            select
                side.currency,
                sum(side.events) as events,
                sum(side.orders) as orders,
                sum(side.revenue) as revenue,
                sum(side.pending) as pending
            from (
                select u.*
                from orderwire.unseen(counted.snapshot, null, null, pg_current_snapshot(), 0) as u
                limit most + 1
            ) as u
            -- The row of a stream has no totals, but counts as an event: reading it takes as long.
            cross join lateral (
                values
                (
                    left(u.currency, 20), 1, (u.stream is null and u.is_order)::integer,
                    orderwire.revenue(u.is_order, u.status, u.total),
                    (u.stream is null and u.is_order and orderwire.is_pending(u.status))::integer
                ),
                (
                    left(u.previous_currency, 20), 0, -(u.stream is null and u.was_order)::integer,
                    -orderwire.revenue(u.was_order, u.previous_status, u.previous_total),
                    -(u.stream is null and u.was_order and orderwire.is_pending(u.previous_status))::integer
                )
            ) as side (currency, events, orders, revenue, pending)
            group by side.currency
        ) as c
    ) as since
    where
        i.epoch = counted.epoch
        and i.trimmed_txid < pg_snapshot_xmin(counted.snapshot)
        and pg_snapshot_xmax(counted.snapshot) <= pg_snapshot_xmax(pg_current_snapshot());
    if folded <= most then -- null when nothing was found
        return next;
    end if;
exception when data_exception or program_limit_exceeded or internal_error then
    return; -- a row of the journal cannot be read
end
$$;
comment on function orderwire.totals_from_checkpoint is 'The totals from the checkpoint and the journal since; no row where a scan is needed.';

revoke execute on function orderwire.scan_totals(), orderwire.totals_from_checkpoint() from public;
