-- What the checks said, and stored results checked again. Owner: tasks/validate (explain, pages, rerun, statistics).
-- The one transition of an item that is here, done to waiting, belongs to tasks/validate/rerun.py.

-- name: recipes_of_results
-- The recipes that have something to check again.
select distinct recipe from item
 where status in (3, 4) and recipe is not null
   and (%(boards)b::bigint[] is null or board_id = any(%(boards)b::bigint[]))
 order by 1

-- name: results
-- One page of what machines accepted. What a person accepted is a person's word.
select r.id, i.id, i.board_id, b.source, s.line, s.title, s.body, r.text, r.data, r.citations, r.simulated, r.accepted_at,
       coalesce(a.model, ''), a.answer, a.prompt_tokens, a.completion_tokens, coalesce(a.seconds, 0), null::bigint, false
  from result r
  join item i on i.id = r.item_id
  join item_source s on s.item_id = i.id
  join board b on b.id = i.board_id
  left join attempt a on a.id = r.attempt_id
 where r.superseded_at is null and r.accepted_by = 'checks' and i.status = 4 and i.recipe = %(recipe)s::text
   and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and r.id > %(after)s::bigint
 order by r.id limit %(limit)s::bigint

-- name: waiting
-- The last answers of items that wait for a person because of the checks: they may pass today.
select v.id, i.id, i.board_id, b.source, s.line, s.title, s.body, coalesce(v.proposal, ''), v.details -> 'data',
       v.details -> 'citations', a.simulated, a.finished_at, a.model, a.answer, a.prompt_tokens, a.completion_tokens,
       a.seconds, v.id,
       exists (select from jsonb_to_recordset(case when jsonb_typeof(a.checks) = 'array' then a.checks else '[]' end)
                        as c(layer text, error_type text) where c.layer = 'judge' and c.error_type is not null)
  from review v
  join item i on i.id = v.item_id
  join item_source s on s.item_id = i.id
  join board b on b.id = i.board_id
  join lateral (select * from attempt l where l.item_id = i.id order by l.number desc limit 1) a on true
 where v.decided_at is null and v.kind = 'item' and i.status = 3 and i.recipe = %(recipe)s::text
   and v.error_type = any(%(types)b::text[]) and a.answer is not null
   and (a.outcome = 'deferred' or v.details ? 'rerun')
   and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and v.id > %(after)s::bigint
 order by v.id limit %(limit)s::bigint

-- name: cited
-- The passages that answers cite, as they were then. Of an answer the whole: a synthesis quotes from it before it is
-- remembered, and a long one is several nodes.
with asked as (
  select * from unnest(%(keys)b::bigint[], %(cites)b::text[], %(times)b::timestamptz[]) as q(key, cite, at)
), found as (
  select a.key, a.cite, n.text, n.valid_from <= a.at as known, 0 as whole, n.id
    from asked a join node n on n.cite = a.cite
  union all
  select a.key, a.cite, r.text, r.accepted_at <= a.at, 1, r.id
    from asked a join result r on r.item_id = substring(a.cite from '^item:([0-9]{1,18})$')::bigint
)
select distinct on (key, cite) key, cite, text from found order by key, cite, known desc, whole desc, id desc

-- name: hold
-- Before they move, in the order of ids, as everybody locks them.
select id from item where id = any(%(items)b::bigint[]) and status = 4 order by id for no key update

-- name: reopen
-- Results that no longer pass are superseded and their items wait for a person. Only where that result still stands, by
-- the checks' word: what changed since it was looked at stays as it is.
with failing as (
  select * from unnest(%(results)b::bigint[], %(reasons)b::text[], %(error_types)b::text[], %(checks)b::text[],
                       %(recipe_hashes)b::text[])
             as f(result_id, reason, error_type, checks, recipe_hash)
), moved as (
  update item set status = 3, ready = false
    from failing f join result r on r.id = f.result_id
   where item.id = r.item_id and item.status = 4 and r.superseded_at is null and r.accepted_by = 'checks'
  returning item.id as item_id, item.board_id, f.*, r.text, r.data, r.citations, r.simulated
), undone as (
  update result set superseded_at = now() from moved m where result.id = m.result_id
), asked as (
  insert into review (subject, kind, item_id, title, reason, error_type, proposal, details)
  select 'item:' || m.item_id, 'item', m.item_id, s.title, m.reason, m.error_type, m.text,
         jsonb_build_object('checks', m.checks::jsonb, 'citations', m.citations, 'data', m.data,
                            'simulated', m.simulated, 'rerun', jsonb_build_object('result', m.result_id,
                            'recipe_hash', m.recipe_hash))
    from moved m join item_source s on s.item_id = m.item_id
  on conflict (subject) where decided_at is null do update
     set reason = excluded.reason, error_type = excluded.error_type, proposal = excluded.proposal,
         details = excluded.details, opened_at = now()
)
select result_id, item_id, board_id from moved

-- name: lock_frontiers
select penstock_lock_frontiers(%(boards)b::bigint[])

