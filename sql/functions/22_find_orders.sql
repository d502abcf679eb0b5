-- Finding orders: by statuses, a time of creation and a text. Of the table these functions know what orderwire.attach has
-- generated (13_generate_reads.sql): order_rows(), its rows with the columns that an index may have, and the map. The queries are
-- texts with constants, so that the planner sees what is asked for; they name functions of this schema alone, and hence
-- survive a rename. A time in such a text is read with the settings with which it was written: those of the session that reads
-- (TEXT_SETTINGS_SQL in db/journal.py), or of find_orders.

-- The condition, on an order `m`, that it is one of those asked for. Without `search`, `statuses` or a bound (null) all are.
create or replace function orderwire.order_condition(
    statuses text[],
    from_at timestamptz,
    to_at timestamptz,
    search text
) returns text
language plpgsql stable
as $$
declare
    s record := orderwire.parse_search(search);
begin
    return 'coalesce('
        || concat_ws(
            ' and ',
            'true',
            case when statuses is not null then format('m.status = any(%L::text[])', statuses) end,
            case when from_at is not null then format('m.created_at >= %L::timestamptz', from_at) end,
            case when to_at is not null then format('m.created_at < %L::timestamptz', to_at) end,
            case
                when search is not null then '(' || concat_ws(
                    ' or ',
                    format('m.key = %L', s.term),
                    format('m.number ilike %L', s.pattern),
                    case when not s.is_number then format('m.customer_name ilike %L', s.pattern) end,
                    case
                        when not s.is_number
                            then format('m.customer_id = any(%L::text[])', array[search, lower(search)])
                    end,
                    case when s.amount is not null then format('m.total = %s', s.amount) end
                ) || ')'
            end
        )
        || ', false)';
end
$$;

-- A query of `columns` of the rows `s` of order_rows() and their orders `m`: those asked for that come after a row, newest first.
-- With a deadline it has a column `is_match` too, and once that moment has passed it has the next row whether it is asked for or
-- not, so that the reader can stop, and knows how far it has come. Where rows are sorted first, it just leaves out the others.
create or replace function orderwire.orders_query(
    columns text,
    statuses text[],
    from_at timestamptz,
    to_at timestamptz,
    search text,
    after_value text,
    after_key text,
    deadline timestamptz
) returns text
language plpgsql stable
as $$
declare
    condition text := orderwire.order_condition(statuses, from_at, to_at, search);
    is_match  text := '';
    is_late   text := '';
    -- The rows are found by what totals are made of, which has no joins; only those are mapped whole.
    rows      constant text := format(
        'select s.* from orderwire.order_rows(%L, %L, %L, %L) as s, lateral orderwire.map_totals(s.o) as t',
        after_value, after_key, from_at, to_at
    );
    source    text := rows;
begin
    if deadline is not null and orderwire.is_read_in_order(statuses) then
        is_match := format(', %s as is_match', condition);
        is_late := format('clock_timestamp() > %L::timestamptz or ', deadline);
    elsif deadline is not null then
        is_match := ', true as is_match';
        condition := format('clock_timestamp() <= %L::timestamptz and %s', deadline, condition);
    end if;
    if orderwire.has_status_index() then
        -- A range of the index for each; these are merged.
        source := coalesce(
            (
                select string_agg(
                    format('(%s where t.status = %L order by %s)', rows, w.status, orderwire.orders_sort_order()), ' union all '
                )
                from (select distinct u.status from unnest(statuses) as u (status)) as w
            ),
            rows
        );
    elsif statuses is not null then
        source := format('%s where %st.status = any(%L::text[])', rows, is_late, statuses);
    end if;
    return format(
        'select %s%s from (%s) as s, lateral orderwire.map_orders(s.o) as m where %s%s order by %s',
        columns, is_match, source, is_late, condition, orderwire.orders_sort_order()
    );
end
$$;

