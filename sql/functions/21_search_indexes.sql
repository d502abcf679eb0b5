-- Which indexes of the attached table find orders: they may be made, or dropped, after it was attached, and hence are looked for
-- each time. Columns are found by the map's text, so that one that was renamed counts as not indexed until the table is
-- attached again: slower, and still right.

-- What a text that is searched for means. `pattern` is that of LIKE for what contains it. `amount`: it is one, like 150, 150.5 or
-- 150,50. With # in front it is a number and nothing else.
create or replace function orderwire.parse_search(
    search text,
    out term text,
    out pattern text,
    out amount numeric,
    out is_number boolean
)
language plpgsql immutable
as $$
begin
    is_number := search like '#_%';
    term := case when is_number then substr(search, 2) else search end;
    pattern := '%' || regexp_replace(term, '([\\%_])', '\\\1', 'g') || '%';
    amount := case when not is_number and term ~ '^[0-9]{1,12}([.,][0-9]{1,6})?$' then replace(term, ',', '.')::numeric end;
end
$$;

-- The column of the table that a field of the map is, with or without a cast to text, or for `total` with a factor; null for
-- anything else.
create or replace function orderwire.field_column(relation regclass, map jsonb, field text) returns pg_attribute
language plpgsql stable
as $$
declare
    expression constant text := orderwire.map_expression(relation, map ->> field);
begin
    return case
        when field = 'total' or expression !~* ' [/*] |at time zone|to_timestamp' then orderwire.plain_column(relation, expression)
    end;
end
$$;

-- Whether a column has a valid index that finds its values: those that contain a text, by trigrams (extension pg_trgm), or
-- with `whole` those that equal it. A GIN index finds them by any of its columns, the others by the first one.
create or replace function orderwire.is_searchable(relation regclass, attnum smallint, whole boolean) returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_index as i
        cross join lateral unnest(i.indkey, i.indclass) with ordinality as k (attnum, opclass, n)
        join pg_opclass as c on c.oid = k.opclass
        join pg_am as m on m.oid = c.opcmethod
        join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.attnum
        where
            i.indrelid = $1 and k.attnum = $2 and i.indisvalid
            and (i.indpred is null or $3 and pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname))
            and (k.n = 1 or m.amname = 'gin')
            and case when $3 then m.amname = 'btree' else c.opcname in ('gin_trgm_ops', 'gist_trgm_ops') end
    )
$$;

-- Whether the text of a column has an index that finds what equals it: as `attach` advises for a customer's id that is no text.
create or replace function orderwire.is_searchable_as_text(relation regclass, attname name) returns boolean
language sql stable
as $$
    select exists (
        select
        from pg_index as i
        join pg_class as c on c.oid = i.indexrelid
        join pg_am as m on m.oid = c.relam
        where
            i.indrelid = $1 and i.indisvalid and i.indpred is null and m.amname = 'btree' and i.indkey[0] = 0
            and translate(pg_get_indexdef(i.indexrelid, 1, false), '()', '') = format('%I::text', $2)
    )
$$;

-- Whether one status's orders, newest first, are a range of an index: of the status and then what lists are sorted by.
create or replace function orderwire.has_status_index() returns boolean
language plpgsql stable
as $$
declare
    t      orderwire.attached_tables;
    status pg_attribute;
    sorted pg_attribute;
begin
    select a.* into t from orderwire.attached_tables as a where a.name = 'orders';
    status := orderwire.field_column(t.relation, t.map, 'status');
    sorted := orderwire.plain_column(t.relation, orderwire.map_expression(t.relation, t.map ->> 'created_at'));
    if sorted.attname is null then
        sorted := orderwire.plain_column(t.relation, (orderwire.key_columns(t.map))[1]);
    end if;
    return orderwire.base_type(status.atttypid) in ('text'::regtype, 'varchar'::regtype)
        -- A map whose errors are caught is not inlined, and hides the index.
        and orderwire.map_can_raise(
            t.relation, t.map - '{number,customer_name,customer_id,created_at,joins,data}'::text[]
        ) is not true
        and exists (
            select
            from pg_index as i
            join pg_class as c on c.oid = i.indexrelid
            join pg_am as m on m.oid = c.relam
            where
                i.indrelid = t.relation and i.indisvalid and i.indpred is null and m.amname = 'btree'
                and i.indnkeyatts >= 2 and i.indkey[0] = status.attnum and i.indkey[1] = sorted.attnum
        );
end
$$;

-- Whether an index gives the orders of these statuses (null: of all), newest first. Else the table is read whole and sorted.
create or replace function orderwire.is_read_in_order(statuses text[]) returns boolean
language plpgsql stable
as $$
declare
    t      orderwire.attached_tables;
    sorted pg_attribute;
