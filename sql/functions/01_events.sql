-- The one definition of an event as JSON: what a NOTIFY carries and what a client receives.
--
-- An event is at most 16 KiB of JSON, whatever a writer stores. Texts are cut where they enter the journal, in characters,
-- before JSON escapes them (a control character becomes six bytes): one character more than is shown, which says that the
-- text was longer. At most 9,500 bytes are left for all but `data`, which is left out beyond 6,000. A row that is larger was not
-- recorded by a trigger: readers get a placeholder in its place (orderwire.placeholder_json).

-- RFC 3339 in UTC, whatever the session's TimeZone and DateStyle are. Null for what JSON cannot say: infinity, years BC, and years
-- of more than four digits.
create or replace function orderwire.rfc3339(moment timestamptz) returns text
language sql stable parallel safe
return case
    when moment >= '0001-01-01 00:00:00+00' and moment < '10000-01-01 00:00:00+00'
        then to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
end;

-- What tells an event from another one with the same numbers: after a backup of the files was put back, transactions and events
-- get numbers that were in use before. The time that they were written is another one: its lower 32 bits, in microseconds.
create or replace function orderwire.event_tag(at timestamptz) returns bigint
language sql stable parallel safe
return (date_part('epoch', least(greatest(at, '0001-01-01 00:00:00+00'), '9999-12-31 00:00:00+00')) * 1000000)::bigint
    & 4294967295;

-- An order's key as JSON: a number where clients can read it as one exactly (up to 2^53 - 1), else a string.
create or replace function orderwire.order_id_json(key text, integer_keys boolean) returns text
language plpgsql immutable parallel safe
as $$
begin
    return case
        when not integer_keys or key !~ '^(0|-?[1-9][0-9]{0,15})$' then to_json(key)::text
        when key::numeric between -9007199254740991 and 9007199254740991 then key
        else to_json(key)::text
    end;
end
$$;

-- What few events have, as further members: currency, what the total, the currency and the time of creation were before, data, the
-- names of fields that were cut, the writer. Of a deleted order the currency is the one that it had.
create or replace function orderwire.rare_members_json(j orderwire.journal) returns text
language plpgsql stable parallel safe
as $$
declare
    cut constant text := concat_ws(
        ',',
        case when length(j.number) > 200 then '"order_number"' end,
        case when length(j.customer_name) > 500 then '"customer_name"' end,
        case when length(j.previous_status) > 100 then '"previous_status"' end,
        case when length(j.status) > 100 then '"status"' end,
        case when j.data = 'null'::jsonb then '"data"' end
    );
begin
    return
        case
            when j.stream is not null or (j.currency is null and j.previous_currency is null) then ''
            else ',"currency":' || coalesce(to_json(case when j.is_order then j.currency else j.previous_currency end)::text, 'null')
        end
        || case
            when not (j.was_order and j.is_order) then ''
            else
                case
                    when j.total is not distinct from j.previous_total then ''
                    else ',"previous_total":' || coalesce('"' || j.previous_total::text || '"', 'null')
                end
                || case
                    when j.currency is not distinct from j.previous_currency then ''
                    else ',"previous_currency":' || coalesce(to_json(j.previous_currency)::text, 'null')
                end
                || case
                    when j.previous_created_at is null then ''
                    else ',"previous_created_at":' || coalesce('"' || orderwire.rfc3339(j.previous_created_at) || '"', 'null')
                end
        end
        || case when j.data is null or j.data = 'null'::jsonb then '' else ',"data":' || j.data::text end
        || case when cut = '' then '' else ',"truncated":[' || cut || ']' end
        || coalesce(
            ',"actor":{"role":' || to_json(j.actor_role)::text || ',"application_name":' || to_json(j.actor_application)::text || '}',
            ''
        );
end
$$;

-- The event of a stream's row.
create or replace function orderwire.row_event_json(j orderwire.journal, epoch text, integer_keys boolean) returns text
language plpgsql stable parallel safe
as $$
begin
    return
        '{"type":"' || case when not j.was_order then 'row_insert' when not j.is_order then 'row_delete' else 'row_update' end
        || '","id":"' || epoch || '-' || j.txid::text || '-' || orderwire.event_tag(j.at)::text || '-' || j.id::text
        || '","stream":' || to_json(j.stream)::text
        || coalesce(',"order_id":' || orderwire.order_id_json(j.order_key, integer_keys), '')
        || ',"key":' || to_json(j.key)::text || orderwire.rare_members_json(j) || ',"at":"' || orderwire.rfc3339(j.at) || '"}';
