-- Tokens of these subjects that were issued up to then are not valid any more. The server reads the table every second, and
-- closes sessions that were opened with such a token. A row may be deleted when the last such token has expired.

create table orderwire.revocations (
    subject    text not null,
    revoked_at timestamptz not null default now(),

    constraint revocations_pkey primary key (subject)
);
comment on table orderwire.revocations is 'Whose tokens were revoked: select orderwire.revoke(''<sub of the token>'');';
