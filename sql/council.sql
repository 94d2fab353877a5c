-- Councils: members as parts of an item, what they said, and what was decided. Owner: tasks/council.
-- status: models.enums.Status (0 pending, 1 ready, 4 done, 5 failed, 6 cancelled, 7 skipped).

-- name: without_members
select i.id, i.key from item i
 where i.id = any(%(items)b::bigint[]) and not exists (select from item c where c.parent_id = i.id) order by i.id

-- name: seat_members
-- One part for each member of each question. Who sat there before, until the question was reworded, is asked anew.
with given as materialized (
  select nextval(pg_get_serial_sequence('item', 'id')) as id, g.*
    from unnest(%(parents)b::bigint[], %(keys)b::uuid[], %(names)b::text[], %(recipes)b::text[], %(models)b::text[],
                %(labels)b::text[], %(bodies)b::text[], %(hashes)b::text[], %(lengths)b::int2[])
         with ordinality as g(parent_id, key, name, recipe, model, labels, body, content_hash, length, number)
), kept as (
  insert into item (id, board_id, parent_id, key, position, priority, status, ready, lane, hurried, deadline, length,
                    recipe, model, named, backend)
         overriding system value
  select g.id, p.board_id, p.id, g.key, p.position, p.priority, 1, true, p.lane, p.hurried, p.deadline, g.length,
         g.recipe, coalesce(g.model, p.named), coalesce(g.model, p.named), p.backend
    from given g join item p on p.id = g.parent_id order by g.number
  on conflict (board_id, key) do update
     set parent_id = excluded.parent_id, position = excluded.position, priority = excluded.priority, status = 1,
         ready = true, lane = excluded.lane, hurried = excluded.hurried, deadline = excluded.deadline,
         length = excluded.length, recipe = excluded.recipe, model = excluded.named, named = excluded.named,
         backend = excluded.backend, attempts = 0, tried_before = item.tries, run_after = now(), lease = null
  returning id, parent_id, key
), described as (
  insert into item_source (item_id, ext_id, kind, title, body, line, depth, declared, labels, content_hash, origin)
  select k.id, coalesce(s.ext_id || '/', '') || g.name, %(kind)s::text, s.title, g.body, s.line, s.depth + 1, 'todo',
         g.labels::jsonb, g.content_hash, 'split'
    from kept k join given g on g.parent_id = k.parent_id and g.key = k.key
    join item_source s on s.item_id = k.parent_id
  on conflict (item_id) do update
     set ext_id = excluded.ext_id, title = excluded.title, body = excluded.body, line = excluded.line,
         depth = excluded.depth, labels = excluded.labels, content_hash = excluded.content_hash, removed_at = null
), inherited as (
  insert into need (item_id, needs_id)
  select k.id, n.needs_id from kept k join need n on n.item_id = k.parent_id
  on conflict do nothing
)
update result r set superseded_at = now() from kept k where r.item_id = k.id and r.superseded_at is null

-- name: sit
-- The question waits for its members: a container, which nobody claims.
with sitting as (
  insert into council (item_id, recipe, quorum)
  select id, %(recipe)s::text, %(quorum)s::int2 from unnest(%(items)b::bigint[]) as q(id)
  on conflict (item_id) do update set recipe = excluded.recipe, quorum = excluded.quorum, asked_at = now()
)
update item set status = 0, ready = false, recipe = null, rolled_of = null, lease = null, tries = tries - 1
 where id = any(%(items)b::bigint[])

-- name: opinions
-- What the members of each said: the last accepted, or the last error.
select c.parent_id, c.id, coalesce(s.labels ->> 'member', s.title), c.status, r.id, r.text, r.data, r.citations,
       coalesce(r.simulated, false), coalesce(a.model, ''), coalesce(b.recipe_hash, ''), l.error
  from item c
  join item_source s on s.item_id = c.id
  left join result r on r.item_id = c.id and r.superseded_at is null
  left join attempt a on a.id = r.attempt_id
  left join batch b on b.id = a.batch_id
  left join lateral (
    select coalesce(t.error, t.error_type) as error from attempt t where t.item_id = c.id order by t.number desc limit 1) l
    on r.id is null
 where c.parent_id = any(%(items)b::bigint[]) and s.removed_at is null
 order by c.parent_id, c.id

