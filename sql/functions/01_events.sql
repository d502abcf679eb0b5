-- The one definition of an event as JSON: what a NOTIFY carries and what a client receives.
--
-- Built as text, not with json_build_object, which writes spaces and costs several times as much in every writer.
--
-- An event is at most 16 KiB of JSON, whatever a writer stores. Texts are cut where they enter the journal, in characters,
-- before JSON escapes them (a control character becomes six bytes): one character more than is shown, which says that the
-- text was longer. At most 9,200 bytes are left for all but `data`, which is left out beyond 6,000.

-- RFC 3339 in UTC, whatever the session's TimeZone and DateStyle are. Null for what JSON cannot say: infinity and years BC.
create or replace function orderwire.rfc3339(moment timestamptz) returns text
language sql stable parallel safe
return case
    when moment >= '0001-01-01 00:00:00+00' and moment < 'infinity'
        then to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
end;

-- An order's key as JSON where it may not be a number: see orderwire.event_json.
create or replace function orderwire.order_id_json(key text, integer_keys boolean) returns text
language plpgsql immutable parallel safe
as $$
begin
    -- A number where clients can read it as one exactly: up to 2^53 - 1.
    if integer_keys and key::numeric between -9007199254740991 and 9007199254740991 then
        return key;
    end if;
    return to_json(key)::text;
end
$$;

-- What few events have, as further members: currency, data, the names of fields that were cut, the writer.
create or replace function orderwire.rare_members_json(
    number text,
    customer_name text,
    previous_status text,
    status text,
    currency text,
    data jsonb,
    actor_role text,
    actor_application text
) returns text
language plpgsql immutable parallel safe
as $$
declare
    cut constant text := concat_ws(
        ',',
        case when length(number) > 200 then '"order_number"' end,
        case when length(customer_name) > 500 then '"customer_name"' end,
        case when length(previous_status) > 100 then '"previous_status"' end,
        case when length(status) > 100 then '"status"' end,
        case when data = 'null'::jsonb then '"data"' end
    );
begin
    return
        case when currency = '' then ',"currency":null' else coalesce(',"currency":' || to_json(currency)::text, '') end
        || case when data is null or data = 'null'::jsonb then '' else ',"data":' || data::text end
        || case when cut = '' then '' else ',"truncated":[' || cut || ']' end
        || coalesce(
            ',"actor":{"role":' || to_json(actor_role)::text || ',"application_name":' || to_json(actor_application)::text || '}',
            ''
        );
end
$$;

-- The event of a stream's row.
create or replace function orderwire.row_event_json(
    epoch text,
    integer_keys boolean,
    txid xid8,
    id bigint,
    at timestamptz,
    stream text,
    key text,
    order_key text,
    was_order boolean,
    is_order boolean,
    data jsonb,
    actor_role text,
    actor_application text
) returns text
language plpgsql stable parallel safe
as $$
begin
    return
        '{"type":"' || case when not was_order then 'row_insert' when not is_order then 'row_delete' else 'row_update' end
        || '","id":"' || epoch || '-' || txid::text || '-' || id::text || '","stream":"' || stream || '"'
        || coalesce(',"order_id":' || orderwire.order_id_json(order_key, integer_keys), '')
        || ',"key":' || to_json(key)::text
        || orderwire.rare_members_json(null, null, null, null, null, data, actor_role, actor_application)
        || ',"at":"' || orderwire.rfc3339(at) || '"}';
end
$$;

