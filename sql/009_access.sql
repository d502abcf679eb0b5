-- A customer sees their own orders, and tokens can be taken back.

-- For a customer's own list, and for the question whose order it is.
create index if not exists orders_customer_id_id_idx on public.orders (customer_id, id) where customer_id is not null;

-- Like orderwire.latest_orders, of those alone that belong to a customer or are listed.
create function orderwire.orders_of(
    subject text,
    ids bigint[],
    max_orders integer,
    only_status text,
    before_id bigint
) returns setof text
language sql stable
as $$
    select orderwire.order_json(o)
    from (
        -- Two index ranges, each cut to what can be needed of it.
        (
            select own.*
            from public.orders as own
            where own.customer_id = $1
                and ($4 is null or own.status = $4) and ($5 is null or own.id < $5)
            order by own.id desc
            limit $3
        )
        union all -- a plain union would compare the rows, and a column of the shop's own may have no equality
        (
            select listed.*
            from public.orders as listed
            where listed.id = any($2) and listed.customer_id is distinct from $1
                and ($4 is null or listed.status = $4) and ($5 is null or listed.id < $5)
            order by listed.id desc
            limit $3
        )
    ) as o
    order by o.id desc
    limit $3
$$;

-- Tokens of these subjects that were issued up to then do not count any more. The server looks every second; sessions
-- that were opened with such a token are closed. A row may be deleted when the last such token has expired.
create table orderwire.revocations (
    subject    text not null,
    revoked_at timestamptz not null default now(),

    constraint revocations_pkey primary key (subject)
);
comment on table orderwire.revocations is 'Whose tokens were taken back: select orderwire.revoke(''<sub of the token>'');';

create function orderwire.revoke(subject text) returns void
language sql volatile
as $$
    insert into orderwire.revocations as r (subject) values ($1)
    on conflict on constraint revocations_pkey do update set revoked_at = now()
$$;
comment on function orderwire.revoke is 'Take back every token that was issued to this subject so far.';
