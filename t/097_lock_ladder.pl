# Strategy lock and who is in its way: named, waited for, cancelled, terminated,
# or left alone, as on_drain_timeout says.  What ends the call ends the tries.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "pg_freeze.cancel_wait = '500ms'\n");
make_application($node, tables => 5);
my $freeze = q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '300ms', on_drain_timeout => '%s')};
my $counts = q{SELECT cancelled, terminated FROM freeze_journal ORDER BY id DESC LIMIT 1};

sub session
{
	my ($sql, %opt) = @_;
	my $session = open_session($node, %opt);

	$session->query_safe($sql);
	return ($session, $session->query_safe('SELECT pg_backend_pid();'));
}

sub idle_writer { return session('BEGIN; INSERT INTO app.t2 (id) VALUES (1);', user => 'app'); }

sub busy_writer
{
	my $call = start_sql($node, 'BEGIN; INSERT INTO app.t3 (id) VALUES (1); SELECT pg_sleep(1000);', user => 'app');
	wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep')});
	return ($call, sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'}));
}

sub there { return sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0]"); }

sub gave_up
{
	my ($what, $call, @named) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, undef, $err) = try_sql($node, $call);

	is($state, '55P03', "$what: the drain timed out") || diag($err);
	like($err, qr/DETAIL:.*\b$_\b/s, "$what: $_ is named") foreach @named;
	is(join(',', live($node)), '', "$what: nothing is frozen");
	is(strong_locks($node), '0', "$what: nothing stays locked");
	is(sql($node, 'SELECT state FROM freeze_journal ORDER BY id DESC LIMIT 1'), 'aborted', "$what: and that is written down");
	return $err;
}

sub frozen
{
	my ($what, $call) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, $id, $err) = try_sql($node, $call);

	is($state, '', "$what: frozen") || diag($err);
	is(writing($node), 'waits', "$what: and the application waits");
	return $id;
}

sub thaws
{
	my ($what, $id) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', "$what: it held");
	is(writing($node), 'done', "$what: and is thawed");
	return;
}

# --- the ladder -------------------------------------------------------------

my ($idle, $idle_pid) = idle_writer();
my ($busy, $busy_pid) = busy_writer();
gave_up('abort', sprintf($freeze, 'abort'), $idle_pid, $busy_pid);
is(there($idle_pid) + there($busy_pid), 2, 'abort: nobody is touched');
is(sql($node, $counts), '0|0', 'abort: and nobody counted');

gave_up('cancel', sprintf($freeze, 'cancel'), $idle_pid);
is((finish_sql($busy))[0], '57014', 'cancel: the busy one was cancelled');
is(there($idle_pid), '1', 'cancel: the idle one is still there');
is(sql($node, $counts), '1|0', 'cancel: and one was counted');

my $id = frozen('terminate', sprintf($freeze, 'terminate'));
is(there($idle_pid), '0', 'terminate: the idle one is gone');
is((split /\|/, sql($node, $counts))[1], '1', 'terminate: and counted');
is(sql($node, "SELECT rung FROM freeze_sessions_signalled WHERE id = $id AND pid = $idle_pid ORDER BY at DESC LIMIT 1"), 'idle in transaction', 'terminate: and listed');
thaws('terminate', $id);
eval { $idle->{run}->finish };

# --- who is not signalled ---------------------------------------------------

my ($super, $super_pid) = session('BEGIN; INSERT INTO app.t2 (id) VALUES (1);');
gave_up('a superuser', sprintf($freeze, 'terminate'), $super_pid);
is($super->query('SELECT 1;'), '1', 'a superuser is neither cancelled nor terminated');
$super->query_safe('COMMIT;');
$super->quit;

sql($node, q{BEGIN; INSERT INTO app.t4 (id) VALUES (1); PREPARE TRANSACTION 'two phases';}, user => 'app');
gave_up('a prepared transaction', sprintf($freeze, 'terminate'), 'two phases');
$node->restart;
gave_up('a prepared transaction after a restart', sprintf($freeze, 'terminate'), 'two phases');
sql($node, q{ROLLBACK PREPARED 'two phases'}, user => 'app');

