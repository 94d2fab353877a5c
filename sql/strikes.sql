-- Answers that were not accepted, in a row, by recipe and model; and what is struck for them. Owner: tasks/execute/strikes.py.
-- Locks in this order, as tasks/pause.py does: the streak, the pause, the review.

-- name: clear
update streak set failures = 0, items = '{}', error = null
 where recipe = %(recipe)s and model = %(model)s and failures > 0

-- name: count
-- `fresh`: something was accepted before these. Who reaches the limit strikes; who comes after, or at the same time, finds
-- it struck. A pause that a person set for some time becomes one without an end.
with counted as (
  insert into streak as s (recipe, model, failures, items, error)
  values (%(recipe)s, %(model)s, %(failures)s, %(items)b::bigint[], %(error)s)
  on conflict (recipe, model) do update
     set failures = excluded.failures + case when %(fresh)s then 0 else s.failures end,
         items = case when %(fresh)s then excluded.items
                      when cardinality(s.items) >= %(limit)s::int then s.items
                      else array(select distinct id from unnest(s.items || excluded.items) id order by id) end,
         error = excluded.error
  returning s.failures, cardinality(s.items) as different
), struck as (
  insert into pause as p (kind, name, reason, by)
  select 'recipe', %(recipe)s || ' ' || %(model)s,
         format('%%s answers in a row, of %%s different items, were not accepted', failures, different), %(striker)s
    from counted where different >= %(limit)s::int
  on conflict (kind, name) do update
     set until = null, reason = excluded.reason, by = excluded.by, at = now() where p.until is not null
  returning p.reason
), asked as (
  insert into review (subject, kind, title, reason, error_type, details)
  select 'strike:' || %(recipe)s || ':' || %(model)s, 'strike',
         format('The recipe %%s on the model %%s is stopped', %(recipe)s::text, %(model)s::text),
         format('%%s. The latest: %%s', reason, %(error)s::text), 'poison',
         jsonb_build_object('recipe', %(recipe)s::text, 'model', %(model)s::text)
    from struck
  on conflict (subject) where decided_at is null do nothing
)
select c.failures, c.different from counted c, struck

-- name: hold_model
-- Who strikes a recipe of a model looks at the others one after another.
select pg_advisory_xact_lock(hashtextextended('penstock.strike:' || %(model)s::text, 0))

-- name: whole_model
-- A model on which so many recipes are stopped is stopped itself: one question instead of several.
with recipes as (
  select s.recipe, s.error from streak s
    join pause p on p.kind = 'recipe' and p.name = s.recipe || ' ' || s.model and p.until is null
   where s.model = %(model)s and cardinality(s.items) >= %(limit)s::int
), struck as (
  insert into pause as p (kind, name, reason, by)
  select 'model', %(model)s,
         format('%%s recipes are stopped on it: %%s', count(*), string_agg(recipe, ', ' order by recipe)), %(striker)s
    from recipes having count(*) >= %(recipes)s::int
  on conflict (kind, name) do update
     set until = null, reason = excluded.reason, by = excluded.by, at = now() where p.until is not null
  returning p.reason
), closed as (
  update review r set decision = 'superseded', note = 'the whole model was stopped', decided_by = %(striker)s,
         decided_at = now()
    from struck, recipes x
   where r.subject = 'strike:' || x.recipe || ':' || %(model)s and r.decided_at is null
)
insert into review (subject, kind, title, reason, error_type, details)
select 'strike::' || %(model)s, 'strike', format('The model %%s is stopped', %(model)s::text),
       format('%%s. The latest: %%s', reason, %(error)s::text), 'poison', jsonb_build_object('model', %(model)s::text)
  from struck
on conflict (subject) where decided_at is null do nothing
returning id
