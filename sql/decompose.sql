-- What an item waits for and how it is done. Owner: tasks/decompose.
-- status: models.enums.Status (0 pending, 1 ready, 3 waiting, 4 done, 6 cancelled, 7 skipped).

-- name: board
select source, sha256, decomposed_sha256, folder from board where id = %(board)s

-- name: lock
-- One board is decomposed at a time, after its own lock and before any row: two that need one another's items, or have
-- the same work, see each other.
select pg_advisory_xact_lock(hashtextextended('penstock.decompose', 0))

-- name: marked
select exists (select from look_again where board_id = %(board)s)

-- name: take_look_again
delete from look_again where board_id = %(board)s

-- name: boards_to_look_at
select distinct b.id, b.approve_plans from look_again a join board b on b.id = a.board_id order by b.id

-- name: want_approval
-- As the latest run was told: also a split that a model makes later, wherever that runs, waits for a person then.
update board set approve_plans = %(approve)s where id = %(board)s and approve_plans <> %(approve)s

-- name: count_ready
select count(*) from item where ready and board_id = any(%(boards)b::bigint[])

-- name: items
select i.id, i.parent_id, i.position, i.status, s.kind, s.ext_id, s.title, s.line, s.declared, s.needs,
       s.labels ->> 'phase_order', s.origin,
       (select case when r.decided_at is null then 'open' else r.decision end from review r
         where r.item_id = i.id and r.error_type = 'cycle' and r.decision is distinct from 'superseded'
         order by r.id desc limit 1),
       i.recipe, s.body,
       case when s.labels ->> 'section' not in (b.title, coalesce(s.labels ->> 'lane', '')) then s.labels ->> 'section'
            else '' end,
       s.labels ->> 'recipe'
  from item i join item_source s on s.item_id = i.id join board b on b.id = i.board_id
 where i.board_id = %(board)s and s.removed_at is null
 order by i.position, i.id

-- name: free_refused
-- Whoever did the work in their place does it no more, or too long ago.
with free as (
  delete from duplicate d using item i
   where i.id = d.item_id and i.board_id = %(board)s
     and (%(days)s::int = 0
          or not exists (select from work_key k join item o on o.id = k.item_id
                          where k.fingerprint = d.fingerprint and k.claimed_at >= now() - %(days)s::int * interval '1 day'))
  returning d.item_id
)
update item i set status = 0 from free f where i.id = f.item_id and i.status = 7 and i.recipe is null

-- name: refused
select d.item_id, k.item_id, d.fingerprint from duplicate d join item i on i.id = d.item_id
  join work_key k on k.fingerprint = d.fingerprint
 where i.board_id = %(board)s and i.status = 7 and i.recipe is null

-- name: summary
select count(*) filter (where not c.has and s.origin <> 'phase'), count(*) filter (where c.has and s.origin <> 'phase'),
       (select count(*) from need n join item x on x.id = n.item_id where x.board_id = %(board)s)
  from item i join item_source s on s.item_id = i.id,
       lateral (select exists (select from item k where k.parent_id = i.id) as has) c
 where i.board_id = %(board)s and s.removed_at is null

-- name: split_candidates
-- New open leaves that may be large: of a kind that is split, or that say more than a line does.
select i.id, s.kind, s.title, s.body, s.labels, s.origin from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and i.status in (0, 1) and i.recipe is null and s.removed_at is null
   and s.origin in ('board', 'document') and s.declared not in ('done', 'skipped')
   and (%(all)s or s.body <> '' or s.kind = any(%(kinds)b::text[]) or s.title like '%%:%%'
        or s.labels ?| array['complexity', 'effort', 'estimate', 'points', 'size'])
   and not exists (select from item c where c.parent_id = i.id)
 order by i.position, i.id

-- name: documents
select s.body from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and s.origin = %(origin)s and s.removed_at is null and s.declared not in ('done', 'skipped')

-- name: keep_complexity
update item_source s set complexity = g.score
  from unnest(%(ids)b::bigint[], %(scores)b::int2[]) as g(id, score)
 where s.item_id = g.id and s.complexity is distinct from g.score

-- name: lost_recipes
-- A recipe that was taken away would leave its items waiting for nobody.
select exists (select from item i
                where i.board_id = %(board)s and i.status in (0, 1) and i.recipe is not null
                  and i.recipe <> all(%(known)b::text[]))

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

