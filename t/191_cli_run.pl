# pg_freeze run: what COMMAND is told, whose status counts, signals, time limits,
# terminals, standbys, backups; and that nothing is left frozen, whatever happens.

use strict;
use warnings;

use File::Spec ();
use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node;

sub nothing_is_frozen
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(join(',', live($node)), '', "$what: nothing is left frozen");
	return;
}

# The environment that a waiting_command() has noted.
sub environment
{
	my ($file) = @_;
	return map { /^(PGFREEZE_\w+)=(.*)$/ ? ($1 => $2) : () } split /\n/, slurp_file($file);
}

sub last_freeze
{
	my ($columns) = @_;
	return sql($node, "SELECT $columns FROM freeze_journal ORDER BY id DESC LIMIT 1");
}

sub test_environment
{
	my ($command, $file) = waiting_command(7);
	my $run = start_cli($node, { env => { PGFREEZE_BACKUP_ID => 'stale', PGAPPNAME => 'nightly' } },
		'run', '--role', 'app', '--label', 'l', '--reason', 'r', '--timeout', '50s', '--lease', '9s', '--', @$command);

	await_file($file, $run);
	my %told = environment($file);
	my ($id, $lsn, $target, $strategy) = split /\|/, last_freeze('id, frozen_lsn, target_kind, strategy');
	is_deeply(
		[ @told{qw(PGFREEZE_ID PGFREEZE_LSN PGFREEZE_LABEL PGFREEZE_TARGET PGFREEZE_STRATEGY PGFREEZE_DATA_DIRECTORY PGFREEZE_BACKUP_ID)} ],
		[ $id, $lsn, 'l', 'role app', $strategy, $node->data_dir, undef ], 'what COMMAND is told');
	is(last_freeze(qq{frozen_at = '$told{PGFREEZE_FROZEN_AT}' AND '$told{PGFREEZE_UNTIL}' = frozen_at + interval '50s'}),
		't', 'since when, and until when at most');
	is(last_freeze(q{reason, by_application ~ '^nightly '}), 'r|t', 'who it was is seen');
	is(last_freeze(q{thaw_at - clock_timestamp() BETWEEN '1s' AND '9s'}), 't', 'the server would thaw it at the end of the lease');
	is(writing($node), 'waits', 'the role is frozen while COMMAND runs');
	let_go($file);
	my ($out, $err) = finished($run, 7, 'the status is COMMAND\'s');
	is($out, '', 'nothing on stdout');
	like($err, qr/^pg_freeze: it held: /m, 'it held, which is said');
	is(writing($node), 'done', 'the role goes on');
	is(last_freeze('state, held'), 'thawed|t', 'thawed once, and held');
	return;
}

sub test_statuses
{
	my $before = last_freeze('id');
	my $dir = PostgreSQL::Test::Utils::tempdir('pg_freeze_run');
	append_to_file("$dir/text", "echo no\n");
	my ($out, $err) = status_is(127, 'COMMAND is not found', $node, 'run', '--role', 'app', '--', 'no-such-command');
	like($err, qr/^pg_freeze: no-such-command: command not found/m, 'which is said');
	status_is(127, 'nor by its path', $node, 'run', '--role', 'app', '--', "$dir/nothing");
	status_is(126, 'COMMAND is no program', $node, 'run', '--role', 'app', '--', "$dir/text");
	status_is(126, 'COMMAND is a directory', $node, 'run', '--role', 'app', '--', $dir);
	is(last_freeze('id'), $before, 'nothing was frozen for them');

	append_to_file("$dir/broken", "#!$dir/no-interpreter\n");
	chmod 0755, "$dir/broken";
	status_is(127, 'COMMAND cannot be run after all', $node, 'run', '--role', 'app', '--', "$dir/broken");
	isnt(last_freeze('id'), $before, 'which shows only when it is');
	status_is(0, 'COMMAND ends with 0', $node, 'run', '-q', '--role', 'app', 'true');
	(undef, $err) = status_is(3, 'with 3', $node, 'run', '--role', 'app', '--', 'sh', '-c', 'exit 3');
	status_is(137, 'by a signal', $node, 'run', '--role', 'app', '--', 'sh', '-c', 'kill -9 $$');
	($out) = status_is(0, 'options after COMMAND are its own', $node, 'run', '--role', 'app', 'printf', '%s', '--role');
	is($out, '--role', 'and arrive');
	my (undef, $said) = status_is(0, 'COMMAND leaves something in the background', $node, 'run', '--role', 'app', '--', 'sh', '-c', 'sleep 5 >&- 2>&- &');
	like($said, qr/^pg_freeze: WARNING: COMMAND has ended, but processes that it has started go on/m, 'which is said');
	unlike($err, qr/go on/, 'and nothing of the kind else');
	nothing_is_frozen('COMMANDs that fail');

	my ($stdout, $stderr) = ('', '');
	IPC::Run::run([ 'pg_freeze', 'run', '-q', '-d', $node->connstr('postgres'), '--role', 'app', '--', 'sh', '-c', 'cat; echo bad >&2' ],
		'<', \"from stdin\n", '>', \$stdout, '2>', \$stderr);
	is("$stdout$stderr", "from stdin\nbad\n", 'COMMAND\'s stdin, stdout and stderr are the program\'s');
	return;
}

