-- Written by hand, in German; names of customers in another table, the status a reference to a table of names.
create table kunden (id integer generated always as identity primary key, vorname text not null, nachname text not null, email text);
create table bestellstatus (id smallint primary key, bezeichnung text not null);
create table bestellungen (
    id integer generated always as identity primary key,
    bestellnummer text not null unique,
    kunden_id integer not null references kunden (id),
    status_id smallint not null references bestellstatus (id),
    versandkosten numeric(10, 2) not null default 4.90,
    gesamtbetrag numeric(10, 2) not null,
    bestelldatum timestamptz not null default now()
);
create table bestellpositionen (
    id integer generated always as identity primary key, bestellung_id integer not null references bestellungen (id), artikel text not null,
    menge integer not null, preis numeric(10, 2) not null
);
insert into kunden (vorname, nachname, email) select 'Jürgen', 'Müller' || n, format('k%s@example.com', n) from generate_series(1, 20) as n;
insert into bestellstatus values (1, 'offen'), (2, 'bezahlt'), (3, 'versandt'), (4, 'storniert');
insert into bestellungen (bestellnummer, kunden_id, status_id, gesamtbetrag, bestelldatum)
select 'B-2026-' || n, 1 + n % 20, 1 + n % 4, n * 12.5, timestamptz '2026-01-01 00:00Z' + n * interval '1 hour' from generate_series(1, 200) as n;
insert into bestellpositionen (bestellung_id, artikel, menge, preis) select b.id, 'Tasse', 1, b.gesamtbetrag from bestellungen as b;