-- name: free_moved
-- They stand under something else now: another work.
with free as (
  delete from duplicate where item_id = any(%(items)b::bigint[]) returning item_id
)
update item i set status = 0 from free f where i.id = f.item_id and i.status = 7 and i.recipe is null

-- name: claimed
select k.item_id, k.fingerprint from item i join work_key k on k.item_id = i.id where i.board_id = %(board)s

-- name: claim_works
-- Which of these items do their work. Whose work is another item's is not in the answer; it has the key locked, so that
-- who releases it sees whom it was refused to. Of equal items the one that has the work already, else the first.
insert into work_key (fingerprint, item_id)
select distinct on (g.fingerprint) g.fingerprint, g.item_id
  from unnest(%(items)b::bigint[], %(fingerprints)b::uuid[]) with ordinality as g(item_id, fingerprint, number)
  left join work_key k on k.fingerprint = g.fingerprint and k.item_id = g.item_id
 order by g.fingerprint, k.item_id is null, g.number
on conflict (fingerprint) do update set item_id = excluded.item_id, claimed_at = now()
 where work_key.item_id = excluded.item_id
    or work_key.claimed_at < now() - %(days)s::int * interval '1 day'
    or not exists (select from item i where i.id = work_key.item_id)
returning item_id

-- name: owners
select fingerprint, item_id from work_key where fingerprint = any(%(fingerprints)b::uuid[])

-- name: keep_duplicates
-- Who is refused is skipped. `still`: refused before; of whom else that was kept is no longer so.
with gone as (
  delete from duplicate d using item i
   where i.id = d.item_id and i.board_id = %(board)s
     and d.item_id <> all(%(still)b::bigint[]) and d.item_id <> all(%(items)b::bigint[])
), kept as (
  insert into duplicate (item_id, fingerprint)
  select * from unnest(%(items)b::bigint[], %(fingerprints)b::uuid[])
  on conflict (item_id) do update set fingerprint = excluded.fingerprint
)
update item i set status = 7, ready = false, recipe = null, attempts = 0, tried_before = tries, model = named
 where i.id = any(%(items)b::bigint[]) and i.status in (0, 1)

-- name: wake_who_needs
-- Whether an item is run or another in its place matters to the boards that need it.
insert into look_again (board_id)
select item_board from board_link where needs_board = %(board)s and item_board <> %(board)s

-- name: lock_frontier
select penstock_lock_frontiers(array[%(board)s::bigint])

-- name: assign
-- Only what nobody has begun. Under the frontier's lock, and ready at once where nothing is missing: a row that one
-- transaction writes twice has its references checked anew. `held` are to wait for a person.
update item i set recipe = f.recipe, attempts = 0, tried_before = tries, model = named, status = f.free::int, ready = f.free
  from (
    select g.id, g.recipe, not g.held
           and (select x.id from need n join item x on x.id = n.needs_id
                 where n.item_id = g.id and x.status not in (4, 6, 7) order by n.needs_id desc limit 1) is null as free
      from unnest(%(ids)b::bigint[], %(recipes)b::text[], %(held)b::bool[]) as g(id, recipe, held)
  ) f
 where i.id = f.id and i.status in (0, 1) and (i.recipe is null or i.recipe <> all(%(known)b::text[]))

-- name: elsewhere
-- Items of the folder's other boards with these ids, the first of each board; and the items that are run in their
-- place, or in that of their parts.
with recursive met as (
  select distinct on (g.reference, i.board_id) g.reference, i.id
    from unnest(%(references)b::text[]) as g(reference)
    join item_source s on lower(s.ext_id) = g.reference and s.ext_id is not null and s.removed_at is null
    join item i on i.id = s.item_id
    join board b on b.id = i.board_id
   where b.folder = %(folder)s and b.id <> %(board)s and s.origin = 'board'
   order by g.reference, i.board_id, i.position, i.id
), below as (
  select id as top, id from met
  union
  select b.top, c.id from below b join item c on c.parent_id = b.id
)
select m.reference, m.id,
       array(select distinct k.item_id
               from below b join duplicate d on d.item_id = b.id join work_key k on k.fingerprint = d.fingerprint
              where b.top = m.id)
  from met m order by m.reference, m.id

