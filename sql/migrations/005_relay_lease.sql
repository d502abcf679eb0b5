-- With a broker between the servers: which of them reads the journal for all. See sql/functions/24_relay_lease.sql.

-- Unlogged: it is written every second, and a crash may forget it. So a renewal waits for no flush and no standby, and fills no
-- archive.
create unlogged table orderwire.relay_lease (
    only_row   boolean not null default true,
    -- The name that a server has drawn for itself.
    holder     text not null,
    expires_at timestamptz not null,

    constraint relay_lease_pkey primary key (only_row),
    constraint relay_lease_only_row_check check (only_row)
) with (fillfactor = 10);
comment on table orderwire.relay_lease is 'Which server reads the journal for all, with a broker. May be deleted at any time.';
