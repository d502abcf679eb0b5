-- django-oscar: statuses are free texts of the shop's pipeline, guests have an address.
create table auth_user (
    id serial primary key, username varchar(150) not null unique, first_name varchar(150) not null, last_name varchar(150) not null,
    email varchar(254) not null
);
create table order_order (
    id bigserial primary key,
    number varchar(128) not null unique,
    currency varchar(12) not null,
    total_incl_tax numeric(12, 2) not null,
    total_excl_tax numeric(12, 2) not null,
    shipping_incl_tax numeric(12, 2) not null,
    shipping_excl_tax numeric(12, 2) not null,
    shipping_method varchar(128) not null default '',
    status varchar(100) not null,
    guest_email varchar(254) not null default '',
    date_placed timestamptz not null,
    basket_id bigint,
    user_id integer references auth_user (id),
    site_id integer
);
create index on order_order (date_placed);
insert into auth_user (username, first_name, last_name, email)
select 'u' || n, 'Ada', 'Smith' || n, format('u%s@example.com', n) from generate_series(1, 20) as n;
insert into order_order (
    number, currency, total_incl_tax, total_excl_tax, shipping_incl_tax, shipping_excl_tax, status, guest_email, date_placed, user_id
)
select
    (100000 + n)::text, 'GBP', n * 12, n * 10, 5, 4, (array['Pending', 'Being processed', 'Complete', 'Cancelled'])[1 + n % 4],
    case when n % 5 = 0 then format('g%s@example.com', n) else '' end, timestamptz '2026-01-01 00:00Z' + n * interval '1 hour',
    case when n % 5 > 0 then 1 + n % 20 end
from generate_series(1, 200) as n;
