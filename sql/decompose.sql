-- What an item waits for and how it is done. Owner: tasks/decompose.
-- status: models.enums.Status (0 pending, 1 ready, 3 waiting, 4 done, 6 cancelled, 7 skipped).

-- name: board
select source, sha256, decomposed_sha256 from board where id = %(board)s

-- name: want_approval
-- As the latest run was told: also a split that a model makes later, wherever that runs, waits for a person then.
update board set approve_plans = %(approve)s where id = %(board)s and approve_plans <> %(approve)s

-- name: items
select i.id, i.parent_id, i.position, i.status, s.kind, s.ext_id, s.title, s.line, s.declared, s.needs,
       s.labels ->> 'phase_order', s.origin,
       (select case when r.decided_at is null then 'open' else r.decision end from review r
         where r.item_id = i.id and r.error_type = 'cycle' and r.decision is distinct from 'superseded'
         order by r.id desc limit 1)
  from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and s.removed_at is null
 order by i.position, i.id

-- name: summary
select count(*) filter (where not c.has and s.origin <> 'phase'), count(*) filter (where c.has and s.origin <> 'phase'),
       (select count(*) from need n join item x on x.id = n.item_id where x.board_id = %(board)s)
  from item i join item_source s on s.item_id = i.id,
       lateral (select exists (select from item k where k.parent_id = i.id) as has) c
 where i.board_id = %(board)s and s.removed_at is null

-- name: lost_recipes
-- A recipe that was taken away would leave its items waiting for nobody.
select i.id, s.kind from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and i.status in (0, 1) and i.recipe is not null and i.recipe <> all(%(known)b::text[])

-- name: want_rollups
-- Which items want a synthesis once they have parts that are done. `split`: those that Penstock split itself.
with wanted as materialized (
  select k.id,
         case %(rollup)s when 'true' then s.origin <> 'phase' when 'false' then false
           else s.origin <> 'phase'
                and not exists (select from item c join item_source cs on cs.item_id = c.id
                                 where c.parent_id = k.id and cs.origin <> 'split' and cs.removed_at is null)
         end as rollup
    from item k join item_source s on s.item_id = k.id
   where k.board_id = %(board)s and s.removed_at is null
     and (s.origin = 'phase' or %(rollup)s <> 'true' or not k.rollup)
), due as materialized (
  select i.id, w.rollup from wanted w join item i using (id) where i.rollup <> w.rollup
   order by i.id for no key update of i
)
update item i set rollup = due.rollup from due where i.id = due.id

-- name: lock_items
select count(*) from (select id from item where id = any(%(ids)b::bigint[]) order by id for no key update) locked

-- name: assign
-- Only what nobody has begun; status is left to the frontier.
update item i set recipe = g.recipe, attempts = 0
  from unnest(%(ids)b::bigint[], %(recipes)b::text[]) as g(id, recipe)
 where i.id = g.id and i.status in (0, 1) and (i.recipe is null or i.recipe <> all(%(known)b::text[]))

-- name: drop_needs
delete from need n using item i
 where i.id = n.item_id and i.board_id = %(board)s
   and not exists (select from unnest(%(items)b::bigint[], %(needs)b::bigint[]) as g(item_id, needs_id)
                    where g.item_id = n.item_id and g.needs_id = n.needs_id)

-- name: add_needs
insert into need (item_id, needs_id)
select * from unnest(%(items)b::bigint[], %(needs)b::bigint[]) on conflict do nothing

-- name: release_rings
-- Items that waited for a person to open a ring that is no more.
with closed as (
  update review set decision = 'superseded', note = 'the ring is gone', decided_by = 'penstock', decided_at = now()
   where item_id = any(%(ids)b::bigint[]) and error_type = 'cycle' and decided_at is null
  returning item_id
)
update item i set status = 0 from closed c where i.id = c.item_id and i.status = 3

-- name: hold_rings
with held as (
  update item i set status = 3, ready = false
    from unnest(%(ids)b::bigint[], %(reasons)b::text[]) as g(id, reason)
   where i.id = g.id and i.status in (0, 1)
  returning i.id, g.reason
)
insert into review (subject, kind, item_id, title, reason, error_type)
select 'item:' || h.id, 'item', h.id, s.title, h.reason, 'cycle'
  from held h join item_source s on s.item_id = h.id
on conflict (subject) where decided_at is null do nothing

-- name: mark_decomposed
update board set decomposed_sha256 = sha256 where id = %(board)s

-- name: parent_of_split
-- The item to be split, locked. Its own lines come with it.
select i.board_id, i.position, i.priority, i.status, i.key, s.line, s.depth, s.title,
       coalesce((s.labels ->> 'split_level')::int, 0), exists (select from item c where c.parent_id = i.id)
  from item i join item_source s on s.item_id = i.id
 where i.id = %(item)s and s.removed_at is null
   for no key update of i

-- name: open_parent
-- The plan was the item's answer until now; from now on its answer is what its parts come to.
with planned as (
  update result set superseded_at = now() where item_id = %(item)s and superseded_at is null
)
update item set status = 0, ready = false, recipe = null, lease = null where id = %(item)s

-- name: add_parts
with given as (
  select nextval(pg_get_serial_sequence('item', 'id')) as id, g.*
    from unnest(%(keys)b::uuid[], %(titles)b::text[], %(bodies)b::text[], %(hashes)b::text[])
         with ordinality as g(key, title, body, content_hash, number)
), kept as (
  insert into item (id, board_id, parent_id, key, position, priority, recipe, status) overriding system value
  select id, %(board)s, %(item)s, key, %(position)s, %(priority)s, %(recipe)s, 0 from given order by number
  on conflict (board_id, key) do update
     set parent_id = excluded.parent_id, position = excluded.position, priority = excluded.priority,
         recipe = excluded.recipe, status = 0, attempts = 0, run_after = now()
  returning id, key
), described as (
  insert into item_source (item_id, kind, title, body, line, depth, declared, labels, content_hash, origin)
  select k.id, %(kind)s, g.title, g.body, %(line)s, %(depth)s, 'todo', %(labels)s::jsonb, g.content_hash, 'split'
    from kept k join given g using (key)
  on conflict (item_id) do update
     set title = excluded.title, body = excluded.body, line = excluded.line, depth = excluded.depth,
         labels = excluded.labels, content_hash = excluded.content_hash, removed_at = null
), inherited as (
  insert into need (item_id, needs_id)
  select k.id, n.needs_id from kept k, need n where n.item_id = %(item)s
  on conflict do nothing
), forgotten as (
  update result r set superseded_at = now() from kept k where r.item_id = k.id and r.superseded_at is null
)
select id from kept order by id

-- name: refuse_split
-- What would have been the split goes to a person, with the reason.
with moved as (
  update item set status = 3, ready = false, lease = null where id = %(item)s and status = 4 returning id
), undone as (
  update result r set superseded_at = now() from moved m where r.item_id = m.id and r.superseded_at is null
  returning r.item_id, r.text, r.data, r.citations, r.simulated
)
insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)
select 'item:' || u.item_id, 'item', u.item_id, s.title, %(reason)s, 'rule', u.text,
       jsonb_build_object('data', u.data, 'citations', u.citations, 'simulated', u.simulated)
  from undone u join item_source s on s.item_id = u.item_id
on conflict (subject) where decided_at is null do update set reason = excluded.reason

-- name: advance
select penstock_advance(%(items)b::bigint[])

-- name: advance_board
select penstock_advance_board(%(board)s)