-- An event. This function is inlined into every statement that calls it, and each execution of such a statement prepares the
-- whole expression: what is rare is in functions of PL/pgSQL, which cost nothing until they are called.
create or replace function orderwire.event_json(
    epoch text,
    integer_keys boolean,
    txid xid8,
    id bigint,
    at timestamptz,
    stream text,
    key text,
    order_key text,
    was_order boolean,
    is_order boolean,
    number text,
    customer_name text,
    previous_status text,
    status text,
    previous_total numeric,
    total numeric,
    previous_currency text,
    currency text,
    data jsonb,
    actor_role text,
    actor_application text
) returns text
language sql stable parallel safe
return case
    when stream is not null
        then orderwire.row_event_json(
            epoch, integer_keys, txid, id, at, stream, key, order_key, was_order, is_order, data, actor_role, actor_application
        )
    else
        case
            when not was_order then '{"type":"new_order"'
            when not is_order then '{"type":"order_delete"'
            when status is distinct from previous_status then '{"type":"order_status_update"'
            else '{"type":"order_update"'
        end
        || ',"id":"' || epoch || '-' || txid::text || '-' || id::text
        || '","order_id":'
        || case when integer_keys and octet_length(key) < 16 then key else orderwire.order_id_json(key, integer_keys) end
        || ',"key":' || to_json(key)::text
        || case when number = '' then ',"order_number":null' else coalesce(',"order_number":' || to_json(left(number, 200))::text, '') end
        || case
            when not is_order or (was_order and customer_name is null) then ''
            else ',"customer_name":' || coalesce(to_json(left(nullif(customer_name, ''), 500))::text, 'null')
        end
        || case
            when not is_order or (was_order and total is not distinct from previous_total) then ''
            else coalesce(',"total":"' || total::text || '"', ',"total":null')
        end
        || case
            when not is_order or (was_order and status is not distinct from previous_status) then ''
            else ',"status":' || coalesce(to_json(left(status, 100))::text, 'null')
        end
        || case
            when was_order and is_order and status is distinct from previous_status
                then ',"previous_status":' || coalesce(to_json(left(previous_status, 100))::text, 'null')
            else ''
        end
        || case
            when
                currency is null and previous_currency is null and data is null and actor_role is null
                and octet_length(number) <= 200 and coalesce(octet_length(customer_name), 0) <= 500
                and coalesce(octet_length(previous_status), 0) <= 100 and coalesce(octet_length(status), 0) <= 100
                then ''
            else orderwire.rare_members_json(
                number, customer_name, previous_status, status,
                case
                    when was_order and total is not distinct from previous_total and currency is not distinct from previous_currency
                        then null
                    when is_order and currency is null and previous_currency is not null then '' -- null from now on
                    else currency
                end,
                data, actor_role, actor_application
            )
        end
        || ',"at":"' || orderwire.rfc3339(at) || '"}'
end;
comment on function orderwire.event_json is 'An event as the JSON object of docs/reference/protocol.md.';

-- The same with keys only, for notifications that must not show names, sums and data.
create or replace function orderwire.event_keys_json(
    epoch text,
    integer_keys boolean,
    txid xid8,
    id bigint,
    stream text,
    key text,
    was_order boolean,
    is_order boolean,
    previous_status text,
    status text
) returns text
language plpgsql immutable parallel safe
as $$
begin
    return
        '{"type":"' || case
            when stream is not null
                then case when not was_order then 'row_insert' when not is_order then 'row_delete' else 'row_update' end
            when not was_order then 'new_order'
            when not is_order then 'order_delete'
            when status is distinct from previous_status then 'order_status_update'
            else 'order_update'
        end
        || '","id":"' || epoch || '-' || txid::text || '-' || id::text || '"'
        || case
            when stream is null then ',"order_id":' || orderwire.order_id_json(key, integer_keys)
            else ',"stream":"' || stream || '"'
        end
        || ',"key":' || to_json(key)::text || '}';
end
$$;

-- What a notification says of an event.
create or replace function orderwire.notification_json(j orderwire.journal, i orderwire.journal_identity) returns text
language sql stable parallel safe
return case
    when (i).notify_keys_only
        then orderwire.event_keys_json(
            (i).epoch, (i).integer_keys, (j).txid, (j).id, (j).stream, (j).key, (j).was_order, (j).is_order,
            (j).previous_status, (j).status
        )
    else orderwire.event_json(
        (i).epoch, (i).integer_keys, (j).txid, (j).id, (j).at, (j).stream, (j).key, (j).order_key, (j).was_order, (j).is_order,
        (j).number, (j).customer_name, (j).previous_status, (j).status, (j).previous_total, (j).total, (j).previous_currency,
        (j).currency, (j).data, (j).actor_role, (j).actor_application
    )
end;

-- For people: the journal, readable.
create or replace view orderwire.events as
select
    j.id,
    j.txid,
    j.at,
    orderwire.event_json(
        i.epoch, i.integer_keys, j.txid, j.id, j.at, j.stream, j.key, j.order_key, j.was_order, j.is_order, j.number,
        j.customer_name, j.previous_status, j.status, j.previous_total, j.total, j.previous_currency, j.currency, j.data,
        j.actor_role, j.actor_application
    )::json as event
from orderwire.journal as j, orderwire.journal_identity as i;
