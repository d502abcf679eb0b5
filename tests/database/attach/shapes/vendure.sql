-- Vendure: camelCase, cents, active carts; the total is a sum of two columns.
create table customer (
    id serial primary key, "createdAt" timestamp(6) not null default now(), "updatedAt" timestamp(6) not null default now(),
    "deletedAt" timestamp(6), title varchar, "firstName" varchar not null, "lastName" varchar not null, "phoneNumber" varchar,
    "emailAddress" varchar not null
);
create table "order" (
    "createdAt" timestamp(6) not null default now(),
    "updatedAt" timestamp(6) not null default now(),
    type varchar not null default 'Regular',
    code varchar not null unique,
    state varchar not null,
    active boolean not null default true,
    "orderPlacedAt" timestamp(6),
    "couponCodes" text not null default '',
    "shippingAddress" text not null default '{}',
    "billingAddress" text not null default '{}',
    "currencyCode" varchar not null,
    id serial primary key,
    "customerId" integer references customer (id),
    "taxZoneId" integer,
    "subTotal" integer not null,
    "subTotalWithTax" integer not null,
    shipping integer not null default 0,
    "shippingWithTax" integer not null default 0
);
create index on "order" ("orderPlacedAt");
create table order_line (
    id serial primary key, quantity integer not null, "orderId" integer references "order" (id), "createdAt" timestamp(6) not null default now()
);
insert into customer ("firstName", "lastName", "emailAddress")
select 'Ada', 'Smith' || n, format('c%s@example.com', n) from generate_series(1, 20) as n;
insert into "order" (
    code, state, active, "orderPlacedAt", "currencyCode", "customerId", "subTotal", "subTotalWithTax", shipping, "shippingWithTax", "createdAt"
)
select
    upper(substr(md5(n::text), 1, 16)),
    (array['AddingItems', 'ArrangingPayment', 'PaymentSettled', 'PaymentAuthorized', 'Shipped', 'Delivered', 'Cancelled'])[1 + n % 7],
    n % 7 < 2, case when n % 7 >= 2 then timestamp '2026-01-01' + n * interval '1 hour' end, 'USD', 1 + n % 20,
    n * 1000, n * 1200, 400, 480, timestamp '2026-01-01' + n * interval '1 hour'
from generate_series(1, 200) as n;
insert into order_line (quantity, "orderId") select 1, o.id from "order" as o;
