# Probes for strategy gate only: what revoke and lock don't look at, because
# they know objects and not transactions.  See Probes.pm.
package WritePaths;

use strict;
use warnings FATAL => 'all';

use Time::HiRes qw(time);

our ($node, $o, $host, $port, $version, %probe, $superuser, %not_here, $listener);
my $insert = 'INSERT INTO w.t2 VALUES (1)';
my $temp = 'CREATE TEMP TABLE tt (a int PRIMARY KEY, b text)';
my $long = "SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) g";

# Once, after the fixture.
sub server_for_gate
{
	$node->safe_psql('postgres', <<~E);
		CREATE EXTENSION pg_surgery SCHEMA ext;
		CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'elsewhere');
		E
	$node->safe_psql('elsewhere', 'GRANT USAGE ON SCHEMA w TO keeper; GRANT SELECT, INSERT ON w.other TO keeper');
	return;
}

# Rows that nobody wrote but the transaction of the probe.
sub elsewhere { return $node->safe_psql('elsewhere', 'SELECT count(*) FROM w.other') }

# Transactions that were committed since the first look.
sub committed
{
	my ($c) = @_;
	$c->{xid} ||= $o->value('SELECT pg_snapshot_xmax(pg_current_snapshot())');
	return $o->value("SELECT count(*) FROM generate_series($c->{xid}, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1) x"
		. " WHERE pg_xact_status(x::text::xid8) = 'committed'");
}

sub emitted
{
	$o->value('SELECT pg_switch_wal()');
	return $o->value("SELECT count(*) FROM pg_logical_slot_peek_changes('look', NULL, NULL) WHERE data LIKE '%prefix: path%'");
}

# Somebody listens.
sub listened
{
	my (%how) = @_;
	my $before = $how{before};
	return (%how, listens => 1,
		before => sub {
			my ($c) = @_;
			$c->{ear} = session($listener);
			$c->{ear}->value('LISTEN path');
			my $error = $before && steps($c, $before);
			die $error->{M} if $error;
		},
		look => sub { $_[0]{ear}->value('SELECT 1'); return scalar @{ $_[0]{ear}{notified} || [] } });
}

# autovacuum of this database has had its turn when others have come around; a
# worker's commits are the only ones in "elsewhere".
sub autovacuum_comes_by
{
	my ($done) = @_;
	my $commits = "SELECT xact_commit FROM pg_stat_database WHERE datname = 'elsewhere'";
	my ($last, $rounds, $at) = ($o->value($commits), 0, 0);

	statements($o, 'ALTER SYSTEM SET autovacuum = on', 'SELECT pg_reload_conf()');
	poll(sub {
			my $now = $o->value($commits);
			if ($now > $last && time > $at + 0.7) { $rounds++; $at = time }
			$last = $now;
			return $rounds > 3 || $done->();
		});
	statements($o, 'ALTER SYSTEM RESET autovacuum', 'SELECT pg_reload_conf()');
	return undef;
}

