-- What waits and what runs, for `penstock status` and the HTTP door. Reads only. Owner: deployments/status.py.

-- name: items
-- Work by status; containers, which nothing runs, are not counted.
select status, count(*) from item where recipe is not null group by status

-- name: reviews
select count(*) from review where decided_at is null

-- name: leases
select resource, backend, model, acquired_at, expires_at from lease where expires_at > now() order by resource

-- name: endpoints
-- Who works on which endpoint, and how many items it has claimed.
select l.resource, l.model, l.acquired_at, l.expires_at,
       (select count(*) from item i where i.lease = l.token and i.status = 2)
  from lease l where l.expires_at > now()
