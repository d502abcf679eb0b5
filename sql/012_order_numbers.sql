-- The look whether an order number is taken goes by the unique index, whatever the statistics say.
--
-- The function's plan is kept for the session. Made while the table was empty, and known to be, it would read the whole
-- table: again for each row of a large INSERT, as the table grows. Costs a microsecond a number.
alter function orderwire.next_order_number() set enable_seqscan = off;
