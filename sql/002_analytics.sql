-- What an order counts for: defined here and nowhere else. The view, the journal's readers and the server's totals
-- all come from these two functions. They are plain SQL, so that the planner inlines them.

create function orderwire.counted_revenue(status text, total numeric) returns numeric
language sql immutable parallel safe
as $$ select case when status <> 'cancelled' then total else 0 end $$;
comment on function orderwire.counted_revenue is 'What an order adds to total_revenue: its total, unless it is cancelled.';

create function orderwire.counted_pending(status text) returns integer
language sql immutable parallel safe
as $$ select case when status = 'pending' then 1 else 0 end $$;
comment on function orderwire.counted_pending is 'What an order adds to pending_orders.';

create view public.order_analytics as
select
    count(*) as total_orders,
    coalesce(sum(orderwire.counted_revenue(o.status, o.total)), 0) as total_revenue,
    coalesce(sum(orderwire.counted_pending(o.status)), 0)::bigint as pending_orders
from public.orders as o;

comment on view public.order_analytics is 'The three totals of the dashboard, exact at any moment.';
