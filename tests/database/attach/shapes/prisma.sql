-- Prisma: cuid keys, PascalCase tables and enums, Decimal(65,30), timestamp(3).
create type "OrderStatus" as enum ('PENDING', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED');
create table "User" (
    id text primary key, email text not null unique, name text, "createdAt" timestamp(3) not null default current_timestamp
);
create table "Order" (
    id text primary key,
    status "OrderStatus" not null default 'PENDING',
    "totalAmount" decimal(65, 30) not null,
    "userId" text not null references "User" (id) on delete restrict on update cascade,
    notes text,
    "createdAt" timestamp(3) not null default current_timestamp,
    "updatedAt" timestamp(3) not null
);
create table "OrderItem" (
    id text primary key, "orderId" text not null references "Order" (id), quantity integer not null, price decimal(65, 30) not null
);
insert into "User" (id, email, name) select 'clu' || md5(n::text), format('u%s@example.com', n), 'Ada Smith' || n from generate_series(1, 20) as n;
insert into "Order" (id, status, "totalAmount", "userId", "createdAt", "updatedAt")
select
    'clo' || substr(md5(n::text), 1, 22), (array['PENDING', 'PAID', 'SHIPPED', 'DELIVERED', 'CANCELLED'])[1 + n % 5]::"OrderStatus",
    n * 12.5, 'clu' || md5((1 + n % 20)::text), timestamp '2026-01-01' + n * interval '1 hour', now()
from generate_series(1, 200) as n;
insert into "OrderItem" (id, "orderId", quantity, price) select 'item' || o.id, o.id, 1, o."totalAmount" from "Order" as o;
