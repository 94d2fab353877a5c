-- What Penstock knows: nodes with text, embedding, provenance and validity. Owner: tasks/remember.
-- Nodes are superseded by id, never deleted. `indexed` says which of the two vector searches sees a node.

-- name: lock_board
select remembered_sha256, source from board where id = %(board)s::bigint for no key update

-- name: board_nodes
select id, content_hash, encoder, cite, line_start, line_end from node
 where board_id = %(board)s::bigint and superseded_at is null and kind <> 'answer'
 order by line_start, id

-- name: supersede
update node set superseded_at = now() where id = any(%(ids)b::bigint[]) and superseded_at is null

-- name: move
-- The text stands elsewhere now, unchanged: its provenance must stay true.
update node n set line_start = m.line_start, line_end = m.line_end, cite = m.cite
  from unnest(%(ids)b::bigint[], %(starts)b::int4[], %(ends)b::int4[], %(cites)b::text[])
       as m(id, line_start, line_end, cite)
 where n.id = m.id

-- name: move_answers
update node n set line_start = s.line, line_end = s.line
  from result r join item_source s on s.item_id = r.item_id
 where n.board_id = %(board)s::bigint and n.superseded_at is null and r.id = n.result_id
   and n.line_start is distinct from s.line

-- name: remembered_board
update board set remembered_sha256 = %(sha256)s where id = %(board)s::bigint

-- name: insert
insert into node (kind, source, cite, heading, text, embedding, encoder, board_id, result_id, line_start, line_end,
                  content_hash)
select v.kind, v.source, v.cite, v.heading, v.text, v.embedding, %(encoder)s, v.board_id, v.result_id,
       v.line_start, v.line_end, v.content_hash
  from unnest(%(kinds)b::text[], %(sources)b::text[], %(cites)b::text[], %(headings)b::text[], %(texts)b::text[],
              %(embeddings)b::halfvec[], %(boards)b::bigint[], %(results)b::bigint[], %(starts)b::int4[],
              %(ends)b::int4[], %(hashes)b::text[])
       as v(kind, source, cite, heading, text, embedding, board_id, result_id, line_start, line_end, content_hash)

-- name: to_remember
-- `opinion`: what one member of a council says. The others must not read it, and it is no decision.
select r.id, r.item_id, r.text, i.board_id, s.line, s.title,
       exists (select from council k where k.item_id = i.parent_id) as opinion
  from result r join item i on i.id = r.item_id join item_source s on s.item_id = r.item_id
 where not r.remembered and not r.simulated and r.superseded_at is null
 order by r.id limit %(limit)s::bigint
   for update of r skip locked

-- name: remembered_results
update result set remembered = true where id = any(%(results)b::bigint[])

-- name: forget_results
-- Answers that were accepted once and no longer stand leave memory.
with gone as (
  update result set remembered = false where remembered and superseded_at is not null returning id
)
update node set superseded_at = now() from gone where node.result_id = gone.id and node.superseded_at is null

-- name: unindexed
select count(*) from node where not indexed and superseded_at is null

-- name: index_some
update node set indexed = true
 where id in (select id from node where not indexed and superseded_at is null
               order by id limit %(limit)s::bigint for update skip locked)

-- name: any
select exists (select 1 from node where superseded_at is null)

-- name: together
-- The boards that were in a run together with each of these.
select given.board, coalesce(array_agg(distinct other) filter (where other is not null), '{}')
  from unnest(%(boards)b::bigint[]) as given(board)
  left join run on run.board_ids @> array[given.board]
  left join lateral unnest(run.board_ids) as other on true
 group by given.board

