-- The lease of the server that reads the journal for all: a row, renewed every second in a transaction of its own. An advisory lock
-- could be taken by any role, and a row lock that is held would keep VACUUM from its work. Two servers that both believe to have the
-- lease do no harm (docs/explanation/facts.md).

-- Take the lease for that long if it is free or ours; returns who has it. A server that waits for its turn writes nothing.
create or replace function orderwire.hold_relay_lease(server text, duration interval) returns text
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '1s'
as $$
declare
    -- Not now(): a transaction may have waited for the row.
    present constant text := (
        select l.holder from orderwire.relay_lease as l where l.holder <> server and l.expires_at > clock_timestamp()
    );
begin
    if present is not null then
        return present;
    end if;
    insert into orderwire.relay_lease as l (holder, expires_at) values (server, clock_timestamp() + duration)
    on conflict on constraint relay_lease_pkey do update
    set holder = excluded.holder, expires_at = clock_timestamp() + duration
    where l.holder = excluded.holder or l.expires_at <= clock_timestamp();
    return (select l.holder from orderwire.relay_lease as l);
end
$$;
comment on function orderwire.hold_relay_lease is 'Take the lease of the relay if it is free or ours; returns who has it.';

-- Give it back, so that another server need not wait until it ends.
create or replace function orderwire.release_relay_lease(server text) returns void
language sql volatile security definer
set search_path = pg_catalog, pg_temp
as $$ delete from orderwire.relay_lease as l where l.holder = server $$;
comment on function orderwire.release_relay_lease is 'Give the lease of the relay back.';

revoke execute on function orderwire.hold_relay_lease(text, interval), orderwire.release_relay_lease(text) from public;
