-- What is paused, and for how long. A pause that lapsed counts as gone. Owner: tasks/pause.py.

-- name: pause
insert into pause (kind, name, until, reason, by)
values (%(kind)s, %(name)s,
        coalesce(%(until)s::timestamptz, now() + %(seconds)s::float8 * interval '1 second'), %(reason)s, %(by)s)
on conflict (kind, name) do update
   set until = excluded.until, reason = excluded.reason, by = excluded.by, at = now()
returning kind, name, until, reason, by, at

-- name: drop_lapsed
-- What another holds just now it drops itself.
delete from pause p using (select kind, name from pause where until <= now() for update skip locked) gone
 where p.kind = gone.kind and p.name = gone.name

-- name: listed
select kind, name, until, reason, by, at from pause where until is null or until > now() order by kind, name

-- name: paused
-- Asked every second by each drain: the table is small, and most often empty.
select p.kind, p.name, b.id, p.until, p.reason, p.by
  from pause p left join board b on p.kind = 'board' and b.source = p.name
 where (p.until is null or p.until > now())
   and (p.kind in ('model', 'recipe', 'packing') or b.id is not null
        or p.kind = 'endpoint' and p.name = %(resource)s
        or p.kind = 'backend' and p.name = %(backend)s
        or p.kind = 'device' and p.name = %(device)s)
union all
-- The boards of runs that were stopped: tasks/runs.
select 'board', source, id, null, '', '' from board where held_by is not null
 order by 1, 2

-- name: hold_streaks
-- Before the pause and the review, as tasks/execute/strikes.py locks the three.
select recipe, model from streak
 where case %(kind)s::text when 'recipe' then recipe || ' ' || model = %(name)s when 'model' then model = %(name)s
                     else false end
 order by recipe for no key update

-- name: resume
-- Of a strike also what led to it is forgotten, and the question to a person is settled; of a struck model with those
-- of its recipes that nobody but Penstock stopped.
with forgiven as (
  update streak set failures = 0, items = '{}', error = null
   where case %(kind)s::text when 'recipe' then recipe || ' ' || model = %(name)s when 'model' then model = %(name)s
                       else false end
  returning recipe, model
), anew as (
  update packing set asked = 0, bad = 0
   where %(kind)s = 'packing' and %(name)s in (recipe, recipe || ' ' || model)
), gone as (
  delete from pause p
   where p.kind = %(kind)s and p.name = %(name)s
      or %(kind)s = 'model' and p.kind = 'recipe' and p.by = %(striker)s
         and p.name in (select recipe || ' ' || model from forgiven)
  returning p.kind, p.name, p.until
), answered as (
  update review set decision = 'superseded', note = 'resumed', decided_by = %(by)s, decided_at = now()
   where decided_at is null
     and (subject in (select 'strike:' || recipe || ':' || model from forgiven)
          or %(kind)s = 'model' and subject = 'strike::' || %(name)s)
)
select exists (select from gone where kind = %(kind)s and name = %(name)s and (until is null or until > now()))

-- name: confirm
-- A person says that what was struck stays so.
update pause set by = %(by)s, at = now() where kind = %(kind)s and name = %(name)s

-- name: known_models
-- What was asked for by an item, or was ever asked.
select model from model_state
union
select model from streak
union
select model from batch where model <> ''
union
select model from item where model is not null

-- name: known_resources
select resource from endpoint
union
select resource from lease