-- What indexes find of the orders that come after a row, newest first. `is_rare`: these are few, so that all of them could be
-- sorted; else nothing is returned.
create or replace function orderwire.indexed_orders(
    columns text,
    indexed_by text,
    condition text,
    from_at timestamptz,
    to_at timestamptz,
    after_value text,
    after_key text,
    max_orders integer,
    out is_rare boolean,
    out sort_values text[],
    out keys text[],
    out orders text[]
)
language plpgsql stable
as $$
declare
    max_rare constant integer := 10000;
begin
    execute format(
        'with s as materialized (select s.* from orderwire.order_rows(%1$L, %2$L, %3$L, %4$L) as s where %5$s limit %6$s), '
        'n as (select count(*) <= %7$s as is_rare from s), '
        'p as (select %8$s from s, lateral orderwire.map_orders(s.o) as m where %9$s and (select n.is_rare from n) '
        'order by %10$s limit %11$s) '
        'select (select n.is_rare from n), array_agg(p.sort_value), array_agg(p.key), array_agg(p.order_json) from p',
        after_value, after_key, from_at, to_at, indexed_by, max_rare + 1, max_rare, columns, condition,
        orderwire.orders_sort_order(), max_orders
    ) into is_rare, sort_values, keys, orders;
end
$$;

-- A page of the orders that are asked for, newest first, for at most about `time_limit`. A search begins with the orders that
-- are the text itself: an `after_key` of '' stands for those of them after the one with the key `after_value`, and with null for
-- what follows them. `next_value` and `next_key`:
-- where the next page begins, null after the last one. Not `complete`: the search stopped at its time limit, having looked at
-- all orders that were created since `searched_to`; the next page goes on from there.
--
-- A text that is frequent is found by looking at the newest orders. What has not filled the page soon is rare, so that indexes
-- find the few orders that have it, and these can be sorted.
create or replace function orderwire.find_orders(
    statuses text[],
    from_at timestamptz,
    to_at timestamptz,
    search text,
    after_value text,
    after_key text,
    max_orders integer,
    time_limit interval,
    out orders text[],
    out next_value text,
    out next_key text,
    out complete boolean,
    out searched_to timestamptz
)
language plpgsql stable
-- Rows come from an index in the order of the list wherever there is one.
set enable_seqscan = off
set enable_sort = off
set jit = off
-- Cursors and bounds go through text.
set datestyle = 'ISO, MDY'
set timezone = 'UTC'
set extra_float_digits = 1
as $$
declare
    deadline  constant timestamptz := clock_timestamp() + time_limit;
    stop_at   timestamptz := deadline;
    columns   text;
    exact     text[] := '{}';
    first     record;
    indexed   record;
    -- An index gives the rows newest first.
    is_sorted boolean;
    -- Whether indexes answer this search, and whether they were asked.
    by_index  boolean;
    asked     boolean := false;
    condition constant text := orderwire.order_condition(statuses, from_at, to_at, search);
    max_rows  integer;
    rest      record;
    r         record;
