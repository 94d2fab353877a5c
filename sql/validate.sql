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
-- The passages that results cite, as they were: superseded ones too.
select distinct on (cite) cite, text from node where cite = any(%(cites)s::text[]) order by cite, id desc