-- name: named
select i.id, i.position, i.status, s.kind, s.ext_id, s.title, s.line, b.source, b.folder
  from item i join item_source s on s.item_id = i.id join board b on b.id = i.board_id
 where i.id = any(%(ids)b::bigint[])

-- name: edges_beyond
-- Of the boards that what is needed leads to and that lead back to this one.
with recursive ahead as (
  select distinct board_id as id from item where id = any(%(needed)b::bigint[])
  union
  select l.needs_board from ahead a join board_link l on l.item_board = a.id
), behind as (
  select %(board)s::bigint as id
  union
  select l.item_board from behind b join board_link l on l.needs_board = b.id
), between as materialized (
  select id from ahead join behind using (id) where id <> %(board)s
)
select n.item_id, n.needs_id from between b join item i on i.board_id = b.id join need n on n.item_id = i.id
union all
select i.parent_id, i.id from between b join item i on i.board_id = b.id where i.parent_id is not null

-- name: drop_wanted
delete from wanted where board_id = %(board)s

-- name: add_wanted
insert into wanted (board_id, folder, item_id, reference, needs_id)
select %(board)s, %(folder)s, w.item_id, w.reference, w.needs_id
  from unnest(%(items)b::bigint[], %(references)b::text[], %(needs)b::bigint[]) as w(item_id, reference, needs_id)

-- name: wake_who_wants
-- Boards whose ids of this board are others now: some are new here, some are gone.
with theirs as materialized (
  select board_id, item_id, reference from wanted where folder = %(folder)s and board_id <> %(board)s
   group by board_id, item_id, reference
), mine as (
  select distinct on (t.reference) t.reference, i.id
    from (select distinct reference from theirs) t
    join item_source s on lower(s.ext_id) = t.reference and s.ext_id is not null and s.removed_at is null
    join item i on i.id = s.item_id
   where i.board_id = %(board)s and s.origin = 'board'
   order by t.reference, i.position, i.id
), before as (
  select w.board_id, w.item_id, w.reference, w.needs_id from wanted w join item x on x.id = w.needs_id
   where x.board_id = %(board)s
), after as (
  select t.board_id, t.item_id, t.reference, m.id from theirs t join mine m using (reference)
)
insert into look_again (board_id)
select distinct board_id
  from ((select * from before except select * from after) union all (select * from after except select * from before)) d

-- name: new_links
select exists (
  select from (select distinct board_id as id from item where id = any(%(needed)b::bigint[])) n
   where not exists (select from board_link l where l.item_board = %(board)s and l.needs_board = n.id))

-- name: lock_links
select penstock_lock_links()

-- name: keep_links
with needed as materialized (
  select board_id as id, bool_or(id = any(%(cut)b::bigint[])) as ring
    from item where id = any(%(needed)b::bigint[]) group by board_id
), gone as (
  delete from board_link where item_board = %(board)s and needs_board not in (select id from needed)
)
insert into board_link (item_board, needs_board, ring)
select %(board)s, id, ring from needed
on conflict (item_board, needs_board) do update set ring = excluded.ring where board_link.ring <> excluded.ring

-- name: wake_rings
insert into look_again (board_id)
select distinct l.item_board from board_link l
 where l.ring and l.item_board <> %(board)s
   and exists (select from board_link o where %(board)s in (o.item_board, o.needs_board))

-- name: forget_unknown
-- What the parser could not find is on another board.
delete from finding where board_id = %(board)s and stage = 'parse' and code = 'unknown_dependency'
   and line = any(%(lines)b::int4[])

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

-- name: open_items
-- What is to be run or is being run on these boards, in their order, with what it stands under. The members of a council
-- have the same words by intent.
with recursive leaves as (
  select i.id, i.board_id, i.position, i.recipe, i.parent_id
    from item i
   where i.board_id = any(%(boards)b::bigint[]) and i.status in (0, 1, 2, 3) and i.recipe is not null
     and not exists (select from item c where c.parent_id = i.id)
     and not exists (select from council k where k.item_id = i.parent_id)
), up as (
  select l.id, l.parent_id, 0 as level, '' as title from leaves l
  union all
  select u.id, p.parent_id, u.level + 1, s.title
    from up u join item p on p.id = u.parent_id join item_source s on s.item_id = p.id
), above as (
  select id, string_agg(title, ' > ' order by level desc) filter (where level > 0) as titles from up group by id
)
select l.id, l.board_id, l.recipe, s.ext_id, s.title, s.body, s.line,
       concat_ws(' > ', nullif(s.labels ->> 'section', b.title), a.titles), b.source
  from leaves l join item_source s on s.item_id = l.id join board b on b.id = l.board_id join above a on a.id = l.id
 order by l.board_id, l.position, l.id