sub gate_statements
{
	probe(explain_ctas => run => 'EXPLAIN ANALYZE CREATE TABLE w.new AS SELECT 1', alone => 1);
	probe(explain_execute => before => "PREPARE p AS $insert", run => 'EXPLAIN ANALYZE EXECUTE p');
	probe(multi_statement => "SELECT 1; $insert; SELECT 2");
	probe(do_insert => "DO \$\$BEGIN $insert; END\$\$");
	probe(do_dynamic => "DO \$\$BEGIN EXECUTE '$insert'; END\$\$");
	probe(do_caught => "DO \$\$BEGIN $insert; EXCEPTION WHEN OTHERS THEN NULL; END\$\$");
	probe(call_insert => setup => [ "CREATE PROCEDURE w.put() LANGUAGE sql AS '$insert'" ], run => 'CALL w.put()');
	probe(where_current => before => [ 'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM w.t2' ],
		setup => $insert, run => [ 'FETCH FROM c', 'UPDATE w.t2 SET a = 2 WHERE CURRENT OF c', 'COMMIT' ]);
	probe(alter_system => run => "ALTER SYSTEM SET work_mem = '5MB'", clean => 'ALTER SYSTEM RESET work_mem',
		look => sub { $o->value("SELECT count(*) FROM pg_file_settings WHERE name = 'work_mem'") });
	probe(alter_database => run => "ALTER DATABASE postgres SET work_mem = '5MB'", clean => 'ALTER DATABASE postgres RESET work_mem');
	probe(create_publication => run => 'CREATE PUBLICATION p FOR TABLE w.t', clean => 'DROP PUBLICATION IF EXISTS p');
	probe(reassign => setup => 'GRANT writers TO app', run => 'REASSIGN OWNED BY app TO writers', alone => 1);
	probe(lock_row_share => [ 'BEGIN', 'LOCK TABLE w.t IN ROW SHARE MODE', 'COMMIT' ]);
	probe(set_constraints => [ 'BEGIN', 'SET CONSTRAINTS ALL DEFERRED', 'COMMIT' ]);
	probe(discard_all => before => 'PREPARE p AS SELECT 1', run => 'DISCARD ALL');
	probe(parse_notify => listened(before => sub { $_[0]{s}->parse(p => 'NOTIFY path')->sync },
			run => sub { $_[0]{s}->bind('', 'p')->execute('')->sync }));
	probe(notify_pending => listened(before => [ 'BEGIN', 'NOTIFY path' ], run => 'COMMIT'));
	probe(pg_notify_pending => listened(before => [ 'BEGIN', "SELECT pg_notify('path', '')" ], run => 'COMMIT'));
	probe(notify_rule => listened(setup => [ 'CREATE TABLE w.told (a int)', 'CREATE RULE r AS ON INSERT TO w.told DO ALSO NOTIFY path', 'GRANT INSERT ON w.told TO app' ],
			run => 'INSERT INTO w.told VALUES (1)'));
	return;
}

