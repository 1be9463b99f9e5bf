
# Strategy lock, several freezes at a time: one that is made while another is in
# force never makes an application's transaction the victim of a deadlock, and
# a thaw lets go of all that its freeze has and of nothing that another one has.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $node = new_server('main', conf => "log_lock_waits = on\n");

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE SCHEMA one; CREATE TABLE one.t (i int);
CREATE SCHEMA two; CREATE TABLE two.t (i int); CREATE TABLE two.u (i int);
GRANT USAGE ON SCHEMA one, two TO app;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA one, two TO app;
});
sub goes { return statement_goes($node, "INSERT INTO $_[0] VALUES (1)", user => 'app'); }
sub freeze { return sql($node, "SELECT freeze_schema('$_[0]', strategy => 'lock')"); }

# what an attempt has waited for is not kept
{
	my $one = freeze('one');
	my $writer = open_session($node, user => 'app');
	my $two;

	$writer->query_safe('BEGIN; INSERT INTO two.t VALUES (1);');
	my $call = start_sql($node, q{SELECT freeze_schema('two', strategy => 'lock', drain_timeout => '1 min')});
	wait_until($node, q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.backend_type = 'pg_freeze holder' AND l.relation = 'two.t'::regclass AND NOT l.granted)});
	$writer->query_safe('COMMIT;');
	(undef, $two) = finish_sql($call);
	$writer->quit;
	is(join(' ', map { goes($_) } qw(one.t two.t two.u)), 'waits waits waits', 'both schemas are locked');
	is(sql($node, "SELECT held FROM thaw($two)"), 't', 'the second held');
	is(join(' ', map { goes($_) } qw(one.t two.t two.u)), 'waits done done', 'and is let go of, the first is not');
	is(sql($node, "SELECT held FROM thaw($one)"), 't', 'which held');
	is(strong_locks($node), '0', 'nothing stays locked');
}

# Those who have what the holder wants, and wait for what it has: no deadlock
# with it, whenever their timers go off.
{
	my $one = freeze('one');
	my $from = log_size($node);
	my @sessions = map { open_session($node, user => 'app') } 1 .. 10;
	my @pids;

	foreach my $session (@sessions)
	{
		$session->query_safe('BEGIN; INSERT INTO two.t VALUES (1);');
		push @pids, $session->query_safe('SELECT pg_backend_pid();');
	}
	my $call = start_sql($node, q{SELECT freeze_schema('two', strategy => 'lock', drain_timeout => '3s')});
	wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')});
	foreach my $session (@sessions)
	{
		$session->query_until(qr/started/, "\\echo started\nINSERT INTO one.t VALUES (1);\n");
		usleep(150_000);
	}
	my ($state, undef, $err) = finish_sql($call);

	is($state, '55P03', 'a freeze of what they have gives up') || diag($err);
	is(sql($node, "SELECT held FROM thaw($one)"), 't', 'the one that they wait for held');
	foreach my $n (0 .. $#sessions)
	{
		$sessions[$n]->query_safe('COMMIT;');
		$sessions[$n]->quit;
	}
	is(sql($node, 'SELECT count(*) FROM one.t WHERE i = 1'), @sessions + 0, 'each of them has written');
	unlike(slurp_file($node->logfile, $from), qr/deadlock detected/, 'no deadlock was detected');
	is(strong_locks($node), '0', 'nothing stays locked');
}

# who has written and shows no lock is named, and ended where that is asked for
{
	my $writer = open_session($node, user => 'app');
	my $pid = $writer->query_safe('BEGIN; SELECT pg_backend_pid() FROM pg_current_xact_id();');
	my ($state, undef, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '500ms')});

	is($state, '55P03', 'a transaction without a lock is waited for');
	like($err, qr/DETAIL: .*session $pid .*has written/, 'and named') || diag($err);
	($state, undef, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '500ms', on_drain_timeout => 'terminate')});
	is($state, '', 'and terminated') || diag($err);
	is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), '0', 'it is gone');
	is(sql($node, 'SELECT held FROM thaw_all()'), 't', 'and the freeze holds');
}

done_testing();
