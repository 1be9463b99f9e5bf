# How writes get around a freeze by strategy revoke: each way in
# write_paths/revoke.txt is tried without a freeze, when it must really write,
# and during one, for a role that has grants and for one that owns the objects,
# with another session looking whether anything has changed.
#
# ONLY='insert copy_from' runs these only, and fails.

use strict;
use warnings FATAL => 'all';

use Cwd qw(abs_path);
use File::Basename;
use FindBin;
use lib "$FindBin::RealBin/write_paths";
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);
use Wire;

my $dir = "$FindBin::RealBin/write_paths";
my @kinds = qw(grantee owner);
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
my $insert = 'INSERT INTO w.t2 VALUES (1)';
my $superuser = getpwuid $<;
my ($node, $o, $port, $host, $version, %probe, %not_here);

# ---- the file of what is expected -----------------------------------------

# outcome TEXT: the one for this version
sub outcome
{
	foreach (split ' ', $_[0])
	{
		my ($word, $from, $to) = /^([\w:]+)(?:@(?:(\d+)-|-(\d+)))?$/ or die "no outcome: $_";
		return $word if (!$from || $version >= $from) && (!$to || $version <= $to);
	}
	die "no outcome for $version: $_[0]";
}

sub read_expected
{
	my @paths;
	foreach (split /\n/, slurp_file("$dir/revoke.txt"))
	{
		next if /^(#|$)/;
		my ($id, $what, @outcomes) = split / \| /;
		die "odd line: $_" unless @outcomes == 2;
		push @paths, { id => $id, what => $what, text => \@outcomes,
			grantee => outcome($outcomes[0]), owner => outcome($outcomes[1]) };
	}
	return @paths;
}

# ---- server ----------------------------------------------------------------

sub start_server
{
	my $pkglibdir = `$pg_config --pkglibdir`;
	chomp $pkglibdir;
	$node = PostgreSQL::Test::Cluster->new('paths');
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', <<~E);
		autovacuum = off
		autovacuum_naptime = 1s
		max_prepared_transactions = 10
		max_worker_processes = 20
		max_connections = 200
		shared_buffers = 128MB
		E
	if (-e "$pkglibdir/pg_cron.so")
	{
		$node->append_conf('postgresql.conf', <<~E);
			shared_preload_libraries = 'pg_cron'
			cron.database_name = 'postgres'
			cron.use_background_workers = on
			E
	}
	else
	{
		$not_here{pg_cron} = 'pg_cron is not installed';
	}
	$node->start;
	($host, $port) = ($node->host, $node->port);
	$version = int($node->safe_psql('postgres', 'SHOW server_version_num') / 10000);
	$node->safe_psql('postgres', slurp_file("$dir/fixture.sql"));
	$node->safe_psql('postgres',
		"CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$host', port '$port', dbname 'postgres')");
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron') unless $not_here{pg_cron};
	$node->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('look', 'test_decoding')");

	$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
	$node->safe_psql('elsewhere', <<~E);
		CREATE SCHEMA w;
		CREATE TABLE w.t2 (a int, b text);
		CREATE PUBLICATION pub FOR TABLE w.t2;
		E
	$node->safe_psql('elsewhere', "SELECT pg_create_logical_replication_slot('sub', 'pgoutput')");
	build_probe();
	$o = session('postgres');
	return;
}

sub build_probe
{
	my $so = PostgreSQL::Test::Utils::tempdir() . '/probe.so';
	my %config = map { $_ => `$pg_config --$_` } qw(cc cppflags includedir-server);
	chomp %config;
	system_or_bail('sh', '-c',
		"$config{cc} -O1 -fPIC -shared -I'$config{'includedir-server'}' $config{cppflags} -o $so $dir/probe.c");
	$node->safe_psql('postgres', <<~E);
		CREATE FUNCTION obs.probe_heap(regclass) RETURNS void STABLE PARALLEL SAFE LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_spi(text) RETURNS void STABLE LANGUAGE c AS '$so';
		CREATE FUNCTION obs.probe_worker(text, regrole, text) RETURNS void LANGUAGE c AS '$so';
		CREATE FUNCTION obs.worker(regrole, text) RETURNS void LANGUAGE sql AS \$\$ SELECT obs.probe_worker('$so', \$1, \$2) \$\$;
		E
	return;
}

sub session
{
	my ($user, %more) = @_;
	return Wire->connect($node, user => $user eq 'postgres' ? $superuser : $user,
		database => 'postgres', application_name => 'path', %more);
}

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
	my ($out, $err) = ('', '');
	return undef if IPC::Run::run([ @_ ], '>', \$out, '2>', \$err);
	return { C => '', M => $err };
}

