-- Medusa 2: modules without foreign keys between them; the totals are jsonb in order_summary.
create type order_status_enum as enum ('pending', 'completed', 'draft', 'archived', 'canceled', 'requires_action');
create table customer (
    id text primary key, company_name text, first_name text, last_name text, email text, has_account boolean not null default false,
    created_at timestamptz not null default now(), updated_at timestamptz not null default now(), deleted_at timestamptz
);
create table order_address (
    id text primary key, customer_id text, first_name text, last_name text, city text, country_code text
);
create table "order" (
    id text primary key,
    region_id text,
    display_id serial not null,
    customer_id text,
    version integer not null default 1,
    sales_channel_id text,
    status order_status_enum not null default 'pending',
    is_draft_order boolean not null default false,
    email text,
    currency_code text not null,
    shipping_address_id text references order_address (id),
    billing_address_id text references order_address (id),
    no_notification boolean,
    metadata jsonb,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,
    canceled_at timestamptz
);
create index on "order" (customer_id) where deleted_at is null;
create table order_summary (
    id text primary key,
    order_id text not null references "order" (id),
    version integer not null default 1,
    totals jsonb
);
insert into customer (id, first_name, last_name, email)
select 'cus_' || n, 'Ada', 'Smith' || n, format('c%s@example.com', n) from generate_series(1, 20) as n;
insert into order_address (id, first_name, last_name, city, country_code)
select 'ordaddr_' || n, 'Ada', 'Smith' || n, 'Copenhagen', 'dk' from generate_series(1, 20) as n;
insert into "order" (id, customer_id, status, is_draft_order, email, currency_code, shipping_address_id, created_at, deleted_at)
select
    'order_01J' || lpad(n::text, 10, '0'), 'cus_' || (1 + n % 20),
    (array['pending', 'completed', 'canceled', 'draft'])[1 + n % 4]::order_status_enum, n % 4 = 3,
    format('c%s@example.com', 1 + n % 20), 'eur', 'ordaddr_' || (1 + n % 20), timestamptz '2026-01-01 00:00Z' + n * interval '1 hour',
    case when n % 25 = 0 then now() end
from generate_series(1, 200) as n;
insert into order_summary (id, order_id, totals)
select 'ordsum_' || o.display_id, o.id, jsonb_build_object('current_order_total', 19.99) from "order" as o;
