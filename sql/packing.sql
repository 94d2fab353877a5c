-- How well a model answers several items of a recipe in one request. Owner: tasks/execute/pack_record.py.

-- name: count
-- Of the last `window` to twice as many items: then what is older counts half. Where too many were bad the packing is
-- paused for some days; a pause that a person made stays as it is.
with counted as (
  insert into packing as p (recipe, model, asked, bad, calls, members)
  values (%(recipe)s, %(model)s, %(asked)s::int, %(bad)s, %(calls)s, %(asked)s::int)
  on conflict (recipe, model) do update
     set asked = case when p.asked >= 2 * %(window)s then p.asked / 2 else p.asked end + excluded.asked,
         bad = case when p.asked >= 2 * %(window)s then p.bad / 2 else p.bad end + excluded.bad,
         calls = p.calls + excluded.calls, members = p.members + excluded.members
  returning asked, bad
)
insert into pause as p (kind, name, until, reason, by)
select 'packing', %(recipe)s || ' ' || %(model)s, now() + %(days)s * interval '1 day',
       format('%%s of the last %%s items that were asked together had to be asked again alone', bad, asked), %(by)s
  from counted where asked >= %(fewest)s and bad > %(most_bad)s * asked
on conflict (kind, name) do update
   set until = excluded.until, reason = excluded.reason, by = excluded.by, at = now() where p.until <= now()
returning reason

-- name: forget
-- What led to the pause: after it, it is tried anew.
update packing set asked = 0, bad = 0 where recipe = %(recipe)s and model = %(model)s

-- name: listed
select recipe, model, asked, bad, calls, members from packing where calls > 0 order by recipe, model
