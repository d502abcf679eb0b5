-- What the server reads: the journal between two snapshots.
--
-- A position is a snapshot ("everything visible in it has been seen") and, when it comes from an event's cursor, that
-- event's own transaction: the snapshot is the writer's own, so it says nothing about the writer's later rows. Of that
-- transaction exactly the rows with a greater id are still to come (where `upto` sees it: a server that lags behind would
-- otherwise send them before what came between).

-- Events that are not covered by the position and are visible in `upto`, with an id above `past`, in no order.
--
-- Indexed exactly by "unseen": transactions from the snapshot's xmax on, and those that were running in it.
-- This function and the next two are inlined into the caller's plan. Each execution of a plan prepares an index scan for each of
-- its branches and partitions, which is half of what a page of one event costs. So a caller that knows that no transaction was
-- running in the snapshot says so by `running`, and one without a transaction of its own by null, as constants: the plan then
-- has only the first branch.
drop function if exists orderwire.unseen(pg_snapshot, xid8, bigint, pg_snapshot, bigint);
create or replace function orderwire.unseen(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    running boolean default true
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
        $6
        and j.txid = any(array(select pg_snapshot_xip($1)))
        and j.txid is distinct from $2
        and pg_visible_in_snapshot(j.txid, $4)
        and j.id > $5
    union all
    select j.*
    from orderwire.journal as j
    where j.txid = $2 and pg_visible_in_snapshot(j.txid, $4) and j.id > greatest($3, $5)
$$;

-- Those of them that a customer gets, of which there are few: by the indexes of the customer and of the order. Where an order
-- has changed hands, both customers get the event.
--
-- The same rule as Grant.view in push/protocol/access.py. A longer subject is cut in the journal, and matches nothing.
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
        select c.* from orderwire.journal as c where c.customer_id = $1 and length($1) <= 200
        union all
        select c.* from orderwire.journal as c
        where c.previous_customer_id = $1 and length($1) <= 200 and c.customer_id is distinct from $1
        union all
        select c.* from orderwire.journal as c
        where
            c.key = any($2) and c.stream is null
            and (
                $1 is null or length($1) > 200
                or (c.customer_id is distinct from $1 and c.previous_customer_id is distinct from $1)
            )
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
return 400 + coalesce(octet_length(customer_name), 0) + coalesce(pg_column_size(data), 0);

-- What an order adds to the revenue. Rows of streams have no total. Nothing that cannot be summed, such as NaN, is in an event.
create or replace function orderwire.revenue(is_order boolean, status text, total numeric) returns numeric
language sql immutable parallel safe
as $$ select case when is_order and abs(total) < 1e24 and orderwire.is_counted(status) then total else 0 end $$;

-- Ends the reading of a page: the reader takes journal_page_guarded instead.
create or replace function orderwire.reject_row() returns text
language plpgsql stable parallel safe
as $$
begin
    raise exception 'a row of the journal is larger than the triggers make it' using errcode = 'data_exception';
end
$$;

-- A page of them, oldest first: at most max_events, and about max_bytes of JSON (always at least one event). The differences
-- are what the event adds to the totals. `more`: this row is not the last one. With of_customer only the events of that customer.
-- It fails where one row cannot be read, for example one that a superuser has put into the journal.
drop function if exists orderwire.journal_page(
    pg_snapshot, xid8, bigint, pg_snapshot, bigint, integer, bigint, boolean, text, text[]
);
create or replace function orderwire.journal_page(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    max_events integer,
    max_bytes bigint,
    running boolean default true,
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
    previous_customer_id text,
    seen_by_writer pg_snapshot,
    at timestamptz,
    orders integer,
    pending integer,
    previous_revenue numeric,
    revenue numeric,
    previous_currency text,
    currency text,
    event text,
    customer_event text,
    previous_customer_event text,
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
        page.previous_customer_id,
        page.seen,
        page.at,
        case when page.stream is null then page.is_order::integer - page.was_order::integer else 0 end,
        (page.stream is null and page.is_order and orderwire.is_pending(page.status))::integer
            - (page.stream is null and page.was_order and orderwire.is_pending(page.previous_status))::integer,
        orderwire.revenue(page.was_order, page.previous_status, page.previous_total),
        orderwire.revenue(page.is_order, page.status, page.total),
        page.previous_currency,
        page.currency,
        case
            when not orderwire.is_bounded(
                page.at, page.seen, page.stream, page.key, page.order_key, page.number, page.customer_id,
                page.previous_customer_id, page.customer_name, page.previous_status, page.status, page.previous_total, page.total,
                page.previous_currency, page.currency, page.data, page.actor_role, page.actor_application
            ) then orderwire.reject_row()
            else orderwire.event_json(page.j, page.epoch, page.integer_keys)
        end,
        case
            when page.previous_customer_id is not null
                then orderwire.customer_event_json(page.j, page.customer_id, page.epoch, page.integer_keys)
        end,
        case
            when page.previous_customer_id is not null
                then orderwire.customer_event_json(page.j, page.previous_customer_id, page.epoch, page.integer_keys)
        end,
        page.followed
    from (
        select
            read.*,
            -- The row, put together again for those of the page only: carrying it through the sort would copy each unseen row.
            row(
                read.id, read.txid, read.at, read.seen, read.depth, read.stream, read.key, read.order_key,
                read.was_order, read.is_order, read.number, read.customer_id, read.previous_customer_id, read.customer_name,
                read.previous_status, read.status, read.previous_total, read.total, read.previous_currency,
                read.currency, read.created_at, read.previous_created_at, read.data, read.actor_role, read.actor_application
            )::orderwire.journal as j
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
                    select a.* from orderwire.unseen($1, $2, $3, $4, $5, $8) as a where not $9
                    union all
                    select c.* from orderwire.unseen_by_customer($10, $11, $1, $2, $3, $4, $5) as c where $9
                ) as u
                order by u.id
                limit $6 + 1
            ) as unseen
            cross join orderwire.journal_identity as i
        ) as read
        where read.nth <= $6 and read.bytes - read.own_bytes < $7
    ) as page
    order by page.id
