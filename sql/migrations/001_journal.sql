-- The journal: append-only, one row for each change of an order, or of a row of a stream. A notification only says that
-- there is something to read; events are delivered from the journal.

-- Ids of one session must not be ahead of another's: no cache.
create sequence orderwire.journal_id_seq cache 1;

create table orderwire.journal (
    -- Order within one row of the attached table: its row lock is held while the id is drawn. Not the order of commits.
    id                   bigint not null default nextval('orderwire.journal_id_seq'),
    -- The writer's transaction: an event exists for a reader once this is visible in the reader's snapshot.
    txid                 xid8 not null default pg_current_xact_id(),
    at                   timestamptz not null default clock_timestamp(),
    -- What the writer saw as committed. A client that has this event has everything that was visible here, so what it may
    -- lack can be asked of the journal alone, on any server: see "Resume" in docs/explanation/delivery.md.
    seen                 pg_snapshot not null default pg_current_snapshot(),
    -- pg_trigger_depth() of a nested statement, and of one that may have nested ones. See orderwire.renumber_nested.
    depth                smallint,
    -- Null: the event of an order. Otherwise the name of the stream (orderwire.attach_stream).
    stream               text,
    key                  text not null,
    -- Of a stream's row: the key of the order that it belongs to.
    order_key            text,
    -- Whether the row was an order (a row of the stream) before the change, and is one after it.
    was_order            boolean not null default false,
    is_order             boolean not null default false,
    -- Texts are cut where they enter the journal: see sql/functions/01_events.sql.
    number               text,
    -- Whose order it is after the change; of a deleted one, whose it was.
    customer_id          text,
    -- Whose it was before, where an update has changed that: empty for no customer. Then customer_name and data are there, changed or
    -- not: to its new customer the order is new.
    previous_customer_id text,
    -- Null in an update that left it as it was; the same goes for data.
    customer_name        text,
    previous_status      text,
    status               text,
    previous_total       numeric,
    total                numeric,
    previous_currency    text,
    currency             text,
    -- When the shop created the order; of a deleted one, when it had.
    created_at           timestamptz,
    -- What that was before, where an update has changed it: -infinity for none.
    previous_created_at  timestamptz,
    -- JSON null: the data was too long and is left out.
    data                 jsonb,
    -- Database role and application_name of the writer, where the map asks for them.
    actor_role           text,
    actor_application    text
) partition by range (at);

comment on table orderwire.journal is
'Every committed change of the attached tables, kept for the retention time. Read it with: select * from orderwire.events;';

-- The live read, the resume and the trimming go by transaction.
create index journal_txid_id_idx on orderwire.journal (txid, id);
-- The history of one order. The first costs a writer 2 % of a single-row insert, the second nothing without streams.
create index journal_key_idx on orderwire.journal (key);
create index journal_order_key_idx on orderwire.journal (order_key) where order_key is not null;
-- The history of one customer. It costs a writer nothing where orders have no customer_id.
create index journal_customer_id_idx on orderwire.journal (customer_id) where customer_id is not null;
create index journal_previous_customer_id_idx on orderwire.journal (previous_customer_id) where previous_customer_id is not null;

-- Takes what no other partition covers, so that a writer does not fail for want of one. The replica identity lets rows be
-- changed where a publication FOR ALL TABLES includes the journal; partitions do not inherit it.
create table orderwire.journal_default partition of orderwire.journal default;
alter table orderwire.journal_default replica identity full;

-- The partitions of the journal, apart from the default one.
create table orderwire.journal_partitions (
    name    text not null,
    from_at timestamptz not null,
    to_at   timestamptz not null,

    constraint journal_partitions_pkey primary key (name),
    constraint journal_partitions_range_check check (from_at < to_at)
);

-- Identity of the journal: one row.
create table orderwire.journal_identity (
    only_row          boolean not null default true,
    -- Changes when positions stop being comparable; clients then have to fetch anew.
    epoch             text not null,
    -- Where the epoch was drawn. A restored copy is in another cluster or database, and draws a new one.
    system_identifier bigint not null,
    database_oid      oid not null,
    -- A standby that was promoted, or a recovery to a point in time, continues on another timeline.
    timeline          text not null,
    -- Events of this transaction and older ones may have been trimmed.
    trimmed_txid      xid8 not null default '0',
    -- Every transaction below settled_txid ended a while ago, so each server that is connected has read what it wrote.
    -- settling_txid is the candidate to follow it.
    settled_txid      xid8 not null default '0',
    settling_txid     xid8 not null default '0',
    settling_since    timestamptz not null default now(),
    -- Whether "order_id" of events is a JSON number. Set by attach, together with a new epoch.
    integer_keys      boolean not null default true,
    -- Whether NOTIFY carries keys only: any role may LISTEN.
    notify_keys_only  boolean not null default false,

    constraint journal_identity_pkey primary key (only_row),
    constraint journal_identity_only_row_check check (only_row)
);
comment on column orderwire.journal_identity.epoch is 'Identity of this journal, the first part of every cursor.';

-- Until when writers may commit without a notification, since a server notifies on their behalf or a writer has just notified: Unix
-- time in 64ths of a millisecond. A sequence, since reading it costs a writer next to nothing, and no role but the owner can set
-- it. See sql/functions/02_notify.sql.
create sequence orderwire.notify_lease cache 1;

-- A row for each transaction that notifies. Its deferred trigger sends the notifications at the end of the transaction. Nothing
-- reads the rows; maintain_partitions deletes them.
create unlogged table orderwire.notices ();

-- A row asks the servers for a new epoch: by a writer whose changes cannot be recorded. A row of its own, since two writers that
-- update one row wait for each other, and fail in a REPEATABLE READ transaction.
create table orderwire.epoch_requests (
    requested_at timestamptz not null default clock_timestamp()
);
alter table orderwire.epoch_requests replica identity full;

insert into orderwire.journal_identity (epoch, system_identifier, database_oid, timeline)
select
    substr(md5(gen_random_uuid()::text), 1, 8),
    c.system_identifier,
    d.oid,
    substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
from pg_control_system() as c, pg_database as d
where d.datname = current_database();