-- name: parent_of_split
-- The item to be split. Who changes it has locked it before (lock_items).
select i.board_id, i.position, i.priority, i.status, i.key, s.line, s.depth, s.title, s.body,
       coalesce((s.labels ->> 'split_level')::int, 0), exists (select from item c where c.parent_id = i.id),
       i.recipe, b.approve_plans, s.origin
  from item i join item_source s on s.item_id = i.id join board b on b.id = i.board_id
 where i.id = %(item)s and s.removed_at is null

-- name: same_titles
-- Items that stand on the board, and other parts of what the item is part of, which may be what a part of it would be:
-- the caller compares closely.
select s.title, s.line from item i join item_source s on s.item_id = i.id
 where i.board_id = %(board)s and i.id <> %(item)s and s.removed_at is null
   and (s.origin = 'board' or i.parent_id = (select parent_id from item where id = %(item)s))
   and lower(regexp_replace(btrim(s.title), '\s+', ' ', 'g')) = any(%(titles)b::text[])

-- name: open_parent
-- The plan was the item's answer until now; from now on its answer is what its parts come to.
with planned as (
  update result set superseded_at = now() where item_id = %(item)s and superseded_at is null
)
update item set status = 0, ready = false, recipe = null, lease = null where id = %(item)s

-- name: add_parts
-- A part that was there before is taken up again: anew, except that what a person rejected stays so, and with `keep`
-- what was done stays done where its words are the same.
with given as (
  select nextval(pg_get_serial_sequence('item', 'id')) as id, g.*
    from unnest(%(keys)b::uuid[], %(titles)b::text[], %(bodies)b::text[], %(hashes)b::text[], %(lines)b::int4[],
                %(labels)b::text[], %(lengths)b::int2[])
         with ordinality as g(key, title, body, content_hash, line, labels, length, number)
), before as materialized (
  select i.key, i.id, i.recipe,
         case when %(keep)s and i.status = 4 and s.content_hash = g.content_hash
                   and exists (select from result r where r.item_id = i.id and r.superseded_at is null) then 4
              when i.status = 6 and s.content_hash = g.content_hash
                   and exists (select from review v where v.item_id = i.id and v.decision = 'reject'
                                  and not v.details ? 'superseded') then 6
              else 0 end as status
    from given g join item i on i.board_id = %(board)s and i.key = g.key join item_source s on s.item_id = i.id
), kept as (
  insert into item (id, board_id, parent_id, key, position, priority, status, lane, deadline, length, model, named,
                    backend)
         overriding system value
  select g.id, %(board)s, %(item)s, g.key, %(position)s, %(priority)s, 0, p.lane, p.deadline, g.length, p.named, p.named,
         p.backend
    from given g cross join (select lane, deadline, named, backend from item where id = %(item)s) p order by g.number
  on conflict (board_id, key) do update
     set parent_id = excluded.parent_id, position = excluded.position, priority = excluded.priority,
         lane = excluded.lane, deadline = excluded.deadline, length = excluded.length, hurried = false,
         model = excluded.named, named = excluded.named, backend = excluded.backend,
         recipe = (select b.recipe from before b where b.key = excluded.key and b.status <> 0),
         attempts = 0, tried_before = item.tries, run_after = now(), ready = false, lease = null,
         status = coalesce((select b.status from before b where b.key = excluded.key), 0)
  returning id, key
), described as (
  insert into item_source (item_id, kind, title, body, line, depth, declared, labels, content_hash, origin)
  select k.id, %(kind)s, g.title, g.body, g.line, %(depth)s, 'todo', g.labels::jsonb, g.content_hash, 'split'
    from kept k join given g using (key)
  on conflict (item_id) do update
     set title = excluded.title, body = excluded.body, line = excluded.line, depth = excluded.depth,
         labels = excluded.labels, content_hash = excluded.content_hash, needs = '{}', removed_at = null
), unbound as (
  delete from need n using kept k
   where n.item_id = k.id and n.needs_id not in (select p.needs_id from need p where p.item_id = %(item)s)
), inherited as (
  insert into need (item_id, needs_id)
  select k.id, n.needs_id from kept k, need n where n.item_id = %(item)s
  on conflict do nothing
), forgotten as (
  update result r set superseded_at = now() from before b
   where r.item_id = b.id and r.superseded_at is null and b.status <> 4
)
select id, key from kept order by id

