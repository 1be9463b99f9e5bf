# One probe per line of the files of what is expected: what a role tries to get
# around a freeze with.  The second half of WritePaths.pm.
#
# A probe is SQL, a list of SQL or a function that returns the error, under
# "run"; and, each where needed:
#
#	setup	statements of the superuser before
#	before	what the session does before the freeze
#	after	what somebody does during the freeze, before the attempt
#	go		what lets the held-up session go on
#	clean	statements of the superuser at the end
#	as, options	another role, options of its session
#	look	what to compare, instead of everything that lies in tables
#	silent	"stopped" without an error of its own
#	alone	changes what others need: shares no freeze
#	waits_already	what is to write waits since the freeze
#	writes_nothing	and yet what is expected is not "passes"
#	listens	"before" is somebody else's
#	code	of the error of what is stopped, where it is another one
package WritePaths;

use strict;
use warnings FATAL => 'all';

use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our ($node, $o, $port, $host, $version, %probe, $dir, $superuser, $listener);
my $insert = 'INSERT INTO w.t2 VALUES (1)';
my @elsewhere = ('CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'CREATE TABLE x.t (a int)');

# ---- helpers of probes -----------------------------------------------------

# Statements one after the other up to the first error, which is returned.
sub statements
{
	my ($s, @sql) = @_;
	foreach (@sql)
	{
		my $error = $s->query($_);
		next unless $error;
		$s->query('ROLLBACK') if $s->{state} && $s->{state} ne 'I';
		return $error;
	}
	return undef;
}

sub ends
{
	my ($s, $error) = @_;
	my $commit = $s->query($s->{state} eq 'E' ? 'ROLLBACK' : 'COMMIT');
	return $error || $commit;
}

sub command
{
	my ($program, @arguments) = @_;
	my ($out, $err) = ('', '');
	unshift @arguments, '-v', 'VERBOSITY=verbose' if $program eq 'psql';
	return undef if IPC::Run::run([ $program, @arguments ], '>', \$out, '2>', \$err);
	return { C => $err =~ /ERROR:  (\w{5}):/ ? $1 : '', M => $err };
}

sub poll
{
	my ($condition) = @_;
	for (1 .. 12_000)
	{
		return 1 if $condition->();
		usleep(5_000);
	}
	die 'waited for a minute';
}

# Something that waits for advisory lock 1, which the observer holds.
sub held_up
{
	my ($sql) = @_;
	return (
		before => sub {
			my ($c) = @_;
			$o->value('SELECT pg_advisory_lock(1)');
			$c->{s}->send($sql);
			poll(sub { $o->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND pid = $c->{s}{pid}") });
		},
		go => sub { $o->value('SELECT pg_advisory_unlock(1)') },
		run => sub { $_[0]{s}->ready });
}

# Extended protocol: what comes before the freeze, and what after.
sub in_transaction
{
	my ($before, $after) = @_;
	return (
		before => sub { my ($s) = $_[0]{s}; $s->query('BEGIN'); $before->($s); my $e = $s->sync; die $e->{M} if $e },
		run => sub { my ($s) = $_[0]{s}; $after->($s); return ends($s, $s->sync) });
}

sub probe { my ($id, @how) = @_; $probe{$id} = @how == 1 ? { run => $how[0] } : {@how}; return }

# ---- statements ------------------------------------------------------------

sub probes_statements
{
	probe(insert => $insert);
	probe(insert_conflict => "INSERT INTO w.t VALUES (1, 'x') ON CONFLICT (a) DO UPDATE SET b = 'x'");
	probe(update => "UPDATE w.t SET b = 'x'");
	probe(update_column => "UPDATE w.cols SET b = 'x'");
	probe(delete => 'DELETE FROM w.t');
	probe(merge => 'MERGE INTO w.t USING (VALUES (9)) s (a) ON t.a = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.a)');
	probe(truncate => 'TRUNCATE w.t');
	probe(cte => "WITH x AS ($insert RETURNING a) SELECT * FROM x");
	probe(rule => 'INSERT INTO w.ruled VALUES (1)');
	probe(view => "UPDATE w.v SET b = 'x'");
	probe(instead_of => 'INSERT INTO w.vi VALUES (1)');
	probe(partition => 'INSERT INTO w.p1 VALUES (1)');
	probe(foreign_table => setup => "CREATE USER MAPPING FOR app SERVER here OPTIONS (user 'app', password_required 'false')", run => 'INSERT INTO w.ft VALUES (1)');
	probe(for_update => 'SELECT * FROM w.t FOR UPDATE');
	probe(for_share => 'SELECT * FROM w.t FOR SHARE');
	probe(explain_analyze => "EXPLAIN ANALYZE $insert");
	probe(copy_from => run => sub { my ($s) = $_[0]{s}; $s->{copy} = "5\tx\n"; return $s->query('COPY w.t2 FROM STDIN') });
	probe(copy_returning => "COPY ($insert RETURNING a) TO STDOUT");
	# a GRANT without grant option only warns, and writes the same row again
	my $granted = sub { $o->value("SELECT string_agg(concat(relacl), ' ') || (SELECT count(*) FROM w.t2) FROM pg_class WHERE relnamespace = 'w'::regnamespace") };
	my $psql = $node->config_data('--bindir') . "/psql -X -h $host -p $port -U $superuser -d postgres";
	probe(copy_program => setup => 'GRANT pg_execute_server_program TO app', run => "COPY (SELECT 1) TO PROGRAM '$psql -c \"$insert\"'");
	probe(ctas => 'CREATE TABLE w.new AS SELECT 1');
	probe(select_into => 'SELECT 1 INTO w.new');
	probe(refresh => setup => 'INSERT INTO w.t2 VALUES (1)', run => 'REFRESH MATERIALIZED VIEW w.mv');
	probe(create_table => 'CREATE TABLE w.new (a int)');
	probe(create_schema => 'CREATE SCHEMA x');
	probe(create_view => 'CREATE VIEW w.new AS SELECT 1');
	probe(create_function => "CREATE FUNCTION w.new() RETURNS int LANGUAGE sql AS 'SELECT 1'");
	probe(create_sequence => 'CREATE SEQUENCE w.new');
	probe(create_type => 'CREATE TYPE w.new AS ENUM ()');
	probe(create_trigger => 'CREATE TRIGGER x BEFORE INSERT ON w.t FOR EACH ROW EXECUTE FUNCTION w.tell()');
	probe(create_index => 'CREATE INDEX ON w.t (b)');
	probe(create_rule => 'CREATE RULE x AS ON DELETE TO w.t DO INSTEAD NOTHING');
	probe(create_extension => 'CREATE EXTENSION hstore SCHEMA w');
	probe(create_database => setup => 'ALTER ROLE app CREATEDB', run => 'CREATE DATABASE x', clean => 'DROP DATABASE IF EXISTS x');
	probe(create_role => setup => 'ALTER ROLE app CREATEROLE', run => 'CREATE ROLE x_role');
	probe(alter_table => 'ALTER TABLE w.t ADD c int');
	probe(alter_rename => 'ALTER TABLE w.t RENAME TO u');
	probe(alter_sequence => 'ALTER SEQUENCE w.q RESTART WITH 99');
	probe(drop_table => 'DROP TABLE w.t2 CASCADE');
	probe(drop_owned => 'DROP OWNED BY CURRENT_USER CASCADE');
	probe(drop_function => 'DROP FUNCTION w.nv');
	probe(drop_schema => 'DROP SCHEMA w CASCADE');
	probe(alter_schema => 'ALTER SCHEMA w RENAME TO x');
	probe(alter_index => 'ALTER INDEX w.t_pkey SET (fillfactor = 50)');
	probe(create_statistics => 'CREATE STATISTICS w.new ON a, b FROM w.t');
	probe(user_mapping => setup => 'GRANT USAGE ON FOREIGN SERVER here TO app', run => "CREATE USER MAPPING FOR app SERVER here OPTIONS (user 'other', password 'x')");
	probe(comment => "COMMENT ON TABLE w.t IS 'x'");
	probe(comment_constraint => "COMMENT ON CONSTRAINT t_pkey ON w.t IS 'x'");
	probe(grant => setup => 'GRANT INSERT ON w.t TO app WITH GRANT OPTION', run => 'GRANT INSERT ON w.t TO writers',
		look => $granted, silent => 1);
	probe(grant_schema => run => 'GRANT USAGE ON SCHEMA w TO writers',
		look => sub { $o->value("SELECT nspacl FROM pg_namespace WHERE nspname = 'w'") });
	probe(alter_role => "ALTER ROLE app SET work_mem = '5MB'");
	probe(alter_default => 'ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO writers');
	probe(vacuum => setup => 'DELETE FROM w.t', run => 'VACUUM w.t');
	probe(vacuum_full => 'VACUUM FULL w.t');
	probe(analyze => 'ANALYZE w.t');
	probe(cluster => 'CLUSTER w.t USING t_pkey');
	probe(reindex => 'REINDEX TABLE w.t');
	foreach ([ notify => 'NOTIFY path' ], [ pg_notify => "SELECT pg_notify('path', '')" ])
	{
		probe($_->[0] => run => $_->[1], listens => 1,
			before => sub { $_[0]{ear} = session($listener); $_[0]{ear}->value('LISTEN path') },
			look => sub { $_[0]{ear}->value('SELECT 1'); return scalar @{ $_[0]{ear}{notified} || [] } });
	}
	probe(lock_table => run => sub { my ($s) = $_[0]{s}; $s->query('BEGIN'); return $s->query('LOCK TABLE w.t IN SHARE MODE') },
		look => sub { $o->value("SELECT count(*) FROM pg_locks WHERE relation = 'w.t'::regclass AND mode = 'ShareLock' AND granted") });
	$probe{$_}{alone} = 1 foreach qw(truncate ctas select_into refresh), grep { /^(create|alter|drop|vacuum|cluster|reindex|analyze|comment|lock)/ } keys %probe;
	probe(xact_id => run => 'SELECT pg_current_xact_id()', look => sub { $o->value('SELECT pg_snapshot_xmax(pg_current_snapshot())') });
	return;
}

# ---- prepared before -------------------------------------------------------

sub probes_prepared
{
	my $ins = 'SELECT w.ins(g) FROM generate_series(1, 3) g';
	my $ins_after = 'SELECT w.ins_after(g) FROM generate_series(1, 3) g';

	probe(prepare => before => "PREPARE p AS $insert", run => 'EXECUTE p');
	probe(prepare_used => before => [ "PREPARE p AS $insert", ('EXECUTE p') x 7 ], run => 'EXECUTE p');
	foreach ([ parse_dml => $insert ], [ parse_utility => 'TRUNCATE w.t' ])
	{
		my ($id, $sql) = @$_;
		probe($id => before => sub { my ($s) = $_[0]{s}; $s->parse(p => $sql)->sync },
			run => sub { my ($s) = $_[0]{s}; return $s->bind('', 'p')->execute('')->sync });
	}
	foreach ([ bind_dml => $insert ], [ bind_utility => 'TRUNCATE w.t' ])
	{
		my ($id, $sql) = @$_;
		probe($id => in_transaction(sub { $_[0]->parse(p => $sql)->bind(c => 'p') }, sub { $_[0]->execute('c') }));
	}
	$probe{$_}{alone} = 1 foreach qw(parse_utility bind_utility);
	probe(bind_pipeline => before => sub { my ($s) = $_[0]{s}; $s->parse('', $insert)->bind('', '')->message('H')->until('2') },
		run => sub { return $_[0]{s}->execute('')->sync });
	probe(portal_idle => in_transaction(sub { $_[0]->parse(p => $ins_after)->bind(c => 'p')->execute('c', 1) }, sub { $_[0]->execute('c') }));
	probe(portal_wrote => in_transaction(sub { $_[0]->parse(p => $ins)->bind(c => 'p')->execute('c', 1) }, sub { $_[0]->execute('c') }));
	probe(portal_returning => in_transaction(sub { $_[0]->parse(p => 'INSERT INTO w.t2 VALUES (1), (2) RETURNING a')->bind(c => 'p')->execute('c', 1) },
		sub { $_[0]->execute('c') }));
	probe(cursor_function => before => [ 'BEGIN', "DECLARE c CURSOR FOR $ins_after", 'FETCH 1 FROM c' ], run => [ 'FETCH ALL FROM c', 'COMMIT' ]);
	probe(cursor_hold => before => [ 'BEGIN', "DECLARE c CURSOR WITH HOLD FOR $ins_after", 'FETCH 1 FROM c' ], run => 'COMMIT');
	probe(cursor_for_update => before => [ 'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM w.t FOR UPDATE' ], run => [ 'FETCH ALL FROM c', 'COMMIT' ]);
	probe(plpgsql_plan => before => [ ('SELECT w.ins(1)') x 7 ], run => 'SELECT w.ins(1)');
	probe(procedure_commit => held_up('CALL w.work()'));
	probe(do_commit => held_up("DO \$\$BEGIN $insert; COMMIT; PERFORM pg_advisory_lock_shared(1); $insert; COMMIT; END\$\$"));
	probe(do_running => held_up("DO \$\$BEGIN $insert; PERFORM pg_advisory_lock_shared(1); END\$\$"));
	probe(statement_running => held_up('INSERT INTO w.t2 SELECT 1 FROM pg_advisory_lock_shared(1)'));
	probe(xact_written => before => [ 'BEGIN', $insert ], run => [ $insert, 'COMMIT' ]);
	probe(xact_ddl => before => [ 'BEGIN', 'CREATE TABLE w.new (a int)' ], run => 'COMMIT');
	probe(xact_locked => before => [ 'BEGIN', 'LOCK TABLE w.t2 IN ROW EXCLUSIVE MODE' ], run => [ $insert, 'COMMIT' ]);
	probe(xact_read => before => [ 'BEGIN', 'SELECT * FROM w.t' ], run => [ $insert, 'COMMIT' ]);
	probe(xact_snapshot => before => [ 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT * FROM w.t' ], run => [ $insert, 'COMMIT' ]);
	probe(xact_lo_open => before => [ 'BEGIN', 'SELECT lo_open(4711, 131072)' ], run => [ "SELECT lowrite(0, 'zz')", 'COMMIT' ]);
	probe(xact_prepared => before => [ 'BEGIN', $insert, "PREPARE TRANSACTION 'p'" ], run => "COMMIT PREPARED 'p'");
	return;
}

# ---- functions -------------------------------------------------------------

sub probes_functions
{
	probe(nextval => "SELECT nextval('w.q')");
	probe(setval => "SELECT setval('w.q', 77)");
	probe(nextval_default => "INSERT INTO w.def (b) VALUES ('x')");
	probe(nextval_identity => "INSERT INTO w.ident (b) VALUES ('x')");
	probe(nextval_stable => 'SELECT w.nv()');

	my %oid = map { $_ => $o->value("SELECT '$_'::regproc::oid") } qw(lo_open lowrite lo_create lo_unlink);
	my $seq = sub { $o->value("SELECT 'w.q'::regclass::oid") };
	probe(fast_nextval => run => sub { $_[0]{s}->call(1574, 'w.q') });
	probe(fast_setval => run => sub { $_[0]{s}->call(1576, 'w.q', 77) });
	probe(fast_function => run => sub { $_[0]{s}->call($o->value("SELECT 'w.ins'::regproc::oid"), 1) });
	probe(fast_lo_write => run => sub {
			my ($s) = $_[0]{s};
			$s->query('BEGIN');
			my $error = $s->call($oid{lo_open}, 4711, 131072);
			$error ||= $s->call($oid{lowrite}, 0, 'zz');
			return ends($s, $error);
		});
	probe(fast_lo_create => run => sub { $_[0]{s}->call($oid{lo_create}, 0) });
	probe(fast_lo_unlink => run => sub { $_[0]{s}->call($oid{lo_unlink}, 4711) });
	probe(lo_import => run => sub { command('psql', '-X', '-d', $node->connstr('postgres') . ' user=app', '-v', 'ON_ERROR_STOP=1',
				'-c', "\\lo_import $dir/fixture.sql") });
	probe(lo_creat => 'SELECT lo_creat(-1)');
	probe(lo_create => 'SELECT lo_create(0)');
	probe(lo_open => "SELECT lowrite(lo_open(4711, 131072), 'zz')");
	probe(lo_truncate => 'SELECT lo_truncate(lo_open(4711, 131072), 1)');
	probe(lo_unlink => 'SELECT lo_unlink(4711)');
	foreach ([ put => "lo_put(4711, 0, 'zz')" ], [ new => "lo_from_bytea(0, 'zz')" ])
	{
		my ($what, $call) = @$_;
		my $one = "(CASE WHEN $call IS NULL THEN 1 ELSE 2 END)";
		probe("lo_${what}_target" => "SELECT $call");
		probe("lo_${what}_from" => "SELECT * FROM $call");
		probe("lo_${what}_values" => "VALUES ($one)");
		probe("lo_${what}_limit" => "SELECT 1 LIMIT $one");
		probe("lo_${what}_join" => "SELECT FROM w.t x JOIN w.t y ON x.a = y.a AND $one > 0");
		probe("lo_${what}_subselect" => "SELECT 1 WHERE (SELECT $one) > 0");
		probe("lo_${what}_call" => "CALL w.nothing($one)");
		probe("lo_${what}_execute" => [ 'PREPARE p (int) AS SELECT $1', "EXECUTE p ($one)" ]);
		probe("lo_${what}_plpgsql" => "DO \$\$BEGIN IF $one > 0 THEN NULL; END IF; END\$\$");
	}
	probe(definer => setup => "CREATE FUNCTION public.strong() RETURNS void SECURITY DEFINER LANGUAGE sql AS '$insert'", run => 'SELECT public.strong()');
	probe(definer_elsewhere => setup => [ @elsewhere, "CREATE FUNCTION public.strong() RETURNS void SECURITY DEFINER LANGUAGE sql AS 'INSERT INTO x.t VALUES (1)'" ],
		run => 'SELECT public.strong()');
	probe(view_elsewhere => setup => [ @elsewhere, 'CREATE VIEW x.v AS SELECT * FROM x.t', 'GRANT INSERT ON x.v TO app' ], run => 'INSERT INTO x.v VALUES (1)');
	probe(c_heap => "SELECT obs.probe_heap('w.t2')");
	probe(c_spi => "SELECT obs.probe_spi('$insert')");
	probe(brin_summarize => setup => "INSERT INTO w.t2 SELECT g, 'xxxxxxxxxxxxxxxxxxxx' FROM generate_series(1, 2000) g",
		run => "SELECT brin_summarize_new_values('w.t2_brin')",
		look => sub { $o->value("SELECT count(*) FROM ext.brin_revmap_data(ext.get_raw_page('w.t2_brin', 1)) p WHERE p <> '(0,0)'") });
	probe(gin_clean => setup => [ 'CREATE INDEX t2_gin ON w.t2 USING gin ((ARRAY[a]))', 'INSERT INTO w.t2 SELECT generate_series(1, 20)' ],
		run => "SELECT gin_clean_pending_list('w.t2_gin')",
		look => sub { $o->value("SELECT n_pending_pages FROM ext.gin_metapage_info(ext.get_raw_page('w.t2_gin', 0))") });
	probe(restore_stats => "SELECT pg_restore_relation_stats('schemaname', 'w', 'relname', 't', 'relpages', 77::int)");
	probe(dblink => setup => 'GRANT EXECUTE ON FUNCTION ext.dblink_connect_u(text, text) TO app', silent => 1,
		run => [ "SELECT ext.dblink_connect_u('c', 'host=$host port=$port dbname=postgres user=$superuser')", "SELECT ext.dblink_exec('c', '$insert')" ]);
	probe(emit_message => run => "SELECT pg_logical_emit_message(false, 'path', 'x')",
		look => sub { $o->value('SELECT pg_switch_wal()'); $o->value("SELECT count(*) FROM pg_logical_slot_peek_changes('look', NULL, NULL) WHERE data LIKE '%prefix: path%'") });
	return;
}

# ---- settings and identity -------------------------------------------------

sub probes_identity
{
	probe(begin_read_write => [ 'BEGIN READ WRITE', $insert, 'COMMIT' ]);
	probe(set_transaction => [ 'SET default_transaction_read_only = on', 'BEGIN', 'SET TRANSACTION READ WRITE', $insert, 'COMMIT' ]);
	probe(set_default => [ 'SET default_transaction_read_only = off', $insert ]);
	probe(pgoptions => options => '-c default_transaction_read_only=off', run => $insert);
	probe(set_config_write => [ 'BEGIN', "SELECT set_config('transaction_read_only', 'off', true)", $insert, 'COMMIT' ]);
	probe(savepoint => [ 'BEGIN', 'SAVEPOINT s', 'SET TRANSACTION READ WRITE', $insert, 'RELEASE s', 'COMMIT' ]);
	probe(set_role => setup => 'GRANT app TO boss', as => 'boss', before => 'SET ROLE app', run => $insert);
	probe(session_authorization => as => 'postgres', before => 'SET SESSION AUTHORIZATION app', run => $insert);
	foreach ([ write => 'INSERT' ], [ mixed => 'SELECT, INSERT' ])
	{
		my ($kind, $privileges) = @$_;
		my $role = $kind eq 'write' ? 'writers' : 'mixed';
		my @setup = (@elsewhere, "GRANT $privileges ON x.t TO $role", "GRANT $role TO app");
		probe("member_$kind" => setup => \@setup, run => 'INSERT INTO x.t VALUES (1)');
		probe("set_role_$kind" => setup => \@setup, run => [ "SET ROLE $role", 'INSERT INTO x.t VALUES (1)' ]);
	}
	# memberships are the cluster's
	my $x = sub { $o->value('SELECT count(*) FROM x.t') };
	probe(admin_mixed => setup => [ @elsewhere, 'GRANT SELECT, INSERT ON x.t TO mixed',
			$version >= 16 ? 'GRANT mixed TO app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE' : 'GRANT mixed TO app WITH ADMIN OPTION' ],
		look => $x, run => [ ($version >= 16 ? 'GRANT mixed TO app WITH INHERIT TRUE, SET TRUE' : 'SELECT 1'), 'INSERT INTO x.t VALUES (1)' ]);
	probe(createrole_grant => setup => [ 'ALTER ROLE app CREATEROLE', @elsewhere,
			'GRANT SELECT, INSERT ON x.t TO mixed' ],
		look => $x, run => [ 'GRANT mixed TO app', 'INSERT INTO x.t VALUES (1)' ]);
	my $public = sub { return setup => [ 'CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'CREATE TABLE x.t (a int, b int)', 'CREATE SEQUENCE x.q', @_ ] };
	probe(public_table => $public->('GRANT INSERT ON x.t TO PUBLIC'), run => 'INSERT INTO x.t VALUES (1)');
	probe(public_column => $public->('GRANT INSERT (a) ON x.t TO PUBLIC'), run => 'INSERT INTO x.t (a) VALUES (1)');
	probe(public_sequence => $public->('GRANT USAGE ON SEQUENCE x.q TO PUBLIC'), run => "SELECT nextval('x.q')");
	probe(public_schema => $public->('GRANT CREATE ON SCHEMA x TO PUBLIC'), run => 'CREATE TABLE x.new (a int)');
	probe(public_lo => setup => 'GRANT UPDATE ON LARGE OBJECT 4711 TO PUBLIC', run => "SELECT lo_put(4711, 0, 'zz')");
	probe(self_grant => look => sub { $o->value('SELECT count(*) FROM w.t2') }, run => sub { $_[0]{s}->query('GRANT INSERT ON w.t2 TO app'); return $_[0]{s}->query($insert) });
	probe(predefined => setup => 'GRANT pg_write_all_data TO app', run => $insert);
	probe(superuser => setup => 'ALTER ROLE app SUPERUSER', run => $insert);
	probe(predefined_elsewhere => setup => [ @elsewhere, 'GRANT pg_write_all_data TO app' ], run => 'INSERT INTO x.t VALUES (1)');
	probe(superuser_elsewhere => setup => [ @elsewhere, 'ALTER ROLE app SUPERUSER' ], run => 'INSERT INTO x.t VALUES (1)');
	probe(new_default => setup => [ 'CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'GRANT CREATE ON SCHEMA x TO keeper',
			'ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA x GRANT ALL ON TABLES TO app' ],
		after => sub { session('keeper')->value('CREATE TABLE x.t (a int)') }, run => 'INSERT INTO x.t VALUES (1)');
	probe(made_over => setup => \@elsewhere,
		after => sub { statements($o, 'ALTER TABLE x.t OWNER TO app') }, run => 'INSERT INTO x.t VALUES (1)');
	probe(granted_back => after => sub { statements($o, 'GRANT INSERT ON w.t2 TO app') }, run => $insert);
	foreach ([ granted => 'INSERT ON x.t' ], [ granted_role => 'mixed' ])
	{
		my ($id, $what) = @$_;
		my @setup = (@elsewhere, 'GRANT SELECT, INSERT ON x.t TO mixed');
		my $after = sub { statements($o, "GRANT $what TO app") };
		probe("${id}_new" => setup => \@setup, after => $after, run => 'INSERT INTO x.t VALUES (1)');
		probe("${id}_taken" => setup => \@setup, after => $after, look => $x,
			run => sub { my $error = $_[0]{s}->query('INSERT INTO x.t VALUES (1)'); return statements($o, "REVOKE $what FROM app") || $error });
	}
	# a table of its own: the slot of the subscription is on w.t2
	probe(other_databases => before => sub { $node->safe_psql('elsewhere', 'GRANT USAGE ON SCHEMA w TO app; GRANT INSERT ON w.other TO app') },
		run => sub { command('psql', '-X', '-d', $node->connstr('elsewhere') . ' user=app', '-c', 'INSERT INTO w.other VALUES (1)') },
		look => sub { $node->safe_psql('elsewhere', 'SELECT count(*) FROM w.other') },
		clean => sub { $node->safe_psql('elsewhere', 'DROP OWNED BY app') });
	return;
}

# ---- processes that are not client sessions --------------------------------

sub probes_processes
{
	probe(autovacuum => setup => [ 'ALTER TABLE w.t SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)',
			'DELETE FROM w.t', 'SELECT pg_stat_force_next_flush()' ],
		silent => 1,
		look => sub { $o->value("SELECT concat(c.*, s.autovacuum_count) FROM pg_class c JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = 'w.t'::regclass") },
		run => sub {
			my $log = -s $node->logfile;
			statements($o, 'ALTER SYSTEM SET autovacuum = on', 'SELECT pg_reload_conf()');
			poll(sub {
					$o->value("SELECT autovacuum_count FROM pg_stat_all_tables WHERE relid = 'w.t'::regclass")
						|| slurp_file($node->logfile, $log) =~ /skipping vacuum of "t" --- lock not available/;
				});
			statements($o, 'ALTER SYSTEM RESET autovacuum', 'SELECT pg_reload_conf()');
			return undef;
		});
	my $vacuumed = "SELECT autovacuum_count FROM pg_stat_all_tables WHERE relid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'w.t'::regclass)";
	probe(autovacuum_toast => setup => [ 'ALTER TABLE w.t SET (toast.autovacuum_vacuum_threshold = 0, toast.autovacuum_vacuum_scale_factor = 0)',
			"INSERT INTO w.t SELECT 100, string_agg(md5(g::text), '') FROM generate_series(1, 1000) g", 'DELETE FROM w.t', 'SELECT pg_stat_force_next_flush()' ],
		silent => 1,
		look => sub { $o->value('SELECT pg_stat_clear_snapshot()'); $o->value($vacuumed) },
		run => sub {
			statements($o, 'ALTER SYSTEM SET autovacuum = on', 'SELECT pg_reload_conf()');
			poll(sub { $o->value($vacuumed) });
			statements($o, 'ALTER SYSTEM RESET autovacuum', 'SELECT pg_reload_conf()');
			return undef;
		});
	my $errors = 'SELECT apply_error_count FROM pg_stat_subscription_stats';
	probe(apply => silent => 1,
		setup => ["CREATE SUBSCRIPTION sub CONNECTION 'host=$host port=$port dbname=elsewhere user=$superuser' PUBLICATION pub"
			. " WITH (create_slot = false, slot_name = 'sub', copy_data = false)" ],
		run => sub {
			my $before = $o->value($errors);
			# a gate ends the worker, whose successor waits
			my $sign = $o->value("SELECT count(*) FROM pf.freeze_status WHERE strategy = 'gate'") ?
				"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'waiting for a thaw%'" : "SELECT ($errors) > $before";
			$node->safe_psql('elsewhere', $insert);
			poll(sub { $o->value("SELECT count(*) FROM w.t2") || $o->value($sign) =~ /^(t|[1-9])/ });
			return undef;
		},
		clean => sub {
			my $error = statements($o, 'ALTER SUBSCRIPTION sub DISABLE', 'ALTER SUBSCRIPTION sub SET (slot_name = NONE)', 'DROP SUBSCRIPTION sub',
				"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'sub'");
			die "clean: $error->{M}" if $error;
			# the slot may not know yet that the row was applied, and would send it again
			tidy_up();
		});
	probe(worker => silent => 1, run => sub { statements($o, "SELECT obs.worker('app', '$insert')") });
	my $parallel = $version >= 16 ? 'debug_parallel_query' : 'force_parallel_mode';
	probe(parallel => [ "SET $parallel = on", 'CREATE TABLE w.new AS SELECT count(*) FROM w.t' ]);
	probe(pg_cron => silent => 1, before => "SELECT cron.schedule('path', '1 seconds', '$insert')", setup => 'GRANT USAGE ON SCHEMA cron TO app',
		run => sub {
			my $runs = $o->value('SELECT count(*) FROM cron.job_run_details');
			poll(sub { $o->value('SELECT count(*) FROM cron.job_run_details') > $runs + 1 });
			return undef;
		},
		clean => 'SELECT cron.unschedule(jobid) FROM cron.job');

	my $drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'path'";
	probe(walsender => setup => 'ALTER ROLE app REPLICATION', run => sub { session('app', replication => 'database')->query('CREATE_REPLICATION_SLOT path PHYSICAL') }, clean => $drop);
	probe(slot => setup => 'ALTER ROLE app REPLICATION', run => "SELECT pg_create_logical_replication_slot('path', 'test_decoding')", clean => $drop);
	probe(switch_wal => setup => 'GRANT EXECUTE ON FUNCTION pg_switch_wal TO app', run => 'SELECT pg_switch_wal()');
	probe(restore_point => setup => 'GRANT EXECUTE ON FUNCTION pg_create_restore_point TO app', run => "SELECT pg_create_restore_point('x')");
	return;
}

# ---- must go on ------------------------------------------------------------

sub probes_must_go_on
{
	probe(pg_dump => run => sub { command('pg_dump', '-n', 'w', '-d', $node->connstr('postgres') . ' user=app') });
	probe(pg_basebackup => run => sub {
			my $error = command('pg_basebackup', '-h', $host, '-p', $port, '-U', $superuser, '-c', 'fast', '-X', 'none', '--no-sync', '-D',
				PostgreSQL::Test::Utils::tempdir() . '/backup');
			return $error;
		});
	probe(login => run => sub { session('app')->query('SELECT 1') });
	probe(health => 'SELECT 1');
	probe(read => 'SELECT * FROM w.t');
	probe(read_xact => [ 'BEGIN READ ONLY', 'SELECT * FROM w.t', 'COMMIT' ]);
	probe(read_view => [ 'SELECT * FROM w.v', 'SELECT * FROM w.mv' ]);
	probe(read_function => 'SELECT w.ins_after(0)');
	probe(read_sequence => 'SELECT * FROM w.q');
	probe(read_lo => 'SELECT lo_get(4711)');
	probe(copy_to => 'COPY w.t TO STDOUT');
	probe(set_config => [ "SET work_mem = '5MB'", "SELECT set_config('search_path', 'w', false)" ]);
	probe(random => 'SELECT random()');
	probe(clock_timestamp => 'SELECT clock_timestamp()');
	probe(cursor_read => before => [ 'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM w.t', 'FETCH 1 FROM c' ], run => [ 'FETCH ALL FROM c', 'COMMIT' ]);
	probe(temp_table => [ 'CREATE TEMP TABLE tt (a int)', 'INSERT INTO tt VALUES (1)', 'DROP TABLE tt' ]);
	probe(temp_before => before => 'CREATE TEMP TABLE tt (a int)', run => [ 'INSERT INTO tt VALUES (1)', 'UPDATE tt SET a = 2' ]);
	probe(advisory_lock => [ 'SELECT pg_advisory_lock(7)', 'SELECT pg_advisory_unlock(7)' ]);
	probe(listen => [ 'LISTEN x', 'UNLISTEN x' ]);
	probe(monitoring => [ 'SELECT * FROM pg_stat_activity', 'SELECT * FROM pg_locks' ]);
	probe(explain => 'EXPLAIN SELECT * FROM w.t');
	probe(checkpoint => as => 'postgres', run => 'CHECKPOINT');
	probe(other_role => as => 'other', run => [ 'INSERT INTO w.t VALUES (19)', "UPDATE w.t SET b = 'x'" ]);
	probe(other_xact => as => 'other', before => [ 'BEGIN', $insert ], run => [ $insert, 'COMMIT' ]);

	probe(other_database => as => 'postgres', run => sub { command('psql', '-X', '-d', $node->connstr('elsewhere'), '-c', 'INSERT INTO w.other VALUES (1)') });

	my $nothing = 'REVOKE INSERT, UPDATE ON w.t, w.t2, w.v FROM other';
	probe(also_foreign_key => as => 'other',
		setup => [ $nothing, 'CREATE SCHEMA x', 'CREATE TABLE x.r (a int REFERENCES w.t)', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'GRANT INSERT ON x.r TO other' ],
		run => 'INSERT INTO x.r VALUES (1)');
	probe(also_view => as => 'other', setup => 'REVOKE UPDATE ON w.t FROM other', run => "UPDATE w.v SET b = 'x'");
	probe(also_view_elsewhere => as => 'other',
		setup => [ $nothing, 'CREATE SCHEMA x', 'CREATE VIEW x.v AS SELECT * FROM w.t', 'ALTER VIEW x.v OWNER TO keeper', 'GRANT USAGE ON SCHEMA w TO keeper',
			'GRANT SELECT, UPDATE ON w.t TO keeper', 'GRANT USAGE ON SCHEMA x TO other', 'GRANT UPDATE ON x.v TO other' ],
		run => "UPDATE x.v SET b = 'x'");
	probe(also_definer => as => 'other',
		setup => [ "CREATE FUNCTION w.weak() RETURNS void SECURITY DEFINER LANGUAGE sql AS '$insert'", 'ALTER FUNCTION w.weak() OWNER TO app', $nothing ],
		run => 'SELECT w.weak()');
	probe(also_creator => as => 'other', setup => 'GRANT CREATE ON SCHEMA w TO other', run => 'CREATE TABLE w.theirs (a int)');
	probe(also_member => as => 'boss', setup => 'GRANT app TO boss', run => $insert);
	return;
}

sub probes
{
	probes_statements();
	probes_prepared();
	probes_functions();
	probes_identity();
	probes_processes();
	probes_must_go_on();
	return;
}

1;
