-- Written by hand, in Spanish; times as milliseconds since 1970.
create table clientes (cliente_id integer generated always as identity primary key, nombre text not null, apellidos text not null, correo text);
create table pedidos (
    pedido_id integer generated always as identity primary key,
    codigo text not null unique,
    cliente_id integer not null references clientes (cliente_id),
    importe_total numeric not null,
    moneda text not null,
    estado text not null,
    creado bigint not null
);
insert into clientes (nombre, apellidos) select 'María', 'García ' || n from generate_series(1, 20) as n;
insert into pedidos (codigo, cliente_id, importe_total, moneda, estado, creado)
select
    'P' || lpad(n::text, 6, '0'), 1 + n % 20, n * 12.5, 'MXN', (array['pendiente', 'pagado', 'enviado', 'entregado', 'cancelado'])[1 + n % 5],
    1767225600000 + n * 3600000::bigint
from generate_series(1, 200) as n;
