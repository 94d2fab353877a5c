-- Lanes of boards and limits of what runs at once. Owner: tasks/lanes.py.

-- name: sources
select source from board where id = any(%(boards)b::bigint[]) order by source

-- name: set_boards
with held as materialized (
  select id from board where id = any(%(boards)b::bigint[]) order by id for no key update
)
update board b
   set lane = coalesce(%(lane)s::int2, b.lane),
       wip = case when %(wip)s::int4 is null then b.wip else nullif(%(wip)s::int4, 0) end
  from held h where b.id = h.id

-- name: move_items
-- In the order of ids, as all who write items.
with held as materialized (
  select id from item
   where board_id = any(%(boards)b::bigint[]) and status not in (4, 6, 7) and lane <> %(lane)s::int2
   order by id for no key update
)
update item i set lane = %(lane)s::int2 from held h where i.id = h.id and i.lane <> %(lane)s::int2
