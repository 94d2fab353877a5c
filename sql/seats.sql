-- Seats of a device that endpoints share: how many requests it takes at once. Owner: tasks/execute/seats.py.
-- A seat is free when it has no token, or one that is no live lease's. Everyone locks a lease before a seat, and waits
-- for no seat but by taking over a lease: who would have to wait leaves it out.

-- name: ask
-- Say what is wanted; see who else wants something. No row: the lease is not ours any more.
with mine as materialized (
  select token from lease where token = %(token)s::bigint and expires_at > now()
), told as (
  update lease set want = %(want)s::smallint, weight = %(weight)s::smallint, device = %(device)s::text,
         idle_at = case when want = 0 and seated_at is null then now() else idle_at end
   where token = %(token)s::bigint and expires_at > now()
     and (want, weight, device) is distinct from (%(want)s::smallint, %(weight)s::smallint, %(device)s::text)
), seats as materialized (
  select token, count(*) as held from seat where device = %(device)s::text group by token
)
select l.token,
       l.want,
       l.weight,
       coalesce(seats.held, 0) as held,
       extract(epoch from now() - l.seated_at)::float8 as seated_seconds,
       case when l.token = mine.token and l.want = 0 and l.seated_at is null then 0
            else extract(epoch from now() - l.idle_at) end::float8 as idle_seconds,
       (select coalesce(sum(held), 0) from seats)::integer as seats
  from mine
  join lease l on l.token = mine.token or (l.device = %(device)s::text and l.want > 0 and l.expires_at > now())
  left join seats on seats.token = l.token

-- name: shape
-- As many seats as the settings say: of too many, those that nobody uses are deleted, whatever their number.
with have as materialized (
  select number, token from seat where device = %(device)s::text
), excess as materialized (
  select greatest(count(*) - %(slots)s::integer, 0) as many from have
), lapsed as materialized (
  select l.token from lease l
   where l.expires_at <= now() and l.token in (select token from have) and (select many from excess) > 0
   order by l.token
     for update of l skip locked
), fenced as (
  delete from lease using lapsed where lease.token = lapsed.token
), unused as materialized (
  select number, token from have
   where token is null
      or token in (select token from lapsed)
      or not exists (select from lease l where l.token = have.token)
), spare as materialized (
  select s.number from seat s
    join unused on unused.number = s.number and s.token is not distinct from unused.token
   where s.device = %(device)s::text
   order by s.number desc
   limit (select many from excess)
     for update of s skip locked
), deleted as (
  delete from seat using spare where seat.device = %(device)s::text and seat.number = spare.number
)
insert into seat (device, number)
select %(device)s::text, n from generate_series(0, %(slots)s::integer - 1) n
 where n not in (select number from have)
 order by n
 limit greatest(%(slots)s::integer - (select count(*) from have), 0)
on conflict do nothing

-- name: settle
-- Give back what is more than `keep`, or take what is free up to `target`, but for what those `ahead` are about to take.
-- Gives what is held then; no row: the lease is not ours any more. A lapsed lease whose seats are wanted is deleted, so
-- that a beat which is late can't revive it. A seat is taken only with the token that was seen to be dead: whoever took
-- it since may be too new to be seen.
with mine as materialized (
  select token from lease where token = %(token)s::bigint and expires_at > now() for no key update
), own as materialized (
  select count(*) as held from seat, mine where seat.device = %(device)s::text and seat.token = mine.token
), surplus as materialized (
  select s.number from seat s join mine on mine.token = s.token
   where s.device = %(device)s::text
   order by s.number desc
   limit greatest((select held from own) - %(keep)s::integer, 0)
     for update of s skip locked
), given as (
  update seat set token = null from surplus
   where seat.device = %(device)s::text and seat.number = surplus.number
  returning seat.number
), wanted as materialized (
  select case when (select count(*) from seat where device = %(device)s::text) > %(slots)s::integer then 0
              else greatest(%(target)s::integer - own.held, 0) end as more
    from own, mine
), lapsed as materialized (
  select l.token from lease l
   where l.expires_at <= now()
     and l.token in (select s.token from seat s where s.device = %(device)s::text)
     and (select more from wanted) > 0
   order by l.token
     for update of l skip locked
), fenced as (
  delete from lease using lapsed where lease.token = lapsed.token
), seen as materialized (
  select s.number, s.token from seat s
   where s.device = %(device)s::text
     and (s.token is null
          or s.token in (select token from lapsed)
          or not exists (select from lease l where l.token = s.token))
), free as materialized (
  select s.number from seat s
    join seen on seen.number = s.number and s.token is not distinct from seen.token
   where s.device = %(device)s::text
   order by s.number
   limit greatest(least(coalesce((select more from wanted), 0), (select count(*) from seen) - %(ahead)s::integer), 0)
     for update of s skip locked
), taken as (
  update seat set token = %(token)s::bigint from free
   where seat.device = %(device)s::text and seat.number = free.number
  returning seat.number
), after as materialized (
  select (own.held - (select count(*) from given) + (select count(*) from taken))::integer as held from own, mine
), noted as (
  update lease set
         seated_at = case when after.held >= %(weight)s::integer then now() end,
         idle_at = case when after.held >= %(weight)s::integer then lease.idle_at else now() end
    from after
   where lease.token = %(token)s::bigint
     and (after.held >= %(weight)s::integer) is distinct from (lease.seated_at is not null)
)
select held from after

-- name: release
with mine as materialized (
  select token from lease where token = %(token)s::bigint for no key update
), left_over as (
  update lease set want = 0, seated_at = null, idle_at = now() from mine where lease.token = mine.token
)
update seat set token = null from mine where seat.token = mine.token

-- name: inherit
-- In the transaction that takes over a lease.
update seat set token = %(new)s::bigint where token = %(old)s::bigint
