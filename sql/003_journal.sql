-- The journal: append-only, one row per changed order. A notification only says that there is something to read; the journal
-- delivers.

create sequence orderwire.journal_id_seq cache 1; -- ids of one session must not run ahead of another's

create table orderwire.journal (
    -- Order within one row of `orders` (its row lock is held while the number is drawn), not order of commit.
    id              bigint not null default nextval('orderwire.journal_id_seq'),
    -- The writer's transaction: an event exists for a reader once this is visible in the reader's snapshot.
    txid            xid8 not null default pg_current_xact_id(),
    at              timestamptz not null default clock_timestamp(),
    -- What the writer saw as committed. A client that holds this event has everything that was visible here, so what it
    -- may lack can be asked of the journal alone, on any server: see "Resume" in docs/explanation/delivery.md.
    seen            pg_snapshot not null default pg_current_snapshot(),
    order_id        bigint not null,
    order_number    text not null,
    customer_id     text,
    -- Null in an update that left the name as it was.
    customer_name   text,
    -- Before and after. An insert has nothing before, a delete nothing after.
    previous_status text,
    status          text,
    previous_total  numeric(12, 2),
    total           numeric(12, 2)
) partition by range (at);

comment on table orderwire.journal is
'Every committed change of public.orders, kept for the retention time. Read it with: select * from orderwire.events;';

-- The only index: the live read, the resume and the trimming all go by transaction.
create index journal_txid_id_idx on orderwire.journal (txid, id);

-- Catches whatever no partition covers, so that a writer never fails for want of one.
create table orderwire.journal_default partition of orderwire.journal default;

-- Identity of the journal: one row.
create table orderwire.journal_identity (
    only_row          boolean not null default true,
    -- Changes when positions stop being comparable; clients then have to fetch anew.
    epoch             text not null,
    -- Where the epoch was drawn. A restored copy finds itself elsewhere and draws a new one.
    system_identifier bigint not null,
    database_oid      oid not null,
    -- A standby that was promoted, or a recovery to a point in time, goes on with another timeline.
    timeline          text not null,
    -- Events of this transaction and older ones may have been trimmed.
    trimmed_txid      xid8 not null default '0',

    constraint journal_identity_pkey primary key (only_row),
    constraint journal_identity_only_row_check check (only_row)
);
comment on column orderwire.journal_identity.epoch is 'Identity of this journal, the first part of every cursor.';

insert into orderwire.journal_identity (epoch, system_identifier, database_oid, timeline)
select
    substr(md5(gen_random_uuid()::text), 1, 8),
    c.system_identifier,
    d.oid,
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
from pg_control_system() as c, pg_database as d
where d.datname = current_database();
