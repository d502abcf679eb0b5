-- Odoo: names in res_partner, quotations as drafts, times without a zone that are UTC.
create table res_currency (id serial primary key, name varchar not null, symbol varchar);
create table res_users (id serial primary key, login varchar not null);
create table res_partner (
    id serial primary key, name varchar, display_name varchar, email varchar, parent_id integer references res_partner (id),
    active boolean default true
);
create table sale_order (
    id serial primary key,
    campaign_id integer,
    partner_id integer not null references res_partner (id),
    partner_invoice_id integer not null references res_partner (id),
    partner_shipping_id integer not null references res_partner (id),
    user_id integer references res_users (id),
    company_id integer not null default 1,
    currency_id integer references res_currency (id),
    create_uid integer references res_users (id),
    access_token varchar,
    name varchar not null,
    state varchar,
    client_order_ref varchar,
    origin varchar,
    invoice_status varchar,
    note text,
    currency_rate numeric,
    amount_untaxed numeric,
    amount_tax numeric,
    amount_total numeric,
    locked boolean,
    date_order timestamp not null,
    create_date timestamp,
    write_date timestamp
);
create table sale_order_line (
    id serial primary key, order_id integer not null references sale_order (id) on delete cascade, name text not null,
    product_uom_qty numeric not null, price_total numeric, state varchar, currency_id integer references res_currency (id)
);
insert into res_currency (name) values ('EUR'), ('USD');
insert into res_users (login) values ('admin'), ('seller');
insert into res_partner (name, email) select 'Company ' || n, format('p%s@example.com', n) from generate_series(1, 25) as n;
insert into sale_order (
    partner_id, partner_invoice_id, partner_shipping_id, user_id, currency_id, name, state, invoice_status, amount_untaxed,
    amount_tax, amount_total, date_order, create_date
)
select
    1 + n % 25, 1 + n % 25, 1 + n % 25, 2, 1, 'S' || lpad(n::text, 5, '0'), (array['draft', 'sent', 'sale', 'sale', 'done', 'cancel'])[1 + n % 6],
    'to invoice', n * 10, n * 2, n * 12, timestamp '2026-01-01' + n * interval '1 hour', timestamp '2026-01-01' + n * interval '1 hour'
from generate_series(1, 200) as n;
insert into sale_order_line (order_id, name, product_uom_qty, price_total, state)
select o.id, 'Desk', 1, o.amount_total, o.state from sale_order as o;
