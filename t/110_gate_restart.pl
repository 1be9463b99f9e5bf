# Strategy gate through restarts and crashes: closed before the first
# connection, journaled, and held in the verdict.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\nrestart_after_crash = on\n");
my $file = $node->data_dir . '/pg_freeze.gates';
my $insert = 'INSERT INTO app.writes (who) VALUES (1)';

make_application($node);
sql($node, 'CREATE DATABASE second');
make_application($node, db => 'second', roles_exist => 1);

sub rows { return sql($node, 'SELECT count(*) FROM app.writes'); }

# The first answer to a statement of app's that is not about the connection.
sub first_answer
{
	my (%opt) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my ($state) = try_sql($node, $insert, user => 'app', %opt);
		return $state if $state !~ /^(08|57P0[123]$)/;
		usleep(5000);
	}
	return 'none';
}

my %interruption = (
	'a restart' => sub { $node->restart },
	'an immediate stop' => sub { $node->stop('immediate'); $node->start; },
	'the crash of a backend' => sub {
		my $session = open_session($node);
		my $pid = $session->query('SELECT pg_backend_pid()');
		kill_backend($pid);
		eval { $session->quit };
	},
	'the death of the postmaster' => sub {
		$node->kill9;
		start_again($node);
	},
);

# --- closed ---------------------------------------------------------------

foreach my $how (sort keys %interruption)
{
	my $before = rows();
	my $app = sql($node, q{SELECT freeze_role('app', strategy => 'gate', action => 'reject', thaw_after => '1 hour', reason => 'moving')});
	my $second = sql($node, q{SELECT freeze_database(mode => 'write', strategy => 'gate', action => 'reject', label => 'both')}, db => 'second');
	my $columns = 'id, target, state, mode, action, in_flight, thaw_at, reason, label, in_force';
	my %status = map { $_ => sql($node, "SELECT $columns FROM freeze_status WHERE home = '$_'", db => $_) } qw(postgres second);
	my $size = -s $file;

	ok($size, "$how: the state file is there");
	is(first_answer(), '25006', "$how: frozen before");
	$interruption{$how}->();
	is(first_answer(), '25006', "$how: the first answer to the role is that it is frozen");
	is(first_answer(db => 'second'), '25006', "$how: and so in the other database");
	is((try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'))[0], '', "$how: others go on");
	is((try_sql($node, 'SELECT count(*) FROM app.writes', user => 'app'))[0], '', "$how: reads go on");
	foreach my $db (qw(postgres second))
	{
		is(sql($node, "SELECT $columns FROM freeze_status WHERE home = '$db'", db => $db), $status{$db}, "$how, $db: freeze_status is what it was");
	}
	is(rows(), $before, "$how: nothing was written");
	is(sql($node, "SELECT held FROM thaw($app)"), 't', "$how: it held");
	is(writing($node), 'done', "$how: after the thaw the role writes");
	is(first_answer(db => 'second'), '25006', "$how: the other database is still frozen");
	is(sql($node, "SELECT held FROM thaw($second)", db => 'second'), 't', "$how: it held there too");
	is(writing($node, db => 'second'), 'done', "$how: and is thawed");
	ok(!-e $file, "$how: the state file is gone");
}

# --- waiting --------------------------------------------------------------

# Who waits loses the connection with the server, and what it wanted is not done.
{
	my $before = rows();
	my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	my $waiter = start_sql($node, "$insert;", user => 'app');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Extension'});
	$interruption{'the crash of a backend'}->();
	is((finish_sql($waiter))[0], '08000', 'who waits when the server crashes loses the connection');
	server_back($node);
	is(writing($node), 'waits', 'and waits again afterwards');
	is(rows(), $before, 'nothing was written');
	is(sql($node, "SELECT held FROM thaw($id)"), 't', 'it held');
}

# --- due ------------------------------------------------------------------

{
	my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate', thaw_after => '1 s')});
	$node->stop('immediate');
	# time has to pass for a server that is down; there is nobody to ask
	select(undef, undef, undef, 1.2);
	$node->start;
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	like(sql($node, "SELECT end_reason FROM freeze_journal WHERE id = $id"), qr/^thawed on schedule/, 'what came due while the server was down is thawed at its start');
	is(writing($node), 'done', 'and open');
	ok(!-e $file, 'and forgotten');
}

# --- a thaw that was interrupted ------------------------------------------

# The gate is open as soon as somebody thaws; the journal, which is locked here,
# learns of it later.  A crash in between doesn't close it again.
foreach my $how ('the crash of a backend', 'the death of the postmaster')
{
	my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	my $locker = open_session($node);
	$locker->query_safe('BEGIN; LOCK TABLE freeze_journal IN SHARE MODE;');
	my $thaw = start_sql($node, "SELECT * FROM thaw($id);");
	ok(goes_on($node), "$how: the gate opens before the journal is written");
	is($locker->query("SELECT state FROM freeze_journal WHERE id = $id"), 'frozen', "$how: which says frozen");
	$interruption{$how}->();
	eval { finish_sql($thaw) };
	eval { $locker->quit };
	is(first_answer(), '', "$how: the gate is not closed again");
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	ok(!-e $file, "$how: the scheduler finishes the thaw");
	is(sql($node, "SELECT count(*) FROM freeze_status"), '0', "$how: nothing is live");
}

# --- a file that cannot be written ----------------------------------------

{
	my $kept = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	my $content = slurp_file($file);

	mkdir "$file.new" or die $!;
	my ($state, undef, $err) = try_sql($node, q{SELECT freeze_role('agent', strategy => 'gate')});
	isnt($state, '', 'a gate that cannot be written down is not closed');
	unlike($state, qr/^XX000/, 'and the reason is given');
	like($err, qr/pg_freeze\.gates/, 'which names the file');
	is(join(',', live($node)), $kept, 'only the first freeze is live');
	is((try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'agent'))[0], '', 'agent goes on');
	is(slurp_file($file), $content, 'the file is what it was');
	rmdir "$file.new" or die $!;

	my $other = sql($node, q{SELECT freeze_role('agent', strategy => 'gate')});
	mkdir "$file.new" or die $!;
	($state, my $held, $err) = try_sql($node, "SELECT held FROM thaw($kept)");
	is($held, 't', 'a thaw that cannot be written down opens all the same') || diag($err);
	like($err, qr/WARNING:.*the state file of pg_freeze could not be written/, 'with a warning');
	is(writing($node), 'done', 'the role writes');
	$node->stop('immediate');
	rmdir "$file.new" or die $!;
	$node->start;
	ok(goes_on($node), 'what the old file closes at the next start is opened by what the journal says');
	is((try_sql($node, "SET lock_timeout = '800ms'; INSERT INTO other.t1 (id) VALUES (1)", user => 'agent'))[0], '55P03', 'the other freeze is in force');
	is(sql($node, "SELECT held FROM thaw($other)"), 't', 'and held');
	ok(!-e $file, 'nothing is left');
}

# --- a file that is older than the journal --------------------------------

# As in a copy of the data directory that is started without recovery.signal.
{
	my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	my $content = slurp_file($file);

	is(sql($node, "SELECT held FROM thaw($id)"), 't', 'thawed');
	$node->stop;
	append_to_file($file, $content);
	$node->start;
	ok(goes_on($node), 'an old file: what it closes, the journal opens');
	wait_until($node, q{SELECT pg_stat_file('pg_freeze.gates', true) IS NULL});
	pass('an old file: and it is removed');
}

# --- a time without preload -----------------------------------------------

# Nobody is stopped then; a gate that was lost meanwhile doesn't come back.
{
	my $id = sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
	$node->restart;
	is(writing($node), 'done', 'without preload: nobody is stopped');
	next_call($node);
	is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'lost|f', 'without preload: the next call sees that it is lost');
	ok(-e $file, 'without preload: the file is still there');
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'pg_freeze'\n");
	$node->restart;
	ok(goes_on($node), 'preloaded again: what is lost is not closed again');
	is(sql($node, "SELECT held FROM thaw($id)"), 'f', 'preloaded again: it did not hold');
	ok(!-e $file, 'preloaded again: nothing is left');
}

