-- Items and needs as a graph to be drawn. Reads only. Owner: tasks/graph.
-- status: models.enums.Status; settled = done 4, cancelled 6, skipped 7.

-- name: count
select count(*) from item i
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (not %(open)s::bool or i.status not in (4, 6, 7))
   and not exists (select from item_source r where r.item_id = i.id and r.removed_at is not null)

-- name: boards
select id, source, title from board where id = any(%(boards)b::bigint[]) order by id

-- name: items
-- Of these boards, or these items alone. Blocked: something that it needs is not settled.
select i.id, i.board_id, i.parent_id, i.status, i.recipe is not null, s.ext_id, s.kind, s.title, s.line, s.declared,
       i.status = 0 and exists (
         select from need n join item d on d.id = n.needs_id where n.item_id = i.id and d.status not in (4, 6, 7)
       ),
       exists (select from item c where c.parent_id = i.id), exists (select from duplicate d where d.item_id = i.id)
  from item i join item_source s on s.item_id = i.id
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(ids)b::bigint[] is null or i.id = any(%(ids)b::bigint[]))
   and (not %(open)s::bool or i.status not in (4, 6, 7))
   and s.removed_at is null
 order by i.board_id, i.position, i.id

-- name: needs
select n.item_id, n.needs_id from need n join item i on i.id = n.item_id
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(ids)b::bigint[] is null or n.item_id = any(%(ids)b::bigint[]))
 order by n.item_id, n.needs_id

-- name: parts
-- What stands directly below these items and has no parts of its own, by status, whether it runs, and of what is skipped
-- what the board says and whether another item does it.
select p.parent_id, p.status, p.recipe is not null,
       case when p.status = 7 then (select s.declared from item_source s where s.item_id = p.id) else '' end,
       p.status = 7 and exists (select from duplicate d where d.item_id = p.id), count(*)
  from item p
 where p.parent_id = any(%(ids)b::bigint[]) and not exists (select from item c where c.parent_id = p.id)
 group by 1, 2, 3, 4, 5

-- name: containers
-- Only items that have parts: for boards too large to be drawn item by item. The parts without parts are counted.
with parents as materialized (
  select distinct parent_id as id from item
   where parent_id is not null and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
)
select i.id, i.board_id, i.parent_id, i.status, i.recipe is not null, s.ext_id, s.kind, s.title, s.line, s.declared,
       false, true, false
  from parents p join item i on i.id = p.id join item_source s on s.item_id = i.id
 where s.removed_at is null and (not %(open)s::bool or i.status not in (4, 6, 7))
 order by i.board_id, i.position, i.id

-- name: leaves
-- How many items without parts each container has, and each board (null) on its top level, by status and so on
-- as above.
with parents as materialized (
  select distinct parent_id as id from item
   where parent_id is not null and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
)
select i.board_id, i.parent_id, i.status, i.recipe is not null,
       case when i.status = 7 then (select s.declared from item_source s where s.item_id = i.id) else '' end,
       i.status = 7 and exists (select from duplicate d where d.item_id = i.id), count(*)
  from item i
 where (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (not %(open)s::bool or i.status not in (4, 6, 7))
   and i.id not in (select id from parents)
   and not exists (select from item_source r where r.item_id = i.id and r.removed_at is not null)
 group by 1, 2, 3, 4, 5, 6

-- name: container_needs
-- The needs between containers: that of an item without parts is its parent's.
with parents as materialized (
  select distinct parent_id as id from item
   where parent_id is not null and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
), ends as (
  select case when i.id in (select id from parents) then i.id else i.parent_id end as item_id,
         case when d.id in (select id from parents) then d.id else d.parent_id end as needs_id,
         d.status in (4, 6, 7) as settled
    from need n join item i on i.id = n.item_id join item d on d.id = n.needs_id
   where %(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[])
)
select item_id, needs_id, bool_and(settled) from ends
 where item_id <> needs_id group by item_id, needs_id order by item_id, needs_id

-- name: around
-- One step along needs in both directions: who needs what an item is part of waits for the item too.
with recursive up as (
  select id, parent_id from item where id = any(%(ids)b::bigint[])
  union
  select p.id, p.parent_id from up u join item p on p.id = u.parent_id
)
(select needs_id as id from need where item_id = any(%(ids)b::bigint[]))
union
(select n.item_id from need n join up u on u.id = n.needs_id)
limit %(most)s::bigint

-- name: above
-- What these items are part of, up to the top.
with recursive up as (
  select parent_id as id from item where id = any(%(ids)b::bigint[]) and parent_id is not null
  union
  select p.parent_id from up u join item p on p.id = u.id where p.parent_id is not null
)
select id from up

-- name: below
with recursive down as (
  select id from item where parent_id = any(%(ids)b::bigint[])
  union
  select c.id from down d join item c on c.parent_id = d.id
)
select id from down limit %(most)s::bigint
