-- Written by hand, in Polish; the customer's name in the table itself, a flag for deleted rows.
create table zamowienia (
    id bigserial primary key,
    numer varchar(20) not null unique,
    klient varchar(200) not null,
    email varchar(200),
    kwota numeric(10, 2) not null,
    waluta char(3) not null default 'PLN',
    status varchar(30) not null default 'nowe',
    usuniete boolean not null default false,
    data_zamowienia timestamp not null default now()
);
create table pozycje_zamowienia (
    id bigserial primary key, zamowienie_id bigint not null references zamowienia (id), nazwa varchar(200) not null, ilosc integer not null
);
insert into zamowienia (numer, klient, email, kwota, status, data_zamowienia)
select
    'ZAM/' || n || '/2026', 'Zofia Wiśniewska', format('k%s@example.com', 1 + n % 20), n * 12.5,
    (array['nowe', 'oplacone', 'wyslane', 'dostarczone', 'anulowane'])[1 + n % 5], timestamp '2026-01-01' + n * interval '1 hour'
from generate_series(1, 200) as n;
insert into pozycje_zamowienia (zamowienie_id, nazwa, ilosc) select z.id, 'Kubek', 1 from zamowienia as z;
