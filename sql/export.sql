-- What became of each input row of boards. Reads only. Owner: tasks/export.

-- name: items
-- The items of these boards that stand on them, in their order; with `parts` also those that were made of an item, after
-- it.
select i.id
  from item i join item_source s on s.item_id = i.id
 where i.board_id = any(%(boards)b::bigint[]) and s.removed_at is null
   and (s.origin = 'board' or %(parts)s::bool and s.origin = 'split')
 order by array_position(%(boards)b::bigint[], i.board_id), i.position, s.origin = 'split', s.depth, i.id

-- name: rows
-- One row per item, in the order given, whatever became of it. What is known of it is looked up by it, so that nothing
-- multiplies a row or drops it.
select b.source, s.line, s.ext_id, i.id, i.parent_id, s.kind, s.title, s.declared, i.status, r.text, r.data, r.citations,
       r.accepted_by, r.accepted_at, coalesce(r.simulated, t.simulated), i.recipe, coalesce(ra.model, t.model),
       coalesce(a.tries, 0), coalesce(a.prompt_tokens, case when a.tries is null then 0 end),
       coalesce(a.completion_tokens, case when a.tries is null then 0 end),
       coalesce(a.cost, case when a.tries is null then 0 end),
       case when i.status not in (4, 6, 7) then coalesce(v.error_type, t.error_type) end, v.id, v.reason
  from unnest(%(ids)b::bigint[]) with ordinality as g(id, number)
  join item i on i.id = g.id
  join item_source s on s.item_id = i.id
  join board b on b.id = i.board_id
  left join lateral (select * from result l where l.item_id = i.id and l.superseded_at is null limit 1) r on true
  left join attempt ra on ra.id = r.attempt_id
  left join lateral (select l.model, l.error_type, l.simulated from attempt l
                      where l.item_id = i.id order by l.number desc limit 1) t on true
  left join lateral (
    select nullif(count(*), 0)::int as tries,
           case when not bool_or(l.answer is not null and l.prompt_tokens is null)
                then coalesce(sum(l.prompt_tokens), 0) end::bigint as prompt_tokens,
           case when not bool_or(l.answer is not null and l.completion_tokens is null)
                then coalesce(sum(l.completion_tokens), 0) end::bigint as completion_tokens,
           case when not bool_or(l.answer is not null and l.cost is null) then coalesce(sum(l.cost), 0) end as cost
      from attempt l where l.item_id = i.id) a on true
  left join lateral (select l.id, l.reason, l.error_type from review l
                      where l.item_id = i.id and l.decided_at is null order by l.id limit 1) v on true
 order by g.number