-- name: recall
-- Hybrid search for many questions at once: vectors (recent nodes exactly, the rest by HNSW) and words, fused by
-- reciprocal rank (1 / (60 + rank) each: Cormack, Clarke, Buettcher, SIGIR 2009).
-- A question may exclude lines of a board and a source: what asks is no evidence for itself. What an item asks is
-- not answered from plans at all: another line of a to-do list is a claim, not evidence.
-- `exact`: the person's own quotes and minus signs count (websearch syntax), and nothing else is offered.
-- Words: nodes with all of them first (unless there are more than `most_words`: a long question); where these are few, nodes with some, by the summed rarity of those they
-- have. Very common words are left out and each word counts `cap` nodes at most: ranking all nodes that have "and"
-- takes a hundred times longer than all the rest.
-- set_config is in the question, so that it is done before the first vector is compared; it ends with the transaction.
with question as materialized (
  select q.*, set_config('hnsw.iterative_scan', 'relaxed_order', true),
         case when q.exact then websearch_to_tsquery('russian', q.words)
              when numnode(plainto_tsquery('russian', q.words)) < 2 * %(most_words)s::int
              then plainto_tsquery('russian', q.words) end as every_word
    from unnest(%(words)b::text[], %(vectors)b::halfvec[], %(exact)b::bool[], %(sources)b::text[],
                %(boards)b::bigint[], %(starts)b::int4[], %(ends)b::int4[]) with ordinality
         as q(words, vector, exact, own_source, own_board, own_start, own_end, number)
), frequent as materialized (
  select e.lexeme, e.frequency * greatest(c.reltuples, 0) as nodes from pg_stats s
   cross join lateral unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) as e(lexeme, frequency)
   cross join pg_class c
   where c.oid = 'node'::regclass and s.schemaname = c.relnamespace::regnamespace::text
     and s.tablename = 'node' and s.attname = 'tsv' and e.lexeme is not null
)
select q.number::int, n.id, n.kind, n.source, n.cite, n.heading, n.text, n.line_start, n.line_end, n.valid_from,
       b.source as board_source, found.similarity, found.near_rank::int, found.word_rank::int, found.score
  from question q
 cross join lateral (
  with near as (
    select both_tiers.id, 1 - both_tiers.distance as similarity,
           row_number() over (order by both_tiers.distance, both_tiers.id) as rank
      from (
        (select n.id, n.embedding <=> q.vector as distance from node n
          where not n.indexed and n.superseded_at is null and n.encoder = %(encoder)s and not q.exact
            and (%(only_boards)b::bigint[] is null or n.board_id = any(%(only_boards)b::bigint[]))
            and (q.own_board is null or n.board_id is distinct from q.own_board
                 or n.line_end < q.own_start or n.line_start > q.own_end)
            and n.source is distinct from q.own_source
            and (q.own_source is null or n.kind <> 'plan')
          order by n.embedding <=> q.vector limit %(candidates)s::int)
        union all
        (select n.id, n.embedding <=> q.vector from node n
          where n.indexed and n.superseded_at is null and n.encoder = %(encoder)s and not q.exact
            and (%(only_boards)b::bigint[] is null or n.board_id = any(%(only_boards)b::bigint[]))
            and (q.own_board is null or n.board_id is distinct from q.own_board
                 or n.line_end < q.own_start or n.line_start > q.own_end)
            and n.source is distinct from q.own_source
            and (q.own_source is null or n.kind <> 'plan')
          order by n.embedding <=> q.vector limit %(candidates)s::int)
      ) both_tiers
     where both_tiers.distance <= 1 - %(least_similarity)s::float8
     order by rank limit %(candidates)s::int
  ), complete as materialized (
    select matches.id, ts_rank_cd(matches.tsv, q.every_word) as weight
      from (select n.id, n.tsv from node n
             where n.tsv @@ q.every_word and n.superseded_at is null
               and (%(only_boards)b::bigint[] is null or n.board_id = any(%(only_boards)b::bigint[]))
               and (q.own_board is null or n.board_id is distinct from q.own_board
                    or n.line_end < q.own_start or n.line_start > q.own_end)
               and n.source is distinct from q.own_source
               and (q.own_source is null or n.kind <> 'plan')
             limit %(cap)s::int) matches
     order by weight desc, id limit %(candidates)s::int
  ), word as materialized (
    select ('''' || replace(replace(w.lexeme, '\', '\\'), '''', '''''') || '''')::tsquery as query, w.lexeme
      from unnest(to_tsvector('russian', q.words)) w left join frequent on frequent.lexeme = w.lexeme
     where not q.exact and (select count(*) from complete) < %(enough)s::int
       and coalesce(frequent.nodes, 0) <= %(cap)s::int
     order by coalesce(frequent.nodes, 0), length(w.lexeme) desc, w.lexeme limit %(most_words)s::int
  ), partial as (
    select weighted.id, sum(weighted.weight) as weight
      from (select hit.id, ln(1 + greatest((select reltuples from pg_class where oid = 'node'::regclass), %(cap)s::int)
                                / count(*) over (partition by word.lexeme)) as weight
              from word cross join lateral (
                select n.id from node n
                 where n.tsv @@ word.query and n.superseded_at is null
                   and (%(only_boards)b::bigint[] is null or n.board_id = any(%(only_boards)b::bigint[]))
                   and (q.own_board is null or n.board_id is distinct from q.own_board
                        or n.line_end < q.own_start or n.line_start > q.own_end)
                   and n.source is distinct from q.own_source
                   and (q.own_source is null or n.kind <> 'plan')
                 limit %(cap)s::int) hit
           ) weighted
     group by weighted.id order by weight desc, id limit %(candidates)s::int
  ), worded as (
    select tiers.id, row_number() over (order by tiers.tier, tiers.weight desc, tiers.id) as rank
      from (select id, 0 as tier, weight from complete
             union all
            select id, 1, weight from partial where id not in (select id from complete)) tiers
     order by rank limit %(candidates)s::int
  )
  select coalesce(near.id, worded.id) as id, near.similarity, near.rank as near_rank, worded.rank as word_rank,
         (coalesce(1.0 / (60 + near.rank), 0) + coalesce(1.0 / (60 + worded.rank), 0))::float8
         * case when m.kind = 'plan' then %(plan_weight)s::float8 else 1 end as score
    from near full join worded on worded.id = near.id
    join node m on m.id = coalesce(near.id, worded.id)
    left join result r on r.id = m.result_id
   where r.superseded_at is null
   order by score desc, id limit %(limit)s::int
 ) found
  join node n on n.id = found.id
  left join board b on b.id = n.board_id
 order by q.number, found.score desc, found.id
