-- Stored results, to be checked again. Reads only. Owner: flows/validate.py.

-- name: results
select i.id, i.board_id, i.recipe, s.title, s.body, r.text, r.data, r.citations, r.simulated, coalesce(a.model, ''), b.source, s.line
  from result r
  join item i on i.id = r.item_id
  join item_source s on s.item_id = i.id
  join board b on b.id = i.board_id
  left join attempt a on a.id = r.attempt_id
 where r.superseded_at is null and r.accepted_by = 'checks' and i.recipe is not null
   and (%(boards)s::bigint[] is null or i.board_id = any(%(boards)s))
 order by i.recipe, i.id

-- name: cited
-- The passages that results cite, as they were: superseded ones too. Of an answer the whole: a synthesis quotes from it
-- before it is remembered, and a long one is several nodes.
select distinct on (cite) cite, text from (
  select cite, text, 0 as whole, id from node where cite = any(%(cites)s::text[])
  union all
  select 'item:' || item_id, text, 1, id from result
   where superseded_at is null
     and item_id in (select substring(c from 6)::bigint from unnest(%(cites)s::text[]) c where c ~ '^item:[0-9]{1,18}$')
) passages order by cite, whole desc, id desc