sub test_verdicts
{
	my ($out, $err) = status_is(3, 'it did not hold', $node, 'run', '--role', 'agent', '--strategy', 'revoke', '--',
		'psql', '-Xq', '-d', $node->connstr('postgres'), '-U', 'other', '-c', 'GRANT INSERT ON other.t1 TO agent');
	like($err, qr/^pg_freeze: it did not hold: .*other\.t1/m, 'which is said, and why');
	sql($node, 'REVOKE INSERT ON other.t1 FROM agent', user => 'other');

	status_is(4, 'nobody can tell whether it held', $node, 'run', '--role', 'agent', '--strategy', 'read_only', '--', 'sh', '-c', 'exit 7');
	status_is(7, 'which may be accepted', $node, 'run', '--role', 'agent', '--strategy', 'read_only', '--accept-unknown', '--', 'sh', '-c', 'exit 7');

	# somebody else thaws: a renewal finds out
	my ($command, $file) = waiting_command(0, 'trap "exit 9" TERM;');
	my $run = start_cli($node, 'run', '--role', 'app', '--lease', '1s', '--', @$command);
	await_file($file, $run);
	sql($node, 'SELECT thaw_all()');
	finished($run, 3, 'somebody else thaws, and COMMAND is told to end');

	# or the thaw does, if COMMAND ends before
	($command, $file) = waiting_command(0);
	$run = start_cli($node, 'run', '--role', 'app', '--lease', '60s', '--', @$command);
	await_file($file, $run);
	sql($node, 'SELECT thaw_all()');
	let_go($file);
	($out, $err) = finished($run, 3, 'somebody else thaws before COMMAND has ended');
	like($err, qr/^pg_freeze: it did not hold: it was thawed before COMMAND had ended: thawed by /m, 'which is said');
	nothing_is_frozen('verdicts');
	return;
}

sub test_drain
{
	my $busy = open_session($node, user => 'app');

	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (191)');
	my ($out) = status_is(6, 'the drain times out', $node, 'run', '--role', 'app', '--in-flight', 'drain', '--drain-timeout', '50ms', '--', 'echo', 'ran');
	is($out, '', 'and COMMAND is not run');

	my $run = start_cli($node, 'run', '-v', '--role', 'app', '--in-flight', 'drain', '--drain-timeout', '1h', '--', 'echo', 'ran');
	polled(sub { slurp_file($run->{err}) =~ /waiting for pid/ });
	kill 'TERM', $run->{pid};
	($out) = finished($run, 1, 'a signal while it waits for the drain');
	is($out, '', 'and COMMAND is not run');
	$busy->query_safe('COMMIT');
	$busy->quit;
	nothing_is_frozen('drains');
	return;
}

sub test_signals
{
	foreach my $signal (qw(INT TERM HUP QUIT))
	{
		my ($command, $file) = waiting_command(0, "trap 'echo $signal; exit 9' $signal;");
		my $run = start_cli($node, 'run', '--role', 'app', '--', @$command);

		await_file($file, $run);
		kill $signal, $run->{pid};
		my ($out) = finished($run, 9, "SIG$signal: the status is COMMAND's");
		is($out, $signal, "SIG$signal is passed on to COMMAND");
	}
	my ($command, $file) = waiting_command(0);
	my $run = start_cli($node, 'run', '--role', 'app', '--', @$command);
	await_file($file, $run);
	kill 'INT', $run->{pid};
	finished($run, 130, 'COMMAND is ended by the signal');

	# the second is SIGKILL, for all that it has started
	($command, $file) = waiting_command(0, q{trap '' INT; sh -c 'trap "" INT; echo $$; while :; do sleep 0.02; done' &});
	$run = start_cli($node, 'run', '--role', 'app', '--', @$command);
	await_file($file, $run);
	polled(sub { slurp_file($run->{out}) =~ /\n/ });
	kill 'INT', $run->{pid};
	polled(sub { slurp_file($run->{err}) =~ /SIGINT is passed on/ });
	is(writing($node), 'waits', 'a COMMAND that ignores a signal keeps the role frozen');
	kill 'INT', $run->{pid};
	my ($out) = finished($run, 137, 'the second signal kills COMMAND');
	ok(polled(sub { !kill 0, $out }, 10), 'and its children');

	# what was ignored stays so
	($command, $file) = waiting_command(0);
	$SIG{HUP} = 'IGNORE';
	$run = start_cli($node, 'run', '--role', 'app', '--', @$command);
	$SIG{HUP} = 'DEFAULT';
	await_file($file, $run);
	kill 'HUP', $run->{pid};
	let_go($file);
	finished($run, 0, 'nohup');
	nothing_is_frozen('signals');
	return;
}

