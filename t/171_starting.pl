# A session whose start takes long: it has been let in and has read its settings
# when the door is closed, but shows nothing of itself yet.  It is waited for,
# named, and ended only where it is known to be of the target.  (Its role sets
# default_text_search_config, and somebody has locked the catalog in which the
# server looks that up.)  See also 183_login_races.pl.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => q{
pg_freeze.idle_in_transaction_wait = 100ms
pg_freeze.cancel_wait = 100ms
pg_freeze.terminate_wait = 10s
});
sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE DATABASE shop;
ALTER ROLE app SET default_text_search_config = 'pg_catalog.simple';
ALTER ROLE boss SET default_text_search_config = 'pg_catalog.simple';
});

my $locker = open_session($node, db => 'shop');

# A login that stops in its middle; the pid of its process.
sub slow_login
{
	my ($user, $sql) = @_;

	$locker->query_safe('BEGIN; LOCK TABLE pg_ts_config IN ACCESS EXCLUSIVE MODE;');
	my $login = start_sql($node, $sql || 'SELECT 1; SELECT pg_sleep(1000);', user => $user, db => 'shop');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_locks WHERE relation = 'pg_ts_config'::regclass AND NOT granted});
	return ($login, sql($node, q{SELECT pid FROM pg_locks WHERE relation = 'pg_ts_config'::regclass AND NOT granted}));
}

sub let_go { $locker->query_safe('COMMIT;'); return; }

sub thaw { return sql($node, 'SELECT count(*) FROM thaw_all()'); }

my %freeze = (
	'disconnect role' => q{SELECT freeze_role('app', mode => 'all', strategy => 'disconnect'},
	'disconnect database' => q{SELECT freeze_database('shop', mode => 'all', strategy => 'disconnect'},
	'disconnect cluster' => q{SELECT freeze_cluster(mode => 'all', strategy => 'disconnect'},
	'read_only role' => q{SELECT freeze_role('app', strategy => 'read_only'},
	'read_only database' => q{SELECT freeze_database('shop', strategy => 'read_only'},
	'read_only cluster' => q{SELECT freeze_cluster(strategy => 'read_only'},
);

foreach my $name (sort keys %freeze)
{
	my $freeze = $freeze{$name};
	my ($login, $pid) = slow_login('app', 'SELECT 1');
	my ($state, $out, $err);

	is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND datname IS NOT NULL"), '0', "$name: nothing of it is to be seen");
	($state, undef, $err) = try_sql($node, "$freeze, drain_timeout => '200ms')");
	is($state, '55P03', "$name: gives up") || diag($err);
	like($err, qr/session $pid of role app, starting: is still starting/, "$name: names it");
	like($err, qr/on_drain_timeout => 'cancel'/, "$name: and says what would help");

	my $call = start_sql($node, "$freeze, drain_timeout => '1h')");
	wait_until($node, qq{SELECT pid = $pid AND what = 'is still starting' FROM freeze_blockers});
	is(sql($node, "SELECT role, state, in_flight, next_rung, why FROM freeze_sessions WHERE pid = $pid"),
		'app|starting|t|terminate|is still starting', "$name: freeze_sessions shows it");
	let_go();
	# it has been let in, and is ended as soon as it may be
	($state, $out, $err) = finish_sql($call);
	is($state, '', "$name: frozen once it has gone") || diag($err);
	is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), '0', "$name: not before");
	unlike((finish_sql($login))[2], qr/frozen|not permitted|not currently accepting|read-only/, "$name: it was not refused");
	thaw();

	($login, $pid) = slow_login('app');
	($state, $out, $err) = try_sql($node, "$freeze, drain_timeout => '0', on_drain_timeout => 'terminate')");
	is($state, '', "$name, terminate: frozen") || diag($err);
	is(sql($node, "SELECT rung, session_user_name FROM freeze_sessions_signalled WHERE id = $out"), 'terminate|app', "$name, terminate: it was ended while it started");
	like((finish_sql($login))[2], qr/terminating connection due to administrator command/, "$name, terminate: as it was told");
	let_go();
	thaw();
}

# of others, and of superusers
foreach my $case ([ 'disconnect role', 'boss' ], [ 'disconnect database', 'boss' ], [ 'read_only cluster', 'boss' ],
	[ 'read_only role', 'boss' ])
{
	my ($name, $user) = @$case;
	my ($login, $pid) = slow_login($user);
	my ($state, undef, $err) = try_sql($node, "$freeze{$name}, drain_timeout => '200ms')");

	is($state, '', "$name, $user is starting: frozen") || diag($err);
	let_go();
	thaw();
	wait_until($node, qq{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND wait_event = 'PgSleep')});
	sql($node, "SELECT pg_cancel_backend($pid)");
	is((finish_sql($login))[1], '1', "$name, $user is starting: and gets in");
}

# in another database
{
	my ($login, $pid) = slow_login('app');
	my ($state, undef, $err) = try_sql($node, q{SELECT freeze_database('postgres', strategy => 'read_only', drain_timeout => '200ms')});

	is($state, '', 'starting in another database: frozen') || diag($err);
	let_go();
	thaw();
	wait_until($node, qq{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid AND wait_event = 'PgSleep')});
	sql($node, "SELECT pg_cancel_backend($pid)");
	is((finish_sql($login))[1], '1', 'starting in another database: and gets in');
}

# --- sessions that don't report their state -----------------------------------------

sql($node, 'ALTER ROLE other SET track_activities = off; CREATE TABLE t (a int); GRANT INSERT ON t TO other;');
my $idle = open_session($node, user => 'other');
my $idle_pid = $idle->query_safe('SELECT pg_backend_pid();');
my $open = open_session($node, user => 'other');
my $open_pid = $open->query_safe('SELECT pg_backend_pid();');
$open->query_safe('BEGIN; INSERT INTO t VALUES (1);');
is(sql($node, "SELECT DISTINCT state FROM pg_stat_activity WHERE pid IN ($idle_pid, $open_pid)"), 'disabled', 'sessions that do not report their state');
my ($state, undef, $err) = try_sql($node, q{SELECT freeze_role('other', mode => 'all', strategy => 'disconnect', drain_timeout => '200ms')});
is($state, '55P03', 'not reported: gives up');
like($err, qr/1 session did not finish.*session $open_pid of role other \(\S*\), idle in transaction: in a transaction that has written/s, 'not reported: who is in a transaction');
my $id = sql($node, q{SELECT freeze_role('other', mode => 'all', strategy => 'disconnect', drain_timeout => '0', on_drain_timeout => 'terminate')});
is(sql($node, "SELECT rung FROM freeze_sessions_signalled WHERE pid = $idle_pid"), 'idle', 'not reported: the idle one was ended as such');
is(sql($node, "SELECT rung FROM freeze_sessions_signalled WHERE pid = $open_pid AND id = $id"), 'idle in transaction', 'not reported: the other one too');
eval { $_->{run}->finish } foreach $idle, $open;
thaw();

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
