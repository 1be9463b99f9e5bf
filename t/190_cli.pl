# The program pg_freeze: help, wrong usage, exit statuses; freeze, thaw, extend.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node;

sub test_usage
{
	my @commands = qw(run freeze thaw extend);
	my ($out, $err);

	($out) = status_is(0, '--help', undef, '--help');
	foreach my $command (@commands)
	{
		like($out, qr/^  $command /m, "--help names $command");
		my ($help) = status_is(0, "$command --help", undef, $command, '--help');
		like($help, qr/pg_freeze $command .*--dbname/s, "$command --help");
	}
	($out) = status_is(0, '--version', undef, '--version');
	is($out, 'pg_freeze ' . sql($node, q{SELECT extversion FROM pg_extension WHERE extname = 'pg_freeze'}),
		'the version is the extension\'s');

	($out, $err) = status_is(2, 'no such command', undef, 'fridge');
	like($err, qr/^pg_freeze: there is no command "fridge"$/m, 'which is said');
	is($out, '', 'and nothing on stdout');
	foreach my $wrong (
		[ 'no such option', 'freeze', '--frozen' ], [ 'two targets', 'freeze', '--role', 'a', '--cluster' ],
		[ 'an operand', 'freeze', 'app' ], [ 'an empty name', 'freeze', '--role', '' ],
		[ 'no deadline', 'freeze', '--timeout', '0' ], [ 'a negative interval', 'freeze', '--timeout=-5' ],
		[ 'an interval of no known unit', 'freeze', '--timeout', '5 weeks' ], [ 'an empty interval', 'freeze', '--timeout', '' ],
		[ 'two dots', 'freeze', '--timeout', '1.2.3s' ], [ 'a mode that is none', 'freeze', '--mode', 'read' ],
		[ 'no attempts', 'freeze', '--attempts', '0' ],
		[ 'nothing to thaw', 'thaw' ], [ 'an id that is none', 'thaw', '1; DROP' ], [ 'too much to thaw', 'thaw', '--all', '1' ],
		[ 'two ids', 'thaw', '1', '2' ], [ '--home without an id', 'thaw', '--all', '--home', 'x' ],
		[ 'extend without an interval', 'extend', '1' ], [ 'extend by nothing', 'extend', '1', '0' ],
		[ 'run without COMMAND', 'run', '--role', 'app' ], [ '--no-freeze alone', 'run', '--no-freeze', '--', 'true' ],
		[ 'a lease of nothing', 'run', '--lease', '0', 'true' ], [ '--output without a backup', 'run', '--output', '/tmp', 'true' ],
		[ '--output that is not there', 'run', '--backup', 'x', '--output', '/nowhere/at/all', 'true' ],
		[ '--label and --backup', 'run', '--backup', 'x', '--label', 'y', 'true' ],
		[ '--standby=replay', 'run', '--standby=replay', 'true' ])
	{
		my ($what, @arguments) = @$wrong;
		status_is(2, "wrong usage: $what", undef, @arguments);
	}
	return;
}

sub test_connection
{
	my ($out, $err) = status_is(1, 'nobody listens', undef, { connect => 'host=/nowhere port=1' }, 'freeze', '--role', 'app');

	like($err, qr/^pg_freeze: .*\/nowhere/m, 'which is said');
	sql($node, 'CREATE DATABASE empty');
	($out, $err) = status_is(1, 'no extension', $node, { db => 'empty' }, 'freeze');
	like($err, qr/^pg_freeze: the database "empty" has no extension pg_freeze\npg_freeze: HINT: .*CREATE EXTENSION/m, 'which is said');

	my $service = PostgreSQL::Test::Utils::tempdir('pg_freeze_service') . '/services';
	append_to_file($service, "[frozen]\nhost=" . $node->host . "\nport=" . $node->port . "\ndbname=postgres\n");
	($out) = status_is(0, 'a service file', undef, { connect => 'service=frozen', env => { PGSERVICEFILE => $service } },
		'thaw', '--all');
	status_is(0, 'the environment', undef,
		{ env => { PGHOST => $node->host, PGPORT => $node->port, PGDATABASE => 'postgres' } }, 'thaw', '--all');
	($out, $err) = status_is(0, 'a URI', undef,
		{ connect => 'postgresql:///postgres?host=' . $node->host . '&port=' . $node->port }, 'thaw', '--all');
	return;
}

