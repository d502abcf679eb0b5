-- Drizzle: uuid keys, pgEnum, cents.
create type order_status as enum ('pending', 'processing', 'shipped', 'delivered', 'cancelled', 'refunded');
create table customers (id uuid primary key default gen_random_uuid(), name text not null, email text not null unique);
create table orders (
    id uuid primary key default gen_random_uuid(),
    order_number text not null unique,
    customer_id uuid references customers (id),
    status order_status not null default 'pending',
    total_cents integer not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create table order_items (
    id uuid primary key default gen_random_uuid(), order_id uuid not null references orders (id) on delete cascade, sku text not null,
    quantity integer not null, price_cents integer not null
);
insert into customers (name, email) select 'Ada Smith' || n, format('c%s@example.com', n) from generate_series(1, 20) as n;
insert into orders (order_number, customer_id, status, total_cents, created_at)
select
    'A-' || 1000 + n, (select c.id from customers as c order by c.email offset n % 20 limit 1),
    (array['pending', 'processing', 'shipped', 'delivered', 'cancelled'])[1 + n % 5]::order_status, n * 1250,
    timestamptz '2026-01-01 00:00Z' + n * interval '1 hour'
from generate_series(1, 200) as n;
insert into order_items (order_id, sku, quantity, price_cents) select o.id, 'MUG', 1, o.total_cents from orders as o;
