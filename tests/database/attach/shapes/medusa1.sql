-- Medusa 1: text keys with a prefix, enums; the totals are computed from line items and stored nowhere.
create type order_status_enum as enum ('pending', 'completed', 'archived', 'canceled', 'requires_action');
create type order_fulfillment_status_enum as enum (
    'not_fulfilled', 'partially_fulfilled', 'fulfilled', 'partially_shipped', 'shipped', 'partially_returned', 'returned', 'canceled'
);
create type order_payment_status_enum as enum ('not_paid', 'awaiting', 'captured', 'refunded', 'canceled');
create table customer (
    id varchar primary key,
    email varchar not null,
    first_name varchar,
    last_name varchar,
    created_at timestamptz not null default now()
);
create table "order" (
    id varchar primary key,
    status order_status_enum not null default 'pending',
    fulfillment_status order_fulfillment_status_enum not null default 'not_fulfilled',
    payment_status order_payment_status_enum not null default 'not_paid',
    display_id serial not null,
    cart_id varchar,
    customer_id varchar not null references customer (id),
    email varchar not null,
    region_id varchar not null default 'reg_1',
    currency_code varchar not null,
    tax_rate real,
    canceled_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    metadata jsonb
);
create index on "order" (display_id);
create table line_item (
    id varchar primary key,
    order_id varchar references "order" (id),
    title varchar not null,
    unit_price integer not null,
    quantity integer not null
);
insert into customer (id, email, first_name, last_name)
select 'cus_01H' || n, format('c%s@example.com', n), 'Ada', 'Smith' || n from generate_series(1, 20) as n;
insert into "order" (id, status, fulfillment_status, payment_status, customer_id, email, currency_code, created_at)
select
    'order_01H' || lpad(n::text, 10, '0'), (array['pending', 'completed', 'canceled'])[1 + n % 3]::order_status_enum,
    (array['not_fulfilled', 'shipped', 'canceled'])[1 + n % 3]::order_fulfillment_status_enum, 'captured',
    'cus_01H' || (1 + n % 20), format('c%s@example.com', 1 + n % 20), 'eur', timestamptz '2026-01-01 00:00Z' + n * interval '1 hour'
from generate_series(1, 200) as n;
insert into line_item (id, order_id, title, unit_price, quantity)
select 'item_' || o.display_id, o.id, 'Shirt', 1999, 1 from "order" as o;
