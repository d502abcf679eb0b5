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

-- A text as JSON, at most `length` characters of it; null as null.
create or replace function orderwire.text_json(content text, length integer) returns text
language sql stable parallel safe
return coalesce(
    case when octet_length(content) <= length then to_json(content)::text else to_json(left(content, length))::text end, 'null'
);

-- The "order_id" of an event: a number where clients can read it as one exactly (2^53 - 1), else the key as a string.
create or replace function orderwire.order_id_json(key text, integer_keys boolean) returns text
language sql stable parallel safe
return case
    when not integer_keys then to_json(key)::text
    when octet_length(key) < 16 then key
    when key::numeric between -9007199254740991 and 9007199254740991 then key
    else to_json(key)::text
end;

create or replace function orderwire.event_type(
    stream text, was_order boolean, is_order boolean, previous_status text, status text
) returns text
language sql immutable parallel safe
return case
    when stream is not null
        then case when not was_order then 'row_insert' when not is_order then 'row_delete' else 'row_update' end
    when not was_order then 'new_order'
    when not is_order then 'order_delete'
    when status is distinct from previous_status then 'order_status_update'
    else 'order_update'
end;

-- Names of the fields that were cut or left out, as a member of the event; empty when there are none.
create or replace function orderwire.truncated_json(
    number text, customer_name text, previous_status text, status text, data jsonb
) returns text
language sql immutable parallel safe
return case
    when
        octet_length(number) > 200 or octet_length(customer_name) > 500 or octet_length(previous_status) > 100
        or octet_length(status) > 100 or data = 'null'::jsonb
        then coalesce(
            ',"truncated":[' || nullif(
                concat_ws(
                    ',',
                    case when length(number) > 200 then '"order_number"' end,
                    case when length(customer_name) > 500 then '"customer_name"' end,
                    case when length(previous_status) > 100 then '"previous_status"' end,
                    case when length(status) > 100 then '"status"' end,
                    case when data = 'null'::jsonb then '"data"' end
                ),
                ''
            ) || ']',
            ''
        )
    else ''
end;

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
return
    '{"type":"' || orderwire.event_type(stream, was_order, is_order, previous_status, status)
    || '","id":"' || epoch || '-' || txid::text || '-' || id::text || '"'
    || case
        when stream is null then ',"order_id":' || orderwire.order_id_json(key, integer_keys)
        else
            ',"stream":"' || stream || '"'
            || coalesce(',"order_id":' || orderwire.order_id_json(order_key, integer_keys), '')
    end
    || ',"key":' || to_json(key)::text
    || case when number is null then '' else ',"order_number":' || orderwire.text_json(nullif(number, ''), 200) end
    || case
        when stream is not null or not is_order or (was_order and customer_name is null) then ''
        else ',"customer_name":' || orderwire.text_json(nullif(customer_name, ''), 500)
    end
    || case
        when stream is not null or not is_order or (was_order and total is not distinct from previous_total) then ''
        else ',"total":' || coalesce('"' || total::text || '"', 'null')
    end
    || case
        when
            not is_order or (currency is null and previous_currency is null)
            or (was_order and total is not distinct from previous_total and currency is not distinct from previous_currency)
            then ''
        else ',"currency":' || orderwire.text_json(currency, 20)
    end
    || case
        when stream is not null or not is_order or (was_order and status is not distinct from previous_status) then ''
        else
            ',"status":' || orderwire.text_json(status, 100)
            || case when was_order then ',"previous_status":' || orderwire.text_json(previous_status, 100) else '' end
    end
    || case when data is null or data = 'null'::jsonb then '' else ',"data":' || data::text end
    || orderwire.truncated_json(number, customer_name, previous_status, status, data)
    || case
        when actor_role is null then ''
        else ',"actor":{"role":' || to_json(actor_role)::text || ',"application_name":' || to_json(actor_application)::text || '}'
    end
    || ',"at":"' || orderwire.rfc3339(at) || '"}';
comment on function orderwire.event_json is 'An event as the JSON object of docs/reference/protocol.md.';

-- The event of a row of the journal.
create or replace function orderwire.event_json(j orderwire.journal, i orderwire.journal_identity) returns text
language sql stable parallel safe
return orderwire.event_json(
    (i).epoch, (i).integer_keys, (j).txid, (j).id, (j).at, (j).stream, (j).key, (j).order_key, (j).was_order, (j).is_order,
    (j).number, (j).customer_name, (j).previous_status, (j).status, (j).previous_total, (j).total, (j).previous_currency,
    (j).currency, (j).data, (j).actor_role, (j).actor_application
);

-- The same with keys only, for notifications that must not show names, sums and data.
create or replace function orderwire.event_keys_json(j orderwire.journal, i orderwire.journal_identity) returns text
language sql stable parallel safe
return
    '{"type":"' || orderwire.event_type((j).stream, (j).was_order, (j).is_order, (j).previous_status, (j).status)
    || '","id":"' || (i).epoch || '-' || (j).txid::text || '-' || (j).id::text || '"'
    || case
        when (j).stream is null then ',"order_id":' || orderwire.order_id_json((j).key, (i).integer_keys)
        else ',"stream":"' || (j).stream || '"'
    end
    || ',"key":' || to_json((j).key)::text || '}';

-- For people: the journal, readable.
create or replace view orderwire.events as
select
    j.id,
    j.txid,
    j.at,
    orderwire.event_json(j, i)::json as event
from orderwire.journal as j, orderwire.journal_identity as i;
