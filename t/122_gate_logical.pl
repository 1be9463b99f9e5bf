# Logical replication and gates: apply workers of a frozen subscriber leave
# once, their successors wait quietly and catch up after the thaw; what a frozen
# publisher sends goes on.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $publisher = new_server('publisher', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'gate'
wal_level = logical
logical_decoding_work_mem = 64kB
});
my $subscriber = new_server('subscriber', conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'gate'
wal_level = logical
wal_retrieve_retry_interval = 200ms
});
my $parallel = $subscriber->pg_version >= 16;
my $waiting = q{backend_type LIKE 'logical replication %worker' AND query = 'waiting for a thaw (pg_freeze)'};

sql($publisher, 'CREATE EXTENSION pg_freeze; CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE late (id int PRIMARY KEY)');
sql($publisher, 'INSERT INTO late SELECT generate_series(1, 100)');
sql($publisher, 'CREATE PUBLICATION p FOR TABLE t; CREATE PUBLICATION other FOR TABLE late');
sql($subscriber, q{
CREATE EXTENSION pg_freeze;
CREATE TABLE t (id int PRIMARY KEY);
CREATE ROLE keeper LOGIN SUPERUSER;
CREATE ROLE reader LOGIN;
});
sql($subscriber, sprintf(q{CREATE SUBSCRIPTION s CONNECTION $$%s$$ PUBLICATION p
	WITH (two_phase = on, disable_on_error = true, streaming = %s)},
		$publisher->connstr('postgres'), $parallel ? 'parallel' : 'on'));
sql($subscriber, 'ALTER SUBSCRIPTION s OWNER TO keeper');
sql($publisher, 'INSERT INTO t VALUES (0)');
wait_until($subscriber, q{SELECT count(*) = 1 FROM t});
wait_until($subscriber, q{SELECT subtwophasestate = 'e' FROM pg_subscription});

my $next = 0;

# Writes a row on the publisher; returns its number.
sub publish
{
	$next++;
	sql($publisher, "INSERT INTO t VALUES ($next)");
	return $next;
}

sub arrives
{
	my ($id) = @_;
	return wait_until($subscriber, "SELECT count(*) = 1 FROM t WHERE id = $id");
}

sub count_log
{
	my ($node, $from, $pattern) = @_;
	my $count = () = slurp_file($node->logfile, $from) =~ /$pattern/g;

	return $count;
}

# --- a frozen subscriber ---------------------------------------------------

foreach my $case (
	[ 'database' => q{SELECT freeze_database()} ],
	[ 'database, mode all' => q{SELECT freeze_database(mode => 'all')} ],
	[ 'database, action reject' => q{SELECT freeze_database(action => 'reject')} ],
	[ 'cluster' => q{SELECT freeze_cluster()} ],
	[ 'owner of the subscription' => q{SELECT freeze_role('keeper')} ],
	[ 'owner, mode all' => q{SELECT freeze_role('keeper', mode => 'all')} ])
{
	my ($name, $sql) = @$case;
	my $from = log_size($subscriber);

	arrives(publish());
	my $id = sql($subscriber, $sql);
	my $row = publish();
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	my $pid = sql($subscriber, "SELECT pid FROM pg_stat_activity WHERE $waiting");
	my $quiet = log_size($subscriber);

	# another freeze leaves it alone
	my $another = sql($subscriber, q{SELECT freeze_database()});

	# several times as long as the launcher waits before it starts one again
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE pid = $pid AND backend_start < clock_timestamp() - interval '1 s'");
	is(sql($subscriber, "SELECT count(*) FROM t WHERE id = $row"), '0', "$name: nothing is applied");
	is(sql($subscriber, "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type LIKE 'logical replication %worker'"), $pid,
		"$name: one worker waits, and no other comes");
	is(sql($subscriber, "SELECT backend_xmin IS NULL AND backend_xid IS NULL FROM pg_stat_activity WHERE pid = $pid"), 't',
		"$name: it holds no xmin back");
	is(sql($subscriber, "SELECT count(*) FROM pg_locks WHERE pid = $pid AND locktype <> 'virtualxid'"), '0', "$name: it holds no lock");
	is(sql($publisher, q{SELECT active FROM pg_replication_slots WHERE slot_name = 's'}), 'f', "$name: it is not connected");
	is(count_log($subscriber, $from, qr/(?:FATAL|ERROR):  .*logical replication/), 1, "$name: one worker was ended");
	is(count_log($subscriber, $quiet, qr/(?:LOG|WARNING|ERROR|FATAL):  (?!statement:).*logical replication/), 0, "$name: then the log is quiet");
	is(sql($subscriber, "SELECT pid, object FROM freeze_waiters WHERE id = $id"), "$pid|commit", "$name: freeze_waiters shows it");
	is(sql($subscriber, 'SELECT subenabled FROM pg_subscription'), 't', "$name: the subscription stays enabled");
	sql($subscriber, "SELECT thaw($another)");
	is(sql($subscriber, "SELECT held FROM thaw($id)"), 't', "$name: it held");
	arrives($row);
	pass("$name: what was missed arrives after the thaw");
	is(sql($subscriber, "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid AND query <> 'waiting for a thaw (pg_freeze)'"), '1',
		"$name: by the worker that waited");
}

