-- The one definition of an event as JSON: what a NOTIFY carries and what a client receives.
--
-- Built as text, not with json_build_object: that writes spaces, and costs several times as much in every writer.

-- RFC 3339 in UTC, whatever the session's TimeZone and DateStyle are.
create function orderwire.rfc3339(moment timestamptz) returns text
language sql stable parallel safe
return to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');

create function orderwire.event_json(
    epoch text,
    txid xid8,
    id bigint,
    at timestamptz,
    order_id bigint,
    order_number text,
    customer_name text,
    previous_status text,
    status text,
    previous_total numeric,
    total numeric
) returns text
language sql stable parallel safe
return
    case
        when previous_status is null then '{"type":"new_order"'
        when status is null then '{"type":"order_delete"'
        when status <> previous_status then '{"type":"order_status_update"'
        else '{"type":"order_update"'
    end
    || ',"id":"' || epoch || '-' || txid::text || '-' || id::text
    || '","order_id":' || order_id::text
    || ',"order_number":' || to_json(order_number)::text
    || coalesce(',"customer_name":' || to_json(customer_name)::text, '')
    || case when total is distinct from previous_total then coalesce(',"total":"' || total::text || '"', '') else '' end
    || case when status is distinct from previous_status then coalesce(',"status":' || to_json(status)::text, '') else '' end
    || case
        when status <> previous_status then ',"previous_status":' || to_json(previous_status)::text
        else ''
    end
    || ',"at":"' || orderwire.rfc3339(at) || '"}';

comment on function orderwire.event_json is 'An event as the JSON object of docs/reference/protocol.md.';

-- For people: the journal, readable.
create view orderwire.events as
select
    j.id,
    j.txid,
    j.at,
    orderwire.event_json(
        i.epoch, j.txid, j.id, j.at, j.order_id, j.order_number, j.customer_name,
        j.previous_status, j.status, j.previous_total, j.total
    )::json as event
from orderwire.journal as j, orderwire.journal_identity as i;
