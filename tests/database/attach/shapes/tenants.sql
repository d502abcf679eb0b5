-- Written by hand: several shops in one table, with a key of two columns.
create table tenants (id integer primary key, name text not null);
create table orders (
    tenant_id integer not null references tenants (id),
    id integer not null,
    customer_name text not null,
    total numeric(12, 2) not null,
    currency char(3) not null,
    status text not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, id)
);
insert into tenants values (1, 'North'), (2, 'South');
insert into orders (tenant_id, id, customer_name, total, currency, status, created_at)
select
    1 + n % 2, n / 2, 'Ada Smith', n * 12.5, 'EUR', (array['new', 'paid', 'shipped', 'cancelled'])[1 + n % 4],
    timestamptz '2026-01-01 00:00Z' + n * interval '1 hour'
from generate_series(1, 200) as n;