sub test_freeze
{
	my ($id, $err) = status_is(0, 'freeze', $node, 'freeze', '--role', 'app', '--timeout', '10min', '--label', q{a 'label'},
		'--reason', 'because', '--mode', 'write', '--action', 'wait', '--in-flight', 'hold', '--drain-timeout', '7 s',
		'--on-drain-timeout', 'cancel', '--attempts', '2', '--strategy', 'gate');

	like($id, qr/^\d+$/, 'stdout has the id alone');
	like($err, qr/^pg_freeze: NOTICE: .*role app is frozen/m, 'what the server says is on stderr');
	is( sql($node, qq{SELECT target_name, strategy, mode, label, reason, action, in_flight, drain_timeout, on_drain_timeout, thaw_after
FROM freeze_journal WHERE id = $id}),
		q{app|gate|write|a 'label'|because|wait|hold|00:00:07|cancel|00:10:00}, 'every option arrives');
	is(writing($node), 'waits', 'the role is frozen');

	my ($until) = status_is(0, 'extend', $node, 'extend', $id, '1h');
	is(sql($node, "SELECT thaw_at = '$until' AND thaw_at - clock_timestamp() BETWEEN '59min' AND '1h' FROM freeze_journal WHERE id = $id"),
		't', 'and says until when');

	my ($out) = status_is(0, 'thaw', $node, 'thaw', $id);
	like($out, qr/^freeze $id, role app: held; /, 'and says that it held');
	is(writing($node), 'done', 'the role writes');
	($out, $err) = status_is(3, 'thaw of what is over already', $node, 'thaw', $id);
	like($err, qr/^pg_freeze: ERROR: freeze $id is over\npg_freeze: DETAIL: .*\npg_freeze: HINT: /m, 'the error is passed on whole');
	status_is(3, 'the same by label', $node, 'thaw', '--label', q{a 'label'});
	status_is(1, 'thaw of an unknown id', $node, 'thaw', '999999');
	status_is(1, 'thaw of an unknown label', $node, 'thaw', '--label', 'unknown');
	status_is(1, 'extend of an unknown id', $node, 'extend', '999999', '5s');

	($id) = status_is(0, 'freeze, no timeout given', $node, 'freeze', '-q', '--role', 'app', '--label', 'two');
	is(sql($node, "SELECT thaw_at - frozen_at BETWEEN '59s' AND '61s' FROM freeze_journal WHERE id = $id"), 't', 'lasts for a minute');
	($out, $err) = status_is(0, 'the database one is connected to', $node, 'freeze', '-q', '--label', 'two');
	is($err, '', '-q says nothing');
	is(sql($node, q{SELECT target FROM freeze_status ORDER BY id DESC LIMIT 1}), 'database postgres', 'is frozen where nothing else is said');
	($out) = status_is(0, 'thaw by label', $node, 'thaw', '--label', 'two');
	is(() = $out =~ /: held;/g, 2, 'thaws all that have it');
	status_is(0, 'freeze the cluster', $node, 'freeze', '--cluster');
	status_is(0, 'thaw everything', $node, 'thaw', '--all');
	is(live($node), 0, 'nothing is frozen');
	status_is(0, 'thaw everything, where nothing is', $node, 'thaw', '--all');
	return;
}

sub test_verdicts
{
	my ($id) = status_is(0, 'freeze by revoke', $node, 'freeze', '--role', 'agent', '--strategy', 'revoke');

	sql($node, 'GRANT INSERT ON other.t1 TO agent', user => 'other');
	my ($out) = status_is(3, 'thaw of what did not hold', $node, 'thaw', $id);
	like($out, qr/^freeze $id, role agent: did not hold: .*other\.t1/, 'which is said, and why');
	sql($node, 'REVOKE INSERT ON other.t1 FROM agent', user => 'other');

	($id) = status_is(0, 'freeze by read_only', $node, 'freeze', '--role', 'agent', '--strategy', 'read_only');
	($out) = status_is(4, 'thaw where nobody can tell', $node, 'thaw', $id);
	like($out, qr/: it is not certain that it held; /, 'which is said');

	my ($one) = status_is(0, 'a freeze that holds', $node, 'freeze', '--role', 'app');
	status_is(0, 'and one that nobody can tell of', $node, 'freeze', '--role', 'agent', '--strategy', 'read_only');
	status_is(4, 'together: the worse counts', $node, 'thaw', '--all');
	return;
}

