-- How many requests at once an endpoint bears now. Owner: tasks/execute/pace.py.

-- name: load
select allowed, slots, reason, coalesce(extract(epoch from held_until - now()), 0)::float8 as held_seconds
  from endpoint where resource = %(resource)s::text

-- name: save
-- By whoever holds the endpoint's lease. No row: it is another drain's now.
insert into endpoint (resource, backend, url, device, slots, allowed, held_until, reason)
select %(resource)s::text, %(backend)s::text, %(url)s::text, %(device)s::text, %(slots)s::smallint,
       %(allowed)s::real, now() + %(held_seconds)s::float8 * interval '1 second', %(reason)s::text
 where exists (select from lease
                where resource = %(resource)s::text and token = %(token)s::bigint and expires_at > now())
on conflict (resource) do update
   set backend = excluded.backend, url = excluded.url, device = excluded.device, slots = excluded.slots,
       allowed = excluded.allowed, held_until = excluded.held_until, reason = excluded.reason, changed_at = now()
returning resource
