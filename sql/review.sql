-- What waits for a person, and what the person said. Owner: tasks/review.

-- name: open_reviews
select r.id, r.kind, r.title, r.reason, r.error_type, r.proposal, r.patch_path, r.opened_at, r.item_id,
       b.source, s.line, s.ext_id, s.kind as item_kind, i.recipe, i.attempts
  from review r
  left join item i on i.id = r.item_id
  left join item_source s on s.item_id = r.item_id
  left join board b on b.id = i.board_id
 where r.decided_at is null
   and (%(boards)b::bigint[] is null or i.board_id = any(%(boards)b::bigint[]))
   and (%(error_type)s::text is null or r.error_type = %(error_type)s)
   and (%(kind)s::text is null or r.kind = %(kind)s)
 order by r.opened_at, r.id

-- name: one_review
select r.id, r.kind, r.title, r.reason, r.error_type, r.proposal, r.patch_path, r.opened_at, r.item_id,
       b.source, s.line, s.ext_id, s.kind as item_kind, i.recipe, i.attempts,
       r.details, r.decision, r.text, r.note, r.decided_by, r.decided_at, s.body
  from review r
  left join item i on i.id = r.item_id
  left join item_source s on s.item_id = r.item_id
  left join board b on b.id = i.board_id
 where r.id = %(review)s

-- name: history
-- Each try, with where its answer is from and what was done to its prompt.
select a.number, a.model, a.outcome, a.error_type, a.error, a.answer, a.seconds, a.simulated, a.finished_at,
       b.backend || ' ' || b.endpoint, b.recipe, a.tried, a.prompt_tokens, a.completion_tokens,
       case when a.cached then (select c ->> 'message' from jsonb_array_elements(a.checks) c
                                 where c ->> 'check' in ('cached', 'shared') limit 1) end,
       array(select c ->> 'message' from jsonb_array_elements(
               case when jsonb_typeof(a.checks) = 'array' then a.checks else '[]' end) c where c ->> 'layer' = 'prompt')
  from attempt a join batch b on b.id = a.batch_id where a.item_id = %(item)s order by a.number

-- name: hold_item
-- The item before its review, as an ingest locks them: two that wait for each other would both fail.
select i.id from review r join item i on i.id = r.item_id
 where r.id = %(review)s and r.decided_at is null
   for no key update of i

-- name: hold_strike
-- What is counted towards a strike, before its pause and its review, as tasks/execute/strikes.py locks them.
select s.recipe from streak s join review r
    on s.model = r.details ->> 'model' and s.recipe = coalesce(r.details ->> 'recipe', s.recipe)
 where r.id = %(review)s and r.kind = 'strike' and r.decided_at is null
 order by s.recipe for no key update of s

-- name: ready_again
-- Items that a struck recipe or model may take again; those of no model may be asked of any.
select count(*) from item
 where ready and (%(recipe)s::text is null or recipe = %(recipe)s) and coalesce(model, %(model)s) = %(model)s

-- name: decide
-- One decision per review: the second of two at the same time finds no open row.
update review set decision = %(decision)s, text = %(text)s, note = %(note)s, decided_by = %(by)s, decided_at = now()
 where id = %(review)s and decided_at is null
returning item_id, kind, proposal, details, title

-- name: accept_item
-- The accepted text becomes the result. Only a waiting item moves.
with moved as (
  update item set status = 4, ready = false where id = %(item)s and status = 3 returning id
)
insert into result (item_id, text, data, citations, accepted_by, simulated)
select id, %(text)s, %(data)s::jsonb, %(citations)s::jsonb, 'person', %(simulated)s from moved
returning item_id

-- name: retry_item
-- Fresh attempts: what was charged before the decision no longer counts. Ready only when what it needs is settled:
-- its board may have got new needs while it waited.
update item set status = 0, ready = false, attempts = 0, tried_before = tries, model = named, run_after = now()
 where id = %(item)s and status = 3 and recipe is not null
returning board_id

-- name: release
select penstock_advance_board(%(board)s)

-- name: recheck_rollup
-- The frontier is held already.
select penstock_advance_board(board_id) from item i
 where id = %(item)s and (recipe = 'rollup' or exists (select from council k where k.item_id = i.id))
   and (rolled_of is distinct from penstock_parts(id)
        or exists (select from item c where c.parent_id = i.id and c.status not in (4, 5, 6, 7)))

-- name: do_whole
update item set status = 0, ready = false, recipe = %(recipe)s, attempts = 0, tried_before = tries, model = named,
       run_after = now()
 where id = %(item)s and status = 3 returning board_id

-- name: reject_item
-- Without its synthesis an item is still what its parts are: done.
update item set status = case recipe when 'rollup' then 4 else 6 end, ready = false
 where id = %(item)s and status = 3 returning id

-- name: release_work
-- What a person rejected is not being done: another item that was refused for it may do it.
select penstock_release_work(array[%(item)s::bigint])

