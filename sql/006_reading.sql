-- What the server reads: the journal between two snapshots.
--
-- A position is a snapshot ("everything visible in it has been seen") and, when it comes from an event's cursor, that
-- event's own transaction: the snapshot is the writer's own, so it says nothing of the writer's later rows. Of that
-- transaction exactly the rows with a greater id are still to come (where `upto` sees it: a server that lags behind would
-- otherwise give them before what came between).

-- Events that are not covered by the position and are visible in `upto`, from id `past` on, in no order.
--
-- Indexed exactly by "unseen": transactions from the snapshot's xmax on, and those that were running in it.
-- This function and the next two are inlined into the caller's plan.
create function orderwire.unseen(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint
) returns setof orderwire.journal
language sql stable
as $$
    select j.*
    from orderwire.journal as j
    where
        j.txid >= pg_snapshot_xmax($1)
        and j.txid is distinct from $2
        and pg_visible_in_snapshot(j.txid, $4)
        and j.id > $5
    union all
    select j.*
    from orderwire.journal as j
    where
        j.txid = any(array(select pg_snapshot_xip($1)))
        and j.txid is distinct from $2
        and pg_visible_in_snapshot(j.txid, $4)
        and j.id > $5
    union all
    select j.*
    from orderwire.journal as j
    where j.txid = $2 and pg_visible_in_snapshot(j.txid, $4) and j.id > greatest($3, $5)
$$;

-- A page of them, oldest first: at most max_events, and about max_bytes of JSON (always at least one event).
-- `more`: this row is not the last one.
create function orderwire.journal_page(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    max_events integer,
    max_bytes bigint
) returns table (
    txid xid8,
    id bigint,
    order_id bigint,
    customer_id text,
    seen_by_writer pg_snapshot,
    at timestamptz,
    orders integer,
    revenue numeric,
    pending integer,
    event text,
    more boolean
)
language sql stable
as $$
    select
        page.txid,
        page.id,
        page.order_id,
        page.customer_id,
        page.seen,
        page.at,
        (page.status is not null)::integer - (page.previous_status is not null)::integer,
        coalesce(orderwire.counted_revenue(page.status, page.total), 0)
            - coalesce(orderwire.counted_revenue(page.previous_status, page.previous_total), 0),
        coalesce(orderwire.counted_pending(page.status), 0)
            - coalesce(orderwire.counted_pending(page.previous_status), 0),
        orderwire.event_json(
            page.epoch, page.txid, page.id, page.at, page.order_id, page.order_number, page.customer_name,
            page.previous_status, page.status, page.previous_total, page.total
        ),
        page.followed
    from (
        select
            unseen.*,
            i.epoch,
            row_number() over (order by unseen.id) as nth,
            lead(unseen.id) over (order by unseen.id) is not null as followed,
            sum(300 + octet_length(coalesce(unseen.customer_name, ''))) over (order by unseen.id) as bytes,
            300 + octet_length(coalesce(unseen.customer_name, '')) as own_bytes
        from (
            select u.*
            from orderwire.unseen($1, $2, $3, $4, $5) as u
            order by u.id
            limit $6 + 1
        ) as unseen
        cross join orderwire.journal_identity as i
    ) as page
    where page.nth <= $6 and page.bytes - page.own_bytes < $7
    order by page.id
$$;

-- How many they are, counted up to at_most.
create function orderwire.journal_count(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    at_most integer
) returns bigint
language sql stable
as $$
    select count(*)
    from (
        select from orderwire.unseen($1, $2, $3, $4, $5) limit $6
    ) as unseen
$$;

-- What the writer of an event saw as committed; null when the event is not in the journal.
create function orderwire.writer_snapshot(txid xid8, id bigint) returns pg_snapshot
language sql stable
as $$
    select j.seen from orderwire.journal as j where j.txid = $1 and j.id = $2
$$;

comment on function orderwire.journal_page is 'Events between two snapshots, in pages: what the push server reads.';

-- An order as the JSON object of GET /api/orders.
create function orderwire.order_json(o public.orders) returns text
language sql stable parallel safe
return
    '{"id":' || (o).id::text
    || ',"order_number":' || to_json((o).order_number)::text
    || ',"customer_name":' || to_json((o).customer_name)::text
    || ',"customer_id":' || coalesce(to_json((o).customer_id)::text, 'null')
    || ',"total":"' || (o).total::text
    || '","status":' || to_json((o).status)::text
    || ',"created_at":"' || orderwire.rfc3339((o).created_at)
    || '","updated_at":"' || orderwire.rfc3339((o).updated_at)
    || '"}';

-- Newest orders first; only those of one status, only those older than an id, where asked for.
create function orderwire.latest_orders(max_orders integer, only_status text, before_id bigint) returns setof text
language sql stable
as $$
    select orderwire.order_json(o)
    from public.orders as o
    where ($2 is null or o.status = $2) and ($3 is null or o.id < $3)
    order by o.id desc
    limit $1
$$;
