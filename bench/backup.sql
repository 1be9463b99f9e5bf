-- What bench/backup measures without load: one backup, and ms of each of its
-- phases.  "how" is the arguments of freeze_backup_begin; without it the
-- server's own two functions.

SELECT clock_timestamp() AS t0 \gset
\if :{?how}
	SELECT freeze_backup_begin('phases', :how) AS id \gset
	SELECT clock_timestamp() AS t1 \gset
	SELECT clock_timestamp() AS t2 \gset
	SELECT concat_ws(' ', state, held, lost_reason) AS verdict FROM freeze_backup_end(:id) \gset
	SELECT clock_timestamp() AS t3 \gset
	CREATE TEMP VIEW moments AS
		SELECT ARRAY[:'t0', b.begun_at, coalesce(j.requested_at, :'t1'), coalesce(j.engaged_at, :'t1'),
			coalesce(j.frozen_at, :'t1'), :'t1', :'t2', b.ended_at, coalesce(j.thawed_at, b.ended_at), :'t3'] AS t
		FROM freeze_backup b LEFT JOIN freeze_journal j ON j.backup = b.id
		WHERE b.id = :id;
\else
	\set verdict 'complete t'
	SELECT FROM pg_backup_start('phases', fast => true) \g /dev/null
	SELECT clock_timestamp() AS t1 \gset
	SELECT clock_timestamp() AS t2 \gset
	SELECT FROM pg_backup_stop() \g /dev/null
	SELECT clock_timestamp() AS t3 \gset
	CREATE TEMP VIEW moments AS
		SELECT ARRAY[:'t0', :'t0', :'t1', :'t1', :'t1', :'t1', :'t2', :'t3', :'t3', :'t3']::timestamptz[] AS t;
\endif
SELECT :'verdict';
-- total of begin, its phases, total of end, its phases
SELECT string_agg(round(extract(epoch FROM t[later] - t[sooner]) * 1000, 1)::text, ' ' ORDER BY n)
FROM moments, unnest(ARRAY[6, 2, 3, 4, 5, 6, 10, 8, 9, 10], ARRAY[1, 1, 2, 3, 4, 5, 7, 7, 8, 9]) WITH ORDINALITY AS v (later, sooner, n);