begin
    select a.* into t from orderwire.attached_tables as a where a.name = 'orders';
    sorted := orderwire.plain_column(t.relation, orderwire.map_expression(t.relation, t.map ->> 'created_at'));
    return sorted.attname is null -- sorted by the key
        or orderwire.is_searchable(t.relation, sorted.attnum, true)
        or statuses is not null and orderwire.has_status_index();
end
$$;

-- The condition, on a row `s` of order_rows(), by which indexes find what a text is searched in, as far as it has any; null for
-- none. `complete`: the number, the customer's name and id, and the total if the text is an amount, all have one.
create or replace function orderwire.index_condition(search text, out condition text, out complete boolean)
language plpgsql stable
as $$
declare
    s         record := orderwire.parse_search(search);
    -- Others have no trigram, or hardly one, so that an index of them would be read whole: only where a word begins or ends in the
    -- text itself, two letters or digits are enough.
    has_trigram constant boolean := s.term ~ '[[:alnum:]]{3}|[[:alnum:]]{2}[^[:alnum:]]|[^[:alnum:]][[:alnum:]]{2}';
    t         orderwire.attached_tables;
    field     text;
    type      regtype;
    searched  pg_attribute;
    found_by  text[] := '{}';
begin
    complete := true;
    select a.* into t from orderwire.attached_tables as a where a.name = 'orders';
    foreach field in array case when s.is_number then '{number}' else '{number,customer_name,customer_id,total}' end::text[] loop
        continue when t.map ->> field is null or field = 'total' and s.amount is null;
        searched := orderwire.field_column(t.relation, t.map, field);
        type := orderwire.base_type(searched.atttypid);
        if
            field in ('number', 'customer_name') and has_trigram and type in ('text'::regtype, 'varchar'::regtype)
            and orderwire.is_searchable(t.relation, searched.attnum, false)
        then
            found_by := found_by || format('s.%I ilike %L', field || '_column', s.pattern);
        elsif field = 'customer_id' and orderwire.is_searchable(t.relation, searched.attnum, true) then
            -- What cannot be a value of the column's type is no customer's id.
            if type in ('text'::regtype, 'varchar'::regtype) then
                found_by := found_by || format('s.customer_id_column = any(%L::text[])', array[search, lower(search)]);
            elsif type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) and search ~ '^(0|-?[1-9][0-9]{0,17})$' then
                found_by := found_by || format('s.customer_id_column = %s::bigint', search);
            elsif type = 'uuid'::regtype and search ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
                found_by := found_by || format('s.customer_id_column = %L::uuid', search);
            elsif type not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype) then
                complete := false;
            end if;
        elsif field = 'customer_id' and orderwire.is_searchable_as_text(t.relation, searched.attname) then
            found_by := found_by || format('s.customer_id_column::text = any(%L::text[])', array[search, lower(search)]);
        elsif
            field = 'total' and orderwire.is_searchable(t.relation, searched.attnum, true)
            and to_regproc('orderwire.orders_amount') is not null
        then
            found_by := found_by || format('s.total_column = orderwire.orders_amount(%s)', s.amount);
        else
            complete := false;
        end if;
    end loop;
    condition := case when found_by <> '{}' then '(' || array_to_string(found_by, ' or ') || ')' end;
end
$$;

-- Whether indexes find soon what a filter names. Without them a search may read the table until its time is up.
create or replace function orderwire.is_filter_indexed(statuses text[], search text) returns boolean
language sql stable
as $$
    select orderwire.is_read_in_order(statuses)
        and (statuses is null or orderwire.has_status_index())
        and (search is null or c.complete and c.condition is not null)
    from orderwire.index_condition(search) as c
$$;

-- Whether indexes answer every search that is not too short for trigrams.
create or replace function orderwire.search_indexed() returns boolean
language sql stable
as $$
    select exists (select from orderwire.attached_tables as a where a.name = 'orders')
        and text_search.complete and amount_search.complete
    from orderwire.index_condition('aaa') as text_search, orderwire.index_condition('123') as amount_search
$$;

-- The keys of the orders that are the text itself: by key, and then by number where that has an index, newest first. A search lists
-- them first. All of its pages have to get the same: a number that very many orders have is none that is the text itself.
create or replace function orderwire.exact_keys(search text) returns text[]
language plpgsql stable
as $$
declare
    s        record := orderwire.parse_search(search);
    t        orderwire.attached_tables;
    numbered pg_attribute;
    max_keys constant integer := 100;
    keys     text[] := array(select k.key from orderwire.orders_by_key(array[s.term]) as k);