end
$$;

-- The event of a row of the journal. It is inlined into each statement that calls it, and each execution of such a statement
-- prepares the whole expression: what is rare is in functions of PL/pgSQL, which cost nothing until they are called.
create or replace function orderwire.event_json(j orderwire.journal, epoch text, integer_keys boolean) returns text
language sql stable parallel safe
return case
    when (j).stream is not null then orderwire.row_event_json(j, epoch, integer_keys)
    else
        case
            when not (j).was_order then '{"type":"new_order","id":"'
            when not (j).is_order then '{"type":"order_delete","id":"'
            when (j).status is distinct from (j).previous_status then '{"type":"order_status_update","id":"'
            else '{"type":"order_update","id":"'
        end
        || epoch || '-' || (j).txid::text || '-' || orderwire.event_tag((j).at)::text || '-' || (j).id::text || '","order_id":'
        || case
            when integer_keys and octet_length((j).key) < 16 and translate((j).key, '0123456789', '') in ('', '-') then (j).key
            else orderwire.order_id_json((j).key, integer_keys)
        end
        || ',"key":' || to_json((j).key)::text
        || case
            when (j).number = '' then ',"order_number":null'
            else coalesce(',"order_number":' || to_json(left((j).number, 200))::text, '')
        end
        || case
            when not (j).is_order or ((j).was_order and (j).customer_name is null) then ''
            else ',"customer_name":' || coalesce(to_json(left(nullif((j).customer_name, ''), 500))::text, 'null')
        end
        || case
            when not (j).is_order
                then coalesce(',"previous_status":' || to_json(left((j).previous_status, 100))::text, '')
                || coalesce(',"previous_total":"' || (j).previous_total::text || '"', '')
            else
                ',"total":' || coalesce('"' || (j).total::text || '"', 'null')
                || ',"status":' || coalesce(to_json(left((j).status, 100))::text, 'null')
                || case
                    when (j).was_order and (j).status is distinct from (j).previous_status
                        then ',"previous_status":' || coalesce(to_json(left((j).previous_status, 100))::text, 'null')
                    else ''
                end
        end
        || case
            when (j).created_at is null and (j).previous_created_at is null then ''
            else ',"created_at":' || coalesce('"' || orderwire.rfc3339((j).created_at) || '"', 'null')
        end
        || case
            when
                (j).currency is null and (j).previous_currency is null and (j).data is null and (j).actor_role is null
                and (not (j).was_order or not (j).is_order or (j).total is not distinct from (j).previous_total)
                and (j).previous_created_at is null
                and coalesce(octet_length((j).number), 0) <= 200 and coalesce(octet_length((j).customer_name), 0) <= 500
                and coalesce(octet_length((j).previous_status), 0) <= 100 and coalesce(octet_length((j).status), 0) <= 100
                then ''
            else orderwire.rare_members_json(j)
        end
        || ',"at":"' || orderwire.rfc3339((j).at) || '"}'
end;
comment on function orderwire.event_json is 'An event as the JSON object of docs/reference/protocol.md.';

-- The event as the customer gets it whose order it is or was: to its new customer an order is new, to the former one it is
-- deleted, and neither learns what it was before, or is now. Null for another's event.
create or replace function orderwire.customer_event_json(
    j orderwire.journal, subject text, epoch text, integer_keys boolean
) returns text
language plpgsql stable parallel safe
as $$
begin
    if j.previous_customer_id is null then
        return case when j.customer_id = subject then orderwire.event_json(j, epoch, integer_keys) end;
    elsif j.customer_id = subject then
        j.was_order := false;
    elsif j.previous_customer_id = subject then
        j.is_order := false;
        j.number := null;
        j.customer_name := null;
        j.status := null;
        j.currency := null;
        j.created_at := null;
        j.data := null;
        j.actor_role := null;
    else
        return null;
    end if;
    j.previous_status := null;
    j.previous_total := null;
    j.previous_currency := null;
    j.previous_created_at := null;
    return orderwire.event_json(j, epoch, integer_keys);