# COMMAND takes longer than it may: the role goes on at once, whatever COMMAND does.
sub test_timeout
{
	my ($command, $file) = waiting_command(0, 'trap "echo told" TERM;');
	my $run = start_cli($node, 'run', '--role', 'app', '--timeout', '4s', '--lease', '3s', '--', @$command);

	await_file($file, $run);
	my $id = last_freeze('id');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(writing($node), 'done', 'after the timeout the role goes on');
	ok(!ended($run), 'while COMMAND has not ended');
	my $renewals = join ', ', map { "'$_'" } slurp_file($node->logfile) =~ /freeze $id now thaws at ([^,]+),/g;
	is( sql($node, "SELECT count(*) > 1, max(at) <= frozen_at + interval '4.9s', max(at) > frozen_at + interval '3.5s'
FROM freeze_journal, unnest(ARRAY[$renewals]::timestamptz[]) at WHERE id = $id GROUP BY frozen_at"),
		't|t|t', 'no renewal goes beyond the timeout, but for the time that it takes');
	let_go($file);
	my ($out, $err) = finished($run, 3, 'it did not hold');
	is($out, 'told', 'COMMAND was told to end');
	like($err, qr/^pg_freeze: the timeout of 4 s is over, and COMMAND has not ended$/m, 'which is said');
	return;
}

sub on_terminal
{
	my ($script, @arguments) = @_;
	my ($in, $out) = ('', '');
	my $harness = IPC::Run::start([ 'pg_freeze', 'run', '-d', $node->connstr('postgres'), '--role', 'app', @arguments ],
		'<pty<', \$in, '>pty>', \$out, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));

	foreach my $step (@$script)
	{
		my ($expected, $answer) = @$step;

		pump $harness until $out =~ $expected || !$harness->pumpable;
		ref $answer ? $answer->() : ($in .= $answer);
	}
	$harness->finish;
	return ($harness->full_result, $out);
}