$$;
comment on function orderwire.journal_page is 'Events between two snapshots, in pages: what the push server reads.';

-- The key of a placeholder: that of the row, as long as it is one that an event can have.
create or replace function orderwire.placeholder_key(key text) returns text
language sql immutable parallel safe
return case when octet_length(key) <= 1000 then key else left(key, 40) || '~' || md5(left(key, 10000)) end;

-- One event with all that a page has of it. A row that cannot be read has a placeholder as its event. `exact` is false where what
-- it adds to the totals cannot be read either. An error that is not the row's own is raised.
create or replace function orderwire.read_event(
    inout txid xid8,
    inout id bigint,
    out stream text,
    out key text,
    out order_key text,
    out customer_id text,
    out previous_customer_id text,
    out seen_by_writer pg_snapshot,
    out at timestamptz,
    out orders integer,
    out pending integer,
    out previous_revenue numeric,
    out revenue numeric,
    out previous_currency text,
    out currency text,
    out event text,
    out customer_event text,
    out previous_customer_event text,
    out is_placeholder boolean,
    out exact boolean
)
language plpgsql stable
as $$
declare
    i     constant orderwire.journal_identity := (select n from orderwire.journal_identity as n);
    -- What has a fixed length is in the row itself.
    fixed record;
begin
    exact := true;
    begin
        select
            j.stream, j.key, case when j.stream is null then j.key else j.order_key end, j.customer_id, j.previous_customer_id,
            j.seen, j.at, orderwire.event_json(j, i.epoch, i.integer_keys),
            case
                when j.previous_customer_id is not null
                    then orderwire.customer_event_json(j, j.customer_id, i.epoch, i.integer_keys)
            end,
            case
                when j.previous_customer_id is not null
                    then orderwire.customer_event_json(j, j.previous_customer_id, i.epoch, i.integer_keys)
            end
        into
            stream, key, order_key, customer_id, previous_customer_id, seen_by_writer, at, event, customer_event,
            previous_customer_event
        from orderwire.journal as j
        where
            j.txid = read_event.txid and j.id = read_event.id
            and orderwire.is_bounded(
                j.at, j.seen, j.stream, j.key, j.order_key, j.number, j.customer_id, j.previous_customer_id, j.customer_name,
                j.previous_status, j.status, j.previous_total, j.total, j.previous_currency, j.currency, j.data, j.actor_role,
                j.actor_application
            );
    exception when data_exception or program_limit_exceeded or internal_error then null;
    end;
    is_placeholder := (octet_length(event) <= 16384) is not true;
    if is_placeholder then
        select
            j.was_order,
            j.is_order,
            greatest(least(j.at, '9999-12-31 00:00:00+00'), '0001-01-01 00:00:00+00') as at,
            case when pg_column_size(j.seen) <= 262144 then j.seen else '1:1:' end as seen
        into strict fixed
        from orderwire.journal as j
        where j.txid = read_event.txid and j.id = read_event.id;
        at := fixed.at;
        seen_by_writer := fixed.seen;
        stream := null;
        customer_id := null;
        previous_customer_id := null;
        customer_event := null;
        previous_customer_event := null;
        begin
            select
                left(j.stream, 40), orderwire.placeholder_key(j.key), orderwire.placeholder_key(j.order_key),
                case when octet_length(j.customer_id) <= 8192 then j.customer_id end,
                case when octet_length(j.previous_customer_id) <= 8192 then j.previous_customer_id end
            into strict stream, key, order_key, customer_id, previous_customer_id
            from orderwire.journal as j
            where j.txid = read_event.txid and j.id = read_event.id;
        exception when data_exception or program_limit_exceeded or internal_error then
            key := '?';
            exact := false;
        end;
        if stream is null then
            order_key := key;
        end if;
        event := orderwire.placeholder_json(
            i.epoch, i.integer_keys, txid, id, stream, key, order_key, fixed.was_order, fixed.is_order, at
        );
        if previous_customer_id is not null then
            customer_event := orderwire.placeholder_json(
                i.epoch, i.integer_keys, txid, id, stream, key, order_key, false, fixed.is_order, at
            );
            previous_customer_event := orderwire.placeholder_json(
                i.epoch, i.integer_keys, txid, id, stream, key, order_key, fixed.was_order, false, at
            );
        end if;
    end if;
    begin
        select
            case when j.stream is null then j.is_order::integer - j.was_order::integer else 0 end,
            (j.stream is null and j.is_order and orderwire.is_pending(j.status))::integer
                - (j.stream is null and j.was_order and orderwire.is_pending(j.previous_status))::integer,
            orderwire.revenue(j.was_order, j.previous_status, j.previous_total),
            orderwire.revenue(j.is_order, j.status, j.total),
            left(j.previous_currency, 20),
            left(j.currency, 20)
        into strict orders, pending, previous_revenue, revenue, previous_currency, currency
        from orderwire.journal as j
        where j.txid = read_event.txid and j.id = read_event.id;
    exception when data_exception or program_limit_exceeded or internal_error then
        orders := 0;
        pending := 0;
        previous_revenue := 0;
        revenue := 0;
        exact := false;
    end;