end
$$;

-- The same with keys only, for notifications that must not show names, sums and data.
create or replace function orderwire.event_keys_json(j orderwire.journal, epoch text, integer_keys boolean) returns text
language plpgsql stable parallel safe
as $$
begin
    return
        '{"type":"' || case
            when j.stream is not null
                then case when not j.was_order then 'row_insert' when not j.is_order then 'row_delete' else 'row_update' end
            when not j.was_order then 'new_order'
            when not j.is_order then 'order_delete'
            when j.status is distinct from j.previous_status then 'order_status_update'
            else 'order_update'
        end
        || '","id":"' || epoch || '-' || j.txid::text || '-' || orderwire.event_tag(j.at)::text || '-' || j.id::text || '"'
        || case
            when j.stream is null then ',"order_id":' || orderwire.order_id_json(j.key, integer_keys)
            else ',"stream":' || to_json(j.stream)::text
        end
        || ',"key":' || to_json(j.key)::text || '}';
end
$$;

-- Whether a row is as small as the triggers make it, with a time and totals that clients can read: then its event can be built, in
-- little time. octet_length and pg_column_size do not read what is stored out of line. Scalars, so that it is inlined;
-- stable, as pg_column_size is, for the same reason.
create or replace function orderwire.is_bounded(
    at timestamptz, seen pg_snapshot, stream text, key text, order_key text, number text, customer_id text,
    previous_customer_id text, customer_name text, previous_status text, status text, previous_total numeric, total numeric,
    previous_currency text, currency text, data jsonb, actor_role text, actor_application text
) returns boolean
language sql stable parallel safe
return
    octet_length(key) <= 1000
    and octet_length(key) + coalesce(octet_length(stream), 0) + coalesce(octet_length(order_key), 0)
    + coalesce(octet_length(number), 0) + coalesce(octet_length(customer_id), 0)
    + coalesce(octet_length(previous_customer_id), 0) + coalesce(octet_length(customer_name), 0)
    + coalesce(octet_length(previous_status), 0) + coalesce(octet_length(status), 0)
    + coalesce(octet_length(previous_currency), 0) + coalesce(octet_length(currency), 0)
    + coalesce(octet_length(actor_role), 0) + coalesce(octet_length(actor_application), 0) <= 8192
    and coalesce(pg_column_size(data), 0) <= 65536
    and pg_column_size(seen) <= 262144
    and coalesce(abs(total) < 1e24, true) and coalesce(abs(previous_total) < 1e24, true)
    and at between '0001-01-01 00:00:00+00' and '9999-12-31 00:00:00+00';

-- What stands for an event that cannot be built: type, id, key and time; all else is `truncated`. Only an order that is new has
-- fields, which are null. `stream` and `order_key` are null where they cannot be read.
create or replace function orderwire.placeholder_json(
    epoch text, integer_keys boolean, txid xid8, id bigint, stream text, key text, order_key text, was_order boolean, is_order boolean,
    at timestamptz
) returns text
language plpgsql stable parallel safe
as $$
begin
    return
        '{"type":"' || case
            when stream is not null
                then case when not was_order then 'row_insert' when not is_order then 'row_delete' else 'row_update' end
            when not was_order then 'new_order'
            when not is_order then 'order_delete'
            else 'order_update'
        end
        || '","id":"' || epoch || '-' || txid::text || '-' || orderwire.event_tag(at)::text || '-' || id::text || '"'
        || case when stream is null then '' else ',"stream":' || to_json(stream)::text end
        || coalesce(',"order_id":' || orderwire.order_id_json(case when stream is null then key else order_key end, integer_keys), '')
        || ',"key":' || to_json(key)::text
        || case
            when stream is not null then ',"truncated":["data"]'
            when not is_order
                then ',"truncated":["order_number","previous_status","previous_total","created_at","currency"]'
            when was_order
                then ',"truncated":["order_number","customer_name","total","status","previous_status","created_at","currency",'
                || '"previous_total","previous_currency","previous_created_at","data"]'
            else
                ',"order_number":null,"customer_name":null,"total":null,"status":null,"created_at":null'
                || ',"truncated":["order_number","customer_name","total","status","created_at","currency","data"]'
        end
        || ',"at":"' || orderwire.rfc3339(at) || '"}';
end
$$;
