-- Sylius: carts have no number, money is cents.
create table sylius_customer (
    id serial primary key, email varchar(255) not null unique, email_canonical varchar(255) not null, first_name varchar(255),
    last_name varchar(255), created_at timestamp(0) not null default now()
);
create table sylius_order (
    id serial primary key,
    channel_id integer,
    customer_id integer references sylius_customer (id),
    number varchar(255) unique,
    notes text,
    state varchar(255) not null,
    checkout_completed_at timestamp(0),
    items_total integer not null,
    adjustments_total integer not null,
    total integer not null,
    created_at timestamp(0) not null,
    updated_at timestamp(0),
    currency_code varchar(3) not null,
    locale_code varchar(255) not null default 'en_US',
    checkout_state varchar(255) not null,
    payment_state varchar(255) not null,
    shipping_state varchar(255) not null,
    token_value varchar(255) unique,
    customer_ip varchar(255)
);
create index on sylius_order (customer_id);
insert into sylius_customer (email, email_canonical, first_name, last_name)
select format('c%s@example.com', n), format('c%s@example.com', n), 'Ada', 'Smith' || n from generate_series(1, 20) as n;
insert into sylius_order (
    customer_id, number, state, checkout_completed_at, items_total, adjustments_total, total, created_at, currency_code,
    checkout_state, payment_state, shipping_state, token_value
)
select
    1 + n % 20, case when n % 5 > 0 then lpad(n::text, 9, '0') end, (array['cart', 'new', 'new', 'fulfilled', 'cancelled'])[1 + n % 5],
    case when n % 5 > 0 then timestamp '2026-01-01' + n * interval '1 hour' end, n * 1000, 500, n * 1000 + 500,
    timestamp '2026-01-01' + n * interval '1 hour', 'EUR', case when n % 5 > 0 then 'completed' else 'cart' end,
    case when n % 5 > 0 then 'paid' else 'cart' end, case when n % 5 > 0 then 'ready' else 'cart' end, md5(n::text)
from generate_series(1, 200) as n;