sub test_terminal
{
	my ($result, $out) = on_terminal([ [ qr/who\?/, "me\n" ] ], '--', 'sh', '-c', 'echo "who?"; read x; echo "it is $x"; exit 4');
	is($result >> 8, 4, 'COMMAND may ask on the terminal');
	like($out, qr/it is me/, 'and gets an answer');

	($result, $out) = on_terminal([ [ qr/here/, "\x03" ] ], '--', 'sh', '-c', 'echo here; while :; do sleep 0.02; done');
	is($result >> 8, 130, 'Ctrl-C ends COMMAND');
	nothing_is_frozen('Ctrl-C');

	($result, $out) = on_terminal([ [ qr/here/, "\x1a" ], [ qr/COMMAND was stopped/, "x\n" ] ],
		'--', 'sh', '-c', 'echo here; read x; echo "on with $x"');
	is($result >> 8, 0, 'Ctrl-Z stops nothing');
	like($out, qr/COMMAND was stopped, and goes on.*on with x/s, 'which is said');

	my $busy = open_session($node, user => 'app');
	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (191)');
	my $pid = $busy->query_safe('SELECT pg_backend_pid()');
	($result, $out) = on_terminal(
		[ [ qr/waiting for pid $pid \([^\r\n]* \([12] s\)/, "\x1a" ], [ qr/ \([3-9] s\)/, sub { $busy->query_safe('COMMIT') } ] ],
		'--in-flight', 'drain', '--drain-timeout', '1min', '--', 'true');
	is($result >> 8, 0, 'who is waited for ends, and no Ctrl-Z stops the program meanwhile');
	like($out, qr/\r\e\[Kpg_freeze: waiting for pid $pid \(/, 'on a terminal it says what it waits for, in one line');
	like($out, qr/.*\r\e\[K(?:(?!waiting).)*it held/s, 'which is gone afterwards');
	$busy->quit;
	nothing_is_frozen('terminals');
	return;
}

sub test_backup
{
	my $dir = PostgreSQL::Test::Utils::tempdir('pg_freeze_output');
	my ($command, $file) = waiting_command(0);
	my $run = start_cli($node, 'run', '--role', 'app', '--backup', 'nightly', '--checkpoint', 'fast', '--output', $dir, '--lease', '4s', '--', @$command);

	await_file($file, $run);
	my %told = environment($file);
	is(sql($node, q{SELECT id, start_lsn, freeze_id, label FROM freeze_backup_status WHERE state = 'running'}),
		join('|', @told{qw(PGFREEZE_BACKUP_ID PGFREEZE_START_LSN PGFREEZE_ID PGFREEZE_LABEL)}), 'run --backup: what COMMAND is told');
	is(writing($node), 'waits', 'the role is frozen');
	wait_until($node, q{SELECT thaw_at - clock_timestamp() < interval '4s' FROM freeze_status});
	let_go($file);
	finished($run, 0, 'the backup is made');
	is(sql($node, "SELECT state FROM freeze_backup_status WHERE id = $told{PGFREEZE_BACKUP_ID}"), 'complete', 'and complete');
	is(sql($node, "SELECT encode(convert_to(backup_label, 'UTF8'), 'hex') FROM freeze_backup_status WHERE id = $told{PGFREEZE_BACKUP_ID}"),
		unpack('H*', slurp_file("$dir/backup_label")), 'its label is written');
	ok(!-e "$dir/tablespace_map", 'and no empty map');
	nothing_is_frozen('run --backup');

	unlink "$dir/backup_label";
	status_is(5, 'COMMAND fails', $node, 'run', '--role', 'app', '--backup', 'broken', '--checkpoint', 'fast', '--output', $dir, '--', 'sh', '-c', 'exit 5');
	is(sql($node, q{SELECT state, failure FROM freeze_backup_status WHERE label = 'broken'}) =~ /^failed\|.*COMMAND ended with status 5/, 1,
		'the backup is given up');
	ok(!-e "$dir/backup_label", 'there is no label');
	nothing_is_frozen('a COMMAND that fails');

	status_is(0, 'a backup without a freeze', $node, 'run', '--no-freeze', '--backup', 'online', '--checkpoint', 'fast', '--output', $dir, '--',
		'sh', '-c', 'test -n "$PGFREEZE_START_LSN" -a -z "$PGFREEZE_ID"');
	ok(-s "$dir/backup_label", 'has a label');

	status_is(0, 'a freeze behind a checkpoint, no backup', $node, 'run', '--role', 'app', '--checkpoint', 'fast', '--', 'sh', '-c', 'test -n "$PGFREEZE_ID"');
	nothing_is_frozen('a checkpoint before');

	($command, $file) = waiting_command(0, 'trap "exit 9" TERM;');
	$run = start_cli($node, 'run', '--role', 'app', '--backup', 'late', '--checkpoint', 'fast', '--timeout', '2s', '--', @$command);
	await_file($file, $run);
	my (undef, $err) = finished($run, 3, 'a backup that takes too long');
	like($err, qr/the timeout of 2 s is over/, 'which is said');
	is(sql($node, q{SELECT state FROM freeze_backup_status WHERE label = 'late'}), 'failed', 'is given up');
	nothing_is_frozen('a backup that takes too long');
	return;
}

sub test_standby
{
	my $standby = PostgreSQL::Test::Cluster->new('standby');

	$node->backup('b');
	$standby->init_from_backup($node, 'b', has_streaming => 1);
	$standby->start;
	my ($out, $err) = status_is(5, 'a standby', $standby, 'run', '--role', 'app', '--', 'echo', 'ran');
	is($out, '', 'COMMAND is not run');
	like($err, qr/this server is a standby.*\npg_freeze: HINT: /, 'which is said');
	($out, $err) = status_is(0, '--standby=skip', $standby, 'run', '--standby=skip', '--role', 'app', '--', 'echo', 'ran');
	is($out, '', 'COMMAND is not run there either');
	status_is(5, 'freeze', $standby, 'freeze', '--role', 'app');
	status_is(5, 'thaw', $standby, 'thaw', '1');
	status_is(5, 'extend', $standby, 'extend', '1', '5s');
	($out) = status_is(0, 'a backup on a standby', $standby, 'run', '--no-freeze', '--backup', 'there', '--checkpoint', 'fast', '--', 'echo', 'ran');
	is($out, 'ran', 'COMMAND is run for that');
	$standby->stop;
	return;
}

$node = new_server('run', streaming => 1, conf => q{shared_preload_libraries = 'pg_freeze'});
make_application($node, tables => 3);

# takes its time: SIGKILL comes 10 s after SIGTERM
my $stubborn = start_cli($node, 'run', '--role', 'agent', '--timeout', '1s', '--', 'sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done');
wait_until($node, 'SELECT count(*) = 1 FROM freeze_history');

test_environment();
test_statuses();
test_drain();
test_signals();
test_timeout();
test_terminal();
test_backup();
test_standby();
my (undef, $err) = finished($stubborn, 3, 'a COMMAND that does not end');
like($err, qr/^pg_freeze: COMMAND has not ended: killing it$/m, 'is killed');
test_verdicts();
$node->stop;

done_testing();
