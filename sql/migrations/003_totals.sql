-- A checkpoint of the totals, so that a start does not have to count the whole table: see sql/functions/07_totals.sql.

create table orderwire.checkpoint (
    only_row            boolean not null default true,
    -- The journal in which the snapshot is a position. A copy, and all else that makes positions meaningless, draws a new epoch.
    epoch               text not null,
    snapshot            pg_snapshot not null,
    total_orders        bigint not null,
    total_revenue       numeric not null,
    pending_orders      bigint not null,
    -- Currency to revenue; null without a currency in the map.
    revenue_by_currency jsonb,
    counted_at          timestamptz not null default now(),

    constraint checkpoint_pkey primary key (only_row),
    constraint checkpoint_only_row_check check (only_row)
);
comment on table orderwire.checkpoint is 'The totals as they were last counted. May be deleted at any time: the next start counts.';
