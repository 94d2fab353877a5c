-- The breaker of a model on an endpoint (table model_state). Owner: tasks/execute/breaker.py.
--   closed     open_until is null; `failures` in a row
--   open       open_until > now(): nobody asks
--   half open  open_until <= now(): whoever writes its token into `trial` asks once; a dead drain's token is nobody's

-- name: failed
-- A row where it opened, or counted a failure; none where nothing was to be changed: it is open already, somebody else's
-- trial is under way, or the lease is gone. Half open, without any trial: it was just seen to fail, so it opens again.
insert into model_state as m (resource, model, failures, open_until, error)
select %(resource)s::text, %(model)s::text, 1,
       case when %(allowed)s::integer <= 1 then now() + %(seconds)s::float8 * interval '1 second' end, %(error)s::text
 where exists (select from lease where token = %(token)s::bigint and expires_at > now())
on conflict (resource, model) do update
   set failures = least(m.failures + 1, 32767), trial = null, error = excluded.error,
       open_until = case when m.open_until is not null or m.failures + 1 >= %(allowed)s::integer
                         then now() + %(seconds)s::float8 * interval '1 second' end
 where m.open_until is null
    or (m.open_until <= now()
        and (m.trial is null or m.trial = %(token)s::bigint
             or not exists (select from lease l where l.token = m.trial and l.expires_at > now())))
returning failures, open_until is not null as opened

-- name: succeeded
-- Nothing is written where nothing is to be forgotten. Gives whether it was open.
with was as materialized (
  select open_until is not null as open from model_state
   where resource = %(resource)s::text and model = %(model)s::text
     and (failures > 0 or open_until is not null or trial is not null)
     and exists (select from lease where token = %(token)s::bigint and expires_at > now())
     for update
), closed as (
  update model_state set failures = 0, open_until = null, trial = null, error = null
   where resource = %(resource)s::text and model = %(model)s::text and exists (select from was)
)
select open from was

-- name: state
select model, greatest(extract(epoch from open_until - now()), 0)::float8 as seconds, coalesce(error, '') as error,
       open_until <= now()
         and not exists (select from lease l where l.token = m.trial and l.expires_at > now()) as trial
  from model_state m
 where resource = %(resource)s::text and open_until is not null

-- name: take_trial
-- Two that try at once wait for each other on the row; the second one looks again, and sees the first one's token. Not
-- as `not exists (... where l.token = m.trial)`: that is planned as an anti-join, which does not look again.
update model_state m set trial = %(token)s::bigint
 where resource = %(resource)s::text and model = %(model)s::text and open_until <= now()
   and (m.trial is null or m.trial <> all(array(select token from lease where expires_at > now())))
   and exists (select from lease where token = %(token)s::bigint and expires_at > now())
returning model

-- name: give_trial_back
update model_state set trial = null
 where resource = %(resource)s::text and model = %(model)s::text and trial = %(token)s::bigint

-- name: ask_now
-- A person waits, and may have mended it: its time is up.
update model_state set open_until = now()
 where resource = %(resource)s::text and model = %(model)s::text and open_until > now()
