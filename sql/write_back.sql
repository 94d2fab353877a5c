-- What Penstock knows that a board does not say yet. Reads only. Owner: tasks/write_back.
-- status: models.enums.Status (4 done, 6 cancelled).

-- name: board
select id, sha256, dialect from board where source = %(source)s

-- name: due
-- Items whose state changed against what their board declares: answered, rolled up, or given up by a person, in the
-- board's order. What a simulated server answered, and what rests on that, is no state to tell a board.
with recursive simulated as (
  select i.id, i.parent_id from result r join item i on i.id = r.item_id
   where i.board_id = %(board)s and r.simulated and r.superseded_at is null
  union
  select i.id, i.parent_id from simulated s join item i on i.id = s.parent_id
), unfinished as (
  -- Parts that are the same work as an item elsewhere which is not done: what they are parts of is not done either.
  select i.id, i.parent_id from duplicate d join item i on i.id = d.item_id
    left join work_key w on w.fingerprint = d.fingerprint left join item o on o.id = w.item_id
   where i.board_id = %(board)s and o.status is distinct from 4
  union
  select i.id, i.parent_id from unfinished u join item i on i.id = u.parent_id
)
select s.line, s.ext_id, s.title, s.kind, s.declared, i.id, i.status, r.accepted_by,
       (select v.id from review v where v.item_id = i.id and v.decision = 'reject' order by v.id desc limit 1)
  from item i
  join item_source s on s.item_id = i.id
  left join result r on r.item_id = i.id and r.superseded_at is null
 where i.board_id = %(board)s and s.origin = 'board' and s.removed_at is null
   and i.status in (4, 6) and s.declared not in ('done', 'skipped')
   and i.id not in (select id from simulated) and i.id not in (select id from unfinished)
 order by i.position, i.id
