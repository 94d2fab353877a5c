-- Batches that a provider answers later. Owner: tasks/execute/provider_batch.py.

-- name: begin
-- Before anything is sent. Only items that are still ours by this claim are in it; gives which. Nothing without a lease.
with ours as materialized (
  select a.* from
         unnest(%(items)b::bigint[], %(claims)b::int2[], %(asked)b::text[], %(prompts)b::text[], %(simulated)b::bool[])
           as a(item_id, claim, item, prompt, simulated)
    join item i on i.id = a.item_id and i.lease = %(token)s and i.status = 2 and i.tries = a.claim
), made as (
  insert into provider_batch (batch_id, resource, label, model, recipe, token, size)
  select %(batch)s::bigint, %(resource)s::text, %(label)s::text, %(model)s::text, %(recipe)s::text, %(token)s::bigint,
         (select count(*) from ours)
   where exists (select 1 from lease where token = %(token)s and expires_at > now()) and exists (select from ours)
  returning id, created_at
), put as (
  insert into provider_batch_item (provider_batch_id, item_id, claim, item, prompt, simulated)
  select made.id, ours.* from made, ours
  returning item_id
)
select made.id, made.created_at, array(select item_id from put) from made

-- name: submitted
-- What its provider calls it. Whoever looks after it now: that it is there is true all the same. No row: it was closed,
-- or another one was found in its place.
update provider_batch set provider_id = %(provider_id)s, state = 'running', submitted_at = coalesce(submitted_at, now())
 where id = %(id)s and closed_at is null and coalesce(provider_id, %(provider_id)s) = %(provider_id)s
returning id

-- name: polled
update provider_batch set polled_at = now(), done = %(done)s where id = %(id)s and closed_at is null

-- name: take_over
-- What a former holder of the endpoint left behind: its items get our token, so that what he still reports changes
-- nothing. Items that are no longer his (their board changed) are left where they are.
with mine as materialized (
  select id, token from provider_batch
   where resource = %(resource)s and closed_at is null and token <> %(token)s
     and exists (select 1 from lease where token = %(token)s and expires_at > now())
   order by id for update
), held as materialized (
  select item.id from mine
    join provider_batch_item p on p.provider_batch_id = mine.id
    join item on item.id = p.item_id and item.tries = p.claim and item.lease = mine.token and item.status = 2
   order by item.id for no key update of item
), moved as (
  update item set lease = %(token)s from held where item.id = held.id
)
update provider_batch set token = %(token)s from mine where provider_batch.id = mine.id

-- name: held
-- The open ones that are looked after under this token.
select id, batch_id, label, provider_id, model, recipe, size, created_at,
       extract(epoch from now() - created_at)::float8
  from provider_batch where token = %(token)s and closed_at is null order by id

-- name: asked
-- What is still to be settled of one.
select p.item, p.prompt, p.simulated
  from provider_batch_item p
  join item on item.id = p.item_id and item.tries = p.claim and item.lease = %(token)s and item.status = 2
 where p.provider_batch_id = %(id)s order by p.item_id

-- name: close
with gone as (
  delete from provider_batch_item where provider_batch_id = %(id)s
)
update provider_batch set closed_at = now(), state = %(state)s, detail = %(detail)s
 where id = %(id)s and closed_at is null

-- name: resources
-- Endpoints with open batches: a drain that may choose takes these first.
select distinct resource from provider_batch where closed_at is null

-- name: open
-- For people: what providers have, and for how long.
select resource, model, recipe, size, done, state, provider_id, label, created_at, submitted_at, polled_at
  from provider_batch where closed_at is null order by created_at, id
