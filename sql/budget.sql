-- What accounts may use and have used. Owner: tasks/execute/budget.py; tasks/execute/accounts.py shows it.
-- Whoever reserves or settles holds the account's row from `hold` to the end of its transaction: drains of one account go
-- one after the other, and each statement after `hold` sees what the ones before have committed.

-- name: hold
select name from account where name = %(account)s::text for no key update

-- name: enter
insert into account (name) values (%(account)s::text) on conflict do nothing

-- name: state
-- What is used of the minute and of the day, and how much of the day's is only reserved, by drains that live.
with clock as materialized (
  select at, date_trunc('minute', at) as minute from (select coalesce(%(now)s::timestamptz, clock_timestamp()) as at) t
), flying as materialized (
  select coalesce(sum(requests), 0)::bigint as requests, coalesce(sum(tokens), 0)::bigint as tokens,
         coalesce(sum(usd), 0)::float8 as usd
    from reservation r
   where account = %(account)s::text and day = %(day)s::date
     and exists (select from lease l where l.token = r.token and l.expires_at > now())
)
select c.minute, 60 - extract(epoch from c.at - c.minute)::float8 as minute_left,
       case when a.minute = c.minute then a.minute_requests else 0 end as minute_requests,
       case when a.minute = c.minute then a.minute_tokens else 0 end as minute_tokens,
       coalesce(s.requests, 0) as day_requests, coalesce(s.tokens, 0) as day_tokens, coalesce(s.usd, 0) as day_usd,
       f.requests, f.tokens, f.usd, coalesce(s.warned, '{}') as warned
  from clock c cross join flying f cross join account a
  left join spend s on s.account = a.name and s.day = %(day)s::date
 where a.name = %(account)s::text

-- name: take
with counted as (
  update account
     set minute = %(minute)s::timestamptz,
         minute_requests = case when minute = %(minute)s::timestamptz then minute_requests else 0 end
                           + %(requests)s::integer,
         minute_tokens = case when minute = %(minute)s::timestamptz then minute_tokens else 0 end + %(tokens)s::bigint
   where name = %(account)s::text
), spent as (
  insert into spend (account, day, requests, tokens, usd, unpriced, warned)
  values (%(account)s::text, %(day)s::date, %(requests)s::integer, %(tokens)s::bigint, %(usd)s::float8,
          %(unpriced)s::integer, %(warned)b::text[])
  on conflict (account, day) do update
     set requests = spend.requests + excluded.requests, tokens = spend.tokens + excluded.tokens,
         usd = spend.usd + excluded.usd, unpriced = spend.unpriced + excluded.unpriced,
         warned = spend.warned || excluded.warned
)
insert into reservation (account, day, token, requests, tokens, usd)
select %(account)s::text, %(day)s::date, %(token)s::bigint, %(requests)s::integer, %(tokens)s::bigint, %(usd)s::float8
 where %(requests)s::integer > 0
on conflict (account, day, token) do update
   set requests = reservation.requests + excluded.requests, tokens = reservation.tokens + excluded.tokens,
       usd = reservation.usd + excluded.usd

-- name: settle
-- The estimates go, what was used comes. The minute is corrected as long as it is that of the reservation. Rows of drains
-- that are no more go as well: what they had reserved stays spent. Sums of floats may end a hair below zero.
with counted as (
  update account set minute_requests = greatest(minute_requests + %(more_requests)s::integer, 0),
                     minute_tokens = greatest(minute_tokens + %(more_tokens)s::bigint, 0)
   where name = %(account)s::text and minute = %(minute)s::timestamptz
), spent as (
  update spend set requests = greatest(requests + %(more_requests)s::integer, 0),
                   tokens = greatest(tokens + %(more_tokens)s::bigint, 0),
                   usd = greatest(usd + %(more_usd)s::float8, 0),
                   unpriced = greatest(unpriced + %(more_unpriced)s::integer, 0)
   where account = %(account)s::text and day = %(day)s::date
), returned as (
  update reservation set requests = greatest(requests - %(requests)s::integer, 0),
                         tokens = greatest(tokens - %(tokens)s::bigint, 0), usd = greatest(usd - %(usd)s::float8, 0)
   where account = %(account)s::text and day = %(day)s::date and token = %(token)s::bigint
)
delete from reservation r
 where account = %(account)s::text and token <> %(token)s::bigint
   and not exists (select from lease l where l.token = r.token and l.expires_at > now())

-- name: cool
-- The longest wait counts, with its reason.
insert into account (name, cooldown_until, reason)
values (%(account)s::text, now() + %(seconds)s::float8 * interval '1 second', %(reason)s::text)
on conflict (name) do update set cooldown_until = excluded.cooldown_until, reason = excluded.reason
 where account.cooldown_until is null or account.cooldown_until < excluded.cooldown_until

-- name: cooldown
select extract(epoch from cooldown_until - now())::float8 as seconds, reason
  from account where name = %(account)s::text and cooldown_until > now()

-- name: accounts
-- Those that are named, and those that have to wait.
with flying as (
  select account, sum(requests)::bigint as requests, sum(tokens)::bigint as tokens, sum(usd)::float8 as usd
    from reservation r
   where day = %(day)s::date and exists (select from lease l where l.token = r.token and l.expires_at > now())
   group by account
)
select n.name, m.minute, 60 - extract(epoch from now() - m.minute)::float8 as minute_left,
       coalesce(a.minute_requests, 0) as minute_requests, coalesce(a.minute_tokens, 0) as minute_tokens,
       coalesce(s.requests, 0) as day_requests, coalesce(s.tokens, 0) as day_tokens, coalesce(s.usd, 0) as day_usd,
       coalesce(f.requests, 0) as flying_requests, coalesce(f.tokens, 0) as flying_tokens,
       coalesce(f.usd, 0) as flying_usd, coalesce(s.unpriced, 0) as unpriced,
       coalesce(w.seconds, 0) as cooldown, coalesce(w.reason, '') as reason
  from (select unnest(%(names)b::text[]) as name union select name from account where cooldown_until > now()) n
  cross join (select date_trunc('minute', now()) as minute) m
  left join account a on a.name = n.name and a.minute = m.minute
  left join lateral (select extract(epoch from c.cooldown_until - now())::float8 as seconds, c.reason
                       from account c where c.name = n.name and c.cooldown_until > now()) w on true
  left join spend s on s.account = n.name and s.day = %(day)s::date
  left join flying f on f.account = n.name
 order by n.name
