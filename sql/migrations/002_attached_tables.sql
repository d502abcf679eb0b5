-- Tables whose changes are recorded, and what the server reads of them.

-- What a map makes of a row of the orders table.
create type orderwire.mapped_order as (
    key           text,
    number        text,
    customer_name text,
    customer_id   text,
    total         numeric,
    currency      text,
    status        text,
    created_at    timestamptz,
    data          jsonb,
    -- Whether the status is one of the map's `pending`; and none of its `cancelled`, so that the total is revenue.
    is_pending    boolean,
    is_counted    boolean
);

-- What a map makes of a row of a stream.
create type orderwire.mapped_row as (
    key       text,
    order_key text,
    data      jsonb
);

create table orderwire.attached_tables (
    -- `orders`, or the name of the stream.
    name           text not null,
    relation       regclass not null,
    -- Its name when it was attached: shows that another table has taken its place.
    relation_name  text not null,
    map            jsonb not null,
    attached_at    timestamptz not null default now(),

    constraint attached_tables_pkey primary key (name),
    constraint attached_tables_name_check check (name ~ '^[a-z][a-z0-9_]{0,39}$')
);
comment on table orderwire.attached_tables is 'Tables whose changes are recorded: see orderwire.attach and orderwire.attach_stream.';

-- Partitions of them that have triggers.
create table orderwire.attached_partitions (
    name     text not null,
    relation regclass not null,

    constraint attached_partitions_pkey primary key (relation),
    constraint attached_partitions_name_fkey foreign key (name) references orderwire.attached_tables (name) on delete cascade
);

-- What orderwire.grant_serving gave on the shop's tables and their schemas: detach and uninstall take it back.
create table orderwire.serving_grants (
    relation    regclass not null,
    -- A name, since a dump may be restored where there is no such role.
    role        name not null,
    gave_select boolean not null,
    gave_usage  boolean not null,

    constraint serving_grants_pkey primary key (relation, role)
);

-- What an order with this status counts for: defined here, and nowhere else. Replaced by attach, with the map's lists.
create function orderwire.is_pending(status text) returns boolean
language sql immutable parallel safe
return false;
comment on function orderwire.is_pending is 'Whether an order with this status counts as pending.';

create function orderwire.is_counted(status text) returns boolean
language sql immutable parallel safe
return true;
comment on function orderwire.is_counted is 'Whether the total of an order with this status counts as revenue.';