begin
    orders := '{}';
    complete := true;
    if to_regproc('orderwire.order_rows') is null then
        return;
    end if;
    select format(
        's.sort_column::text as sort_value, m.key, m.created_at, '
        'orderwire.order_json(m, %L, orderwire.max_listed_bytes()) as order_json',
        i.integer_keys
    ) into columns from orderwire.journal_identity as i;
    is_sorted := orderwire.is_read_in_order(statuses);
    select null::text as condition, false as complete into indexed;
    if search is not null then
        exact := orderwire.exact_keys(search);
        indexed := orderwire.index_condition(search);
        if exact <> '{}' and (after_key is null or after_key = '' and after_value is not null) then
            execute format(
                'select coalesce(array_agg(f.key), ''{}'') as keys, coalesce(array_agg(f.order_json), ''{}'') as orders from ('
                'select m.key, orderwire.order_json(m, i.integer_keys, orderwire.max_listed_bytes()) as order_json '
                'from orderwire.journal_identity as i, orderwire.orders_by_key($1) as m '
                'where array_position($1, m.key) > coalesce(array_position($1, $3), 0) and %s '
                'order by array_position($1, m.key) limit $2 + 1) as f',
                condition
            ) using exact, max_orders, after_value into first;
            orders := first.orders[:max_orders];
            if cardinality(first.keys) > max_orders then
                next_value := first.keys[max_orders];
                next_key := '';
                return;
            end if;
        end if;
    end if;
    if after_key = '' then
        after_value := null;
    end if;
    max_rows := max_orders + 1 + cardinality(exact);
    after_key := nullif(after_key, '');
    next_key := case when cardinality(orders) > 0 then '' else after_key end;
    next_value := after_value;
    by_index := indexed.complete and indexed.condition is not null;
    if by_index then
        stop_at := least(deadline, clock_timestamp() + interval '30 ms');
    end if;

    loop
        complete := true;
        if is_sorted or asked or not by_index then
            -- Every row is one that is asked for, or one at which the time is up.
            for r in execute format(
                '%s limit %s',
                orderwire.orders_query(columns, statuses, from_at, to_at, search, after_value, after_key, stop_at), max_rows
            ) loop
                complete := r.is_match;
                after_value := r.sort_value;
                after_key := r.key;
                searched_to := r.created_at;
                exit when not r.is_match;
                continue when r.key = any(exact);
                if cardinality(orders) >= max_orders then
                    searched_to := null;
                    return;
                end if;
                orders := orders || r.order_json;
                next_value := r.sort_value;
                next_key := r.key;
            end loop;
            if complete then
                complete := is_sorted or clock_timestamp() <= stop_at;
                next_value := null;
                next_key := null;
                searched_to := null;
                return;
            end if;
        end if;
        complete := false;
        exit when asked or not by_index;
        rest := orderwire.indexed_orders(
            columns, indexed.condition, condition, from_at, to_at, after_value, after_key, max_rows
        );
        complete := rest.is_rare;
        exit when complete;
        asked := true;
        stop_at := deadline;
    end loop;

    -- Either indexes have told all the rest, or the time is up, and they may tell a part of it.
    if not complete then
        next_value := after_value;
        next_key := after_key;
        if by_index or indexed.condition is null then
            return;
        end if;
        rest := orderwire.indexed_orders(
            columns, indexed.condition, condition, from_at, to_at, after_value, after_key, max_rows
        );
    end if;
    for n in 1 .. coalesce(cardinality(rest.keys), 0) loop
        continue when rest.keys[n] = any(exact);
        if cardinality(orders) >= max_orders then
            searched_to := case when not complete then searched_to end;
            return;
        end if;
        orders := orders || rest.orders[n];
        if complete then
            next_value := rest.sort_values[n];
            next_key := rest.keys[n];
        end if;
    end loop;
    if complete then
        next_value := null;
        next_key := null;
        searched_to := null;
    end if;
end
$$;

-- A customer's newest orders, at most `max_looked_at` of those that come after one; `is_match` says which are asked for.
create or replace function orderwire.find_customer_orders(
    subject text,
    keys text[],
    statuses text[],
    from_at timestamptz,
    to_at timestamptz,
    search text,
    after_value text,
    after_key text,
    max_looked_at integer
) returns table (order_json text, sort_value text, key text, created_at timestamptz, is_match boolean)
language plpgsql stable
as $$
begin
    return query execute format(
        'select l.order_json, l.sort_value, l.key, m.created_at, %s from ('
        'select c.*, row_number() over () as n from orderwire.list_customer_orders($1, $2, $3, $4, $5) as c'
        ') as l, lateral orderwire.orders_by_key(array[l.key]) as m order by l.n',
        orderwire.order_condition(statuses, from_at, to_at, search)
    ) using subject, keys, max_looked_at, after_value, after_key;
end
$$;
