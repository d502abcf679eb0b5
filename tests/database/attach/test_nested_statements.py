"""Row triggers of the shop that change the row again, many times in one transaction."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tests.database.attach.following import Follower
from tests.database.attach.table_shapes import shape_named

_TRIGGER = """
create function public.again() returns trigger language plpgsql as $$
begin
    update public.shop_orders set total = total + 1 where id = new.id;
    return null;
end $$;
create trigger again after update of status on public.shop_orders for each row execute function public.again()
"""


async def test_time_of_many_changes_of_one_order_is_linear(db: Any) -> None:
    """A quadratic time would be the square of the ratio of their numbers."""
    shape = shape_named("plain")
    await shape.install(db)
    await db.execute(_TRIGGER)
    await shape.attach(db)
    follower = await Follower.start(db)

    async def seconds(changes: int) -> float:
        start = time.perf_counter()
        await db.execute(
            f"do $$ begin for n in 1 .. {changes} loop"
            " update public.shop_orders set status = (array['pending', 'done'])[n % 2 + 1] where id = 1; end loop; end $$"
        )
        return time.perf_counter() - start

    await seconds(10)
    few = await seconds(200)
    assert await seconds(2000) < 3 * 10 * few
    assert await follower.check() == Counter(order_status_update=2210, order_update=2210)
