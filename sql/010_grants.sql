-- Least privilege: the push server needs to read orders and the journal, and nothing else. Migrations belong to another role.

-- Gives a role what serving takes. Run it as the owner of the schema, again after an upgrade.
create function orderwire.grant_serving(server regrole) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
begin
    execute format('grant usage on schema public, orderwire to %s', server);
    execute format('grant select on public.orders, public.order_analytics to %s', server);
    execute format(
        'grant select on orderwire.journal, orderwire.journal_identity, orderwire.migrations, orderwire.revocations to %s',
        server
    );
    -- These run with their owner's rights: to name a restored copy anew, and to make and drop the journal's partitions.
    execute format(
        'grant execute on function orderwire.identify(text, xid8[], bigint[]), orderwire.maintain_partitions(interval) to %s',
        server
    );
end
$$;
comment on function orderwire.grant_serving is 'Give a role what the push server needs, and nothing else.';

revoke execute on function orderwire.grant_serving(regrole) from public;