-- name: keep
-- In the transaction that accepts them, or that asks a person. Calls, tokens and cost are those of the members, too.
insert into decision_record (
  item_id, attempt_id, result_id, review_id, question, decision, reasons, risks, risk, confidence, claimed, agreement,
  members, citations, recipe, recipe_hash, simulated, approved_by, calls, prompt_tokens, completion_tokens, cost, began_at)
select g.item_id, case when %(by)s::text is null then t.id end, r.id, case when r.id is null then v.id end, s.title, g.record ->> 'decision',
       g.record -> 'reasons', g.record -> 'risks', g.record ->> 'risk', (g.record ->> 'confidence')::real,
       (g.record ->> 'claimed')::real, (g.record ->> 'agreement')::real, g.record -> 'members',
       g.record -> 'citations', %(recipe)s::text, %(recipe_hash)s::text, (g.record ->> 'simulated')::bool, %(by)s::text,
       u.calls, u.prompt_tokens, u.completion_tokens, u.cost, u.began_at
  from (select item_id, record::jsonb from unnest(%(items)b::bigint[], %(records)b::text[]) as q(item_id, record)) g
  join item_source s on s.item_id = g.item_id
  left join result r on r.item_id = g.item_id and r.superseded_at is null
  left join review v on v.item_id = g.item_id and v.decided_at is null
  left join lateral (select id from attempt where item_id = g.item_id order by number desc limit 1) t on true
 cross join lateral (
   select count(*) filter (where not a.cached) as calls,
          coalesce(sum(a.prompt_tokens) filter (where not a.cached), 0) as prompt_tokens,
          coalesce(sum(a.completion_tokens) filter (where not a.cached), 0) as completion_tokens, sum(a.cost) as cost,
          min(a.finished_at - a.seconds * interval '1 second') as began_at
     from attempt a
    where a.item_id = g.item_id or a.item_id in (select id from item where parent_id = g.item_id)) u

-- name: approve
-- A person took the proposal, or wrote another in its place.
update decision_record d
   set result_id = r.id, approved_by = %(by)s::text, edited = %(edited)s::bool, decision = coalesce(%(decision)s::text, d.decision),
       reasons = coalesce(%(reasons)s::jsonb, d.reasons), risks = coalesce(%(risks)s::jsonb, d.risks)
  from result r
 where d.review_id = %(review)s::bigint and r.item_id = d.item_id and r.superseded_at is null
returning d.id

-- name: of_item
-- The recipe of an item that asks a council, with the hash that its last synthesis had.
select k.recipe,
       coalesce((select b.recipe_hash from attempt a join batch b on b.id = a.batch_id
                  where a.item_id = k.item_id order by a.number desc limit 1), '')
  from council k where k.item_id = %(item)s::bigint

-- name: ask_missing_again
update item set status = 0, ready = false, attempts = 0, tried_before = tries, model = named, run_after = now()
 where parent_id = %(item)s::bigint and status = 5 and exists (select from council k where k.item_id = %(item)s::bigint)

-- name: records
-- Decisions, the latest first. What became of a proposal is what became of its review.
select d.id, d.item_id, b.source, s.line, s.ext_id, d.question, d.decision, d.reasons, d.risks, d.risk, d.confidence,
       d.claimed, d.agreement, d.members, d.citations, d.recipe, d.recipe_hash, d.calls, d.prompt_tokens,
       d.completion_tokens, d.cost, d.began_at, d.created_at, d.approved_by, d.edited, d.simulated, e.status,
       case when v.decided_at is null then v.id end as review, coalesce(r.accepted_at, v.decided_at) as decided_at
  from decision_record d
  join item i on i.id = d.item_id
  join item_source s on s.item_id = d.item_id
  join board b on b.id = i.board_id
  left join result r on r.id = d.result_id
  left join review v on v.id = d.review_id
 cross join lateral (
   select case when d.result_id is not null then case when r.superseded_at is null then 'accepted' else 'superseded' end
               when v.decision is null and v.id is not null then 'proposed'
               when v.decision = 'reject' then 'rejected' else 'superseded' end as status) e
 where (%(record)s::bigint is null or d.id = %(record)s::bigint)
   and (%(item)s::bigint is null or d.item_id = %(item)s::bigint)
   and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (not %(standing)s::bool or e.status in ('accepted', 'proposed'))
 order by d.id desc limit %(limit)s::bigint
