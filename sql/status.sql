-- What waits and what runs, for `penstock status` and the HTTP door. Reads only. Owner: deployments/status.py.

-- name: items
-- Work by status; containers, which nothing runs, are not counted.
select status, count(*) from item where recipe is not null group by status

-- name: reviews
select count(*) from review where decided_at is null

-- name: leases
select resource, backend, model, acquired_at, expires_at from lease where expires_at > now() order by resource

-- name: endpoints
-- Who works on which endpoint, how many items it has claimed, and how many seats of a shared device it has.
select l.resource, l.model, l.acquired_at, l.expires_at,
       (select count(*) from item i where i.lease = l.token and i.status = 2),
       l.device, l.want, (select count(*) from seat s where s.token = l.token)
  from lease l where l.expires_at > now()

-- name: paces
select resource, slots, allowed, case when held_until > now() then held_until end, reason, changed_at from endpoint

-- name: models
-- What is known of each model on an endpoint: times, breaker, and whether it is loaded. A breaker whose time is over
-- lets one drain try.
select coalesce(m.resource, r.resource), coalesce(m.model, r.model), m.load_seconds, coalesce(m.loads, 0), m.item_seconds,
       coalesce(m.failures, 0), m.open_until, coalesce(m.open_until > now(), false), m.trial is not null, m.error,
       r.state, r.memory, r.since, r.used_at
  from model_state m full join residency r on r.resource = m.resource and r.model = m.model
 order by 1, 2

-- name: devices
-- Seats that live drains use, and memory that models take, by device.
select coalesce(s.device, r.device), coalesce(s.taken, 0), coalesce(r.memory, 0)
  from (select t.device, count(l.token) as taken
          from seat t left join lease l on l.token = t.token and l.expires_at > now()
         group by t.device) s
  full join (select device, sum(memory)::float8 as memory from residency where state <> 'wanted' group by device) r
    on r.device = s.device

-- name: queues
-- Ready items by what may run them: those whose time has come, those whose time has not, those that are paused; and for
-- how many seconds the oldest waits. Counted by group first, so that pauses are looked up for groups and not for items.
-- `models`: of recipes that name one, for items that name none.
with groups as materialized (
  select coalesce(backend, '') as backend, recipe, coalesce(model, '') as model, board_id,
         count(*) filter (where run_after <= now()) as due, count(*) filter (where run_after > now()) as later,
         min(run_after) as oldest
    from item where ready group by 1, 2, 3, 4
), asked as (
  select g.backend, g.recipe, coalesce(nullif(g.model, ''), h.model, '') as model, g.board_id, g.due, g.later, g.oldest
    from groups g left join unnest(%(recipes)b::text[], %(models)b::text[]) as h(recipe, model) using (recipe)
), marked as (
  select g.*, exists (
           select from pause p
            where (p.until is null or p.until > now())
              and (p.kind = 'board' and p.name = b.source
                   or p.kind = 'model' and p.name = g.model
                   or p.kind = 'recipe' and p.name in (g.recipe, g.recipe || ' ' || g.model))) as stopped
    from asked g join board b on b.id = g.board_id
)
select backend, model, coalesce(sum(due) filter (where not stopped), 0)::bigint,
       coalesce(sum(later) filter (where not stopped), 0)::bigint,
       coalesce(sum(due + later) filter (where stopped), 0)::bigint,
       greatest(0, coalesce(extract(epoch from now() - min(oldest) filter (where not stopped and due > 0)), 0))::float8
  from marked group by backend, model order by backend, model

-- name: answer_seconds
-- How long the latest answers took, by endpoint and model: for what model_state does not know.
select b.backend || ' ' || rtrim(b.endpoint, '/'), a.model, avg(a.seconds)::float8
  from (select batch_id, model, seconds, outcome from attempt order by id desc limit 1000) a
  join batch b on b.id = a.batch_id
 where a.outcome <> 'returned'
 group by 1, 2

-- name: accounts
-- What was used of a day, and until when all who use it rest.
select coalesce(s.account, a.name), coalesce(s.requests, 0), coalesce(s.tokens, 0), coalesce(s.usd, 0),
       case when a.cooldown_until > now() then a.cooldown_until end, coalesce(a.reason, '')
  from (select account, requests, tokens, usd from spend where day = %(day)s::date) s
  full join account a on a.name = s.account
 order by 1