# --- as many as there is room for -----------------------------------------

{
	sql($node, join "\n", map { "SELECT freeze_role('agent', strategy => 'gate', action => 'reject', label => 'many');" } 1 .. 62);
	my ($state, undef, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'gate')});
	is($state, '53400', 'one freeze too many');
	like($err, qr/DETAIL:  There is room for 62 in the cluster/, 'says how many there is room for');
	$node->restart;
	like((try_sql($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'agent'))[2], qr/role agent is frozen/, 'all of them are there after a restart');
	is(sql($node, q{SELECT count(*), bool_and(held) FROM thaw_label('many')}), '62|t', 'and held');
	ok(!-e $file, 'the state file is gone');
}

# --- DROP DATABASE --------------------------------------------------------

{
	my $id = sql($node, q{SELECT freeze_role('agent', strategy => 'gate')}, db => 'second');
	foreach my $command ('DROP DATABASE second', 'DROP DATABASE second WITH (FORCE)', 'DROP DATABASE IF EXISTS second')
	{
		my ($state, undef, $err) = try_sql($node, $command);
		is($state, '55006', "$command while it has the journal of a live freeze");
		like($err, qr/HINT:.*thaw_all\(\)/, 'the hint says what to do');
	}
	is((try_sql($node, 'DROP DATABASE nowhere'))[0], '3D000', 'one that is not there');
	sql($node, "SELECT thaw($id)", db => 'second');
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = 'second')});
	is((try_sql($node, 'DROP DATABASE second'))[0], '', 'after the thaw it can be dropped');
}

# --- the launcher ---------------------------------------------------------

# It stays, and sleeps: one process, which no clock wakes.
is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze launcher'}), '1', 'the launcher stays');
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze launcher'});
wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_freeze launcher'});
wait_until($node, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'pg_freeze launcher'});
pass('and comes back');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
