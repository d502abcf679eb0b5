-- What the server reads: the journal between two snapshots.
--
-- A position is a snapshot ("everything visible in it has been seen") and, when it comes from an event's cursor, that
-- event's own transaction: the snapshot is the writer's own, so it says nothing about the writer's later rows. Of that
-- transaction exactly the rows with a greater id are still to come (where `upto` sees it: a server that lags behind would
-- otherwise send them before what came between).

-- Events that are not covered by the position and are visible in `upto`, with an id above `past`, in no order.
--
-- Indexed exactly by "unseen": transactions from the snapshot's xmax on, and those that were running in it.
-- This function and the next two are inlined into the caller's plan.
create or replace function orderwire.unseen(
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

-- Those of them that are a customer's own, of which there are few: by the indexes of the customer and of the order.
--
-- The same rule as Grant.may_see in push/protocol/access.py.
create or replace function orderwire.unseen_by_customer(
    subject text,
    keys text[],
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint
) returns setof orderwire.journal
language sql stable
as $$
    select j.*
    from (
        select c.* from orderwire.journal as c where c.customer_id = $1
        union all
        select c.* from orderwire.journal as c
        where c.key = any($2) and c.stream is null and ($1 is null or c.customer_id is distinct from $1)
        union all
        select c.* from orderwire.journal as c
        where c.order_key = any($2) and c.stream is not null and ($1 is null or c.customer_id is distinct from $1)
    ) as j
    where
        case when j.txid = $4 then j.id > $5 else not pg_visible_in_snapshot(j.txid, $3) end
        and pg_visible_in_snapshot(j.txid, $6)
        and j.id > $7
$$;

-- About how many bytes of JSON an event is.
create or replace function orderwire.event_bytes(customer_name text, data jsonb) returns bigint
language sql stable parallel safe
return 350 + coalesce(octet_length(customer_name), 0) + coalesce(pg_column_size(data), 0);

-- A page of them, oldest first: at most max_events, and about max_bytes of JSON (always at least one event). The differences
-- are what the event adds to the totals. `more`: this row is not the last one. With of_customer only the events of that customer.
create or replace function orderwire.journal_page(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    max_events integer,
    max_bytes bigint,
    of_customer boolean default false,
    subject text default null,
    keys text[] default null
) returns table (
    txid xid8,
    id bigint,
    stream text,
    key text,
    order_key text,
    customer_id text,
    seen_by_writer pg_snapshot,
    at timestamptz,
    orders integer,
    pending integer,
    previous_revenue numeric,
    revenue numeric,
    previous_currency text,
    currency text,
    event text,
    more boolean
)
language sql stable
as $$
    select
        page.txid,
        page.id,
        page.stream,
        page.key,
        case when page.stream is null then page.key else page.order_key end,
        page.customer_id,
        page.seen,
        page.at,
        case when page.stream is null then page.is_order::integer - page.was_order::integer else 0 end,
        (page.stream is null and page.is_order and orderwire.is_pending(page.status))::integer
            - (page.stream is null and page.was_order and orderwire.is_pending(page.previous_status))::integer,
        case when page.was_order and orderwire.is_counted(page.previous_status) then coalesce(page.previous_total, 0) else 0 end,
        case when page.is_order and orderwire.is_counted(page.status) then coalesce(page.total, 0) else 0 end,
        page.previous_currency,
        page.currency,
        orderwire.event_json(
            -- The row, put together again for those of the page only: carrying it through the sort would copy each unseen row.
            row(
                page.id, page.txid, page.at, page.seen, page.depth, page.stream, page.key, page.order_key,
                page.was_order, page.is_order, page.number, page.customer_id, page.customer_name,
                page.previous_status, page.status, page.previous_total, page.total, page.previous_currency,
                page.currency, page.data, page.actor_role, page.actor_application
            )::orderwire.journal,
            page.epoch,
            page.integer_keys
        ),
        page.followed
    from (
        select
            unseen.*,
            i.epoch,
            i.integer_keys,
            row_number() over (order by unseen.id) as nth,
            lead(unseen.id) over (order by unseen.id) is not null as followed,
            sum(orderwire.event_bytes(unseen.customer_name, unseen.data)) over (order by unseen.id) as bytes,
            orderwire.event_bytes(unseen.customer_name, unseen.data) as own_bytes
        from (
            select u.*
            from (
                -- One of the two is not executed: its condition is known before it begins.
                select a.* from orderwire.unseen($1, $2, $3, $4, $5) as a where not $8
                union all
                select c.* from orderwire.unseen_by_customer($9, $10, $1, $2, $3, $4, $5) as c where $8
            ) as u
            order by u.id
            limit $6 + 1
        ) as unseen
        cross join orderwire.journal_identity as i
    ) as page
    where page.nth <= $6 and page.bytes - page.own_bytes < $7
    order by page.id
$$;
comment on function orderwire.journal_page is 'Events between two snapshots, in pages: what the push server reads.';

-- How many they are, counted up to at_most, and how many of these are of orders.
create or replace function orderwire.journal_count(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    at_most integer
) returns table (events bigint, order_events bigint)
language sql stable
as $$
    select count(*), count(*) filter (where unseen.stream is null)
    from (
        select u.stream from orderwire.unseen($1, $2, $3, $4, $5) as u limit $6
    ) as unseen
$$;

-- What the writer of an event saw as committed; null when the event is not in the journal.
create or replace function orderwire.writer_snapshot(txid xid8, id bigint) returns pg_snapshot
language sql stable
as $$
    select j.seen from orderwire.journal as j where j.txid = $1 and j.id = $2
$$;

-- The newest events of one order, newest first: its history as far as the journal goes back, with those of its rows in streams.
-- With a subject only those that name it as the customer.
create or replace function orderwire.order_history(key text, max_events integer, subject text default null) returns setof text
language sql stable
as $$
    select orderwire.event_json(e.j, i.epoch, i.integer_keys)
    from (
        select j, j.id from orderwire.journal as j where j.key = $1 and j.stream is null
        union all
        select j, j.id from orderwire.journal as j where j.order_key = $1
    ) as e
    cross join orderwire.journal_identity as i
    where $3 is null or (e.j).customer_id = $3
    order by e.id desc
    limit $2
$$;