-- name: follow
-- What contains those items is open again, what needs them and has not begun waits again.
select coalesce(sum(penstock_advance_board(b.id)), 0)::int
  from (select distinct id from unnest(%(boards)b::bigint[]) as b(id) order by 1) b

-- name: tries
select a.id, a.number, a.finished_at, b.recipe, b.recipe_hash, b.backend, coalesce(nullif(a.model, ''), b.model),
       a.simulated, a.outcome, a.error_type, a.error, a.answer, a.checks, a.seconds, b.id, b.size
  from attempt a join batch b on b.id = a.batch_id
 where a.item_id = %(item)s::bigint order by a.number

-- name: results_of_item
select id, attempt_id, accepted_by, accepted_at, superseded_at from result where item_id = %(item)s::bigint order by id

-- name: reviews_of_item
select id, reason, error_type, opened_at, decision, decided_by, decided_at, details -> 'checks', details -> 'rerun'
  from review where item_id = %(item)s::bigint order by id

-- name: checked
-- How many answers were checked, per day, recipe and model, and how many of them failed something. An answer that the
-- backend itself refused to give out is one of them where the item was charged for it.
select (a.finished_at at time zone %(zone)s::text)::date as day, b.recipe, coalesce(nullif(a.model, ''), b.model),
       count(*),
       count(*) filter (where a.error_type = any(%(charged)b::text[])), bool_or(a.simulated)
  from attempt a join batch b on b.id = a.batch_id
 where (a.error_type is null and a.answer is not null or a.error_type = any(%(charged)b::text[])
        or a.error_type in ('human_only', 'council'))
   and a.finished_at >= now() - %(days)s::int * interval '1 day'
   and (%(recipe)s::text is null or b.recipe = %(recipe)s::text)
   and (%(boards)b::bigint[] is null
        or exists (select from item i where i.id = a.item_id and i.board_id = any(%(boards)b::bigint[])))
 group by 1, 2, 3 order by 1, 2, 3

-- name: failures
-- The same per rule: each failed check of an attempt once. Without a list of checks it is what the call itself said.
select (a.finished_at at time zone %(zone)s::text)::date as day, b.recipe, coalesce(nullif(a.model, ''), b.model),
       coalesce(c.layer, 'call'), coalesce(c."check", a.error_type), coalesce(c.error_type, a.error_type),
       count(distinct a.id), count(distinct a.item_id), max(coalesce(c.message, a.error, ''))
  from attempt a
  join batch b on b.id = a.batch_id
  left join lateral jsonb_to_recordset(case when jsonb_typeof(a.checks) = 'array' then a.checks else '[]' end)
       as c(layer text, "check" text, error_type text, message text) on c.error_type is not null
 where a.error_type = any(%(charged)b::text[])
   and a.finished_at >= now() - %(days)s::int * interval '1 day'
   and (%(recipe)s::text is null or b.recipe = %(recipe)s::text)
   and (%(boards)b::bigint[] is null
        or exists (select from item i where i.id = a.item_id and i.board_id = any(%(boards)b::bigint[])))
 group by 1, 2, 3, 4, 5, 6 order by 1, 2, 3, 4, 5, 6

-- name: batches
-- The latest batches that were checked, with Great Expectations' result.
select b.id, b.started_at, b.recipe, b.recipe_hash, b.backend, b.model, b.size, b.accepted, b.retried, b.deferred,
       b.returned, b.validation
  from batch b
 where b.validation is not null and b.finished_at is not null
   and (%(boards)b::bigint[] is null or exists (
         select from attempt a join item i on i.id = a.item_id
          where a.batch_id = b.id and i.board_id = any(%(boards)b::bigint[])))
 order by b.id desc limit %(limit)s::bigint

-- name: count_batches
select count(*) from batch b
 where b.validation is not null and b.finished_at is not null
   and (%(boards)b::bigint[] is null or exists (
         select from attempt a join item i on i.id = a.item_id
          where a.batch_id = b.id and i.board_id = any(%(boards)b::bigint[])))

-- name: unexpected
-- The first rows of each of these batches that failed, by item id, and how many there are in all.
select f.batch_id, f.failed, f.item_id, src.source, s.line, s.title, f.outcome, f.error_type, f.error, f.checks
  from (
    select a.batch_id, a.item_id, i.board_id, a.outcome, a.error_type, a.error, a.checks,
           count(*) over (partition by a.batch_id) as failed,
           row_number() over (partition by a.batch_id order by a.item_id, a.number) as place
      from attempt a join item i on i.id = a.item_id
     where a.batch_id = any(%(batches)b::bigint[]) and a.error_type = any(%(charged)b::text[])
       and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
  ) f
  join item_source s on s.item_id = f.item_id
  join board src on src.id = f.board_id
 where f.place <= %(most)s::bigint
 order by f.batch_id desc, f.place

-- name: board_tables
-- What the checks of boards' own tables said when they were read.
select id, source, ingested_at, validation from board
 where validation is not null and sha256 <> '' and (%(boards)b::bigint[] is null or id = any(%(boards)b::bigint[]))
 order by id