sub gate_transactions
{
	my $there = "CREATE USER MAPPING FOR app SERVER there OPTIONS (user 'keeper', password_required 'false')";

	probe(savepoint_written => before => [ 'BEGIN', 'SAVEPOINT a', $insert ], run => [ 'RELEASE a', 'COMMIT' ]);
	probe(serializable_written => before => [ 'BEGIN ISOLATION LEVEL SERIALIZABLE', $insert ], run => 'COMMIT');
	probe(serializable_read => before => [ 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT * FROM w.t' ], run => [ $insert, 'COMMIT' ]);
	probe(xact_id_before => before => [ 'BEGIN', 'SELECT pg_current_xact_id()' ], run => 'COMMIT', look => \&committed);
	probe(xact_for_update => before => [ 'BEGIN', 'SELECT * FROM w.t FOR UPDATE' ], run => 'COMMIT', look => \&committed);
	probe(xact_drop => setup => 'ALTER TABLE w.cols OWNER TO app', before => [ 'BEGIN', 'DROP TABLE w.cols' ], run => 'COMMIT', look => \&committed);
	probe(xact_temp_ddl => before => [ 'BEGIN', $temp ], run => 'COMMIT');
	probe(xact_prepares => before => [ 'BEGIN', $insert ], run => [ "PREPARE TRANSACTION 'p'", "COMMIT PREPARED 'p'" ]);
	probe(read_prepares => before => [ 'BEGIN', 'SELECT * FROM w.t' ], run => "PREPARE TRANSACTION 'p'",
		look => sub { $o->value('SELECT count(*) FROM pg_prepared_xacts') });
	probe(prepared_superuser => before => [ 'BEGIN', $insert, "PREPARE TRANSACTION 'p'" ],
		run => sub { session('postgres')->query("COMMIT PREPARED 'p'") });
	probe(prepared_marked => as => 'postgres', before => [ 'BEGIN', 'SET ROLE app', $insert, 'RESET ROLE', "PREPARE TRANSACTION 'p'" ],
		run => "COMMIT PREPARED 'p'");
	probe(prepared_rollback => before => [ 'BEGIN', $insert, "PREPARE TRANSACTION 'p'" ], run => "ROLLBACK PREPARED 'p'", writes_nothing => 1);
	probe(prepared_other => as => 'other', before => [ 'BEGIN', $insert, "PREPARE TRANSACTION 'p'" ], run => "COMMIT PREPARED 'p'");
	probe(copy_running =>
		before => sub { my ($s) = $_[0]{s}; $s->message(Q => "COPY w.t2 FROM STDIN\0")->until('G'); $s->message(d => "5\tx\n") },
		run => sub { $_[0]{s}->message(d => "6\tx\n")->message('c')->ready });
	probe(pipeline_sync => before => sub { my ($s) = $_[0]{s}; $s->parse('', $insert)->bind('', '')->execute('')->message('H')->until('C') },
		run => sub { $_[0]{s}->sync });
	probe(fdw_xact => setup => "CREATE USER MAPPING FOR app SERVER here OPTIONS (user 'app', password_required 'false')",
		before => [ 'BEGIN', 'INSERT INTO w.ft VALUES (1)' ], run => 'COMMIT');
	probe(fdw_elsewhere => look => \&elsewhere, before => [ 'BEGIN', $insert, 'INSERT INTO w.ft2 VALUES (1)' ], run => 'COMMIT',
		setup => [ $there, "CREATE FOREIGN TABLE w.ft2 (a int) SERVER there OPTIONS (schema_name 'w', table_name 'other')", 'GRANT INSERT ON w.ft2 TO app' ]);
	probe(fdw_partition => look => \&elsewhere, before => [ 'BEGIN', $insert, 'INSERT INTO w.parts VALUES (1)' ], run => 'COMMIT',
		setup => [ $there, 'CREATE TABLE w.parts (a int) PARTITION BY LIST (a)', 'GRANT INSERT ON w.parts TO app',
			"CREATE FOREIGN TABLE w.ft2 PARTITION OF w.parts FOR VALUES IN (1) SERVER there OPTIONS (schema_name 'w', table_name 'other')" ]);
	probe(fdw_copy => look => \&elsewhere, run => 'COMMIT',
		before => sub { my ($s) = $_[0]{s}; $s->{copy} = "1\n"; my $e = statements($s, 'BEGIN', $insert, 'COPY w.ft2 FROM STDIN'); die $e->{M} if $e },
		setup => [ $there, "CREATE FOREIGN TABLE w.ft2 (a int) SERVER there OPTIONS (schema_name 'w', table_name 'other')", 'GRANT INSERT ON w.ft2 TO app' ]);
	probe(marked_set_role => as => 'postgres', before => [ 'BEGIN', 'SET ROLE app', $insert, 'RESET ROLE' ], run => 'COMMIT');
	probe(marked_authorization => as => 'postgres', before => [ 'BEGIN', 'SET SESSION AUTHORIZATION app', $insert, 'RESET SESSION AUTHORIZATION' ], run => 'COMMIT');
	probe(marked_definer => as => 'other', before => [ 'BEGIN', 'SELECT w.weak()' ], run => 'COMMIT',
		setup => [ "CREATE FUNCTION w.weak() RETURNS void SECURITY DEFINER LANGUAGE sql AS '$insert'", 'ALTER FUNCTION w.weak() OWNER TO app' ]);
	probe(marked_read => as => 'postgres', before => [ 'BEGIN', 'SET ROLE app', 'SELECT * FROM w.t', 'RESET ROLE' ], run => [ $insert, 'COMMIT' ]);
	return;
}

# What was running or open, and whose functions were looked up before.
sub gate_running
{
	my $g = 'FROM generate_series(1, 3) g';
	my $lock = 'FROM pg_advisory_lock_shared(1)';

	foreach ([ nextval => "nextval('w.q')" ], [ lo => 'lo_create(0)' ], [ heap => "obs.probe_heap('w.t2')" ],
		[ emit => "pg_logical_emit_message(false, 'path', 'x')" ])
	{
		my ($what, $call) = @$_;
		my @look = $what eq 'emit' ? (look => \&emitted) : ();
		my $later = "SELECT CASE WHEN g > 1 THEN $call END $g";

		$later =~ s/CASE WHEN .* END/w.heap_after(g)/ if $what eq 'heap';
		my @setup = $what eq 'heap'
			? (setup => "CREATE FUNCTION w.heap_after(x int) RETURNS void LANGUAGE plpgsql AS 'BEGIN IF x > 1 THEN PERFORM obs.probe_heap(''w.t2''); END IF; END'") : ();
		probe("cursor_$what" => @setup, @look, before => [ 'BEGIN', "DECLARE c CURSOR FOR $later", 'FETCH 1 FROM c' ], run => [ 'FETCH ALL FROM c', 'COMMIT' ]);
		probe("portal_$what" => @setup, @look, in_transaction(sub { $_[0]->parse(p => $later)->bind(c => 'p')->execute('c', 1) }, sub { $_[0]->execute('c') }));
		probe("running_$what" => @look, held_up("SELECT $call $lock"));
	}
	probe(running_vacuum => setup => [ 'ALTER TABLE w.t OWNER TO app', 'DELETE FROM w.t' ],
		before => sub {
			my ($c) = @_;
			$c->{ear} = observer();
			$c->{ear}->value($_) foreach 'BEGIN', 'LOCK TABLE w.t IN ACCESS EXCLUSIVE MODE';
			# with action wait it stops at its next commit
			$c->{s}->query("SET statement_timeout = '5s'");
			$c->{s}->send('VACUUM w.t');
			poll(sub { $o->value("SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = $c->{s}{pid}") });
		},
		go => sub { $_[0]{ear}->query('ROLLBACK') },
		run => sub { $_[0]{s}->ready },
		look => sub { $o->value("SELECT size FROM pg_stat_file(pg_relation_filepath('w.t'))") });
	probe(running_identity => held_up("INSERT INTO w.ident (b) SELECT 'x' $lock"));
	probe(running_loop => held_up("DO \$\$DECLARE x bigint; BEGIN FOR i IN 1..2 LOOP IF i = 2 THEN PERFORM pg_advisory_lock_shared(1); END IF;"
		. " x := nextval('w.q'); END LOOP; END\$\$"));
	probe(running_select => held_up("SELECT w.ins(g) $g, pg_advisory_lock_shared(1)"));
	probe(running_copy => held_up("COPY (SELECT w.ins(g) $g, pg_advisory_lock_shared(1)) TO STDOUT"));
	probe(portal_read => in_transaction(sub { $_[0]->parse(p => 'SELECT * FROM w.t')->bind(c => 'p')->execute('c', 1) }, sub { $_[0]->execute('c') }));
	probe(cursor_hold_read => before => [ 'BEGIN', 'DECLARE c CURSOR WITH HOLD FOR SELECT * FROM w.t', 'FETCH 1 FROM c' ], run => [ 'COMMIT', 'FETCH ALL FROM c', 'CLOSE c' ]);
	return;
}

sub gate_functions
{
	my $one = "nextval('w.q')";
	my %oid = map { $_ => $o->value("SELECT '$_'::regproc::oid") } qw(lo_creat lo_open loread pg_notify pg_backend_pid);

	probe(nextval_limit => "SELECT 1 LIMIT $one");
	probe(nextval_values => "VALUES ($one)");
	probe(nextval_from => "SELECT * FROM $one");
	probe(nextval_subselect => "SELECT 1 WHERE (SELECT $one) > 0");
	probe(nextval_call => "CALL w.nothing(${one}::int)");
	probe(nextval_execute => [ 'PREPARE p (bigint) AS SELECT $1', "EXECUTE p ($one)" ]);
	probe(nextval_plpgsql => "DO \$\$BEGIN IF $one > 0 THEN NULL; END IF; END\$\$");
	probe(nextval_cached => before => [ 'PREPARE p AS SELECT w.nv()', ('EXECUTE p') x 7 ], run => 'EXECUTE p');
	probe(nextval_planned => setup => "CREATE FUNCTION w.imm() RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN nextval(''w.q''); END'",
		run => 'EXPLAIN SELECT w.imm()');
	probe(nextval_alias => setup => "CREATE FUNCTION w.another(regclass) RETURNS bigint LANGUAGE internal AS 'nextval_oid'", run => "SELECT w.another('w.q')");
	probe(setval_from => "SELECT * FROM setval('w.q', 77)");
	probe(txid => run => 'SELECT txid_current()', look => \&committed);
	probe(emit_transactional => run => "SELECT pg_logical_emit_message(true, 'path', 'x')", look => \&emitted);
	probe(fast_lo_creat => run => sub { $_[0]{s}->call($oid{lo_creat}, -1) });
	probe(fast_notify => listened(run => sub { $_[0]{s}->call($oid{pg_notify}, 'path', '') }));
	probe(fast_emit => look => \&emitted,
		run => sub {
			my $flush = $version >= 17;
			my $oid = $o->value("SELECT 'pg_logical_emit_message(bool,text,text" . ($flush ? ',bool' : '') . ")'::regprocedure::oid");
			return $_[0]{s}->call($oid, 'f', 'path', 'x', $flush ? 'f' : ());
		});
	probe(fast_heap => run => sub { $_[0]{s}->call($o->value("SELECT 'obs.probe_heap'::regproc::oid"), $o->value("SELECT 'w.t2'::regclass::oid")) });
	probe(fast_read => setup => [ "SELECT lo_from_bytea(4711, 'abc')", 'GRANT SELECT ON LARGE OBJECT 4711 TO app' ], run => sub {
			my ($s) = $_[0]{s};
			$s->query('BEGIN');
			return ends($s, $s->call($oid{pg_backend_pid}) || $s->call($oid{lo_open}, 4711, 262144) || $s->call($oid{loread}, 0, 10));
		});
	probe(c_release => "SELECT obs.probe_release('w.t2')");
	probe("c_unlogged_$_" => setup => 'CREATE UNLOGGED TABLE w.u (a int)', run => "SELECT obs.probe_$_('w.u')") foreach qw(heap release);
	probe(c_notify => listened(run => 'SELECT obs.probe_notify()'));
	probe(surgery => setup => [ $insert, 'GRANT EXECUTE ON FUNCTION ext.heap_force_kill(regclass, tid[]) TO app' ],
		run => "SELECT ext.heap_force_kill('w.t2', ARRAY['(0,1)']::tid[])", look => sub { $o->value('SELECT count(*) FROM w.t2') });
	my $origins = sub { $o->value('SELECT count(*) FROM pg_replication_origin') };
	probe(origin => setup => 'GRANT EXECUTE ON FUNCTION pg_replication_origin_create(text) TO app', run => "SELECT pg_replication_origin_create('path')",
		look => $origins, clean => "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = 'path'");
	return;
}

sub gate_identity
{
	my $v16 = $version >= 16;
	my $may = 'GRANT INSERT ON w.t2 TO boss';

	probe(authorization_exempt => run => [ 'SET SESSION AUTHORIZATION observer', $insert ]);
	probe(reset_role => as => 'postgres', before => [ 'SET ROLE app', 'SELECT * FROM w.t' ], run => [ 'RESET ROLE', $insert ]);
	probe(member_inherit => as => 'boss', setup => [ $may, 'GRANT app TO boss' . ($v16 ? ' WITH INHERIT TRUE, SET FALSE' : '') ], run => $insert);
	probe(member_set => as => 'boss', setup => [ $may, $v16 ? 'GRANT app TO boss WITH INHERIT FALSE, SET TRUE' : ('ALTER ROLE boss NOINHERIT', 'GRANT app TO boss') ],
		run => $insert, clean => 'ALTER ROLE boss INHERIT');
	probe(member_admin => as => 'boss', setup => [ $may, 'GRANT app TO boss WITH ADMIN ' . ($v16 ? 'TRUE, INHERIT FALSE, SET FALSE' : 'OPTION') ], run => $insert);
	probe(member_indirect => as => 'boss', setup => [ $may, 'GRANT app TO keeper', 'GRANT keeper TO boss' ], run => $insert,
		clean => [ 'REVOKE app FROM keeper', 'REVOKE keeper FROM boss' ]);
	probe(member_later => as => 'boss', setup => $may, before => 'SELECT 1', after => sub { statements($o, 'GRANT app TO boss') }, run => $insert);
	probe(member_no_more => as => 'boss', setup => [ $may, 'GRANT app TO boss' ], before => 'SELECT 1',
		after => sub { statements($o, 'REVOKE app FROM boss') }, run => $insert);
	return;
}

sub gate_others
{
	my @x = ('CREATE SCHEMA x', 'CREATE TABLE x.p (a int PRIMARY KEY)', 'ALTER TABLE x.p OWNER TO other', 'GRANT USAGE ON SCHEMA x TO other, app');
	my @owned = ('CREATE TABLE w.c (a int REFERENCES x.p ON DELETE CASCADE)', 'ALTER TABLE w.c OWNER TO app', 'GRANT USAGE ON SCHEMA w TO app',
		'INSERT INTO x.p VALUES (1)', 'INSERT INTO w.c VALUES (1)');

	probe(also_cascade => as => 'other', setup => [ @x, @owned ], run => 'DELETE FROM x.p');
	probe(also_trigger => as => 'other', run => 'INSERT INTO x.p VALUES (1)',
		setup => [ @x, 'CREATE FUNCTION x.f() RETURNS trigger SECURITY DEFINER LANGUAGE plpgsql AS ' . "'BEGIN $insert; RETURN new; END'",
			'ALTER FUNCTION x.f() OWNER TO app', 'CREATE TRIGGER f AFTER INSERT ON x.p FOR EACH ROW EXECUTE FUNCTION x.f()' ]);
	probe(also_refresh => as => 'postgres', setup => $insert, run => 'REFRESH MATERIALIZED VIEW w.mv', alone => 1);
	probe(also_maintain => as => 'postgres', run => [ 'VACUUM w.t', 'ANALYZE w.t', 'REINDEX TABLE w.t', 'CLUSTER w.t USING t_pkey' ], alone => 1);
	probe(walsender_sql => setup => 'ALTER ROLE app REPLICATION',
		run => sub { my $s = session('app', replication => 'database'); my $error = $s->query($insert); $s->close; return $error });
	probe(worker_superuser => silent => 1, run => sub { statements($o, "SELECT obs.worker('$superuser', '$insert')") });
	my $parallel = $version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
	probe(parallel_read => [ "SET $parallel = on", 'SELECT count(*) FROM w.t' ]);
	return;
}

sub gate_temporary
{
	probe(temp_dml => before => $temp, run => [
			"INSERT INTO tt VALUES (1, 'x')", 'UPDATE tt SET a = 2', 'SELECT * FROM tt FOR UPDATE', 'DELETE FROM tt',
			"INSERT INTO tt VALUES (1, 'x') ON CONFLICT (a) DO UPDATE SET b = 'y'",
			'WITH x AS (INSERT INTO tt VALUES (7) RETURNING a) SELECT * FROM x',
			'BEGIN', 'SAVEPOINT a', 'INSERT INTO tt VALUES (3)', 'ROLLBACK TO a', "INSERT INTO tt SELECT 4, ($long)", 'COMMIT',
			'PREPARE p AS INSERT INTO tt VALUES ($1)', 'EXECUTE p (11)', "DO \$\$BEGIN INSERT INTO tt VALUES (12); END\$\$",
			'INSERT INTO tt SELECT a + 100 FROM w.t' ]);
	probe(temp_copy => before => $temp, run => sub { my ($s) = $_[0]{s}; $s->{copy} = "5\tx\n"; return $s->query('COPY tt FROM STDIN') });
	probe(temp_identity => before => 'CREATE TEMP TABLE tt (a int GENERATED ALWAYS AS IDENTITY, b int)', run => 'INSERT INTO tt (b) VALUES (1)');
	probe(temp_commit_rows => before => 'CREATE TEMP TABLE tt (a int PRIMARY KEY, b text) ON COMMIT DELETE ROWS', run => [ 'BEGIN', 'INSERT INTO tt VALUES (1)', 'COMMIT' ]);
	# what a read marks on pages is in the log where there are checksums
	probe(temp_reads => setup => [ "INSERT INTO w.t SELECT g, 'x' FROM generate_series(100, 3000) g", 'CHECKPOINT' ], look => sub { 1 },
		before => $temp, run => "INSERT INTO tt SELECT a, b FROM w.t WHERE b = 'x'");
	probe(temp_truncate => before => $temp, run => 'TRUNCATE tt');
	probe(temp_index => before => $temp, run => 'CREATE INDEX ON tt (b)');
	probe(temp_drop => before => $temp, run => 'DROP TABLE tt');
	# not the row headers: a removal that was rolled back leaves its mark there
	probe(temp_discard => before => $temp, run => 'DISCARD ALL', look => sub { $o->value('SELECT count(*) FROM pg_class') });
	probe(temp_and_more => before => $temp, run => [ 'BEGIN', 'INSERT INTO tt VALUES (1)', "SELECT obs.probe_heap('w.t2')", 'COMMIT' ]);
	probe(temp_exit => before => $temp, run => sub {
			my ($s) = $_[0]{s};
			$s->message('X');
			poll(sub { !$o->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $s->{pid}") });
			return undef;
		});
	return;
}

# Ways that all strategies look at, and this one differently.
sub gate_differs
{
	$probe{xact_id}{look} = \&committed;
	# not the row headers: what is rolled back, or not committed yet, leaves its mark there
	$probe{restore_stats}{look} = sub { $o->value("SELECT relpages FROM pg_class WHERE oid = 'w.t'::regclass") };
	$probe{copy_program}{silent} = 1;
	# they make things of one name
	$probe{$_}{alone} = 1 foreach qw(parallel xact_prepared xact_prepares), grep { /^prepared_/ } keys %probe;
	$probe{apply}{waits_already} = 1;
	# made by the observer it would be exempt, as he is
	my $subscribe = delete $probe{apply}{setup};
	$probe{apply}{before} = sub {
		$node->safe_psql('postgres', $_) foreach @$subscribe;
		poll(sub { $o->value("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ '^logical replication.* worker'") });
	};
	foreach my $id (qw(autovacuum autovacuum_toast))
	{
		my $look = $probe{$id}{look};
		$probe{$id}{run} = sub { my $before = $look->(); autovacuum_comes_by(sub { $o->value('SELECT pg_stat_clear_snapshot()'); $look->() ne $before }) };
	}
	# nobody may make one; what is left of it shows that it was made
	$probe{temp_table}{run} = $temp;
	# its own records are writes in this database, and are stopped as well
	$not_here{"pg_cron, $_"} = 'pg_cron itself is stopped here' foreach qw(database superuser database_waits);
	# a worker that waits writes nothing and fails nowhere
	$probe{apply}{run} = sub {
		$node->safe_psql('elsewhere', $insert);
		poll(sub { $o->value('SELECT count(*) FROM w.t2') });
		return undef;
	};
	$probe{new_default}{after} = sub { my $s = session('keeper'); return $s->query('CREATE TABLE x.t (a int)') };
	return;
}

sub probes_of_gate
{
	gate_statements();
	gate_transactions();
	gate_running();
	gate_functions();
	gate_identity();
	gate_others();
	gate_temporary();
	return;
}

sub probes_gate
{
	probes_of_gate();
	gate_differs();
	return;
}

1;
