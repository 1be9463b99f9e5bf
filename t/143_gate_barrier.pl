# The barrier of strategy gate: a commit that has passed the door when it closes
# is waited for, however long it takes; one that has not passed it yet is stopped.
#
# A synchronous standby that isn't there holds a commit up after its record is
# written; and where the server has injection points (17, built with
# --enable-injection-points) a process is stopped just before and after it
# shows that it commits.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
synchronous_commit = local
});
make_application($node, tables => 2);
sql($node, 'ALTER ROLE app SET synchronous_commit = on');
sql($node, 'GRANT INSERT ON app.writes TO caller');

sub freeze { return "SELECT freeze_database(strategy => 'gate', drain_timeout => '$_[0]')"; }
sub rows { return sql($node, 'SELECT count(*) FROM app.writes'); }

sub standby
{
	my ($name) = @_;
	# not ALTER SYSTEM, which is a write
	$node->append_conf('postgresql.conf', "synchronous_standby_names = '$name'");
	$node->reload;
	wait_until($node, "SELECT current_setting('synchronous_standby_names') = '$name'");
	return;
}

# Somebody ("where" finds him) has passed the door: no freeze until he is through,
# which "go" lets him be, and then with what he wrote.
sub waited_for
{
	my ($what, $running, $where, $blocker, $go) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $rows = rows();

	wait_until($node, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $where)");
	my $pid = sql($node, "SELECT pid FROM pg_stat_activity WHERE $where");
	my ($state, undef, $err) = try_sql($node, freeze('300 ms'));
	is($state, '55P03', "$what: it can't be frozen beside such a commit") || diag($err);
	like($err, qr/DETAIL:.*\b$pid\b.*$blocker/s, "$what: which is named");
	is(join(',', live($node)), '', "$what: and nothing stays frozen");

	my $call = start_sql($node, freeze('1 hour') . ';');
	wait_until($node, "SELECT EXISTS (SELECT FROM freeze_blockers WHERE pid = $pid AND what ~ '$blocker')");
	is(sql($node, q{SELECT string_agg(state, ',') FROM freeze_status}), 'draining', "$what: a patient one waits for it");
	is(rows(), $rows, "$what: nobody sees yet what it wrote");
	$go->();
	($state, my $id, $err) = finish_sql($call);
	is($state, '', "$what: and is frozen when it is through") || diag($err);
	is(rows(), $rows + 1, "$what: with what it wrote");
	is((finish_sql($running))[0], '', "$what: which its client hears") if ref $running eq 'HASH';
	is(sql($node, "SELECT held, lost_reason FROM thaw($id)"), 't|', "$what: and held");
	return;
}

# --- a synchronous standby ------------------------------------------------------

standby('nobody');
waited_for('synchronous', start_sql($node, 'INSERT INTO app.writes (who) VALUES (1);', user => 'app'),
	q{wait_event = 'SyncRep'}, 'waits for a synchronous standby', sub { standby('') });

# COMMIT PREPARED has passed the door as well.
sql($node, q{BEGIN; INSERT INTO app.writes (who) VALUES (2); PREPARE TRANSACTION 'slow'}, user => 'app');
standby('nobody');
waited_for('prepared', start_sql($node, q{COMMIT PREPARED 'slow';}, user => 'app'),
	q{wait_event = 'SyncRep'}, 'waits for a synchronous standby', sub { standby('') });

# --- before and after it shows that it commits ------------------------------------

chomp(my $sharedir = `pg_config --sharedir`);
SKIP:
{
	skip 'this server has no injection points', 14
	  unless `pg_config --configure` =~ /--enable-injection-points/ && -e "$sharedir/extension/injection_points.control";
	sql($node, 'CREATE EXTENSION injection_points');

	# a session that will stop at a point, and nobody else there
	my $stops = sub {
		my ($point) = @_;
		my $session = open_session($node, user => 'caller');
		$session->query_safe("SELECT injection_points_set_local(); SELECT injection_points_attach('$point', 'wait');");
		$session->query_until(qr/here/, "\\echo here\nINSERT INTO app.writes (who) VALUES (3);\n");
		return $session;
	};

	my $point = 'pg-freeze-door-passed';
	my $session = $stops->($point);
	waited_for('passed', undef, "wait_event = '$point'", 'is committing', sub {
		sql($node, "SELECT injection_points_detach('$point')");
		sql($node, "SELECT injection_points_wakeup('$point')");
	});
	$session->query_safe('SELECT 1');
	$session->quit;

	# One that has looked, and seen no gate, and not said so.
	$point = 'pg-freeze-door-passing';
	$session = $stops->($point);
	wait_until($node, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = '$point')");
	my $rows = rows();
	my ($state, $id, $err) = try_sql($node, freeze('10 s'));
	is($state, '', 'passing: it is not waited for') || diag($err);
	sql($node, "SELECT injection_points_detach('$point')");
	sql($node, "SELECT injection_points_wakeup('$point')");
	ok($node->poll_query_until('postgres', q{SELECT object = 'commit' FROM freeze_waiters}), 'passing: it looks again, and waits');
	is(rows(), $rows, 'passing: nothing of it is there');
	is(sql($node, "SELECT held, lost_reason FROM thaw($id)"), 't|', 'passing: and it held');
	$session->query_safe('SELECT 1');
	is(rows(), $rows + 1, 'passing: after the thaw it is');
	$session->quit;
}

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
