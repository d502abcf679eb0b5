-- The orders by status, currency and time of creation, for GET /api/series. They are counted by orderwire.count_orders, which is
-- generated (13_generate_reads.sql); here is what has changed since.

-- The number of the interval between two of `bounds` that a time is in, from 1 on: [from, to). 0: in none, or no time.
create or replace function orderwire.interval_number(moment timestamptz, bounds timestamptz[]) returns integer
language sql immutable parallel safe
return case when moment < bounds[cardinality(bounds)] then width_bucket(moment, bounds) else 0 end;

-- What the events that `counted` does not see add to orders and revenue, in the groups of orderwire.count_orders. `events` is how many
-- there are; where their sum is above `max_events`, some are left out.
create or replace function orderwire.orders_since(counted pg_snapshot, bounds timestamptz[], max_events integer) returns table (
    status text,
    currency text,
    interval_number integer,
    orders bigint,
    revenue numeric,
    events bigint
)
language sql stable
as $$
    select
        side.status, side.currency, side.interval_number, sum(side.orders)::bigint, sum(side.revenue), sum(side.events)::bigint
    from (
        select u.* from orderwire.unseen($1, null, null, pg_current_snapshot(), 0) as u limit $3 + 1
    ) as u
    -- The row of a stream is no order, but counts as an event: reading it takes as long.
    cross join lateral (
        values
        (
            coalesce(left(u.status, 100), ''), coalesce(left(u.currency, 20), ''),
            orderwire.interval_number(u.created_at, $2), (u.stream is null and u.is_order)::integer,
            orderwire.revenue(u.is_order, u.status, u.total), 1
        ),
        (
            coalesce(left(u.previous_status, 100), ''), coalesce(left(u.previous_currency, 20), ''),
            orderwire.interval_number(coalesce(u.previous_created_at, u.created_at), $2),
            -(u.stream is null and u.was_order)::integer,
            -orderwire.revenue(u.was_order, u.previous_status, u.previous_total), 0
        )
    ) as side (status, currency, interval_number, orders, revenue, events)
    group by side.status, side.currency, side.interval_number
$$;
comment on function orderwire.orders_since is 'What has changed in a count of the orders, by the events since.';
