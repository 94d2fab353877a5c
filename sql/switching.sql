-- Models that take memory of a device. Owner: tasks/execute/switching.py.
--
-- Whoever reads these rows to decide takes `lock` first, in the same transaction. A row of an endpoint whose lease is
-- live is that drain's business; the only others that touch it are `unloading` rows, which are of the drain that
-- unloads.

-- name: lock
select pg_advisory_xact_lock(hashtextextended('penstock.device ' || %(device)s::text, 0))

-- name: holds
select exists (select from lease where resource = %(resource)s and token = %(token)s::bigint and expires_at > now())

-- name: rows
select r.resource, r.model, r.memory::float8, r.state,
       exists (select from lease l where l.resource = r.resource and l.expires_at > now()),
       exists (select from lease l where l.token = r.token and l.token <> %(token)s::bigint and l.expires_at > now()),
       extract(epoch from now() - r.since)::float8, extract(epoch from now() - r.used_at)::float8
  from residency r where r.device = %(device)s
 order by r.resource, r.model

-- name: tidy
-- Who waited and is no more, waits no more.
delete from residency r
 where device = %(device)s and state = 'wanted'
   and not exists (select from lease l where l.token = r.token and l.resource = r.resource and l.expires_at > now())

-- name: want
insert into residency (resource, model, device, memory, state, token)
values (%(resource)s, %(model)s, %(device)s, %(memory)s::float4, 'wanted', %(token)s::bigint)
on conflict (resource, model) do update
   set device = excluded.device, memory = excluded.memory, state = 'wanted', token = excluded.token,
       since = case when residency.state = 'wanted' and residency.token = excluded.token then residency.since else now() end
 where residency.state in ('wanted', 'loading')

-- name: reserve
insert into residency (resource, model, device, memory, state, token)
values (%(resource)s, %(model)s, %(device)s, %(memory)s::float4, 'loading', %(token)s::bigint)
on conflict (resource, model) do update
   set device = excluded.device, memory = excluded.memory, state = 'loading', token = excluded.token,
       since = now(), used_at = now()

-- name: unloading
update residency r set state = 'unloading', token = %(token)s::bigint, since = now()
  from unnest(%(resources)b::text[], %(models)b::text[]) v (resource, model)
 where r.resource = v.resource and r.model = v.model and r.device = %(device)s

-- name: gone
-- What was let go, or not loaded after all. Guarded by who did it.
delete from residency r
 using unnest(%(resources)b::text[], %(models)b::text[]) v (resource, model)
 where r.resource = v.resource and r.model = v.model and r.token = %(token)s::bigint and r.state <> 'loaded'

-- name: stays
-- It could not be let go: as before.
update residency r set state = 'loaded', since = now()
  from unnest(%(resources)b::text[], %(models)b::text[]) v (resource, model)
 where r.resource = v.resource and r.model = v.model and r.token = %(token)s::bigint and r.state = 'unloading'

-- name: loaded
-- No row: the lease is no more.
update residency set state = 'loaded', since = now(), used_at = now(), memory = coalesce(%(memory)s::float4, memory)
 where resource = %(resource)s and model = %(model)s and token = %(token)s::bigint and state = 'loading'
   and exists (select from lease l where l.resource = residency.resource and l.token = residency.token
                                     and l.expires_at > now())
returning model

-- name: learn
insert into model_state (resource, model, load_seconds, loads)
values (%(resource)s, %(model)s, %(seconds)s::float4, 1)
on conflict (resource, model) do update
   set loads = model_state.loads + 1,
       load_seconds = coalesce(model_state.load_seconds + %(weight)s::float4 * (excluded.load_seconds - model_state.load_seconds),
                               excluded.load_seconds)
returning load_seconds::float8

-- name: learned
select load_seconds::float8 from model_state where resource = %(resource)s and model = %(model)s

-- name: touch
update residency r set used_at = now(), token = l.token
  from lease l
 where r.resource = %(resource)s and r.model = any(%(models)b::text[]) and r.state = 'loaded'
   and l.resource = r.resource and l.token = %(token)s::bigint and l.expires_at > now()