end
$$;

-- A page where orderwire.journal_page fails or takes too long: row by row, until the time limit has passed, and at least one.
create or replace function orderwire.journal_page_guarded(
    seen pg_snapshot,
    own_txid xid8,
    own_id bigint,
    upto pg_snapshot,
    past bigint,
    max_events integer,
    max_bytes bigint,
    time_limit interval,
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
    previous_customer_id text,
    seen_by_writer pg_snapshot,
    at timestamptz,
    orders integer,
    pending integer,
    previous_revenue numeric,
    revenue numeric,
    previous_currency text,
    currency text,
    event text,
    customer_event text,
    previous_customer_event text,
    is_placeholder boolean,
    exact boolean,
    more boolean
)
language plpgsql stable
as $$
declare
    deadline constant timestamptz := clock_timestamp() + time_limit;
    bytes    bigint := 0;
    r        record;
begin
    for r in
        select p.txid, p.id, p.followed
        from (
            select n.txid, n.id, lead(n.id) over (order by n.id) is not null as followed
            from (
                select u.txid, u.id
                from (
                    select a.txid, a.id from orderwire.unseen($1, $2, $3, $4, $5) as a where not $9
                    union all
                    select c.txid, c.id from orderwire.unseen_by_customer($10, $11, $1, $2, $3, $4, $5) as c where $9
                ) as u
                order by u.id
                limit $6 + 1
            ) as n
        ) as p
        order by p.id
        limit $6
    loop
        select e.*, r.followed
        into
            journal_page_guarded.txid, journal_page_guarded.id, stream, key, order_key, customer_id, previous_customer_id,
            seen_by_writer, at, orders, pending, previous_revenue, revenue, previous_currency, currency, event, customer_event,
            previous_customer_event, is_placeholder, exact, more
        from orderwire.read_event(r.txid, r.id) as e;
        return next;
        bytes := bytes + octet_length(event);
        exit when bytes >= max_bytes or clock_timestamp() >= deadline;
    end loop;
