-- Written by hand: partitioned by time, so that the time is part of the key.
create table orders (
    id bigint generated always as identity,
    order_no text not null,
    customer text not null,
    amount numeric(12, 2) not null,
    state text not null,
    created_at timestamptz not null default now(),
    primary key (id, created_at)
) partition by range (created_at);
create table orders_2025 partition of orders for values from ('2025-01-01 00:00Z') to ('2026-01-01 00:00Z');
create table orders_2026 partition of orders for values from ('2026-01-01 00:00Z') to ('2027-01-01 00:00Z');
insert into orders (order_no, customer, amount, state, created_at)
select
    'N' || n, 'Ada Smith', n * 12.5, (array['open', 'packed', 'shipped', 'cancelled'])[1 + n % 4],
    timestamptz '2025-12-28 00:00Z' + n * interval '1 hour'
from generate_series(1, 200) as n;