begin
    select a.* into t from orderwire.attached_tables as a where a.name = 'orders';
    numbered := orderwire.field_column(t.relation, t.map, 'number');
    if
        orderwire.base_type(numbered.atttypid) in ('text'::regtype, 'varchar'::regtype)
        and (
            orderwire.is_searchable(t.relation, numbered.attnum, true)
            or orderwire.is_searchable(t.relation, numbered.attnum, false) -- what equals a text has its trigrams
        )
    then
        execute format(
            'with s as materialized (select s.* from orderwire.order_rows(null, null, null, null) as s '
            'where s.number_column = any($2) limit $3 + 1) '
            'select $1 || array(select m.key from s, lateral orderwire.map_orders(s.o) as m '
            'where (select count(*) from s) <= $3 and m.key <> all($1) order by %s)',
            orderwire.orders_sort_order()
        ) using keys, array[s.term, '#' || s.term], max_keys into keys;
    end if;
    return keys;
end
$$;

-- The columns of order_rows() by which indexes find what is searched for: those of the table that are a field of the map as they
-- are, or for the total but for a factor; null for any other field.
create or replace function orderwire.search_columns(relation regclass, map jsonb)
returns table (field text, expression text, type text)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    c pg_attribute;
    t regtype;
begin
    foreach field in array '{number,customer_name,customer_id,total}'::text[] loop
        c := orderwire.field_column(relation, map, field);
        t := orderwire.base_type(c.atttypid);
        type := case
            when t in ('text'::regtype, 'varchar'::regtype) and field <> 'total' then 'text'
            when t in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'uuid'::regtype) and field = 'customer_id'
                or t in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype) and field = 'total'
                then t::text
        end;
        expression := case when type is null then 'null::text' else format('o.%I::%s', c.attname, type) end;
        type := coalesce(type, 'text');
        return next;
    end loop;
end
$$;

-- Statements that create `orders_amount(amount)`: what the column of the total has for an amount, null if it cannot have it.
-- None where the total is no column, but for a factor.
create or replace function orderwire.amount_statements(relation regclass, map jsonb) returns text[]
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    expression constant text := orderwire.map_expression(relation, map ->> 'total');
    c          constant pg_attribute := orderwire.field_column(relation, map, 'total');
    is_integer constant boolean := orderwire.base_type(c.atttypid) in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype);
    divisor    constant text := (regexp_match(expression, ' / ([1-9][0-9.]*)$'))[1];
    raw        constant text := 'amount * ' || coalesce(divisor, '1' || (regexp_match(expression, ' \* 0\.(0*)1$'))[1] || '0', '1');
begin
    return case
        -- A division of integers is rounded.
        when is_integer and divisor not like '%.%' then '{}'
        when is_integer
            then array[format(
                'create function orderwire.orders_amount(amount numeric) returns bigint language sql immutable '
                'return case when %1$s = trunc(%1$s) and %1$s < 1e18 then (%1$s)::bigint end', raw
            )]
        when orderwire.base_type(c.atttypid) = 'numeric'::regtype
            then array[format(
                'create function orderwire.orders_amount(amount numeric) returns numeric language sql immutable return %s', raw
            )]
        else '{}'
    end;
end
$$;

-- What the column of `created_at` has at a moment `$at`, as SQL; null where it cannot be told. A time zone's clock can go back, and
-- a number be rounded: so the moment has to be a few hours before, or after, the bound that is meant.
create or replace function orderwire.sort_bound_sql(relation regclass, map jsonb) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    expression constant text := orderwire.map_expression(relation, map ->> 'created_at');
    c          constant pg_attribute := orderwire.plain_column(relation, expression);
    type       constant regtype := orderwire.base_type(c.atttypid);
    zone       constant text := (regexp_match(expression, ' at time zone (''[^'']+'')$', 'i'))[1];
    divisor    constant text := coalesce((regexp_match(expression, '^to_timestamp\(.* / ([0-9.]+)\)$', 'i'))[1], '1');
begin
    return case
        when type = 'timestamptz'::regtype and zone is null then '($at)'
        when type = 'timestamp'::regtype and zone is null then '($at)::timestamp'
        when type = 'timestamp'::regtype then format('(($at) at time zone %s)', zone)
        when type in ('int4'::regtype, 'int8'::regtype)
            then format('(extract(epoch from $at) * %s)::bigint', divisor)
        when type = 'numeric'::regtype then format('(extract(epoch from $at) * %s)', divisor)
        when type = 'float8'::regtype then format('(extract(epoch from $at) * %s)::float8', divisor)
    end;
end
$$;