end
$$;
comment on function orderwire.journal_page_guarded is 'The same as journal_page, with a placeholder for a row that cannot be read.';

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
create or replace function orderwire.writer_snapshot(txid xid8, id bigint, tag bigint) returns pg_snapshot
language sql stable
as $$
    select j.seen from orderwire.journal as j where j.txid = $1 and j.id = $2 and orderwire.event_tag(j.at) = $3
$$;

-- The newest events of one order, newest first: its history as far as the journal goes back, with those of its rows in streams. What
-- counts as trimmed may be there still: events of a table that was attached before, whose orders have the same keys.
-- With a subject only those of while it was the customer, as that customer gets them.
create or replace function orderwire.order_history(key text, max_events integer, subject text default null) returns setof text
language sql stable
as $$
    select case
        when $3 is null or r.previous_customer_id is null then r.event
        when r.customer_id = $3 then r.customer_event
        else r.previous_customer_event
    end
    from (
        select c.txid, c.id
        from (
            select j.txid, j.id, j.customer_id, j.previous_customer_id
            from orderwire.journal as j
            where j.key = $1 and j.stream is null
            union all
            select j.txid, j.id, j.customer_id, j.previous_customer_id from orderwire.journal as j where j.order_key = $1
        ) as c
        where
            c.txid > (select i.trimmed_txid from orderwire.journal_identity as i)
            -- A longer subject is cut in the journal.
            and ($3 is null or (length($3) <= 200 and (c.customer_id = $3 or c.previous_customer_id = $3)))
        order by c.id desc
        limit $2
    ) as e
    cross join lateral orderwire.read_event(e.txid, e.id) as r
    order by e.id desc
$$;

-- For people: the journal, readable.
create or replace view orderwire.events as
select
    j.id,
    j.txid,
    j.at,
    case
        when orderwire.is_bounded(
            j.at, j.seen, j.stream, j.key, j.order_key, j.number, j.customer_id, j.previous_customer_id, j.customer_name,
            j.previous_status, j.status, j.previous_total, j.total, j.previous_currency, j.currency, j.data, j.actor_role,
            j.actor_application
        ) then orderwire.event_json(j, i.epoch, i.integer_keys)
        else (orderwire.read_event(j.txid, j.id)).event
    end::json as event
from orderwire.journal as j, orderwire.journal_identity as i;