# Somebody of the role has written and doesn't end: a drain can't either.
sub test_drain
{
	my $busy = open_session($node, user => 'app');

	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (190)');
	my $pid = $busy->query_safe('SELECT pg_backend_pid()');
	my ($out, $err) = status_is(6, 'the drain times out', $node, 'freeze', '--role', 'app', '--in-flight', 'drain', '--drain-timeout', '100ms');
	is($out, '', 'there is no id');
	like($err, qr/^pg_freeze: DETAIL: .*\b$pid\b/m, 'who is in the way is said');
	is(live($node), 0, 'nothing is left frozen');

	# while it waits it says for whom, and can be interrupted
	foreach my $signal ('INT', 'TERM')
	{
		my $run = start_cli($node, 'freeze', '-v', '--role', 'app', '--in-flight', 'drain', '--drain-timeout', '1h');
		ok(polled(sub { slurp_file($run->{err}) =~ /^pg_freeze: waiting for pid $pid \(.*app, idle in transaction, for /m }),
			'-v says what it waits for') || diag(slurp_file($run->{err}));
		kill $signal, $run->{pid};
		my ($status, undef, $said) = finish_cli($run);
		is($status, 1, "SIG$signal ends it");
		like($said, qr/^pg_freeze: interrupted; nothing is frozen$/m, 'which is said');
		is(unfinished($node), '', 'and undoes it');
	}
	$busy->query_safe('COMMIT');
	$busy->quit;
	is(live($node), 0, 'nothing is left frozen');
	return;
}

sub test_odd_names
{
	my $role = q{o'Brien "x" $1 \ %s};
	my $quoted = $role =~ s/"/""/gr;

	sql($node, qq{CREATE ROLE "$quoted" LOGIN});
	sql($node, q{CREATE DATABASE "o'dd ""db"" \ %s"});
	sql($node, q{CREATE SCHEMA "Odd schema; %s"; CREATE EXTENSION pg_freeze SCHEMA "Odd schema; %s"}, db => q{o'dd "db" \ %s});
	my ($id) = status_is(0, 'odd names', $node, { db => q{o'dd "db" \ %s} }, 'freeze', '--role', $role, '--reason', q{'; SELECT 1/0 -- \ %d});
	status_is(0, 'their thaw', $node, { db => q{o'dd "db" \ %s} }, 'thaw', $id);
	my ($out) = status_is(0, 'run with them', $node, { db => q{o'dd "db" \ %s} }, 'run', '--role', $role, '--label', q{l'a"b}, '--',
		'sh', '-c', 'echo "$PGFREEZE_TARGET|$PGFREEZE_LABEL"');
	is($out, qq{role "$quoted"|l'a"b}, 'COMMAND gets them');
	return;
}

# Nobody learns the id: nobody would thaw it.
sub test_lost_id
{
	my ($out, $err) = status_is(1, 'stdout is closed', $node, { closed => [1] }, 'freeze', '--role', 'app');

	like($err, qr/^pg_freeze: nothing is left frozen$/m, 'it is thawed again');
	is(live($node), 0, 'nothing is left frozen');
	status_is(0, 'stderr is closed', $node, { closed => [2] }, 'run', '--role', 'app', '--', 'true');
	plan_not_run('an id that cannot be printed', 'no /dev/full'), return unless -c '/dev/full';
	($out, $err) = status_is(1, 'the id cannot be printed', $node, { stdout => '/dev/full' }, 'freeze', '--role', 'app');
	like($err, qr/^pg_freeze: nothing is left frozen$/m, 'it is thawed again');
	is(live($node), 0, 'nothing is left frozen');
	return;
}

sub plan_not_run
{
	my ($what, $why) = @_;
	diag("NOT RUN: $what ($why)");
	return;
}

# Who may freeze and thaw, and nothing else: no superuser, no member of anything.
sub test_ordinary_role
{
	sql($node, q{
CREATE ROLE operator LOGIN;
GRANT EXECUTE ON FUNCTION freeze_role, freeze_extend, thaw TO operator;
ALTER ROLE operator SET statement_timeout = '700ms';
ALTER ROLE operator SET lock_timeout = '700ms';
ALTER ROLE operator SET default_transaction_isolation = 'serializable';
ALTER ROLE operator SET default_transaction_read_only = on;
ALTER ROLE operator SET "DateStyle" = 'German';
ALTER ROLE operator SET "IntervalStyle" = 'sql_standard';
ALTER ROLE operator SET "TimeZone" = 'Asia/Kolkata';
});
	my ($out, $err) = status_is(1, 'what one may not', $node, { user => 'operator' }, 'freeze', '--cluster');
	like($err, qr/permission denied/, 'is refused');
	($out) = status_is(7, 'run as somebody with odd settings', $node, { user => 'operator' }, 'run', '--role', 'app', '--lease', '3s', '--',
		'sh', '-c', 'echo "$PGFREEZE_ID|$PGFREEZE_LSN|$PGFREEZE_FROZEN_AT|$PGFREEZE_DATA_DIRECTORY"; sleep 1.5; exit 7');
	like($out, qr{^\d+\|[0-9A-F]+/[0-9A-F]+\|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z\|$}, 'COMMAND is told what he may know');
	my ($id) = status_is(0, 'freeze', $node, { user => 'operator' }, 'freeze', '--role', 'app');
	status_is(0, 'and thaw', $node, { user => 'operator' }, 'thaw', $id);

	my $busy = open_session($node, user => 'app');
	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (190)');
	status_is(6, 'a drain that takes longer than his statement_timeout', $node, { user => 'operator' }, 'freeze', '--role', 'app',
		'--in-flight', 'drain', '--drain-timeout', '1500ms');
	$busy->quit;
	return;
}

$node = new_server('cli', conf => q{shared_preload_libraries = 'pg_freeze'});
make_application($node, tables => 3);
test_usage();
test_connection();
test_freeze();
test_verdicts();
test_drain();
test_odd_names();
test_lost_id();
test_ordinary_role();
is(live($node), 0, 'nothing is left frozen');
$node->stop;

done_testing();