-- name: said
-- What a server says it has loaded: those rows, and no others of this endpoint but those that somebody is letting go and
-- the one that a live drain is loading or waits for. `token` is of whoever asked; where another drain holds the
-- endpoint, that one knows better and nothing is changed.
with free as materialized (
  select not exists (select from lease l where l.resource = %(resource)s and l.expires_at > now()
                                           and l.token <> %(token)s::bigint) as yes
), busy as materialized (
  select r.model from residency r
   where r.resource = %(resource)s
     and (r.state = 'unloading' or (r.state in ('loading', 'wanted') and r.token = %(token)s::bigint))
     and exists (select from lease l where l.token = r.token and l.expires_at > now())
), dropped as (
  delete from residency r using free
   where free.yes and r.resource = %(resource)s and r.model <> all(%(models)b::text[])
     and r.model not in (select model from busy)
)
insert into residency (resource, model, device, memory, state, token)
select %(resource)s, v.model, %(device)s, v.memory, 'loaded', %(token)s::bigint
  from unnest(%(models)b::text[], %(memories)b::float4[]) v (model, memory), free
 where free.yes and v.model not in (select model from busy)
on conflict (resource, model) do update
   set device = excluded.device, memory = excluded.memory, token = excluded.token, state = 'loaded',
       since = case when residency.state = 'loaded' then residency.since else now() end

-- name: resident
-- Models of this endpoint that are loaded and that nobody is letting go; `keep` seconds after their use a server that
-- does not say what it has may have dropped them.
select model, extract(epoch from now() - used_at)::float8 from residency
 where resource = %(resource)s and state = 'loaded'
   and extract(epoch from now() - used_at) < %(keep)s::float8

-- name: forget
-- Rows of this endpoint that a drain which is no more has left, where its server can't say what became of them.
delete from residency r
 where resource = %(resource)s
   and (state <> 'loaded' or extract(epoch from now() - used_at) >= %(keep)s::float8)
   and not (state = 'unloading' and exists (select from lease l where l.token = r.token and l.expires_at > now()))

-- name: contested
-- How long somebody has been waiting for memory, while these models have some of it.
select max(extract(epoch from now() - w.since))::float8
  from residency w
 where w.device = %(device)s and w.state = 'wanted' and w.resource <> %(resource)s
   and exists (select from lease l where l.token = w.token and l.resource = w.resource and l.expires_at > now())
   and exists (select from residency h where h.device = %(device)s and h.resource = %(resource)s and h.memory > 0
                                         and h.state in ('loading', 'loaded'))
   and w.memory + (select sum(u.memory) from residency u where u.device = %(device)s and u.state <> 'wanted')
       > %(memory)s::float8

-- name: unwant
delete from residency where resource = %(resource)s and token = %(token)s::bigint and state = 'wanted'

-- name: abandon
-- What this drain was about to do, it does not.
with stays as (
  update residency set state = 'loaded', since = now() where token = %(token)s::bigint and state = 'unloading'
)
delete from residency where token = %(token)s::bigint and state in ('wanted', 'loading')

-- name: live_endpoints
select resource from lease where resource = any(%(resources)b::text[]) and expires_at > now()

-- name: usual_times
-- Of all models of an endpoint that were ever loaded.
select model, load_seconds from model_state where resource = %(resource)s and load_seconds is not null

-- name: inherit_lock
-- The devices of what a killed drain had, in order: before `inherit`, in the transaction that takes its lease over.
select pg_advisory_xact_lock(hashtextextended('penstock.device ' || device, 0))
  from (select distinct device from residency where token = %(old)s::bigint order by device) d

-- name: inherit
-- What a killed drain had belongs to whoever took its lease over, in the same moment: nobody else lets it go while requests
-- that were sent may still load it anew. What it was doing with it counts as loaded, until the server is asked.
with waited as (
  delete from residency where token = %(old)s::bigint and state = 'wanted'
)
update residency set token = %(new)s::bigint, state = 'loaded' where token = %(old)s::bigint and state <> 'wanted'