sub poll
{
	my ($condition) = @_;
	for (1 .. 3000)
	{
		return 1 if $condition->();
		usleep(20_000);
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
			poll(sub { $o->value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") });
		},
		run => sub {
			my ($c) = @_;
			$o->value('SELECT pg_advisory_unlock(1)');
			return $c->{s}->ready;
		});
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
	probe(foreign_table => 'INSERT INTO w.ft VALUES (1)');
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
	probe(comment => "COMMENT ON TABLE w.t IS 'x'");
	probe(grant => setup => 'GRANT INSERT ON w.t TO app WITH GRANT OPTION', run => 'GRANT INSERT ON w.t TO writers',
		look => $granted, silent => 1);
	probe(alter_role => "ALTER ROLE app SET work_mem = '5MB'");
	probe(alter_default => 'ALTER DEFAULT PRIVILEGES GRANT INSERT ON TABLES TO writers');
	probe(vacuum => setup => 'DELETE FROM w.t', run => 'VACUUM w.t');
	probe(vacuum_full => 'VACUUM FULL w.t');
	probe(analyze => 'ANALYZE w.t');
	probe(cluster => 'CLUSTER w.t USING t_pkey');
	probe(reindex => 'REINDEX TABLE w.t');
	foreach ([ notify => 'NOTIFY path' ], [ pg_notify => "SELECT pg_notify('path', '')" ])
	{
		probe($_->[0] => run => $_->[1],
			before => sub { $_[0]{ear} = session('other'); $_[0]{ear}->value('LISTEN path') },
			look => sub { $_[0]{ear}->value('SELECT 1'); return scalar @{ $_[0]{ear}{notified} || [] } });
	}
	probe(lock_table => run => sub { my ($s) = $_[0]{s}; $s->query('BEGIN'); return $s->query('LOCK TABLE w.t IN SHARE MODE') },
		look => sub { $o->value("SELECT count(*) FROM pg_locks WHERE relation = 'w.t'::regclass AND mode = 'ShareLock'") });
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
				'-c', "\\lo_import $dir/revoke.txt") });
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
	probe(c_heap => "SELECT obs.probe_heap('w.t2')");
	probe(c_spi => "SELECT obs.probe_spi('$insert')");
	probe(brin_summarize => setup => "INSERT INTO w.t2 SELECT g, 'xxxxxxxxxxxxxxxxxxxx' FROM generate_series(1, 2000) g",
		run => "SELECT brin_summarize_new_values('w.t2_brin')",
		look => sub { $o->value("SELECT count(*) FROM ext.brin_revmap_data(ext.get_raw_page('w.t2_brin', 1)) p WHERE p <> '(0,0)'") });
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
		my @setup = ('CREATE SCHEMA x', 'CREATE TABLE x.t (a int)', "GRANT $privileges ON x.t TO $role", "GRANT $role TO app");
		# reading the schema isn't the point here
		push @setup, 'GRANT USAGE ON SCHEMA x TO PUBLIC';
		probe("member_$kind" => setup => \@setup, run => 'INSERT INTO x.t VALUES (1)');
		probe("set_role_$kind" => setup => \@setup, run => [ "SET ROLE $role", 'INSERT INTO x.t VALUES (1)' ]);
	}
	probe(admin_mixed => setup => [ 'CREATE SCHEMA x', 'CREATE TABLE x.t (a int)', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'GRANT SELECT, INSERT ON x.t TO mixed',
			$version >= 16 ? 'GRANT mixed TO app WITH ADMIN TRUE, INHERIT FALSE, SET FALSE' : 'GRANT mixed TO app WITH ADMIN OPTION' ],
		run => [ ($version >= 16 ? 'GRANT mixed TO app WITH INHERIT TRUE, SET TRUE' : 'SELECT 1'), 'INSERT INTO x.t VALUES (1)' ]);
	probe(createrole_grant => setup => [ 'ALTER ROLE app CREATEROLE', 'CREATE SCHEMA x', 'CREATE TABLE x.t (a int)', 'GRANT USAGE ON SCHEMA x TO PUBLIC',
			'GRANT SELECT, INSERT ON x.t TO mixed' ],
		run => [ 'GRANT mixed TO app', 'INSERT INTO x.t VALUES (1)' ]);
	my $public = sub { return setup => [ 'CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'CREATE TABLE x.t (a int, b int)', 'CREATE SEQUENCE x.q', @_ ] };
	probe(public_table => $public->('GRANT INSERT ON x.t TO PUBLIC'), run => 'INSERT INTO x.t VALUES (1)');
	probe(public_column => $public->('GRANT INSERT (a) ON x.t TO PUBLIC'), run => 'INSERT INTO x.t (a) VALUES (1)');
	probe(public_sequence => $public->('GRANT USAGE ON SEQUENCE x.q TO PUBLIC'), run => "SELECT nextval('x.q')");
	probe(public_schema => $public->('GRANT CREATE ON SCHEMA x TO PUBLIC'), run => 'CREATE TABLE x.new (a int)');
	probe(public_lo => setup => 'GRANT UPDATE ON LARGE OBJECT 4711 TO PUBLIC', run => "SELECT lo_put(4711, 0, 'zz')");
	probe(self_grant => look => sub { $o->value('SELECT count(*) FROM w.t2') }, run => sub { $_[0]{s}->query('GRANT INSERT ON w.t2 TO app'); return $_[0]{s}->query($insert) });
	probe(predefined => setup => 'GRANT pg_write_all_data TO app', run => $insert);
	probe(superuser => setup => 'ALTER ROLE app SUPERUSER', run => $insert);
	probe(new_default => setup => [ 'CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'GRANT CREATE ON SCHEMA x TO keeper',
			'ALTER DEFAULT PRIVILEGES FOR ROLE keeper IN SCHEMA x GRANT ALL ON TABLES TO app' ],
		after => sub { session('keeper')->value('CREATE TABLE x.t (a int)') }, run => 'INSERT INTO x.t VALUES (1)');
	probe(made_over => setup => [ 'CREATE SCHEMA x', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'CREATE TABLE x.t (a int)' ],
		after => sub { statements($o, 'ALTER TABLE x.t OWNER TO app') }, run => 'INSERT INTO x.t VALUES (1)');
	probe(granted_back => after => sub { statements($o, 'GRANT INSERT ON w.t2 TO app') }, run => $insert);
	return;
}

# ---- processes that are not client sessions --------------------------------

sub probes_processes
{
	probe(autovacuum => setup => [ 'ALTER TABLE w.t SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0)',
			'DELETE FROM w.t', 'SELECT pg_stat_force_next_flush()' ],
		silent => 1,
		run => sub {
			statements($o, 'ALTER SYSTEM SET autovacuum = on', 'SELECT pg_reload_conf()');
			poll(sub { $o->value("SELECT autovacuum_count FROM pg_stat_all_tables WHERE relid = 'w.t'::regclass") });
			statements($o, 'ALTER SYSTEM RESET autovacuum', 'SELECT pg_reload_conf()');
			return undef;
		});
	my $errors = 'SELECT apply_error_count FROM pg_stat_subscription_stats';
	probe(apply => silent => 1,
		setup => ["CREATE SUBSCRIPTION sub CONNECTION 'host=$host port=$port dbname=elsewhere user=$superuser' PUBLICATION pub"
			. " WITH (create_slot = false, slot_name = 'sub', copy_data = false)" ],
		run => sub {
			my $before = $o->value($errors);
			$node->safe_psql('elsewhere', $insert);
			poll(sub { $o->value("SELECT count(*) FROM w.t2") || $o->value($errors) > $before });
			return undef;
		},
		clean => [ 'ALTER SUBSCRIPTION sub DISABLE', 'ALTER SUBSCRIPTION sub SET (slot_name = NONE)', 'DROP SUBSCRIPTION sub',
			"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'sub'" ]);
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
	probe(other_role => as => 'other', run => [ 'INSERT INTO w.t VALUES (9)', "UPDATE w.t SET b = 'x'" ]);
	probe(other_xact => as => 'other', before => [ 'BEGIN', $insert ], run => [ $insert, 'COMMIT' ]);

	probe(also_foreign_key => as => 'other',
		setup => [ 'CREATE SCHEMA x', 'CREATE TABLE x.r (a int REFERENCES w.t)', 'GRANT USAGE ON SCHEMA x TO PUBLIC', 'GRANT INSERT ON x.r TO other' ],
		run => 'INSERT INTO x.r VALUES (1)');
	probe(also_view => as => 'other', setup => 'REVOKE UPDATE ON w.t FROM other', run => "UPDATE w.v SET b = 'x'");
	probe(also_definer => as => 'other',
		setup => [ "CREATE FUNCTION w.weak() RETURNS void SECURITY DEFINER LANGUAGE sql AS '$insert'", 'ALTER FUNCTION w.weak() OWNER TO app', 'REVOKE INSERT ON w.t2 FROM other' ],
		run => 'SELECT w.weak()');
	probe(also_member => as => 'boss', setup => 'GRANT app TO boss', run => $insert);
	return;
}

# ---- one cell --------------------------------------------------------------

sub looks
{
	my ($p, $c, $everything) = @_;
	return $p->{look} ? $p->{look}->($c) : $o->value("SELECT obs.look($everything)");
}

sub difference
{
	my %before = map { split / /, $_, 2 } split /\n/, $_[0];
	return join ', ', map { /^(\S+) (.*)/ && ($before{$1} || '') eq $2 ? () : (split / /)[0] } split /\n/, $_[1];
}

sub steps
{
	my ($c, $how) = @_;
	return undef unless $how;
	return $how->($c) if ref $how eq 'CODE';
	return statements($c->{s}, ref $how ? @$how : $how);
}

# Everything up to where the freeze may come.
sub make_ready
{
	my ($p, $kind) = @_;
	my $c = { kind => $kind };
	my @sql = ref $p->{setup} ? @{ $p->{setup} } : $p->{setup} || ();
	my $error = statements($o, "CALL obs.fixture('" . ($kind eq 'owner' ? 'app' : 'keeper') . "')", @sql);
	die "setup: $error->{M}" if $error;
	$c->{s} = session($p->{as} || 'app', $p->{options} ? (options => $p->{options}) : ());
	if (ref $p->{before} eq 'CODE') { $p->{before}->($c) }
	elsif ($error = steps($c, $p->{before})) { die "before: $error->{M}" }
	return $c;
}

sub clean
{
	my ($p, $c) = @_;
	foreach my $s ($c->{s}, $c->{ear})
	{
		next unless $s;
		$s->close;
		poll(sub { !$o->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $s->{pid}") });
	}
	my @sql = ref $p->{clean} ? @{ $p->{clean} } : $p->{clean} || ();
	my $error = statements($o, @sql);
	die "clean: $error->{M}" if $error;
	return;
}

sub without_freeze
{
	my ($p, $kind, $expected, $name) = @_;
	my $c = make_ready($p, $kind);
	steps($c, $p->{after});
	my $before = looks($p, $c, 'true');
	my $error = steps($c, $p->{run});
	my $after = looks($p, $c, 'true');
	clean($p, $c);

	if ($expected eq 'cannot') { return is($after, $before, "$name: not without a freeze either") }
	if ($expected =~ /^(passes|stops)/) { return ok(!$error, "$name: works without a freeze") || diag $error->{M} }
	return isnt($after, $before, "$name: writes without a freeze") || diag $error && $error->{M};
}

# Freezes; if that waits for somebody, does the work meanwhile.  Returns whether
# it waited, the error of the work, and the error of freezing.
sub freeze
{
	my ($p, $c) = @_;
	my $f = session('postgres');
	my $error;
	my $waited = 0;

	$f->query("SET pg_freeze.strategy = 'revoke'");
	$c->{check} = join "\n", map { "$_->[1]" } do {
		$f->query("SELECT item, kind FROM pf.freeze_check('role', 'app') WHERE item = 'leak'");
		@{ $f->{rows} };
	};
	$f->send("SELECT pf.freeze_role('app', drain_timeout => '60s')");
	while ($f->idle(0.02))
	{
		next unless !$waited && $o->value('SELECT count(*) FROM pf.freeze_blockers');
		$waited = 1;
		$error = steps($c, $p->{run});
	}
	my $refused = $f->ready;
	$c->{id} = $f->{rows}[0][0];
	$f->close;
	return ($waited, $error, $refused);
}

sub with_freeze
{
	my ($p, $kind, $expected, $name) = @_;
	my $c = make_ready($p, $kind);
	my ($waited, $error, $refused) = freeze($p, $c);
	my ($before, $after);

	if ($refused)
	{
		diag "$name: $refused->{M} $refused->{D}";
		clean($p, $c);
		return fail("$name: freezes");
	}
	steps($c, $p->{after}) unless $waited;
	$before = looks($p, $c, 'true');
	$error = steps($c, $p->{run}) unless $waited;
	$after = looks($p, $c, 'true');
	$o->query('SELECT leaks, also_stops FROM pf.freeze_status');
	my ($leaks, $also_stops) = map { defined $_ ? $_ : '' } @{ $o->{rows}[0] };
	$o->query("SELECT held, lost_reason FROM pf.thaw($c->{id})");
	my ($held, $lost) = map { defined $_ ? $_ : 'unknown' } @{ $o->{rows}[0] };
	clean($p, $c);

	return judge($p, $expected, $name, { waited => $waited, error => $error, before => $before, after => $after,
		leaks => $leaks, also_stops => $also_stops, check => $c->{check}, held => $held, lost => $lost });
}

# Probes that are expected to change nothing, and need nothing of their own,
# share one freeze.
sub can_share
{
	my ($p, $expected) = @_;
	return $expected =~ /^(stopped|cannot|passes)$/ && !grep { $p->{$_} } qw(setup before after look clean as options);
}

sub with_one_freeze
{
	my ($kind, @paths) = @_;
	my $first = make_ready({}, $kind);
	my @results;

	foreach (@paths) { $_->{session} = session('app') }
	my (undef, undef, $refused) = freeze({}, $first);
	if ($refused)
	{
		fail("$kind: freezes: $refused->{M}");
		return 0;
	}
	my $before = looks({}, $first, 'true');
	foreach my $path (@paths)
	{
		my $error = steps({ kind => $kind, s => $path->{session} }, $probe{ $path->{id} }{run});
		$path->{session}->close;
		my $after = looks({}, $first, 'true');
		push @results, [ $path, { error => $error, before => $before, after => $after } ];
		$before = $after;
	}
	my %common;
	$o->query('SELECT leaks, also_stops FROM pf.freeze_status');
	@common{qw(leaks also_stops)} = map { defined $_ ? $_ : '' } @{ $o->{rows}[0] };
	$o->query("SELECT held, lost_reason FROM pf.thaw($first->{id})");
	@common{qw(held lost)} = map { defined $_ ? $_ : 'unknown' } @{ $o->{rows}[0] };
	foreach (@results)
	{
		my ($path, $result) = @$_;
		judge($probe{ $path->{id} }, $path->{$kind}, "$path->{id}, $kind", { %$result, %common });
	}
	clean({}, $first);
	return scalar @results;
}

# Compares what happened with the words of the file.
sub judge
{
	my ($p, $expected, $name, $r) = @_;
	my ($error, $before, $after, $leaks, $held) = @$r{qw(error before after leaks held)};
	my $seen;

	my ($word, $code) = split /:/, $expected;
	if ($word eq 'passes') { $seen = $error ? "refused: $error->{M}" : 'passes' }
	elsif ($word eq 'stops') { $seen = $error ? 'stops' : 'passes' }
	else { $seen = $r->{waited} ? 'waits' : $before ne $after ? 'leak' : $word eq 'cannot' ? 'cannot' : 'stopped' }

	my $good = is($seen, $word, "$name: $expected");
	diag 'changed: ' . ($p->{look} ? "$before to $after" : difference($before, $after)) if $before ne $after && $seen ne $word;
	diag "error: $error->{C} $error->{M}" if $error && !$good;
	return 0 unless $good;

	if ($word eq 'waits') { is($after, $before, "$name: nothing changes once it is frozen") }
	if ($word eq 'stopped' && !$p->{silent} && $error) { is($error->{C}, '42501', "$name: says 42501") || diag $error->{M} }
	if ($word eq 'stops') { like($r->{also_stops}, qr/^$code: /m, "$name: freeze_status says who else is stopped") }
	if ($word eq 'leak' && $code !~ /^(doc|held)$/)
	{
		like($leaks, qr/^$code: /m, "$name: freeze_status lists $code");
		like($r->{check}, qr/^$code$/m, "$name: freeze_check lists $code");
	}
	my $verdict =
		$word eq 'leak' && $code eq 'held' ? $held eq 'f'
		: $word eq 'leak' && $code ne 'doc' ? $held ne 't'
		: $word =~ /^(stopped|waits|cannot)$/ ? $held eq ($leaks eq '' ? 't' : 'unknown')
		: 1;
	return ok($verdict, "$name: the verdict is right") || diag "held: $held, $r->{lost}, leaks: $leaks";
}

# ---- all cells -------------------------------------------------------------

# One cell; true if that was all of it, and the rest is not to be shared.
sub cell
{
	my ($path, $kind) = @_;
	my $p = $probe{ $path->{id} } or return 0;
	my $name = "$path->{id}, $kind";
	my $shares;

	eval {
		without_freeze($p, $kind, $path->{$kind}, $name);
		$shares = can_share($p, $path->{$kind});
		with_freeze($p, $kind, $path->{$kind}, $name) unless $shares;
		1;
	} or do {
		fail("$name: $@");
		$o->close;
		$o = session('postgres');
		$o->query('SELECT pf.thaw_all()');
		return 0;
	};
	return !$shares;
}

start_server();
my @expected = read_expected();
probes_statements();
probes_prepared();
probes_functions();
probes_identity();
probes_processes();
probes_must_go_on();

my %documented = map { /^\| `(\w+)` \| .* \| (.+?) \| (.+?) \| .+ \|$/ ? ($1 => "$2, $3") : () }
	split /\n/, -e "$FindBin::RealBin/../doc/leaks.md" ? slurp_file("$FindBin::RealBin/../doc/leaks.md") : '';
is_deeply(\%documented, { map { $_->{id} => join ', ', @{ $_->{text} } } @expected }, 'doc/leaks.md has a line for each way, and says the same');
is_deeply([ sort keys %probe ], [ sort map { $_->{id} } @expected ], 'each way has a probe, and each probe is expected');

my %only = map { $_ => 1 } split ' ', $ENV{ONLY} || '';
my ($ran, $not_run) = (0, 0);
foreach my $path (@expected)
{
	next if %only && !$only{ $path->{id} };
	foreach my $kind (@kinds)
	{
		if ($not_here{ $path->{id} })
		{
			diag "NOT RUN: $path->{id}, $kind: $not_here{$path->{id}}";
			$not_run++;
			next;
		}
		$ran += cell($path, $kind);
	}
}
foreach my $kind (@kinds)
{
	my @shared = grep { !$not_here{ $_->{id} } && (!%only || $only{ $_->{id} }) && can_share($probe{ $_->{id} }, $_->{$kind}) } @expected;
	$ran += with_one_freeze($kind, @shared) if @shared;
}
my $cells = @expected * @kinds;
diag "write paths: $ran of $cells cells ran, $not_run could not run here";
is($ran + $not_run, $cells, 'every cell was run, or said why not');
$o->close;
$node->stop;
done_testing();
