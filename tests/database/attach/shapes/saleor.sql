-- Saleor: uuid keys, text statuses, money as numeric(20,3) beside its currency; drafts are orders too.
create table account_user (
    id serial primary key,
    email varchar(254) not null unique,
    first_name varchar(256) not null,
    last_name varchar(256) not null,
    is_staff boolean not null default false
);
create table account_address (
    id serial primary key,
    first_name varchar(256) not null,
    last_name varchar(256) not null,
    company_name varchar(256) not null default '',
    city varchar(256) not null,
    country varchar(2) not null
);
create table order_order (
    id uuid primary key default gen_random_uuid(),
    number integer not null unique,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    status varchar(32) not null,
    authorize_status varchar(32) not null default 'none',
    charge_status varchar(32) not null default 'none',
    origin varchar(32) not null default 'checkout',
    user_id integer references account_user (id),
    user_email varchar(254) not null,
    billing_address_id integer references account_address (id),
    shipping_address_id integer references account_address (id),
    currency varchar(3) not null,
    total_net_amount numeric(20, 3) not null,
    total_gross_amount numeric(20, 3) not null,
    undiscounted_total_gross_amount numeric(20, 3) not null,
    shipping_price_gross_amount numeric(20, 3) not null default 0,
    total_charged_amount numeric(20, 3) not null default 0,
    language_code varchar(35) not null default 'en',
    customer_note text not null default '',
    private_metadata jsonb
);
create index on order_order (user_email);
create table order_orderline (
    id uuid primary key default gen_random_uuid(),
    order_id uuid not null references order_order (id),
    created_at timestamptz not null,
    product_name varchar(386) not null,
    quantity integer not null,
    currency varchar(3) not null,
    total_price_gross_amount numeric(20, 3) not null
);

insert into account_user (email, first_name, last_name)
select format('user%s@example.com', n), (array['Anna', 'Jan', 'Maria'])[1 + n % 3], 'Nowak' || n from generate_series(1, 30) as n;
insert into account_address (first_name, last_name, city, country)
select (array['Anna', 'Jan', 'Maria'])[1 + n % 3], 'Nowak' || n, 'Kraków', 'PL' from generate_series(1, 30) as n;
insert into order_order (
    number, created_at, updated_at, status, user_id, user_email, billing_address_id, currency,
    total_net_amount, total_gross_amount, undiscounted_total_gross_amount
)
select
    n, timestamptz '2026-01-01 00:00Z' + n * interval '1 hour', timestamptz '2026-01-01 00:00Z' + n * interval '1 hour',
    (array['UNFULFILLED', 'FULFILLED', 'FULFILLED', 'CANCELED', 'DRAFT', 'PARTIALLY_FULFILLED', 'UNCONFIRMED', 'RETURNED'])[1 + n % 8],
    case when n % 4 > 0 then 1 + n % 30 end, format('user%s@example.com', 1 + n % 30), 1 + n % 30,
    case when n % 10 = 0 then 'USD' else 'EUR' end, n * 10, n * 12.3, n * 13
from generate_series(1, 200) as n;
insert into order_orderline (order_id, created_at, product_name, quantity, currency, total_price_gross_amount)
select o.id, o.created_at, 'Mug', 1, o.currency, o.total_gross_amount from order_order as o;