# --- who is not stopped -----------------------------------------------------

{
	my $worker = q{SELECT pid FROM pg_stat_subscription WHERE subname = 's' AND pid IS NOT NULL};
	my $working = sql($subscriber, $worker);
	my $id = sql($subscriber, q{SELECT freeze_role('reader')});
	arrives(publish());
	is(sql($subscriber, $worker), $working, 'another role: apply goes on, undisturbed');
	sql($subscriber, "SELECT thaw($id)");

	$id = sql($subscriber, q{SELECT freeze_database()});
	my $row = publish();
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	my $pid = sql($subscriber, "SELECT pid FROM pg_stat_activity WHERE $waiting");
	$subscriber->append_conf('postgresql.conf', q{pg_freeze.exempt_roles = 'keeper'});
	$subscriber->reload;
	arrives($row);
	is(sql($subscriber, q{SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type LIKE 'logical replication %worker'}), $pid,
		'an exempt owner: the worker that waits goes on when it hears of it, and commits');
	$row = publish();
	arrives($row);
	pass('and stays connected');
	$subscriber->append_conf('postgresql.conf', q{pg_freeze.exempt_roles = ''});
	$subscriber->reload;
	$row = publish();
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	is(sql($subscriber, "SELECT count(*) FROM t WHERE id = $row"), '0', 'when it is no more, it is stopped');
	wait_until($subscriber, "SELECT count(*) = 1 FROM freeze_waiters WHERE id = $id AND since < clock_timestamp() - interval '1 s'");
	is(sql($publisher, q{SELECT active FROM pg_replication_slots WHERE slot_name = 's'}), 'f', 'and not left waiting in the middle of its connection');
	is(sql($subscriber, "SELECT subenabled FROM pg_subscription"), 't', 'the subscription stays enabled');

	# a worker that waits can be ended, by whoever and by a shutdown
	$pid = sql($subscriber, "SELECT pid FROM pg_stat_activity WHERE $waiting");
	sql($subscriber, "SELECT pg_terminate_backend($pid)");
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting AND pid <> $pid");
	pass('one that waits can be terminated, and the next one waits');
	$subscriber->restart;
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	is(sql($subscriber, "SELECT count(*) FROM t WHERE id = $row"), '0', 'after a restart nothing was applied');
	sql($subscriber, "SELECT thaw($id)");
	arrives($row);
	pass('the thaw ends it');
}

# --- a trigger that acts as the frozen role ----------------------------------

{
	sql($subscriber, q{
CREATE ROLE definer;
CREATE TABLE audit (id int);
ALTER TABLE audit OWNER TO definer;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
	'BEGIN INSERT INTO public.audit VALUES (NEW.id); RETURN NULL; END';
ALTER FUNCTION note() OWNER TO definer;
CREATE TRIGGER note AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE t ENABLE ALWAYS TRIGGER note;
});
	my $row = publish();
	arrives($row);
	is(sql($subscriber, "SELECT count(*) FROM audit WHERE id = $row"), '1', 'a trigger writes as another role');
	my $from = log_size($subscriber);
	my $id = sql($subscriber, q{SELECT freeze_role('definer')});
	$row = publish();
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	my $pid = sql($subscriber, "SELECT pid FROM pg_stat_activity WHERE $waiting");
	wait_until($subscriber, "SELECT count(*) = 1 FROM freeze_waiters WHERE id = $id AND pid = $pid AND since < clock_timestamp() - interval '1 s'");
	is(count_log($subscriber, $from, qr/(?:LOG|WARNING|ERROR|FATAL):  (?!statement:).*logical replication/), 0, 'the worker waits there, quietly');
	is(sql($subscriber, "SELECT count(*) FROM t WHERE id = $row"), '0', 'and nothing is applied');
	is(sql($subscriber, "SELECT held FROM thaw($id)"), 't', 'it held');
	arrives($row);
	is(count_log($subscriber, $from, qr/FATAL:  terminating logical replication worker because of a freeze/), 1, 'then there is one disconnect');
	is(sql($subscriber, "SELECT count(*) FROM audit WHERE id = $row"), '1', 'what was missed is applied once');
	is(sql($subscriber, 'SELECT subenabled FROM pg_subscription'), 't', 'the subscription stays enabled');
	sql($subscriber, 'DROP TRIGGER note ON t');
}

# --- two-phase: no door sees COMMIT PREPARED by an apply worker --------------

