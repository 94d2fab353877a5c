-- Who may use an endpoint. Owner: tasks/execute/lease.py.

-- name: holder
select token, holder, expires_at > now() as live from lease where resource = %(resource)s

-- name: take
-- A lapsed lease may be taken by anyone; one whose holder is known to be dead (same machine, process gone) at once.
insert into lease (resource, backend, token, holder, model, expires_at)
values (%(resource)s, %(backend)s, nextval('lease_token'), %(holder)s, %(model)s, now() + %(ttl)s * interval '1 second')
on conflict (resource) do update
   set token = excluded.token, holder = excluded.holder, model = excluded.model, backend = excluded.backend,
       want = 0, seated_at = null, idle_at = now(), acquired_at = now(), expires_at = excluded.expires_at
 where lease.expires_at <= now() or lease.holder = %(dead)s
returning token

-- name: beat
-- No row: the lease lapsed or was taken; the caller has to stop.
update lease set expires_at = now() + %(ttl)s * interval '1 second'
 where resource = %(resource)s and token = %(token)s and expires_at > now()
returning expires_at

-- name: release
delete from lease where resource = %(resource)s and token = %(token)s

-- name: recover
-- Items claimed under a lease that is no more go back, uncharged. Their late answers no longer match the token. Not those
-- that a provider's batch has: the next drain of that endpoint takes it over. A week without one is too long.
-- In the order of ids, as everyone locks them.
with lapsed as materialized (
  select id from item
   where lease is not null and status = 2
     and not exists (select 1 from lease l where l.token = item.lease and l.expires_at > now())
     and not exists (select 1 from provider_batch_item p join provider_batch b on b.id = p.provider_batch_id
                      where p.item_id = item.id and p.claim = item.tries
                        and b.closed_at is null and b.created_at > now() - interval '7 days')
   order by id for no key update
)
update item set status = 1, ready = true, lease = null from lapsed where item.id = lapsed.id and item.status = 2
returning item.id
