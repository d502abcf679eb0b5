-- Spree and Solidus: carts are rows of the same table until completed_at is set.
create table spree_users (
    id serial primary key, email varchar, login varchar, encrypted_password varchar(128), created_at timestamp(6) not null default now()
);
create table spree_addresses (
    id serial primary key, firstname varchar, lastname varchar, address1 varchar, city varchar, zipcode varchar
);
create table spree_orders (
    id serial primary key,
    number varchar(32) not null unique,
    item_total numeric(10, 2) not null default 0,
    total numeric(10, 2) not null default 0,
    state varchar,
    adjustment_total numeric(10, 2) not null default 0,
    user_id integer references spree_users (id),
    completed_at timestamp(6),
    bill_address_id integer references spree_addresses (id),
    ship_address_id integer references spree_addresses (id),
    payment_total numeric(10, 2) default 0,
    shipment_state varchar,
    payment_state varchar,
    email varchar,
    special_instructions text,
    created_at timestamp(6) not null,
    updated_at timestamp(6) not null,
    currency varchar,
    created_by_id integer,
    item_count integer default 0,
    token varchar
);
create index on spree_orders (completed_at);
create index on spree_orders (user_id);
insert into spree_users (email, login) select format('u%s@example.com', n), 'u' || n from generate_series(1, 20) as n;
insert into spree_addresses (firstname, lastname, city) select 'Ada', 'Smith' || n, 'London' from generate_series(1, 20) as n;
insert into spree_orders (
    number, item_total, total, state, user_id, completed_at, bill_address_id, shipment_state, payment_state, email, created_at,
    updated_at, currency, item_count, token
)
select
    'R' || 100000000 + n, n * 10, n * 12,
    case
        when n % 10 < 3 then (array['cart', 'address', 'payment'])[1 + n % 3]
        when n % 10 = 3 then 'canceled' when n % 20 = 4 then 'returned' else 'complete'
    end,
    1 + n % 20, case when n % 10 >= 3 then timestamp '2026-01-01' + n * interval '1 hour' end, 1 + n % 20,
    case when n % 10 >= 3 then (array['pending', 'ready', 'shipped'])[1 + n % 3] end, case when n % 10 >= 3 then 'paid' end,
    format('u%s@example.com', 1 + n % 20), timestamp '2026-01-01' + n * interval '1 hour', now(), 'USD', 1, md5(n::text)
from generate_series(1, 200) as n;