{
	sql($publisher, q{BEGIN; INSERT INTO t VALUES (1001); PREPARE TRANSACTION 'order'});
	wait_until($subscriber, q{SELECT count(*) = 1 FROM pg_prepared_xacts});
	my $id = sql($subscriber, q{SELECT freeze_database()});
	sql($publisher, q{COMMIT PREPARED 'order'});
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	is(sql($subscriber, 'SELECT count(*) FROM pg_prepared_xacts'), '1', 'a prepared transaction stays prepared');
	is(sql($subscriber, 'SELECT count(*) FROM t WHERE id = 1001'), '0', 'and is not committed');
	is(sql($subscriber, "SELECT held FROM thaw($id)"), 't', 'it held');
	arrives(1001);
	is(sql($subscriber, 'SELECT count(*) FROM pg_prepared_xacts'), '0', 'after the thaw it is committed');
}

# --- not frozen before they are gone -----------------------------------------

{
	my $pid = sql($subscriber, q{SELECT pid FROM pg_stat_subscription WHERE subname = 's' AND pid IS NOT NULL});
	kill 'STOP', $pid or die "cannot stop process $pid: $!";
	my ($state, undef, $err) = try_sql($subscriber, q{SELECT freeze_database(drain_timeout => '500 ms')});
	is($state, '55P03', 'a worker that does not end keeps a freeze from being made');
	like($err, qr/DETAIL:  .*\b$pid\b.*applies changes of a subscription/, 'and is named') || diag($err);
	kill 'CONT', $pid;
	arrives(publish());
	pass('then it ends, and its successor goes on');
}

# --- in the middle of a large transaction ------------------------------------

{
	my $session = open_session($publisher);
	$session->query_safe(q{BEGIN; INSERT INTO t SELECT generate_series(2001, 12000)});
	wait_until($publisher, q{SELECT stream_count > 0 FROM pg_stat_replication_slots WHERE slot_name = 's'});
	wait_until($subscriber, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'logical replication parallel worker' AND backend_xid IS NOT NULL})
	  if $parallel;
	my $id = sql($subscriber, q{SELECT freeze_database(in_flight => 'drain')});
	is(sql($subscriber, "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'logical replication %worker' AND NOT ($waiting)
			AND backend_xid IS NOT NULL"), '0', 'no worker is in the middle of a transaction once the freeze is made');
	$session->query_safe('COMMIT');
	$session->quit;
	wait_until($subscriber, "SELECT count(*) = 1 FROM pg_stat_activity WHERE $waiting");
	is(sql($subscriber, 'SELECT count(*) FROM t WHERE id > 2000'), '0', 'nothing of it is there');
	is(sql($subscriber, "SELECT held FROM thaw($id)"), 't', 'it held');
	arrives(12000);
	is(sql($subscriber, 'SELECT count(*) FROM t WHERE id > 2000'), '10000', 'all of it arrives after the thaw');
}

# --- a frozen publisher -----------------------------------------------------

{
	sql($subscriber, 'CREATE TABLE late (id int PRIMARY KEY)');
	$publisher->backup('before');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($publisher, 'before', has_streaming => 1);
	$standby->start;
	wait_until($publisher, q{SELECT count(*) = 2 FROM pg_stat_replication WHERE state = 'streaming'});
	my $walsenders = q{SELECT string_agg(pid::text, ' ' ORDER BY pid) FROM pg_stat_replication};
	my $pids = sql($publisher, $walsenders);
	my $id = sql($publisher, 'SELECT freeze_cluster()');

	is(sql($publisher, $walsenders), $pids, 'the walsenders of a frozen publisher stay');
	sql($publisher, 'CHECKPOINT');
	$publisher->wait_for_catchup($standby);
	pass('the standby follows');
	$publisher->command_ok([ 'pg_basebackup', '-D', $publisher->backup_dir . '/frozen', '-d', $publisher->connstr('postgres'), '--no-sync', '-c', 'fast' ],
		'a base backup goes on');
	sql($subscriber, 'ALTER SUBSCRIPTION s DISABLE');
	wait_until($publisher, q{SELECT NOT active FROM pg_replication_slots WHERE slot_name = 's'});
	sql($subscriber, 'ALTER SUBSCRIPTION s ENABLE');
	wait_until($publisher, q{SELECT active FROM pg_replication_slots WHERE slot_name = 's'});
	pass('a subscriber connects to it');
	sql($subscriber, sprintf(q{CREATE SUBSCRIPTION other CONNECTION $$%s$$ PUBLICATION other}, $publisher->connstr('postgres')));
	wait_until($subscriber, q{SELECT count(*) = 100 FROM late});
	pass('a new one copies its tables');
	sql($subscriber, 'DROP SUBSCRIPTION other');
	is(sql($publisher, "SELECT held FROM thaw($id)"), 't', 'it held');
	arrives(publish());
	pass('and replication goes on after the thaw');
	$standby->stop;
}

done_testing();