# --- readers ----------------------------------------------------------------

my ($reader, $reader_pid) = session('BEGIN; SELECT count(*) FROM app.t1;', user => 'app');
$id = frozen('mode write with a reader', sprintf($freeze, 'terminate'));
is($reader->query('SELECT count(*) FROM app.t2;'), '1', 'mode write with a reader: which reads on');
thaws('mode write with a reader', $id);
my $all = q{SELECT freeze_role('app', mode => 'all', strategy => 'lock', drain_timeout => '300ms', on_drain_timeout => '%s')};
gave_up('mode all with a reader', sprintf($all, 'abort'), $reader_pid);
$id = frozen('mode all without', sprintf($all, 'terminate'));
is(there($reader_pid), '0', 'mode all without: the reader was terminated');
is(statement_goes($node, 'SELECT count(*) FROM app.t1'), 'waits', 'mode all without: and others wait');
thaws('mode all without', $id);
eval { $reader->{run}->finish };

# --- the caller himself -----------------------------------------------------

foreach my $own ('BEGIN; INSERT INTO app.t1 (id) VALUES (1);', 'BEGIN; LOCK TABLE app.t1 IN SHARE MODE;')
{
	my ($state, undef, $err) = try_sql($node, $own . q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '30 s');});
	is($state, '25001', "$own in the caller's own transaction is refused") || diag($err);
}
my ($state, undef, $err) = try_sql($node, q{BEGIN; SELECT count(*) FROM app.t1; SELECT freeze_role('app', mode => 'all', strategy => 'lock', drain_timeout => '30 s');});
is($state, '25001', 'mode all, and the caller has read') || diag($err);
wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
is(strong_locks($node), '0', 'nothing stays locked');

# --- what ends the call -----------------------------------------------------

($idle, $idle_pid) = idle_writer();
my $long = q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '1 hour');};

sub undone
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(unfinished($node) . join(',', live($node)), '', "$what: nothing is frozen or unfinished");
	is(strong_locks($node), '0', "$what: nothing stays locked");
	is(writing($node), 'done', "$what: the application writes");
	return;
}

($state) = try_sql($node, "SET statement_timeout = '700ms'; $long");
is($state, '57014', 'statement_timeout ends the tries');
undone('statement_timeout');
my $call = start_sql($node, $long, user => 'caller');
wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')});
is(sql($node, "SELECT pid FROM freeze_blockers"), $idle_pid, 'freeze_blockers shows who is in the way');
sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
is((finish_sql($call))[0], '57014', 'a cancel ends the tries');
undone('cancel');

# It succeeds as soon as it can.
$call = start_sql($node, $long, user => 'caller');
wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')});
$idle->query_safe('COMMIT;');
($state, $id, $err) = finish_sql($call);
is($state, '', 'when the blocker has gone, frozen') || diag($err);
is($idle->query_safe('SELECT count(*) FROM app.t2;'), '2', 'with what it wrote');
thaws('when the blocker has gone', $id);
$idle->quit;

# attempts: the last one may be late enough
my ($later, $later_pid) = idle_writer();
$call = start_sql($node, q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '300ms', attempts => 20);}, user => 'caller');
wait_until($node, q{SELECT count(*) > 1 FROM freeze_journal WHERE state IN ('aborted', 'draining') AND requested_at > (SELECT max(thawed_at) FROM freeze_journal)});
$later->query_safe('ROLLBACK;');
$later->quit;
(undef, $id, $err) = finish_sql($call);
like($id, qr/^\d+$/, 'a later attempt: frozen') || diag($err);
like($err, qr/NOTICE:  00000: attempt 1 of 20: .*\n.*DETAIL:.*\b$later_pid\b/, 'a later attempt: and who was in the way of the first');
thaws('a later attempt', $id);

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
