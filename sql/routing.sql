-- How the models of a recipe have done, of its version as it is now. Owner: tasks/execute/router.py. Reads only.

-- name: evidence
-- Of each model: its latest first tries (a retry is told what was wrong, and a harder item is asked again more often), and
-- how many items it was given. Looked at are the version's latest batches. A server that changed its model (another
-- digest) begins anew. `endpoint`: times are those of this endpoint, where it has any; null: of all.
with recent as materialized (
  select v.recipe, b.*, sum(b.size) over (partition by v.recipe, b.model order by b.id desc) - b.size as later
    from unnest(%(recipes)b::text[], %(hashes)b::text[]) as v(recipe, hash)
   cross join lateral (
     select id, model, endpoint, size, explores from batch
      where recipe = v.recipe and recipe_hash = v.hash and backend <> all(%(without)b::text[])
        and started_at >= now() - %(days)s::int * interval '1 day'
      order by id desc limit %(batches)s::int) b
), tried as (
  select c.recipe, c.model, c.endpoint, a.simulated, a.seconds, a.cost, a.model_digest,
         a.error_type is null or a.error_type = 'human_only' as passed,
         first_value(a.model_digest) over (partition by c.recipe, c.model, c.endpoint, a.simulated
                                           order by a.id desc) as latest
    from recent c join attempt a on a.batch_id = c.id
   where c.later < %(tries)s::int and not a.cached
     and (a.error_type is null or a.error_type = any(%(counted)b::text[]))
     and not exists (select from attempt e
                      where e.item_id = a.item_id and e.number < a.number and e.outcome <> 'returned')
), done as (
  select recipe, model, simulated, count(*) as tries, count(*) filter (where passed) as passed,
         coalesce(avg(seconds) filter (where endpoint = %(endpoint)s::text), avg(seconds))::float8 as seconds,
         case when count(cost) = count(*) then avg(cost) end::float8 as cost
    from tried where model_digest is not distinct from latest
   group by recipe, model, simulated
), given as (
  select recipe, model, sum(size)::int as items, coalesce(sum(size) filter (where explores), 0)::int as explored
    from recent group by recipe, model
)
select g.recipe, g.model, g.items, g.explored, d.simulated, coalesce(d.tries, 0)::int, coalesce(d.passed, 0)::int,
       d.seconds, d.cost
  from given g left join done d on d.recipe = g.recipe and d.model = g.model
 order by g.recipe, g.model, d.simulated