-- name: titles_above
-- Of what a part of this item is part of, from the top down; before them the heading that those stand under.
with recursive up as (
  select i.id, i.parent_id, s.title, s.labels, 0 as level
    from item i join item_source s on s.item_id = i.id where i.id = %(item)s
  union all
  select i.id, i.parent_id, s.title, s.labels, u.level + 1
    from up u join item i on i.id = u.parent_id join item_source s on s.item_id = i.id
)
select title from (
  select title, level from up
  union all
  select u.labels ->> 'section', u.level + 1
    from up u join item i on i.id = u.id join board b on b.id = i.board_id
   where u.parent_id is null
     and u.labels ->> 'section' not in (b.title, coalesce(u.labels ->> 'lane', ''))
) t order by level desc

-- name: give_recipe
update item set recipe = %(recipe)s where id = any(%(ids)b::bigint[]) and status = 0

-- name: mark
insert into look_again (board_id) values (%(board)s)

-- name: link_parts
-- Parts that need other parts. Kept with what is said of them, too: the board's needs are put in place anew at times.
with given as (
  select * from unnest(%(items)b::bigint[], %(needs)b::bigint[]) as g(item_id, needs_id)
), said as (
  update item_source s set needs = g.needs
    from (select item_id, array_agg('item:' || needs_id order by needs_id) as needs from given group by item_id) g
   where s.item_id = g.item_id
)
insert into need (item_id, needs_id) select item_id, needs_id from given on conflict do nothing

-- name: ready_parts
select count(*) from item where parent_id = %(item)s and ready

-- name: refuse_split
-- What would have been the split goes to a person, with the reason.
with moved as (
  update item set status = 3, ready = false, lease = null where id = %(item)s and status = 4 returning id
), undone as (
  update result r set superseded_at = now() from moved m where r.item_id = m.id and r.superseded_at is null
  returning r.item_id, r.text, r.data, r.citations, r.simulated
)
insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)
select 'item:' || u.item_id, 'plan', u.item_id, s.title, %(reason)s, %(error)s, coalesce(%(proposal)s, u.text),
       jsonb_build_object('data', coalesce(%(data)s::jsonb, u.data), 'citations', u.citations, 'simulated', u.simulated)
  from undone u join item_source s on s.item_id = u.item_id
on conflict (subject) where decided_at is null do update set reason = excluded.reason

-- name: hold_plans
-- Splits by structure that somebody must approve first. A retry asks a model, with the recipe that they get here.
with held as (
  update item i set status = 3, ready = false, recipe = %(recipe)s
    from unnest(%(ids)b::bigint[], %(proposals)b::text[], %(data)b::text[]) as g(id, proposal, data)
   where i.id = g.id and i.status in (0, 1)
  returning i.id, g.proposal, g.data
)
insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)
select 'item:' || h.id, 'plan', h.id, s.title, %(reason)s, 'plan', h.proposal, jsonb_build_object('data', h.data::jsonb)
  from held h join item_source s on s.item_id = h.id
on conflict (subject) where decided_at is null do nothing

-- name: call_it_a_plan
-- A model gave up on a split: what a person is asked is a plan.
update review set kind = 'plan', reason = coalesce(%(reason)s, reason),
       error_type = case when %(reason)s::text is null then error_type else 'plan' end,
       proposal = coalesce(%(proposal)s, proposal),
       details = case when %(data)s::text is null then details else details || jsonb_build_object('data', %(data)s::jsonb) end
 where item_id = %(item)s and decided_at is null

-- name: close_plan
update review set decision = 'superseded', note = %(note)s, decided_by = 'penstock', decided_at = now()
 where item_id = %(item)s and decided_at is null

-- name: advance
select penstock_advance(%(items)b::bigint[])

-- name: advance_board
select penstock_advance_board(%(board)s)
